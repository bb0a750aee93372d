//! Dissectors: what the first bytes of payloads say. Plug-ins, found by name in a [`Registry`].

mod dns;

pub use dns::Dns;

use netspectra_common::ports::Dissector;
use netspectra_common::registry::Registry;
use std::sync::Arc;

/// Name of the DNS dissector.
pub const DNS: &str = "dns";

/// The dissectors that come with NetSpectra.
pub fn builtin() -> Registry<dyn Dissector> {
    Registry::new("dissector").with(DNS, Arc::new(Dns))
}
