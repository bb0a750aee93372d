//! A live source whose programs, or sockets, the loader's process opens.

use super::af_packet::{AfPacketConfig, AfPacketError, AfPacketSource, Opener, PacketSockets};
use super::xdp::{Ended, Handed, XdpConfig, XdpError, XdpSource};
use crate::loader::{Channel, Loader, Refusal, Reply, Request};
use crate::privilege;
use std::io;
use std::sync::Arc;

/// What may be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// eBPF programs.
    Programs,
    /// Packet sockets.
    Sockets,
    /// Programs; sockets where the kernel refuses eBPF as such: not when an interface does, because that has a remedy.
    Either,
}

/// What was opened.
pub enum Opened {
    /// eBPF programs count.
    Xdp(Box<XdpSource>),
    /// Packet sockets, with the reason when programs were wanted.
    AfPacket(Box<AfPacketSource>, Option<String>),
}

/// Why nothing was.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The source's side.
    #[error(transparent)]
    Xdp(#[from] XdpError),
    /// The source's side.
    #[error(transparent)]
    AfPacket(#[from] AfPacketError),
    /// The loader's side.
    #[error("{}", .0.text)]
    Refused(Refusal),
}

impl OpenError {
    /// Whether the caller has something to change.
    pub fn is_misuse(&self) -> bool {
        match self {
            Self::Xdp(e) => e.is_misuse(),
            Self::AfPacket(e) => e.is_misuse(),
            Self::Refused(refusal) => refusal.is_misuse,
        }
    }
}

/// The loader's side: opens what is asked for when it is asked for, and answers until the other end is closed.
///
/// # Errors
/// The channel's.
pub fn serve(
    channel: &Channel,
    wanted: Wanted,
    object: impl FnOnce() -> Result<Vec<u8>, Refusal>,
    xdp: &XdpConfig,
    packets: &AfPacketConfig,
) -> io::Result<()> {
    match channel.receive::<Request>()? {
        Some((Request::Open, _)) => {}
        Some((other, _)) => return Err(io::Error::other(format!("the first request is {other:?}, expected Open"))),
        None => return Ok(()),
    }
    let mut refusal = None;
    if wanted != Wanted::Sockets {
        let loaded = match object() {
            Ok(object) => Handed::load(&object, xdp),
            Err(e) => return channel.send(&Reply::Refused(e), &[]),
        };
        match loaded {
            Ok(handed) => {
                if handed.serve(channel)? == Ended::Closed {
                    return Ok(());
                }
            }
            Err(e) if wanted == Wanted::Either && e.refuses_ebpf() => refusal = Some(e.refusal().text),
            Err(e) => return channel.send(&Reply::Refused(e.refusal()), &[]),
        }
    }
    match PacketSockets::open(packets) {
        Ok(sockets) => {
            sockets.hand_over(channel, refusal)?;
            serve_sockets(channel, packets)
        }
        Err(AfPacketError::Privilege { .. }) if let Some(refusal) = &refusal => {
            let text = format!("{refusal}; packet sockets need at least CAP_NET_RAW");
            channel.send(&Reply::Refused(Refusal::new(text, true)), &[])
        }
        Err(e) => {
            let text = netspectra_common::report::chain(&e);
            channel.send(&Reply::Refused(Refusal::new(text, e.is_misuse())), &[])
        }
    }
}

/// Opens packet sockets on interfaces that come, and nothing else, until the other end is closed.
fn serve_sockets(channel: &Channel, packets: &AfPacketConfig) -> io::Result<()> {
    if let Err(error) = privilege::keep_only(privilege::FOR_PACKET_SOCKETS) {
        tracing::warn!(%error, "the loader keeps its privileges");
    }
    while let Some((request, _)) = channel.receive::<Request>()? {
        let Request::Sockets { iface, ifindex, count, blocks } = request else {
            let text = format!("`{request:?}` was asked of packet sockets");
            channel.send(&Reply::Refused(Refusal::new(text, false)), &[])?;
            continue;
        };
        let opened = packets.open_one(&iface, ifindex, count, blocks);
        match opened {
            Ok(sockets) => sockets.hand_over(channel, None)?,
            Err(e) => {
                let text = netspectra_common::report::chain(&e);
                channel.send(&Reply::Refused(Refusal::new(text, false)), &[])?;
            }
        }
    }
    Ok(())
}

/// The other side: asks `loader` to open what is wanted, and takes it over.
///
/// # Errors
/// Each names the thing and the remedy; nothing stays attached then.
pub fn open(loader: Loader, wanted: Wanted, xdp: &XdpConfig, packets: &AfPacketConfig) -> Result<Opened, OpenError> {
    let loader = Arc::new(loader);
    let mut answer = loader.ask(&Request::Open).map_err(XdpError::LoaderGone)?;
    let mut refused = None;
    if let (Reply::Maps { names, adopted, more }, fds) = answer {
        match XdpSource::by_loader(loader.clone(), (names, adopted, more), fds, xdp) {
            Ok(source) => return Ok(Opened::Xdp(Box::new(source))),
            Err(e) if wanted == Wanted::Either && e.refuses_ebpf() => refused = Some(e.refusal().text),
            Err(e) => return Err(e.into()),
        }
        answer = loader.ask(&Request::Packets).map_err(XdpError::LoaderGone)?;
    }
    let mut all = Vec::new();
    loop {
        match answer {
            (Reply::Sockets { sockets, refusal, more }, fds) => {
                all.extend(sockets.into_iter().zip(fds));
                if more {
                    answer = loader.next().map_err(XdpError::LoaderGone)?;
                    continue;
                }
                let sockets = PacketSockets::received(all);
                let source = AfPacketSource::of(sockets, packets, Opener::There(loader))?;
                return Ok(Opened::AfPacket(Box::new(source), refused.or(refusal)));
            }
            (Reply::Refused(refusal), _) => return Err(OpenError::Refused(refusal)),
            (other, _) => {
                return Err(XdpError::LoaderGone(io::Error::other(format!("it answered {other:?}"))).into());
            }
        }
    }
}
