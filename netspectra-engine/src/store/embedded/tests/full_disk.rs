//! A disk without room, by a limit on the length of files that a child process gets from its shell.

use super::sample::{batch, exact, joined};
use super::{append, child, quiet, rows, run};
use crate::store::embedded::EmbeddedStore;
use crate::store::embedded::log::path_of;
use netspectra_common::model::FlowRecord;
use std::path::Path;
use std::process::Command;

const DIR: &str = "NETSPECTRA_TEST_FULL_DIR";

/// Appends until there is no room, seals, appends again.
fn fill(dir: &Path) {
    let store = EmbeddedStore::open(dir, quiet()).unwrap();
    let mut stored = 0;
    let error = loop {
        let before = std::fs::metadata(path_of(dir, 0)).unwrap().len();
        match append(&store, &batch(stored)) {
            Ok(()) => stored += 1,
            Err(error) => {
                let after = std::fs::metadata(path_of(dir, 0)).unwrap().len();
                assert_eq!(after, before, "nothing half-written remains");
                break error;
            }
        }
    };
    assert!(error.transient);
    let text = error.to_string();
    assert!(text.contains(&dir.display().to_string()) && text.contains("free space"), "{text}");
    assert!(stored > 2, "some fit: {stored}");
    let expected = joined((0..stored).map(batch));
    assert_eq!(exact(&rows::<FlowRecord>(&store)), exact(&expected.flows), "what was refused is not there");
    // Sealing frees the log.
    assert!(run(store.seal()).unwrap());
    append(&store, &batch(stored)).unwrap();
    let stats = store.stats();
    assert_eq!((stats.append_failures, stats.appended_batches), (1, stored + 1));
    std::fs::write(dir.join("stored"), (stored + 1).to_string()).unwrap();
}

#[test]
fn a_full_disk_refuses_the_batch_and_keeps_the_rest() {
    if let Some(dir) = std::env::var_os(DIR) {
        fill(Path::new(&dir));
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let name = "store::embedded::tests::full_disk::a_full_disk_refuses_the_batch_and_keeps_the_rest";
    let test = child(name, DIR, dir.path());
    // Blocks of 512 or 1024 bytes, as the shell has it. The signal is ignored, so that writing fails instead.
    let output = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 256; exec \"$0\" \"$@\""])
        .arg(test.get_program())
        .args(test.get_args())
        .env(DIR, dir.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    let stored: u64 = std::fs::read_to_string(dir.path().join("stored")).unwrap().parse().unwrap();
    let store = EmbeddedStore::open(dir.path(), quiet()).unwrap();
    let stats = store.stats();
    assert_eq!((stats.torn_bytes, stats.damaged_frames), (0, 0));
    assert_eq!(exact(&rows::<FlowRecord>(&store)), exact(&joined((0..stored).map(batch)).flows));
}
