//! First bytes of DNS payloads, as the kernel programs send them through the ring buffer: hints, never counts.

use netspectra_common::abi::PREFIX_LEN;
use netspectra_common::model::{Nanos, PayloadSeen};
use netspectra_common::wire::{Packet, UDP_HEADER};

/// Prefixes kept between two drains.
const MOST: usize = 16_384;

/// What was kept since the last drain.
#[derive(Debug, Default)]
pub(crate) struct Prefixes {
    kept: Vec<PayloadSeen>,
}

impl Prefixes {
    /// Keeps the first bytes of a DNS payload. Returns `false` when there was one and no room for it.
    #[inline]
    pub(crate) fn packet(&mut self, packet: &Packet, data: &[u8], at: u64) -> bool {
        if !packet.is_dns() {
            return true;
        }
        if self.kept.len() >= MOST {
            return false;
        }
        let from = packet.l4_offset + UDP_HEADER;
        let len = packet.l3_end.saturating_sub(from);
        let there = data.get(from as usize..).unwrap_or_default();
        let prefix = there[..there.len().min(len as usize).min(PREFIX_LEN)].to_vec();
        self.kept.push(PayloadSeen { at: Nanos(at), key: packet.key, prefix, len });
        true
    }

    /// Takes what was kept.
    pub(crate) fn drain(&mut self) -> Vec<PayloadSeen> {
        std::mem::take(&mut self.kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use netspectra_common::abi::FlowKey;
    use netspectra_common::wire::proto;

    #[test]
    fn prefixes_of_dns_are_kept_up_to_their_bounds_and_nothing_else_is() {
        let key = FlowKey { proto: proto::UDP, dst_port: 53, ..FlowKey::default() };
        let dns = Packet { key, l4_offset: 34, l3_end: 34 + 8 + 300, ..Packet::default() };
        let web = Packet { key: FlowKey { dst_port: 443, ..key }, ..dns };
        let (mut prefixes, data) = (Prefixes::default(), vec![7; 512]);
        assert!(
            prefixes.packet(&web, &data, 1) && prefixes.packet(&dns, &data, 2) && prefixes.packet(&dns, &data[..50], 3)
        );
        let kept: Vec<(u64, u32, usize)> = prefixes.drain().iter().map(|p| (p.at.0, p.len, p.prefix.len())).collect();
        assert_eq!(kept, [(2, 300, PREFIX_LEN), (3, 300, 8)]);
        let room = (0..=MOST).filter(|_| prefixes.packet(&dns, &data, 4)).count();
        assert_eq!((room, prefixes.drain().len()), (MOST, MOST));
    }
}
