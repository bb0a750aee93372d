//! pcapng.

use super::build::Out;
use super::{Owned, open, read_all, read_damaged};
use crate::source::capture_file::window::Order;
use crate::source::capture_file::{CaptureError, LinkType, TsResolution};
use netspectra_common::model::Direction;

const ORDERS: [Order; 2] = [Order::Little, Order::Big];

fn section(order: Order) -> Out {
    let mut out = Out::new(order);
    out.section();
    out
}

/// The bytes of a `u32` or `u64` option.
fn int(order: Order, value: u64, len: usize) -> Vec<u8> {
    match order {
        Order::Little => value.to_le_bytes()[..len].to_vec(),
        Order::Big => value.to_be_bytes()[8 - len..].to_vec(),
    }
}

#[test]
fn each_section_has_its_own_byte_order_and_interfaces() {
    let mut file = section(Order::Little);
    file.interface(1, 0, &[(2, b"eth0")]).interface(101, 0, &[(2, b"tun0\0")]).packet(1, 1_000_000, b"one", &[]);
    file.order = Order::Big;
    file.section().interface(113, 64, &[]).packet(0, 2_000_000, b"two", &[]);
    let mut reader = open(&file.bytes).unwrap();
    let (frames, error) = super::drain(&mut reader);
    assert!(error.is_none(), "{error:?}");
    let one = Owned { iface: 1, ..Owned::new(1_000_000_000, LinkType::RAW, b"one") };
    let two = Owned { iface: 2, ..Owned::new(2_000_000_000, LinkType::LINUX_SLL, b"two") };
    assert_eq!(frames, [one, two]);
    let names: Vec<_> = reader.interfaces().iter().map(|i| i.name.as_deref()).collect();
    assert_eq!(names, [Some("eth0"), Some("tun0"), None]);
    assert_eq!(reader.interfaces()[2].snaplen, 64);
    assert_eq!(reader.format(), "pcapng, big-endian");
}

#[test]
fn each_interface_has_its_own_clock() {
    for order in ORDERS {
        let offset = int(order, 1_700_000_000, 8);
        let before = int(order, (-1_i64).cast_unsigned(), 8);
        let mut file = section(order);
        file.interface(1, 0, &[(9, &[9])])
            .interface(1, 0, &[(9, &[0x80 | 20]), (14, &offset)])
            .interface(1, 0, &[(14, &before)])
            .interface(1, 0, &[(9, &[3])]);
        file.packet(0, 1_700_000_000_123_456_789, b"", &[])
            .packet(1, 1 << 19, b"", &[])
            .packet(2, 2_500_000, b"", &[])
            .packet(3, 7, b"", &[]);
        let times: Vec<_> = read_all(&file.bytes).into_iter().map(|f| f.ts).collect();
        assert_eq!(times, [1_700_000_000_123_456_789, 1_700_000_000_500_000_000, 1_500_000_000, 7_000_000]);
        let reader = open(&file.bytes).unwrap();
        assert!(reader.interfaces().is_empty(), "interfaces are known once they are reached");
    }
}

#[test]
fn the_flags_option_says_which_way_a_frame_went() {
    for order in ORDERS {
        let flags = |bits| int(order, bits, 4);
        let mut file = section(order);
        file.interface(1, 0, &[]);
        for bits in [1, 2, 0, 3, 0xffff_fff1] {
            file.packet(0, 0, b"frame", &[(1, b"a comment"), (2, &flags(bits))]);
        }
        let directions: Vec<_> = read_all(&file.bytes).into_iter().map(|f| f.direction).collect();
        let (inbound, outbound) = (Some(Direction::Ingress), Some(Direction::Egress));
        assert_eq!(directions, [inbound, outbound, None, None, inbound]);
    }
}

#[test]
fn simple_packets_are_cut_at_the_snaplen_and_take_the_last_time() {
    for order in ORDERS {
        let mut file = section(order);
        file.interface(1, 6, &[]);
        let mut simple = Out::new(order);
        simple.u32(1500).padded(b"sixbyt");
        file.block(3, &simple.bytes).packet(0, 5, b"timed", &[]).block(3, &simple.bytes);
        let frames = read_all(&file.bytes);
        let all: Vec<_> = frames.iter().map(|f| (f.ts, f.orig_len, &f.data[..])).collect();
        assert_eq!(all, [(0, 1500, &b"sixbyt"[..]), (5_000, 5, b"timed"), (5_000, 1500, b"sixbyt")]);
    }
}

