//! The capture that is measured.

use netspectra_agent::source::capture_file::CaptureFile;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

const PACKETS: u32 = 2_000_000;
const FLOWS: u32 = 50_000;

/// The file that the environment names, or one made in `folder`.
pub(crate) fn at(folder: &Path) -> PathBuf {
    match std::env::var_os("NETSPECTRA_BENCH_CAPTURE") {
        Some(path) => PathBuf::from(path),
        None => {
            let path = folder.join("bench.pcap");
            make(&path);
            path
        }
    }
}

/// Bytes and frames of the file, which is in the page cache afterwards.
pub(crate) fn size(path: &Path) -> (u64, u64) {
    let mut file = CaptureFile::open(path).unwrap();
    while file.next_frame().unwrap().is_some() {}
    (std::fs::metadata(path).unwrap().len(), file.frames_read())
}

/// Writes the capture; 10,000 packets a second of capture time.
fn make(path: &Path) {
    let mut out = BufWriter::new(File::create(path).unwrap());
    out.write_all(&0xa1b2_c3d4u32.to_le_bytes()).unwrap();
    out.write_all(&[2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0, 0]).unwrap();
    // xorshift32: the same file in every run.
    let mut state = 0x9e37_79b9u32;
    let mut frame = vec![0u8; 1514];
    for n in 0..PACKETS {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        // Squaring makes few flows heavy and most light.
        let flow = ((u64::from(state % FLOWS) * u64::from(state >> 16)) >> 16) as u32;
        let len = [64usize, 64, 120, 590, 1514][state as usize % 5];
        frame[12..14].copy_from_slice(&[8, 0]);
        let total = (len - 14) as u16;
        frame[14..34].copy_from_slice(&[0x45, 0, 0, 0, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 0, 172, 16, 0, 1]);
        frame[16..18].copy_from_slice(&total.to_be_bytes());
        frame[27..30].copy_from_slice(&flow.to_be_bytes()[1..]);
        frame[34..36].copy_from_slice(&(1024 + (flow % 60_000) as u16).to_be_bytes());
        frame[36..38].copy_from_slice(&[1, 187]);
        frame[46..48].copy_from_slice(&[0x50, 0x10]);
        for word in [1_700_000_000 + n / 10_000, n % 10_000 * 100, len as u32, len as u32] {
            out.write_all(&word.to_le_bytes()).unwrap();
        }
        out.write_all(&frame[..len]).unwrap();
    }
    out.flush().unwrap();
}
