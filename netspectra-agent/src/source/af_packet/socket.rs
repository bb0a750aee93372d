//! A packet socket with its ring.

use super::ring::{BLOCK, Ring};
use super::{AfPacketError, sys};
use crate::loader::SocketFacts;
use netspectra_common::wire::link;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

/// Bytes of each frame that are captured: all headers of usual packets, and a DNS payload's first 256 bytes behind them.
pub(super) const SNAP: u32 = 512;
/// Age at which the kernel hands over a block that is not full, milliseconds.
pub(super) const RETIRE_MS: u32 = 10;

/// A LINKTYPE that the parser refuses.
const UNSUPPORTED: u16 = u16::MAX;
/// `ARPHRD_RAWIP` and `ARPHRD_IP6GRE` (`include/uapi/linux/if_arp.h`).
const ARPHRD_RAWIP: u16 = 519;
const ARPHRD_IP6GRE: u16 = 823;

/// In `include/uapi/linux/if_packet.h`, since Linux 5.9.
const PACKET_FANOUT_FLAG_IGNORE_OUTGOING: libc::c_uint = 0x4000;

/// What the frames of an interface begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Link {
    /// LINKTYPE for the parser.
    pub(super) kind: u16,
    /// The link header is not part of the frame: what follows is raw IP.
    pub(super) raw: bool,
    /// Each packet passes twice, when it is sent and when it is received.
    pub(super) loopback: bool,
}

impl Link {
    /// By the interface's `ARPHRD_*`.
    fn of(hardware: u16) -> Self {
        let kind = match hardware {
            libc::ARPHRD_ETHER | libc::ARPHRD_LOOPBACK => link::ETHERNET,
            libc::ARPHRD_NONE
            | libc::ARPHRD_PPP
            | libc::ARPHRD_TUNNEL
            | libc::ARPHRD_TUNNEL6
            | libc::ARPHRD_SIT
            | libc::ARPHRD_IPGRE
            | ARPHRD_IP6GRE
            | ARPHRD_RAWIP => link::RAW,
            libc::ARPHRD_IEEE80211 => link::IEEE802_11,
            libc::ARPHRD_IEEE80211_RADIOTAP => link::IEEE802_11_RADIOTAP,
            _ => UNSUPPORTED,
        };
        Self { kind, raw: kind == link::RAW, loopback: hardware == libc::ARPHRD_LOOPBACK }
    }
}

/// A bound socket with a ring that is not mapped, and what is known of its interface.
#[derive(Debug)]
pub(super) struct Bound {
    pub(super) iface: Arc<str>,
    pub(super) ifindex: u32,
    pub(super) fd: OwnedFd,
    link: Link,
    blocks: usize,
}

/// A bound socket, its ring, and what is known of its interface. Lets nothing through until [`Socket::begin`].
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) fd: Arc<OwnedFd>,
    pub(super) ring: Ring,
    pub(super) link: Link,
}

/// The sockets of one interface, each with a ring of `blocks` blocks: at most `count`, in a fanout group by flow.
///
/// The group's hash is the kernel's symmetric one: both directions of a flow go to one socket, and all fragments of a
/// datagram do, because fragments are hashed by their addresses. `PACKET_FANOUT_FLAG_DEFRAG` is not set: it would put
/// datagrams together again, which changes packets and bytes.
///
/// # Errors
/// Each names the interface and what was refused.
pub(super) fn open(iface: &str, ifindex: u32, count: usize, blocks: usize) -> Result<Vec<Bound>, AfPacketError> {
    let first = Bound::open(iface, ifindex, blocks)?;
    if count < 2 {
        return Ok(vec![first]);
    }
    // The group's hook is its own: a socket's option to ignore what is sent does not reach it.
    let ignore = if first.link.loopback { PACKET_FANOUT_FLAG_IGNORE_OUTGOING } else { 0 };
    let kind = libc::PACKET_FANOUT_HASH | ignore;
    // A group number that nobody has.
    let group = (kind | libc::PACKET_FANOUT_FLAG_UNIQUEID) << 16;
    if let Err(error) = first.set(libc::PACKET_FANOUT, &group) {
        // Before Linux 6.13 a socket joins a group only while its interface is up.
        tracing::warn!(iface, %error, "no fanout: one thread reads this interface");
        return Ok(vec![first]);
    }
    let refused = |source| AfPacketError::Option { iface: iface.into(), option: "PACKET_FANOUT", source };
    let group = sys::number_option(first.fd.as_raw_fd(), libc::SOL_PACKET, libc::PACKET_FANOUT).map_err(refused)?;
    let mut sockets = vec![first];
    for _ in 1..count {
        let next = Bound::open(iface, ifindex, blocks)?;
        next.set(libc::PACKET_FANOUT, &(kind << 16 | group & 0xffff)).map_err(refused)?;
        sockets.push(next);
    }
    Ok(sockets)
}

