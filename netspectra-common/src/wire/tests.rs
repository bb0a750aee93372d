//! The parser against packets built field by field from the RFCs.
//!
//! Not proved here: that the kernel's verifier accepts it, and that the kernel says the same (see the agent's tests).
#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::abi::{Family, VLAN_PRESENT};
use proptest::prelude::*;

const SRC4: [u8; 4] = [192, 0, 2, 1];
const DST4: [u8; 4] = [198, 51, 100, 2];

/// Ethernet header and what follows.
fn frame(ether_type: u16, rest: &[u8]) -> Vec<u8> {
    [&[0xff; 12][..], &ether_type.to_be_bytes(), rest].concat()
}

fn vlan(vid: u16, ether_type: u16, rest: &[u8]) -> Vec<u8> {
    [&(0xe000 | vid).to_be_bytes()[..], &ether_type.to_be_bytes(), rest].concat()
}

fn ipv4(proto: u8, payload: &[u8]) -> Vec<u8> {
    ipv4_with(proto, 5, 0, payload)
}

fn ipv4_with(proto: u8, words: u8, fragment: u16, payload: &[u8]) -> Vec<u8> {
    let len = u16::from(words) * 4 + payload.len() as u16;
    let mut p = vec![0x40 | words, 0];
    p.extend(len.to_be_bytes());
    p.extend([0xab, 0xcd]);
    p.extend(fragment.to_be_bytes());
    p.extend([64, proto, 0, 0]);
    p.extend(SRC4);
    p.extend(DST4);
    p.resize(usize::from(words) * 4, 1);
    p.extend(payload);
    p
}

fn ipv6(next: u8, payload: &[u8]) -> Vec<u8> {
    let mut p = vec![0x60, 0, 0, 0];
    p.extend((payload.len() as u16).to_be_bytes());
    p.extend([next, 64]);
    p.extend([0xfd; 16]);
    p.extend([0xfe; 16]);
    p.extend(payload);
    p
}

/// Ports 1000 to 2000, and 16 more bytes; bytes 12 and 13 are TCP's offset and flags.
fn l4(flags: u8) -> Vec<u8> {
    let mut t = vec![3, 232, 7, 208];
    t.extend([0; 8]);
    t.extend([0x50, flags, 0, 0, 0, 0, 0, 0]);
    t
}

fn parse(data: &[u8]) -> Result<Packet, LossReason> {
    let mut packet = Packet::default();
    parse_ethernet(&data, data.len() as u32, &mut packet)?;
    measure(&data, &mut packet);
    Ok(packet)
}

fn ports(p: &Packet) -> (u8, u16, u16) {
    (p.key.proto, p.key.src_port, p.key.dst_port)
}

#[test]
fn ipv4_gives_addresses_ports_and_flags() {
    let p = parse(&frame(0x0800, &ipv4(6, &l4(0x12)))).unwrap();
    assert_eq!(p.key.family, Family::V4 as u8);
    assert_eq!((&p.key.src[..4], &p.key.dst[..4]), (&SRC4[..], &DST4[..]));
    assert_eq!(p.key.src[4..], [0; 12]);
    assert_eq!(ports(&p), (6, 1000, 2000));
    assert_eq!((p.tcp_flags, p.l3_len, p.l4_offset, p.l3_end), (0x12, 40, 34, 54));
}

