use super::build::pcap_header;
use super::{Owned, drain, open};
use crate::source::capture_file::CaptureFile;
use crate::source::capture_file::window::Order;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A file of several blocks, with frames that are longer than the room before a block, and a last one that is cut off.
fn file() -> Vec<u8> {
    let mut out = pcap_header(Order::Little, 0xa1b2_c3d4, (2, 4), 1);
    for n in 0..4_000u32 {
        let len = if n % 500 == 499 { 200_000 } else { n as usize % 1_500 };
        out.record((100 + n, 7), len as u32, &[], &vec![n as u8; len]);
    }
    out.bytes.truncate(out.bytes.len() - 10);
    out.bytes
}

#[test]
fn a_file_reads_the_same_whoever_reads_its_blocks() {
    let bytes = file();
    let (expected, damage): (Vec<Owned>, _) = drain(&mut open(&bytes).unwrap());
    let damage = damage.unwrap().to_string();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.pcap");
    std::fs::write(&path, &bytes).unwrap();
    for helpers in 0..3 {
        let mut file = CaptureFile::open(&path).unwrap();
        let ahead = file.read_ahead().unwrap();
        let is_over = Arc::new(AtomicBool::new(false));
        let (found, error) = std::thread::scope(|scope| {
            for _ in 0..helpers {
                let (ahead, is_over) = (ahead.clone(), is_over.clone());
                scope.spawn(move || {
                    while !is_over.load(Ordering::Relaxed) {
                        if !ahead.help() {
                            std::thread::yield_now();
                        }
                    }
                });
            }
            let read = drain(&mut file);
            is_over.store(true, Ordering::Relaxed);
            read
        });
        assert_eq!(found.len(), expected.len());
        assert!(found == expected, "with {helpers} helpers");
        let error = error.unwrap().to_string().replace(path.to_str().unwrap(), "test");
        assert_eq!(error, damage);
        assert!(!ahead.help(), "nothing is left");
    }
}
