//! Snoop and Shomiti files.

use super::build::snoop_header;
use super::{Owned, open, read_all, read_damaged};
use crate::source::capture_file::{CaptureError, LinkType};

#[test]
fn snoop_records_are_read_and_their_padding_is_skipped() {
    let mut file = snoop_header(2, 4);
    file.snoop((1_700_000_000, 250), 1500, b"first", 3).snoop((1_700_000_001, 0), 6, b"second", 0);
    let first = Owned { orig_len: 1500, ..Owned::new(1_700_000_000_000_250_000, LinkType::ETHERNET, b"first") };
    let second = Owned::new(1_700_000_001_000_000_000, LinkType::ETHERNET, b"second");
    assert_eq!(read_all(&file.bytes), [first, second]);
    assert_eq!(open(&file.bytes).unwrap().format(), "snoop version 2, microseconds, big-endian");
}

#[test]
fn the_padding_of_the_first_record_tells_shomiti_from_snoop() {
    for (datalink, padding, link) in [
        (0, 0, LinkType::ETHERNET),
        (8, 0, LinkType::FDDI),
        (0x8000_0005, 0, LinkType::IPNET),
        (12, 0, LinkType::UNKNOWN),
        (12, 16, LinkType::ETHERNET),
        (11, 16, LinkType::IEEE802_5),
    ] {
        let mut file = snoop_header(3, datalink);
        file.snoop((1, 0), 5, b"frame", padding);
        assert_eq!(read_all(&file.bytes)[0].link, link, "{datalink} with {padding} bytes of padding");
    }
}

#[test]
fn a_record_shorter_than_its_frame_is_damage() {
    let mut file = snoop_header(2, 4);
    file.snoop((1, 0), 5, b"frame", 0).u32(5).u32(5).u32(28).u32(0).u32(1).u32(0).raw(b"frame");
    let (frames, error) = read_damaged(&file.bytes);
    assert_eq!(frames.len(), 1);
    let CaptureError::BadLength { what, length, offset, .. } = error else { panic!("{error}") };
    assert_eq!((what, length, offset), ("record length", 28, 16 + 29));
}

#[test]
fn missing_padding_costs_no_frame() {
    let mut file = snoop_header(2, 4);
    file.snoop((1, 0), 5, b"frame", 3);
    let cut = &file.bytes[..file.bytes.len() - 1];
    let (frames, error) = read_damaged(cut);
    assert_eq!(frames.len(), 1);
    assert!(matches!(error, CaptureError::Truncated { .. }), "{error}");
}

#[test]
fn unknown_versions_are_refused() {
    let error = open(&snoop_header(6, 4).bytes).unwrap_err();
    assert!(error.to_string().contains("snoop version `6` is not known"), "{error}");
}