#[test]
fn a_tcp_segment_is_measured_as_far_as_its_header_is_there_and_never_guessed() {
    let mut t = l4(0x18);
    t[4..8].copy_from_slice(&0xdead_beef_u32.to_be_bytes());
    t[12] = 0x60;
    t[14..16].copy_from_slice(&513u16.to_be_bytes());
    t.extend([0; 4 + 11]);
    let whole = frame(0x0800, &ipv4(6, &t));
    let segment = Some(Segment { seq: 0xdead_beef, payload: 11, window: 513 });
    let measured = |data: &[u8]| parse(data).unwrap().measured().copied();
    assert_eq!(measured(&whole), segment);
    assert_eq!(measured(&frame(0x86dd, &ipv6(6, &t))), segment);
    let padded = [&whole[..], &[0; 9]].concat();
    assert_eq!(measured(&padded), segment, "padding is no payload");
    for captured in 34..whole.len() {
        let p = parse(&whole[..captured]).unwrap();
        // Sequence number, offset, flags and window are in the header's first 16 bytes.
        assert_eq!(p.measured().copied(), segment.filter(|_| captured >= 34 + 16), "{captured} bytes");
        assert_eq!(p.tcp_flags, if captured >= 34 + 14 { 0x18 } else { 0 }, "{captured} bytes");
    }
    for (offset, name) in [(0x40, "shorter than a header"), (0xf0, "longer than the packet")] {
        t[12] = offset;
        assert_eq!(measured(&frame(0x0800, &ipv4(6, &t))), None, "{name}");
    }
    t[12] = 0x50;
    assert_eq!(measured(&frame(0x0800, &ipv4_with(6, 5, 0x2000, &t))), None, "a first fragment");
    assert_eq!(measured(&frame(0x0800, &ipv4(17, &t))), None, "not TCP");
}

#[test]
fn ipv4_options_are_stepped_over() {
    for words in 5..=15 {
        let p = parse(&frame(0x0800, &ipv4_with(17, words, 0, &l4(0)))).unwrap();
        assert_eq!(ports(&p), (17, 1000, 2000), "{words} words");
    }
}

#[test]
fn ethernet_padding_is_no_port() {
    let mut data = frame(0x0800, &ipv4(17, &[]));
    data.resize(60, 0x55);
    let p = parse(&data).unwrap();
    assert_eq!((ports(&p), p.l3_len), ((17, 0, 0), 20));
}

#[test]
fn tags_are_kept_and_the_rest_is_parsed_behind_them() {
    let inner = vlan(30, 0x0800, &ipv4(17, &l4(0)));
    let p = parse(&frame(0x8100, &inner)).unwrap();
    assert_eq!((p.key.vlan, p.key.inner_vlan), (VLAN_PRESENT | 30, 0));
    let p = parse(&frame(0x88a8, &vlan(0, 0x8100, &inner))).unwrap();
    assert_eq!((p.key.vlan, p.key.inner_vlan), (VLAN_PRESENT, VLAN_PRESENT | 30));
    assert_eq!(ports(&p), (17, 1000, 2000));
}

#[test]
fn ipv6_extension_headers_are_followed_to_the_transport() {
    let hop = |next: u8, units: u8| [vec![next, units], vec![0; 6 + 8 * usize::from(units)]].concat();
    let chain = [hop(60, 0), hop(43, 1), hop(6, 2), l4(0x02)].concat();
    let p = parse(&frame(0x86dd, &ipv6(0, &chain))).unwrap();
    assert_eq!((ports(&p), p.tcp_flags), ((6, 1000, 2000), 2));
    // AH counts its length in words less two (RFC 4302 section 2.2).
    let ah = [vec![17, 4], vec![0; 22], l4(0)].concat();
    assert_eq!(ports(&parse(&frame(0x86dd, &ipv6(51, &ah))).unwrap()), (17, 1000, 2000));
    assert_eq!(ports(&parse(&frame(0x0800, &ipv4(51, &ah))).unwrap()), (17, 1000, 2000));
    // ESP hides what follows.
    assert_eq!(ports(&parse(&frame(0x86dd, &ipv6(50, &l4(0)))).unwrap()), (50, 0, 0));
}

#[test]
fn too_long_a_chain_is_counted_not_guessed() {
    let chain: Vec<u8> = (0..9).flat_map(|_| [60, 0, 0, 0, 0, 0, 0, 0]).collect();
    assert_eq!(parse(&frame(0x86dd, &ipv6(60, &chain))), Err(LossReason::TooDeep));
    let tags: Vec<u8> = (0..9).fold(ipv4(17, &l4(0)), |inner, n| vlan(n, if n == 0 { 0x0800 } else { 0x8100 }, &inner));
    assert_eq!(parse(&frame(0x8100, &tags)), Err(LossReason::TooDeep));
}

