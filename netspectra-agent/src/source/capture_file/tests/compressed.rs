//! Files packed with gzip or zstd, and failing readers.

use super::build::samples;
use super::{drain, open, read_all, read_damaged};
use crate::source::capture_file::{CaptureError, CaptureFile};
use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::{self, Read, Write};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

#[test]
fn every_format_reads_the_same_packed() {
    for (name, bytes) in samples() {
        let plain = read_all(&bytes);
        let (head, tail) = bytes.split_at(bytes.len() / 2);
        assert_eq!(read_all(&gzip(&bytes)), plain, "{name}");
        assert_eq!(read_all(&[gzip(head), gzip(b""), gzip(tail)].concat()), plain, "{name} in three members");
        assert_eq!(read_all(&[gzip(&bytes), vec![0; 512]].concat()), plain, "{name} with zeros behind");
        assert_eq!(read_all(&zstd(&bytes)), plain, "{name}");
        let skippable = [0x50, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 9, 9];
        assert_eq!(read_all(&[&skippable[..], &zstd(head), &zstd(tail)].concat()), plain, "{name} in frames");
    }
}

#[test]
fn compression_is_part_of_the_description_and_of_the_progress() {
    let (_, bytes) = samples().remove(0);
    for (packed, name) in [(gzip(&bytes), "gzip"), (zstd(&bytes), "zstd")] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("any name");
        std::fs::write(&path, &packed).unwrap();
        let mut file = CaptureFile::open(&path).unwrap();
        assert_eq!(file.format(), format!("pcap 2.4, microseconds, little-endian, {name}"));
        assert_eq!(drain(&mut file).0.len(), 3);
        assert_eq!((file.bytes_read(), file.total_bytes()), (packed.len() as u64, Some(packed.len() as u64)));
    }
}

#[test]
fn a_cut_stream_gives_the_frames_before_the_cut() {
    let mut plain = super::build::pcap_header(super::super::window::Order::Little, 0xa1b2_c3d4, (2, 4), 1);
    for i in 0..2_000_u32 {
        plain.record((i, 0), 64, &[], &i.wrapping_mul(0x9e37_79b9).to_le_bytes().repeat(16));
    }
    let all = read_all(&plain.bytes);
    for (packed, name) in [(gzip(&plain.bytes), "gzip"), (zstd(&plain.bytes), "zstd")] {
        for keep in [packed.len() * 3 / 4, packed.len() - 1] {
            let (frames, error) = match open(&packed[..keep]) {
                Ok(mut file) => drain(&mut file),
                Err(e) => (Vec::new(), Some(e)),
            };
            assert_eq!(frames, all[..frames.len()], "{name}");
            let Some(CaptureError::Decompress { format, frames: counted, .. }) = error else {
                panic!("{name}: {error:?}")
            };
            assert_eq!((format, counted), (name, frames.len() as u64));
        }
    }
    let (frames, _) = read_damaged(&gzip(&plain.bytes)[..gzip(&plain.bytes).len() - 1]);
    assert_eq!(frames.len(), 2_000, "only the checksum is missing");
}

#[test]
fn a_wrong_checksum_is_told_after_the_last_frame() {
    let (_, bytes) = samples().remove(0);
    let mut packed = gzip(&bytes);
    let at = packed.len() - 8;
    packed[at] ^= 1;
    let (frames, error) = read_damaged(&packed);
    assert_eq!(frames.len(), 3);
    assert!(matches!(error, CaptureError::Decompress { format: "gzip", .. }), "{error:?}");
}

#[test]
fn packed_bytes_that_are_no_capture_are_refused() {
    for packed in [gzip(b"hello, world"), zstd(b"hello, world"), gzip(&gzip(&samples()[0].1))] {
        assert!(matches!(open(&packed), Err(CaptureError::NotACapture { .. })));
    }
}

/// Gives some bytes, then fails.
struct Failing(io::Cursor<Vec<u8>>);

impl Read for Failing {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buf)? {
            0 => Err(io::Error::other("the disk is gone")),
            n => Ok(n),
        }
    }
}

#[test]
fn a_failing_file_is_not_blamed_on_the_decompressor_and_loses_no_frame() {
    let (_, bytes) = samples().remove(0);
    for content in [bytes.clone(), gzip(&bytes)[..gzip(&bytes).len() - 1].to_vec()] {
        let mut file = CaptureFile::from_reader(Box::new(Failing(io::Cursor::new(content))), "test").unwrap();
        let (frames, error) = drain(&mut file);
        assert_eq!(frames.len(), 3);
        assert!(matches!(error, Some(CaptureError::Io { frames: 3, .. })), "{error:?}");
    }
    let nothing = Failing(io::Cursor::new(Vec::new()));
    assert!(matches!(CaptureFile::from_reader(Box::new(nothing), "test"), Err(CaptureError::Io { .. })));
}

#[test]
fn a_missing_file_and_a_folder_are_named() {
    let dir = tempfile::tempdir().unwrap();
    for path in [dir.path().join("absent.pcap"), dir.path().to_path_buf()] {
        let error = CaptureFile::open(&path).unwrap_err();
        assert!(matches!(error, CaptureError::Io { .. }), "{error:?}");
        assert!(error.to_string().contains(&path.display().to_string()), "{error}");
    }
}
