//! Dissectors: what payloads say. Plug-ins, listed in a [`Registry`].
//!
//! [`Dissectors`] opens sessions for whoever has packets; [`Prefixes`] keeps the sessions of datagrams whose first bytes
//! came over the bus.

mod dns;
mod http;
mod labels;
mod prefixes;
mod quic;
mod reader;
#[cfg(test)]
mod testing;
mod tls;
mod undecided;

pub use dns::Dns;
pub use http::Http;
pub use labels::Labels;
pub use prefixes::Prefixes;
pub use quic::Quic;
pub use tls::Tls;

use netspectra_common::dissect::{Dissector, Opener, Session};
use netspectra_common::model::FlowKey;
use netspectra_common::registry::Registry;
use std::sync::Arc;
use undecided::Undecided;

/// Name of the DNS dissector.
pub const DNS: &str = "dns";
/// Name of the HTTP/1.x dissector.
pub const HTTP: &str = "http";
/// Name of the TLS dissector.
pub const TLS: &str = "tls";
/// Name of the QUIC dissector.
pub const QUIC: &str = "quic";
/// Name of the dissector of protocols that are recognised only.
pub const LABELS: &str = "labels";

/// The dissectors that come with NetSpectra, in the order in which they are asked.
pub fn builtin() -> Registry<dyn Dissector> {
    builtin_with(true)
}

/// The same; `http_queries` says whether what is behind `?` in the targets of HTTP requests is kept: it may hold secrets.
pub fn builtin_with(http_queries: bool) -> Registry<dyn Dissector> {
    Registry::<dyn Dissector>::new("dissector")
        .with(DNS, Arc::new(Dns))
        .with(HTTP, Arc::new(Http { without_query: !http_queries }))
        .with(TLS, Arc::new(Tls))
        .with(QUIC, Arc::new(Quic))
        .with(LABELS, Arc::new(Labels))
}

/// What names of addresses are from.
pub fn names_only() -> Registry<dyn Dissector> {
    Registry::<dyn Dissector>::new("dissector").with(DNS, Arc::new(Dns))
}

/// Opens sessions that find out by themselves which dissector a flow is for.
#[derive(Clone, Debug)]
pub struct Dissectors(Arc<Registry<dyn Dissector>>);

impl Dissectors {
    /// With the dissectors of `registry`, which are asked in its order.
    pub fn new(registry: Registry<dyn Dissector>) -> Self {
        Self(Arc::new(registry))
    }
}

impl Opener for Dissectors {
    fn open(&self, key: &FlowKey) -> Option<Box<dyn Session>> {
        if self.0.is_empty() { None } else { Some(Box::new(Undecided::new(self.0.clone(), key))) }
    }
}
