use netspectra_agent::table::{FlowTable, Identity};
use netspectra_common::abi::{Counter, Family};
use netspectra_common::wire::{self, Packet, link};

/// Link types that the parser knows, and one that it does not.
const LINKS: [u16; 16] = [
    link::ETHERNET,
    link::NULL,
    link::PPP,
    link::PPP_HDLC,
    link::PPP_ETHER,
    link::RAW,
    link::C_HDLC,
    link::IEEE802_11,
    link::LOOP,
    link::LINUX_SLL,
    link::IEEE802_11_RADIOTAP,
    link::IPV4,
    link::IPV6,
    link::NFLOG,
    link::LINUX_SLL2,
    9999,
];

/// A frame: its first byte picks the link type, the next two what is added to its length on the wire.
///
/// Every frame is in one flow or under one reason, packets and bytes; what the parser says of an IP packet fits together.
pub fn frame(data: &[u8]) {
    let Some((&[pick, hi, lo], bytes)) = data.split_first_chunk::<3>() else { return };
    let link = LINKS.get(usize::from(pick) % LINKS.len()).copied().unwrap_or(link::ETHERNET);
    let wire_len = bytes.len() as u32 + u32::from(u16::from_be_bytes([hi, lo]));

    let mut packet = Packet::default();
    if link::parse(link, &bytes, wire_len, &mut packet).is_ok() {
        check(&packet);
        wire::innermost(&bytes, wire_len, &mut packet);
        check(&packet);
    }
    for identity in [Identity::Outer, Identity::Inner] {
        let mut table = FlowTable::new(1, identity);
        table.count(link, bytes, wire_len, 0, 1);
        table.count(link, bytes, wire_len, 0, 2);
        let (flows, totals) = table.drain();
        let mut sum = Counter::default();
        flows.iter().for_each(|f| sum.add(Counter::new(f.stats.packets, f.stats.bytes)));
        totals.reasons.iter().for_each(|r| sum.add(*r));
        assert_eq!(sum, totals.seen, "flows and reasons are what was seen");
        assert_eq!(totals.seen, Counter::new(2, 2 * u64::from(wire_len)));
        assert_eq!(totals.sizes.iter().sum::<u64>(), 2);
    }
}

fn check(packet: &Packet) {
    let header = match packet.key.family {
        f if f == Family::V4 as u8 => 20,
        f if f == Family::V6 as u8 => 40,
        _ => return,
    };
    assert!(packet.l3_len >= header, "an IP packet holds its header: {packet:?}");
    assert!(packet.l3_end >= packet.l3_len, "an IP packet ends behind its header: {packet:?}");
}
