use super::memory_dir;
use super::sample::{batch, exact};
use crate::store::embedded::StoreError;
use crate::store::embedded::log::{LogFile, path_of, replay};
use netspectra_common::ports::StoreBatch;
use proptest::prelude::*;
use std::path::{Path, PathBuf};

/// A batch; from the third on a small one, so that a test can look at every byte of it.
fn logged(number: u64) -> StoreBatch {
    let whole = batch(number);
    if number < 2 { whole } else { StoreBatch { ledger: whole.ledger, ..StoreBatch::default() } }
}

/// A log of the batches `0..n`, and the offsets where its frames begin; the last is its end.
fn log(dir: &Path, n: u64) -> (PathBuf, Vec<usize>) {
    let mut log = LogFile::create(dir, 0).unwrap();
    let mut ends = vec![log.len() as usize];
    for number in 0..n {
        let frame = log.encode(&logged(number)).unwrap();
        log.append(&frame).unwrap();
        ends.push(log.len() as usize);
    }
    (path_of(dir, 0), ends)
}

fn same(found: &[StoreBatch], numbers: &[u64]) -> bool {
    found.len() == numbers.len()
        && found.iter().zip(numbers).all(|(found, n)| {
            let expected = logged(*n);
            exact(&found.flows) == exact(&expected.flows)
                && exact(&found.rollups) == exact(&expected.rollups)
                && exact(&found.windows) == exact(&expected.windows)
                && exact(&found.ledger) == exact(&expected.ledger)
                && exact(&found.alerts) == exact(&expected.alerts)
                && exact(&found.messages) == exact(&expected.messages)
        })
}

#[test]
fn cut_at_any_byte_gives_a_prefix() {
    let dir = memory_dir();
    let (path, ends) = log(dir.path(), 3);
    let whole = std::fs::read(&path).unwrap();
    let quarantine = dir.path().join("quarantine");
    // Every byte of the last frame; of the one before, its header and one in 97.
    let before = (ends[1]..ends[2]).filter(|cut| *cut < ends[1] + 17 || cut % 97 == 0);
    for cut in before.chain(ends[2]..=whole.len()) {
        std::fs::write(&path, &whole[..cut]).unwrap();
        let replayed = replay(dir.path(), &path, &quarantine).unwrap();
        let kept = ends.iter().rposition(|end| *end <= cut).unwrap();
        assert_eq!(replayed.batches.len(), kept, "cut at {cut}");
        assert_eq!(replayed.batches[0].ledger, batch(0).ledger);
        assert_eq!(replayed.torn_bytes as usize, cut - ends[kept], "cut at {cut}");
        assert_eq!((replayed.damaged, replayed.len as usize), (0, ends[kept]));
        assert_eq!(std::fs::metadata(&path).unwrap().len() as usize, ends[kept], "the tail is cut off");
    }
    std::fs::write(&path, &whole).unwrap();
    assert!(same(&replay(dir.path(), &path, &quarantine).unwrap().batches, &[0, 1, 2]));
    for cut in (0..40).chain((40..ends[0]).step_by(97)) {
        std::fs::write(&path, &whole[..cut]).unwrap();
        let replayed = replay(dir.path(), &path, &quarantine).unwrap();
        assert!(replayed.batches.is_empty() && replayed.damaged == 0, "cut at {cut}");
    }
    assert!(!quarantine.exists(), "a torn tail is no damage");
}

