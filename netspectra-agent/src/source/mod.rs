//! Where packets come from.

pub mod af_packet;
pub mod by_loader;
pub mod capture_file;
pub mod pcap;
mod shared;
pub mod xdp;

use crate::generation::Generation;
use netspectra_common::model::{ManifestHash, Nanos, SocketSeen};
use std::os::fd::OwnedFd;
use std::time::{SystemTime, UNIX_EPOCH};

/// Why a source ended early.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The kernel side.
    #[error(transparent)]
    Xdp(#[from] xdp::XdpError),
    /// Packet sockets.
    #[error(transparent)]
    AfPacket(#[from] af_packet::AfPacketError),
    /// The thread that captures is gone.
    #[error("the capture thread ended unexpectedly")]
    Gone,
}

/// Unix time.
fn wall_clock() -> Nanos {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Nanos(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

/// Something that counts packets in generations.
pub trait Source: Send {
    /// Ends the current generation and returns what it counted; `None` when the source has ended.
    ///
    /// # Errors
    /// What was counted before stays valid; a later call may return it.
    fn generation(&mut self) -> Result<Option<Generation>, SourceError>;

    /// A descriptor that becomes readable when the current generation should end at once; `None`: it never should.
    fn wake(&self) -> Option<OwnedFd> {
        None
    }

    /// Sockets of the host that became known since the last call; none where nobody looks for them.
    fn sockets(&mut self) -> Vec<SocketSeen> {
        Vec::new()
    }

    /// `hash` is that of the manifest of the last generation returned: what goes on after this process carries it.
    fn sent(&mut self, hash: ManifestHash) {
        let _ = hash;
    }

    /// The last generation returned is safe elsewhere: its memory may be used again.
    ///
    /// # Errors
    /// When the kernel refuses a fresh table.
    fn recycle(&mut self) -> Result<(), SourceError>;
}
