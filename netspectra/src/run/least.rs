//! How much the process keeps for its files: nothing, where the data folder is its user's.

use netspectra_agent::privilege;
use std::fs::File;
use std::path::Path;

/// Gives up the privileges of this thread, and of those that it will start. Where the data folder `dir` is out of reach
/// then (root in somebody else's home), the right to pass over permissions of files is kept, and that is said.
///
/// # Errors
/// The kernel's.
pub(super) fn give_up(dir: &Path) -> std::io::Result<()> {
    if is_in_reach(dir) {
        return privilege::keep_only(0);
    }
    tracing::warn!(
        folder = %dir.display(),
        "the data folder is another user's: every thread keeps CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH; \
         name a folder of this user with --data-dir"
    );
    privilege::keep_only(privilege::FILES)
}

/// Whether a thread without privileges can write there.
fn is_in_reach(dir: &Path) -> bool {
    let probe = dir.join(format!(".probe-{}", std::process::id()));
    std::thread::scope(|s| {
        let thread = s.spawn(|| {
            let written = privilege::keep_only(0).is_ok() && File::create_new(&probe).is_ok();
            written && std::fs::remove_file(&probe).is_ok()
        });
        thread.join().unwrap_or(false)
    })
}