#[test]
fn fragments_say_which_they_are() {
    let kind = |field: u16| parse(&frame(0x0800, &ipv4_with(17, 5, field, &l4(0)))).unwrap();
    assert_eq!((kind(0).fragment, kind(0x4000).fragment), (Fragment::No, Fragment::No));
    assert_eq!((kind(0x2000).fragment, ports(&kind(0x2000))), (Fragment::First(0xabcd), (17, 1000, 2000)));
    assert_eq!((kind(0x2001).fragment, ports(&kind(0x0001))), (Fragment::Later(0xabcd), (17, 0, 0)));
    let v6 = |field: u16| {
        let [hi, lo] = field.to_be_bytes();
        parse(&frame(0x86dd, &ipv6(44, &[&[17, 0, hi, lo, 0, 0, 0, 9][..], &l4(0)].concat()))).unwrap()
    };
    assert_eq!((v6(1).fragment, ports(&v6(1))), (Fragment::First(9), (17, 1000, 2000)));
    assert_eq!((v6(8).fragment, ports(&v6(8))), (Fragment::Later(9), (17, 0, 0)));
    // RFC 6946: an atomic fragment is a whole packet.
    assert_eq!((v6(0).fragment, ports(&v6(0))), (Fragment::No, (17, 1000, 2000)));
}

#[test]
fn icmp_keeps_type_and_code() {
    let p = parse(&frame(0x0800, &ipv4(1, &[3, 4, 0, 0, 0, 0, 0, 0]))).unwrap();
    assert_eq!(ports(&p), (1, 0, 0x0304));
    let p = parse(&frame(0x0800, &ipv4(1, &[]))).unwrap();
    assert_eq!(p.key.src_port, 0xffff, "unknown is not echo reply");
}

#[test]
fn what_is_not_ip_is_counted_by_its_ether_type() {
    let non_ip = |data: &[u8]| {
        let p = parse(data).unwrap();
        assert_eq!(p.key.family, Family::NonIp as u8);
        p.key.src_port
    };
    assert_eq!(non_ip(&frame(0x0806, &[0; 28])), 0x0806);
    assert_eq!(non_ip(&frame(38, &[0x42, 0x42, 3])), 0);
    assert_eq!(non_ip(&frame(0x8847, &[0, 1, 1, 64, 0, 0, 0, 0])), 0x8847);
    assert_eq!(non_ip(&frame(0x8864, &[0x11, 0, 0, 1, 0, 4, 0xc0, 0x21])), 0x8864);
}

#[test]
fn carriers_of_ip_are_opened() {
    let ip = ipv4(17, &l4(0));
    for (name, data) in [
        ("MPLS", frame(0x8847, &[&[0, 1, 0, 64, 0, 2, 1, 64][..], &ip].concat())),
        ("PPPoE", frame(0x8864, &[&[0x11, 0, 0, 1, 0, 42, 0, 0x21][..], &ip].concat())),
        ("SNAP", frame(48, &[&[0xaa, 0xaa, 3, 0, 0, 0, 8, 0][..], &ip].concat())),
        ("802.1ah", frame(0x88e7, &[&[0; 16][..], &[8, 0], &ip].concat())),
    ] {
        assert_eq!(ports(&parse(&data).unwrap()), (17, 1000, 2000), "{name}");
    }
}

#[test]
fn what_contradicts_itself_has_a_reason() {
    let mut bad = ipv4(17, &l4(0));
    bad[0] = 0x65;
    assert_eq!(parse(&frame(0x0800, &bad)), Err(LossReason::MalformedIp));
    bad[0] = 0x44;
    assert_eq!(parse(&frame(0x0800, &bad)), Err(LossReason::MalformedIp));
    bad[0] = 0x45;
    bad[3] = 19;
    assert_eq!(parse(&frame(0x0800, &bad)), Err(LossReason::MalformedIp));
    assert_eq!(parse(&frame(0x0800, &bad[..19])), Err(LossReason::TruncatedIp));
    assert_eq!(parse(&frame(0x86dd, &[0x60; 39])), Err(LossReason::TruncatedIp));
    assert_eq!(parse(&[0; 13]), Err(LossReason::TruncatedLink));
    assert_eq!(parse(&frame(0x8100, &[0, 1, 8])), Err(LossReason::TruncatedLink));
}

