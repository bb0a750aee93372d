//! Classic pcap and its variants.

use super::build::{Out, pcap_header};
use super::{Owned, open, read_all, read_damaged};
use crate::source::capture_file::window::Order;
use crate::source::capture_file::{CaptureError, LinkType, PcapWriter, TsResolution};
use netspectra_common::model::{Direction, Nanos};

const MICROS: u32 = 0xa1b2_c3d4;
const ORDERS: [Order; 2] = [Order::Little, Order::Big];

fn one_record(mut file: Out, extra: &[u8]) -> Vec<u8> {
    file.record((1_700_000_000, 999_999), 1500, extra, b"frame");
    file.bytes
}

#[test]
fn both_byte_orders_and_both_resolutions_read_the_same() {
    for order in ORDERS {
        for (magic, nanos) in [(MICROS, 999_999_000), (0xa1b2_3c4d, 999_999)] {
            let frames = read_all(&one_record(pcap_header(order, magic, (2, 4), 1), &[]));
            let ts = 1_700_000_000_000_000_000 + nanos;
            let expected = Owned { orig_len: 1500, ..Owned::new(ts, LinkType::ETHERNET, b"frame") };
            assert_eq!(frames, [expected], "{order:?} {magic:x}");
        }
    }
}

#[test]
fn ixia_files_have_four_more_header_bytes() {
    for order in ORDERS {
        for (magic, nanos) in [(0x1c00_01ab, 999_999_000), (0x1c00_01ac, 999_999)] {
            let mut file = pcap_header(order, magic, (2, 4), 1);
            file.u32(0xdead_beef);
            let frames = read_all(&one_record(file, &[]));
            assert_eq!(frames.len(), 1);
            assert_eq!((frames[0].ts, &frames[0].data[..]), (1_700_000_000_000_000_000 + nanos, &b"frame"[..]));
        }
    }
}

#[test]
fn modified_files_say_which_way_a_frame_went() {
    for order in ORDERS {
        let mut file = pcap_header(order, 0xa1b2_cd34, (2, 4), 1);
        for packet_type in [0, 4, 3] {
            let mut extra = Out::new(order);
            extra.u32(2).u16(0x0800).raw(&[packet_type, 0xff]);
            file.record((1, 2), 5, &extra.bytes, b"frame");
        }
        let directions: Vec<_> = read_all(&file.bytes).into_iter().map(|f| f.direction).collect();
        assert_eq!(directions, [Some(Direction::Ingress), Some(Direction::Egress), None]);
    }
}

#[test]
fn record_layouts_that_share_a_magic_number_are_told_apart_by_their_records() {
    let smp = [0, 0, 0, 2, 0x08, 0x00, 4, 9, 9, 7, 7, 7];
    let nokia = 0x9fbf_b601_u32.to_be_bytes();
    for (magic, extra) in [(MICROS, &smp[..8]), (MICROS, &nokia), (0xa1b2_cd34, &smp)] {
        let mut file = pcap_header(Order::Big, magic, (2, 4), 1);
        for secs in 0..4 {
            file.record((1_700_000_000 + secs, 1), 64, extra, &[0x55; 64]);
        }
        let frames = read_all(&file.bytes);
        assert_eq!(frames.len(), 4, "{} extra bytes", extra.len());
        assert!(frames.iter().all(|f| f.data == [0x55; 64]));
    }
}

#[test]
fn a_cut_file_is_not_taken_for_another_layout() {
    // A loopback capture: its zero addresses would pass for an interface index and a packet type.
    let mut file = pcap_header(Order::Little, MICROS, (2, 4), 1);
    for secs in 0..2 {
        file.record((1_700_000_000 + secs, 1), 64, &[], &[0; 64]);
    }
    for cut in 24 + 80..file.bytes.len() {
        let (frames, _) = super::drain(&mut open(&file.bytes[..cut]).unwrap());
        assert_eq!(frames, [Owned::new(1_700_000_000_000_001_000, LinkType::ETHERNET, &[0; 64])], "cut at {cut}");
    }
}

#[test]
fn old_versions_put_the_original_length_first() {
    for (version, network) in [((2, 1), 1), ((543, 0), 1), ((2, 2), 6)] {
        let mut file = pcap_header(Order::Little, MICROS, version, network);
        file.u32(1).u32(2).u32(1500).u32(5).raw(b"frame");
        let frames = read_all(&file.bytes);
        assert_eq!((frames[0].orig_len, &frames[0].data[..]), (1500, &b"frame"[..]), "{version:?}");
        assert_eq!(frames[0].link, LinkType::ETHERNET, "AIX writes interface types");
    }
    let mut file = pcap_header(Order::Little, MICROS, (2, 3), 1);
    file.u32(1).u32(2).u32(1500).u32(5).raw(b"frame").u32(1).u32(2).u32(5).u32(1500).raw(b"frame");
    let frames = read_all(&file.bytes);
    assert_eq!(frames.iter().map(|f| f.orig_len).collect::<Vec<_>>(), [1500, 1500]);
}

#[test]
fn link_types_are_folded_and_the_fcs_bits_are_not_part_of_them() {
    for (network, link) in [
        (12, LinkType::RAW),
        (14, LinkType::RAW),
        (0x2400_0001, LinkType::ETHERNET),
        (113, LinkType::LINUX_SLL),
        (164, LinkType(164)),
        (0x0224_0002, LinkType::UNKNOWN),
    ] {
        let file = open(&pcap_header(Order::Little, MICROS, (2, 4), network).bytes).unwrap();
        assert_eq!(file.interfaces()[0].link, link, "{network:#x}");
    }
}