impl Bound {
    fn open(iface: &str, ifindex: u32, blocks: usize) -> Result<Self, AfPacketError> {
        let refused = |option| move |source| AfPacketError::Option { iface: iface.into(), option, source };
        let fd = sys::packet_socket().map_err(|source| AfPacketError::Privilege { source })?;
        let raw = fd.as_raw_fd();
        let link = Link::of(sys::hardware_type(raw, iface).map_err(refused("SIOCGIFHWADDR"))?);
        sys::set_filter(raw, 0).map_err(refused("SO_ATTACH_FILTER"))?;
        let packet = |option, value: libc::c_int| sys::set_option(raw, libc::SOL_PACKET, option, &value);
        packet(libc::PACKET_VERSION, libc::tpacket_versions::TPACKET_V3 as libc::c_int)
            .map_err(refused("PACKET_VERSION"))?;
        // The kernel says of a super-packet how it is to be segmented.
        packet(libc::PACKET_VNET_HDR, 1).map_err(refused("PACKET_VNET_HDR"))?;
        if link.loopback {
            packet(libc::PACKET_IGNORE_OUTGOING, 1).map_err(refused("PACKET_IGNORE_OUTGOING"))?;
        }
        Self::set_up_ring(raw, blocks).map_err(|source| no_ring(iface, blocks, source))?;
        sys::bind(raw, ifindex).map_err(refused("bind"))?;
        Ok(Self { iface: iface.into(), ifindex, fd, link, blocks })
    }

    /// One that another process opened.
    pub(super) fn received(facts: SocketFacts, fd: OwnedFd) -> Self {
        let link = Link { kind: facts.kind, raw: facts.raw, loopback: facts.loopback };
        Self { iface: facts.iface.into(), ifindex: facts.ifindex, fd, link, blocks: facts.blocks }
    }

    /// What is to be known of it elsewhere.
    pub(super) fn facts(&self) -> SocketFacts {
        let Link { kind, raw, loopback } = self.link;
        SocketFacts { iface: self.iface.to_string(), ifindex: self.ifindex, kind, raw, loopback, blocks: self.blocks }
    }

    /// Maps its ring.
    ///
    /// # Errors
    /// No memory.
    pub(super) fn map(self) -> Result<Socket, AfPacketError> {
        let ring = Ring::map(self.fd.as_raw_fd(), self.blocks);
        let ring = ring.map_err(|source| no_ring(&self.iface, self.blocks, source))?;
        Ok(Socket { fd: Arc::new(self.fd), ring, link: self.link })
    }

    fn set_up_ring(fd: i32, blocks: usize) -> io::Result<()> {
        /// Has no meaning in version 3 but must divide a block.
        const FRAME: usize = 2048;
        let request = libc::tpacket_req3 {
            tp_block_size: BLOCK as u32,
            tp_block_nr: blocks as u32,
            tp_frame_size: FRAME as u32,
            tp_frame_nr: (blocks * (BLOCK / FRAME)) as u32,
            tp_retire_blk_tov: RETIRE_MS,
            tp_sizeof_priv: 0,
            tp_feature_req_word: 0,
        };
        sys::set_option(fd, libc::SOL_PACKET, libc::PACKET_RX_RING, &request)
    }

    fn set(&self, option: libc::c_int, value: &u32) -> io::Result<()> {
        const { assert!(size_of::<u32>() == size_of::<libc::c_int>()) };
        sys::set_option(self.fd.as_raw_fd(), libc::SOL_PACKET, option, value)
    }
}

impl Socket {
    /// Lets frames through.
    pub(super) fn begin(&self) -> io::Result<()> {
        sys::set_filter(self.fd.as_raw_fd(), SNAP)
    }
}

fn no_ring(iface: &str, blocks: usize, source: io::Error) -> AfPacketError {
    AfPacketError::Ring { iface: iface.into(), kib: (blocks * BLOCK) >> 10, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_interface_is_parsed_by_what_its_frames_begin_with() {
        let ethernet = Link { kind: link::ETHERNET, raw: false, loopback: false };
        assert_eq!(Link::of(libc::ARPHRD_ETHER), ethernet);
        assert_eq!(Link::of(libc::ARPHRD_LOOPBACK), Link { loopback: true, ..ethernet });
        for raw in [libc::ARPHRD_NONE, libc::ARPHRD_PPP, libc::ARPHRD_TUNNEL, libc::ARPHRD_SIT, ARPHRD_RAWIP] {
            assert_eq!(Link::of(raw), Link { kind: link::RAW, raw: true, loopback: false });
        }
        assert_eq!(Link::of(libc::ARPHRD_INFINIBAND).kind, UNSUPPORTED);
    }
}