#[test]
fn segmentation_offload_leaves_length_zero_and_the_frame_says_it() {
    let mut p = ipv4(6, &l4(0x10));
    p[2..4].fill(0);
    let data = frame(0x0800, &p);
    let packet = parse(&data).unwrap();
    assert_eq!((packet.l3_len, ports(&packet)), (data.len() as u32 - 14, (6, 1000, 2000)));
}

#[test]
fn other_link_layers_lead_to_the_same_packet() {
    let ip = ipv4(17, &l4(0));
    let with = |head: &[u8]| [head, &ip].concat();
    for (name, number, data) in [
        ("raw", link::RAW, ip.clone()),
        ("raw IPv4", link::IPV4, ip.clone()),
        ("null, little-endian", link::NULL, with(&[2, 0, 0, 0])),
        ("null, big-endian", link::NULL, with(&[0, 0, 0, 2])),
        ("loop", link::LOOP, with(&[0, 0, 0, 2])),
        ("SLL", link::LINUX_SLL, with(&[0, 0, 0, 1, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0])),
        ("SLL2", link::LINUX_SLL2, with(&[8, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0])),
        ("PPP", link::PPP, with(&[0xff, 3, 0, 0x21])),
        ("PPP, compressed", link::PPP, with(&[0x21])),
        ("Cisco HDLC", link::C_HDLC, with(&[0x0f, 0, 8, 0])),
        ("PPPoE", link::PPP_ETHER, with(&[0x11, 0, 0, 1, 0, 42, 0, 0x21])),
        ("NFLOG", link::NFLOG, with(&[2, 0, 0, 0, 8, 0, 1, 0, 8, 0, 1, 3, 44, 0, 9, 0])),
    ] {
        let mut packet = Packet::default();
        link::parse(number, &data.as_slice(), data.len() as u32, &mut packet).unwrap();
        assert_eq!(ports(&packet), (17, 1000, 2000), "{name}");
    }
    let mut packet = Packet::default();
    assert_eq!(link::parse(9999, &ip.as_slice(), 40, &mut packet), Err(LossReason::UnsupportedLink));
}

#[test]
fn the_inside_of_tunnels_is_found() {
    let inner = ipv6(17, &l4(0));
    let inner_frame = frame(0x86dd, &inner);
    let udp = |port: u16, rest: &[u8]| [&[0x13, 0x88][..], &port.to_be_bytes(), &[0, 0, 0, 0], rest].concat();
    for (tunnel, id, packet) in [
        (Tunnel::SixInFour, 0, ipv4(41, &inner)),
        (Tunnel::Gre, 0, ipv4(47, &[&[0, 0, 0x86, 0xdd][..], &inner].concat())),
        (Tunnel::Gre, 5, ipv4(47, &[&[0x20, 0, 0x65, 0x58, 0, 0, 0, 5][..], &inner_frame].concat())),
        (Tunnel::Vxlan, 77, ipv4(17, &udp(4789, &[&[8, 0, 0, 0, 0, 0, 77, 0][..], &inner_frame].concat()))),
        (
            Tunnel::Geneve,
            9,
            ipv4(17, &udp(6081, &[&[1, 0, 0x65, 0x58, 0, 0, 9, 0, 0, 0, 0, 0][..], &inner_frame].concat())),
        ),
        (Tunnel::GtpU, 3, ipv4(17, &udp(2152, &[&[0x30, 255, 0, 0, 0, 0, 0, 3][..], &inner].concat()))),
        (Tunnel::Teredo, 0, ipv4(17, &udp(3544, &[&[0, 0, 1, 2, 3, 4, 5, 6][..], &inner].concat()))),
    ] {
        let data = frame(0x0800, &packet);
        let mut found = parse(&data).unwrap();
        innermost(&data.as_slice(), data.len() as u32, &mut found);
        assert_eq!((found.key.family, ports(&found)), (6, (17, 1000, 2000)), "{tunnel:?}");
        assert_eq!((Tunnel::from_raw(found.key.tunnel), found.key.tunnel_id), (Some(tunnel), id));
    }
}