#[test]
fn lengths_stand_as_stated_even_when_more_was_captured_than_sent() {
    let mut file = pcap_header(Order::Little, MICROS, (2, 4), 1);
    file.record((1, 0), 3, &[], b"longer than that");
    let frames = read_all(&file.bytes);
    assert_eq!((frames[0].orig_len, frames[0].data.len()), (3, 16));
}

#[test]
fn the_header_is_described() {
    let file = open(&pcap_header(Order::Big, MICROS, (2, 4), 113).bytes).unwrap();
    assert_eq!(file.format(), "pcap 2.4, microseconds, big-endian");
    let interface = &file.interfaces()[0];
    assert_eq!((interface.snaplen, interface.ts_resolution), (65_535, TsResolution::MICROS));
}

#[test]
fn a_frame_longer_than_the_limit_is_damage_and_one_at_the_limit_is_not() {
    let mut file = pcap_header(Order::Little, MICROS, (2, 4), 1);
    file.record((1, 0), 5, &[], b"first").record((1, 0), 262_144, &[], &vec![7; 262_144]);
    let whole = file.bytes.clone();
    file.u32(1).u32(0).u32(262_145).u32(262_145);
    let (frames, error) = read_damaged(&file.bytes);
    assert_eq!(frames, read_all(&whole));
    assert_eq!(frames[1].data, vec![7; 262_144]);
    let CaptureError::BadLength { offset, length, frames, .. } = error else { panic!("{error}") };
    assert_eq!((offset, length, frames), (whole.len() as u64, 262_145, 2));
}

#[test]
fn a_cut_file_says_where_and_how_much_was_read() {
    let bytes = one_record(pcap_header(Order::Little, MICROS, (2, 4), 1), &[]);
    let (frames, error) = read_damaged(&[&bytes[..], &bytes[24..43]].concat());
    assert_eq!(frames.len(), 1);
    assert_eq!(
        error.to_string(),
        "`test` ends inside a pcap record at byte 45: expected 21 bytes, found 19, after 1 frames"
    );
}

#[test]
fn what_is_no_capture_is_refused_with_its_first_bytes() {
    for (bytes, found) in
        [(&b""[..], "is empty"), (b"\x89PNG\r\n\x1a\n", "starts with the bytes `89 50 4e 47 0d 0a 1a 0a`")]
    {
        let error = open(bytes).unwrap_err();
        assert!(matches!(error, CaptureError::NotACapture { .. }), "{error:?}");
        assert!(error.to_string().contains(found), "{error}");
    }
    let error = open(&pcap_header(Order::Little, MICROS, (1, 0), 1).bytes).unwrap_err();
    assert!(error.to_string().contains("pcap version `1.0` is not known"), "{error}");
}

#[test]
fn what_the_writer_writes_reads_back_the_same() {
    let mut writer = PcapWriter::new(Vec::new(), LinkType::LINUX_SLL2).unwrap();
    let last = Nanos(u64::from(u32::MAX) * Nanos::PER_SECOND + 999_999_999);
    for (ts, orig_len, data) in [(Nanos(0), 0, &b""[..]), (Nanos(1), 9_000, b"cut"), (last, 4, b"last")] {
        writer.write_frame(ts, orig_len, data).unwrap();
    }
    let frames = read_all(&writer.finish().unwrap());
    assert_eq!(
        frames.iter().map(|f| (f.ts, f.orig_len, &f.data[..])).collect::<Vec<_>>(),
        [(0, 0, &b""[..]), (1, 9_000, b"cut"), (last.0, 4, b"last")]
    );
    assert!(frames.iter().all(|f| f.link == LinkType::LINUX_SLL2));
}

#[test]
fn the_writer_refuses_what_the_format_cannot_hold_and_writes_nothing() {
    let mut writer = PcapWriter::new(Vec::new(), LinkType::ETHERNET).unwrap();
    assert!(writer.write_frame(Nanos(1), 1, &vec![0; 262_145]).is_err());
    assert!(writer.write_frame(Nanos(u64::MAX), 1, b"x").is_err());
    assert_eq!(writer.finish().unwrap().len(), 24);
}

/// Reads one byte less than it is asked for, at least one, and fails with `Interrupted` every other time.
struct Halting(std::io::Cursor<Vec<u8>>, bool);

impl std::io::Read for Halting {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        self.1 = !self.1;
        if self.1 {
            return Err(std::io::ErrorKind::Interrupted.into());
        }
        let n = buf.len().min(7);
        self.0.read(&mut buf[..n])
    }
}

#[test]
fn short_and_interrupted_reads_change_nothing() {
    for (name, bytes) in super::build::samples() {
        let reader = Halting(std::io::Cursor::new(bytes.clone()), false);
        let mut file = crate::source::capture_file::CaptureFile::from_reader(Box::new(reader), name).unwrap();
        let (frames, error) = super::drain(&mut file);
        assert!(error.is_none(), "{name}: {error:?}");
        assert_eq!(frames, read_all(&bytes), "{name}");
        assert_eq!((file.bytes_read(), file.total_bytes()), (bytes.len() as u64, None), "{name}");
    }
}