#[test]
fn obsolete_packet_blocks_are_read() {
    for order in ORDERS {
        let mut body = Out::new(order);
        body.u16(0).u16(7).u32(0).u32(9).u32(3).u32(60).padded(b"old");
        let mut file = section(order);
        file.interface(1, 0, &[]).block(2, &body.bytes);
        let frames = read_all(&file.bytes);
        assert_eq!(frames, [Owned { orig_len: 60, ..Owned::new(9_000, LinkType::ETHERNET, b"old") }]);
    }
}

#[test]
fn other_blocks_are_skipped_however_long() {
    let mut file = section(Order::Little);
    file.block(0xbad, &[1; 3]).interface(1, 0, &[]);
    file.block(4, &[0; 40]).block(0x0bad, b"custom").block(0x7777_7777, &vec![0; 3 << 20]).packet(0, 1, b"x", &[]);
    assert_eq!(read_all(&file.bytes).len(), 1);
}

#[test]
fn frames_are_read_where_only_their_surroundings_are_damaged() {
    let mut file = section(Order::Little);
    file.interface(1, 0, &[]);
    // The length leaves out the padding.
    let mut body = Out::new(Order::Little);
    body.u32(0).u32(0).u32(1).u32(5).u32(5).padded(b"frame");
    file.u32(6).u32(37).raw(&body.bytes).u32(37);
    // An option runs over the block's end.
    body.u16(2).u16(400).u32(1);
    file.block(6, &body.bytes);
    let frames = read_all(&file.bytes);
    assert_eq!(frames, vec![Owned::new(1_000, LinkType::ETHERNET, b"frame"); 2]);
}

#[test]
fn options_of_any_length_are_passed_over() {
    let long = vec![b'x'; 65_535];
    let mut file = section(Order::Big);
    file.interface(1, 0, &[(3, &long), (9, &[9])]);
    let many = vec![(1, &long[..]); 40];
    file.packet(0, 1, b"one", &many).packet(0, 2, b"two", &[]);
    let frames = read_all(&file.bytes);
    assert_eq!(frames.iter().map(|f| &f.data[..]).collect::<Vec<_>>(), [b"one", b"two"]);
}

#[test]
fn names_are_fit_to_be_shown() {
    let mut file = section(Order::Little);
    let long = "é".repeat(500);
    file.interface(1, 0, &[(2, b"a\x1b[2Jb")]).interface(1, 0, &[(2, long.as_bytes())]).packet(0, 0, b"", &[]);
    let mut reader = open(&file.bytes).unwrap();
    reader.next_frame().unwrap().unwrap();
    let names: Vec<_> = reader.interfaces().iter().map(|i| i.name.clone().unwrap()).collect();
    assert_eq!(names[0], "a\u{fffd}[2Jb");
    assert_eq!(names[1], "é".repeat(128));
    assert_eq!(reader.interfaces()[0].ts_resolution, TsResolution::MICROS);
}

#[test]
fn a_packet_of_an_unknown_interface_is_damage() {
    let mut file = section(Order::Little);
    file.interface(1, 0, &[]).packet(0, 0, b"fine", &[]).packet(1, 0, b"lost", &[]);
    let (frames, error) = read_damaged(&file.bytes);
    assert_eq!(frames.len(), 1);
    assert!(error.to_string().contains("names interface `1`, but its section describes 1"), "{error}");
    // A new section forgets the interfaces of the one before.
    let mut file = section(Order::Little);
    file.interface(1, 0, &[]).section().packet(0, 0, b"lost", &[]);
    assert!(matches!(read_damaged(&file.bytes).1, CaptureError::BadStructure { .. }));
}

#[test]
fn impossible_lengths_are_damage() {
    let start = || {
        let mut file = section(Order::Little);
        file.interface(1, 0, &[]);
        file
    };
    let mut short = start();
    short.u32(6).u32(28).raw(&[0; 100]);
    let mut zero = start();
    zero.u32(0x99).u32(0).raw(&[0; 100]);
    let mut unequal = start();
    unequal.u32(0x99).u32(16).u32(0).u32(20);
    let mut beyond = start();
    beyond.u32(6).u32(36).u32(0).u32(0).u32(0).u32(5).u32(5).raw(b"abcd").u32(36);
    let mut huge = start();
    huge.u32(6).u32(u32::MAX).u32(0).u32(0).u32(0).u32(262_145).u32(5).raw(b"abcd");
    for file in [short, zero, unequal, beyond, huge] {
        let (frames, error) = read_damaged(&file.bytes);
        assert!(frames.is_empty() && matches!(error, CaptureError::BadLength { .. }), "{error}");
    }
}

#[test]
fn a_file_may_not_describe_interfaces_without_end() {
    let mut file = section(Order::Little);
    for _ in 0..65_537 {
        file.interface(1, 0, &[]);
    }
    let (_, error) = read_damaged(&file.bytes);
    assert!(error.to_string().contains("more than 65536 interfaces"), "{error}");
}