#[test]
fn an_ayiya_identity_longer_than_any_offset_is_not_stepped_over() {
    let inner = ipv6(17, &l4(0));
    for exponent in 0..=15u8 {
        let identity = 1usize << exponent;
        let ayiya = [&[exponent << 4 | 1, 0x52, 0x11, 41, 0, 0, 0, 0][..], &vec![0; identity + 20], &inner].concat();
        let udp = [&[0x13, 0x88, 0x13, 0xd0, 0, 0, 0, 0][..], &ayiya].concat();
        let data = frame(0x0800, &ipv4(17, &udp));
        let mut found = parse(&data).unwrap();
        innermost(&data.as_slice(), data.len() as u32, &mut found);
        // 14 + 20 + 8 + 8 + 20 bytes before the identity's end: with 2,048 the inner header is still in reach.
        let expected = if identity <= 2048 { Tunnel::Ayiya as u8 } else { 0 };
        assert_eq!(found.key.tunnel, expected, "identity of {identity} bytes");
    }
}

#[test]
fn ipv6_states_its_length_wherever_its_headers_end() {
    let (options, later) = ([17, 0, 0, 0, 0, 0, 0, 0], [17, 0, 0, 8, 0, 0, 0, 9]);
    for (name, packet) in [
        ("transport", ipv6(17, &l4(0))),
        ("behind options", ipv6(60, &[&options[..], &l4(0)].concat())),
        ("later fragment", ipv6(44, &[&later[..], &l4(0)].concat())),
        ("chain cut short", ipv6(60, &[17, 0, 0])),
    ] {
        let p = parse(&frame(0x86dd, &packet)).unwrap();
        let len = packet.len() as u32;
        assert_eq!((p.l3_len, p.l3_end), (len, 14 + len), "{name}");
    }
}

proptest! {
    #[test]
    fn the_short_way_says_what_the_long_one_says(
        changes in prop::collection::vec((12usize..60, any::<u8>()), 0..4),
        tcp in any::<bool>(),
        payload in 0usize..30,
        cut in 0usize..90,
    ) {
        let mut data = frame(0x0800, &ipv4(if tcp { 6 } else { 17 }, &[l4(0x18), vec![5; payload]].concat()));
        let short = |data: &[u8]| {
            let mut packet = Packet::default();
            let is_plain = parse_plain(&data, &mut packet);
            measure(&data, &mut packet);
            assert!(is_plain || packet == Packet::default(), "another frame leaves the packet fresh");
            is_plain.then_some(packet)
        };
        prop_assert_eq!(short(&data).map(Ok), Some(parse(&data)), "the frame it is made for");
        for (at, value) in changes {
            if let Some(b) = data.get_mut(at) {
                *b = value;
            }
        }
        data.truncate(cut.max(1));
        if let Some(plain) = short(&data) {
            prop_assert_eq!(parse(&data), Ok(plain));
        }
    }

    #[test]
    fn no_bytes_panic(data in prop::collection::vec(any::<u8>(), 0..300), number in 0u16..300, wire_len in any::<u32>()) {
        let mut packet = Packet::default();
        if link::parse(number, &data.as_slice(), wire_len, &mut packet).is_ok() {
            innermost(&data.as_slice(), wire_len, &mut packet);
        }
    }

    #[test]
    fn no_damage_to_a_real_packet_panics(at in 0usize..90, value in any::<u8>(), cut in 0usize..120) {
        let hop = [vec![43, 0], vec![0; 6], vec![44, 1], vec![0; 14], vec![6, 0, 0, 1, 0, 0, 0, 1], l4(2)].concat();
        let mut data = frame(0x8100, &vlan(1, 0x86dd, &ipv6(0, &hop)));
        if let Some(b) = data.get_mut(at) {
            *b = value;
        }
        data.truncate(cut.max(1));
        if let Ok(mut packet) = parse(&data) {
            innermost(&data.as_slice(), data.len() as u32, &mut packet);
        }
    }
}
