//! One function for each boundary where bytes come in. A function panics when something that must hold does not.

mod capture;
mod event;
mod filter;
mod frame;
mod log;
mod message;
mod payload;
mod sketch;

pub use capture::capture;
pub use event::event;
pub use filter::filter;
pub use frame::frame;
pub use log::{log, new_store};
pub use message::message;
pub use payload::payload;
pub use sketch::sketch;

/// A boundary.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name; the program for libFuzzer is `fuzz-NAME`.
    pub name: &'static str,
    /// Feeds it.
    pub feed: fn(&[u8]),
}

/// All of them.
pub const ALL: [Target; 8] = [
    Target { name: "frame", feed: frame },
    Target { name: "capture", feed: capture },
    Target { name: "event", feed: event },
    Target { name: "payload", feed: payload },
    Target { name: "filter", feed: filter },
    Target { name: "sketch", feed: sketch },
    Target { name: "log", feed: log },
    Target { name: "message", feed: message },
];