#[test]
fn a_flipped_byte_costs_its_frame_only() {
    let dir = memory_dir();
    let (path, ends) = log(dir.path(), 3);
    let whole = std::fs::read(&path).unwrap();
    let quarantine = dir.path().join("quarantine");
    // Every byte of preamble and headers, one in 499 of the rest (they differ in nothing but their place).
    let headers: Vec<usize> = [0, 16].into_iter().chain(ends[..3].iter().copied()).flat_map(|at| at..at + 16).collect();
    for at in headers.into_iter().chain((0..whole.len()).step_by(499)) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        std::fs::write(&path, &bytes).unwrap();
        let replayed = replay(dir.path(), &path, &quarantine).unwrap();
        let left: Vec<u64> = replayed.batches.iter().map(|b| b.ledger[0].generation).collect();
        if at < ends[0] {
            // Preamble or schemas: those of this build stand in.
            assert_eq!((left, replayed.damaged), (vec![0, 1, 2], 1), "byte {at}");
        } else if at < ends[2] {
            let hit = u64::from(at >= ends[1]);
            assert_eq!((left, replayed.damaged), (vec![1 - hit, 2], 1), "byte {at}");
            let aside =
                quarantine.join(format!("log-{:016}.nslog.{}-{}", 0, ends[hit as usize], ends[hit as usize + 1]));
            let range = ends[hit as usize]..ends[hit as usize + 1];
            assert_eq!(std::fs::read(aside).unwrap(), bytes[range], "byte {at}");
        } else {
            // Nothing tells damage to the last frame from a crash while it was written; it is said either way.
            assert_eq!((left, replayed.damaged), (vec![0, 1], 0), "byte {at}");
            assert_eq!(replayed.torn_bytes as usize, whole.len() - ends[2]);
        }
        assert!(replayed.batches.iter().all(|b| same(std::slice::from_ref(b), &[b.ledger[0].generation])), "byte {at}");
    }
}

#[test]
fn a_log_of_a_later_release_is_refused() {
    let dir = memory_dir();
    let (path, _) = log(dir.path(), 1);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[8] = 2;
    let crc = crc32fast::hash(&bytes[..12]);
    bytes[12..16].copy_from_slice(&crc.to_le_bytes());
    std::fs::write(&path, &bytes).unwrap();
    let error = replay(dir.path(), &path, dir.path()).unwrap_err();
    assert!(matches!(error, StoreError::Version { found: 2, expected: 1, .. }), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), bytes, "and not touched");
}

/// A frame with right checksums around `payload`.
fn frame(payload: &[u8]) -> Vec<u8> {
    let mut bytes = b"NSFR".to_vec();
    bytes.extend((payload.len() as u32).to_le_bytes());
    bytes.extend(crc32fast::hash(payload).to_le_bytes());
    let crc = crc32fast::hash(&bytes);
    bytes.extend(crc.to_le_bytes());
    bytes.extend(payload);
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn bytes_of_any_kind_with_a_right_checksum_never_panic(
        payload in prop::collection::vec(any::<u8>(), 0..200),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
    ) {
        let dir = memory_dir();
        let (path, ends) = log(dir.path(), 2);
        let whole = std::fs::read(&path).unwrap();
        // A payload that is almost one: what a checksum cannot catch.
        let mut almost = whole[ends[0] + 16..ends[1]].to_vec();
        for (index, value) in flips {
            let at = index.index(almost.len());
            almost[at] = value;
        }
        let mut bytes = whole[..ends[0]].to_vec();
        bytes.extend(frame(&payload));
        bytes.extend(frame(&almost));
        bytes.extend(&whole[ends[1]..]);
        std::fs::write(&path, &bytes).unwrap();
        let replayed = replay(dir.path(), &path, &dir.path().join("quarantine")).unwrap();
        let last = replayed.batches.last().expect("the frame behind it is read");
        prop_assert_eq!(&last.ledger, &batch(1).ledger);
    }

    #[test]
    fn bytes_of_any_kind_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let dir = memory_dir();
        let path = path_of(dir.path(), 0);
        std::fs::write(&path, &bytes).unwrap();
        let replayed = replay(dir.path(), &path, &dir.path().join("quarantine")).unwrap();
        prop_assert!(replayed.batches.is_empty());
        prop_assert_eq!(replayed.torn_bytes, bytes.len() as u64);
    }
}
