//! Bytes that mean harm: no input panics, hangs, or makes memory grow beyond what it brought with it.

use super::build::samples;
use super::{Owned, drain, open, read_all};
use crate::source::capture_file::window::Window;
use proptest::prelude::*;

/// Reads as far as it goes; checks what must hold for any bytes.
fn survive(bytes: &[u8]) -> Vec<Owned> {
    let Ok(mut file) = open(bytes) else { return Vec::new() };
    let (frames, _) = drain(&mut file);
    // The shortest record there is takes 16 bytes, and a frame's bytes come out of the file.
    assert!(frames.len() <= bytes.len() / 16);
    assert!(frames.iter().map(|f| f.data.len()).sum::<usize>() <= bytes.len());
    assert!(file.bytes_read() <= bytes.len() as u64);
    frames
}

#[test]
fn a_file_cut_anywhere_gives_the_frames_before_the_cut() {
    for (name, bytes) in samples() {
        let whole = read_all(&bytes);
        let mut most = 0;
        for cut in 0..bytes.len() {
            let frames = survive(&bytes[..cut]);
            assert_eq!(frames, whole[..frames.len()], "{name} cut at {cut}");
            assert!(frames.len() >= most, "{name}: fewer frames for more bytes, at {cut}");
            most = frames.len();
        }
    }
}

#[test]
fn every_byte_set_to_an_extreme_is_survived() {
    for (_, bytes) in samples() {
        for at in 0..bytes.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut changed = bytes.clone();
                changed[at] = value;
                survive(&changed);
            }
        }
    }
}

#[test]
fn a_record_that_claims_much_and_brings_little_costs_little() {
    // 128 MiB are legal for D-Bus, so only the missing bytes stop this one.
    let mut window = Window::new(Box::new(std::io::Cursor::new(vec![7; 1000])), 256);
    assert!(!window.fill(128 * 1024 * 1024));
    assert_eq!(window.unread(), [7; 1000]);
    assert!(window.capacity() <= 2048, "{} bytes for 1000", window.capacity());
}

/// One of the samples with some bytes overwritten.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let edits = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12);
    (any::<prop::sample::Index>(), edits).prop_map(|(which, edits)| {
        let samples = samples();
        let mut bytes = which.get(&samples).1.clone();
        for (at, value) in edits {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        bytes
    })
}

/// Random bytes behind the start of a real file, so that more than the first four bytes are tried.
fn headed() -> impl Strategy<Value = Vec<u8>> {
    let noise = prop::collection::vec(any::<u8>(), 0..600);
    (any::<prop::sample::Index>(), 0..120usize, noise).prop_map(|(which, keep, noise)| {
        let samples = samples();
        let start = &which.get(&samples).1;
        [&start[..keep.min(start.len())], &noise[..]].concat()
    })
}

proptest! {
    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        survive(&bytes);
    }

    #[test]
    fn any_bytes_behind_a_real_start_are_survived(bytes in headed()) {
        survive(&bytes);
    }

    #[test]
    fn mutated_files_are_survived(bytes in mutated()) {
        survive(&bytes);
    }

    #[test]
    fn mutated_compressed_files_are_survived(
        bytes in mutated(), at in any::<prop::sample::Index>(), value in any::<u8>(), zstandard in any::<bool>(),
    ) {
        let mut packed = if zstandard {
            zstd::encode_all(&bytes[..], 1).unwrap()
        } else {
            use std::io::Write;
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(&bytes).unwrap();
            encoder.finish().unwrap()
        };
        let at = at.index(packed.len());
        packed[at] = value;
        if let Ok(mut file) = open(&packed) {
            drain(&mut file);
        }
    }

    #[test]
    fn written_frames_read_back(frames in prop::collection::vec(
        (0..=4_294_967_295_999_999_999_u64, any::<u32>(), prop::collection::vec(any::<u8>(), 0..300)), 0..20,
    )) {
        use crate::source::capture_file::{LinkType, PcapWriter};
        let mut writer = PcapWriter::new(Vec::new(), LinkType::RAW).unwrap();
        for (ts, orig_len, data) in &frames {
            writer.write_frame(netspectra_common::model::Nanos(*ts), *orig_len, data).unwrap();
        }
        let read: Vec<_> =
            read_all(&writer.finish().unwrap()).into_iter().map(|f| (f.ts, f.orig_len, f.data)).collect();
        prop_assert_eq!(read, frames);
    }
}
