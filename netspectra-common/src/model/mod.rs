//! What travels between the parts of NetSpectra in user space.

mod alert;
mod app_message;
mod chain;
mod fields;
mod ledger;
mod message;
mod net;
mod nic;
mod observation;
mod place;
mod reasons;
mod record;
mod rollup;
mod shown;
mod time;
mod window;

pub use crate::abi::{Counter, Direction, Family, FlowKey, FlowStats, Sampling};
pub use alert::{Alert, AlertPhase, Evidence, Severity};
pub use app_message::{AppMessage, MessageKind};
pub use chain::ManifestHash;
pub use fields::FlowFields;
pub use ledger::{Ledger, LedgerEntry};
pub use message::{
    BlockId, BusMessage, Chunk, ChunkId, FlowDelta, GenerationId, Interface, LogEntry, Manifest, PayloadSeen,
    SizeHistogram, SocketSeen,
};
pub use net::{Net, NetError};
pub use nic::{NicCounters, NicDelta};
pub use observation::{
    DnsKind, DnsMessage, DnsQuestion, DnsRecord, HttpRequest, HttpResponse, Observation, Observed, TlsClient,
    TlsServer, tls_version_name,
};
pub use place::{Country, Owner, Place, Pod};
pub use reasons::Reasons;
pub use record::{EndReason, FlowRecord, FlowState, InitiatorBy};
pub use rollup::Rollup;
pub use shown::Shown;
pub use time::{Nanos, TimeParseError, TimeRange, parse_duration};
pub use window::{Resolution, Sent, WindowSketches, WindowState};
