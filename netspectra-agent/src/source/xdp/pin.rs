//! The folder in a BPF file system in which an instance's kernel state outlives its process.
//!
//! Everything in it is a pinned object: `state` (see `saved`), the shared maps by their names, the tables of each slot and
//! CPU, and the links. `state` is pinned last and removed first: a folder without it is the rest of a start or of an end
//! that was cut short, has no programs attached, and is removed.

use super::{XdpError, sys};
use netspectra_common::abi::maps;
use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Where systems mount a BPF file system.
const SYSTEM: &str = "/sys/fs/bpf";
/// Where one is mounted when the system has none.
const PRIVATE: &str = "/run/netspectra/bpf";
/// The folder of all instances.
const FOLDER: &str = "netspectra";
/// The object that makes a folder count.
const STATE: &str = "state";
/// Times that a folder may vanish while it is being locked.
const ATTEMPTS: usize = 10;
/// How long a folder is waited for: the loader of a process that was killed ends when it notices, which takes it a moment.
const PATIENCE: Duration = Duration::from_secs(2);
/// Time between two tries.
const PACE: Duration = Duration::from_millis(5);
/// Longest name of an instance, bytes.
const MAX_NAME: usize = 100;

/// Maps that keep counts, or what programs look up, from one process to the next.
pub(super) const KEPT: [&str; 14] = [
    maps::CONTROL,
    maps::MARKS,
    maps::FRONT,
    maps::FRONT_LONG,
    maps::FLOWS4,
    maps::FLOWS,
    maps::TOTALS,
    maps::OVERFLOW,
    maps::IFACES,
    maps::IFACES_HIGH,
    maps::NO_TABLE,
    maps::FRAGMENTS,
    maps::FILLING,
    maps::EVENTS,
];

/// A folder that this process holds. Until [`Pins::keep`] dropping it removes it: a start that fails leaves nothing.
#[derive(Debug)]
pub(super) struct Pins {
    dir: PathBuf,
    kept: AtomicBool,
    /// Held while this lives; the folder itself is what is locked.
    _lock: File,
}

impl Pins {
    /// Takes the folder of `instance`, made if need be; `None`, with a warning, where there can be no BPF file system or it is
    /// not this user's.
    ///
    /// # Errors
    /// [`XdpError::Busy`] while another process holds it.
    pub(super) fn open(instance: &str) -> Result<Option<Self>, XdpError> {
        let root = match instances_folder() {
            Ok(root) => root,
            Err(error) => {
                tracing::warn!(%error, "there is no BPF file system: what is counted does not outlive this process");
                return Ok(None);
            }
        };
        match Self::take(root.join(file_name(instance)), true) {
            Err(XdpError::Pin { source, path, .. }) if source.kind() == io::ErrorKind::PermissionDenied => {
                let path = path.display();
                tracing::warn!(%path, "no permission to pin: what is counted does not outlive this process");
                Ok(None)
            }
            other => other,
        }
    }

    /// Takes the folder `dir`; `None` when it is not there, unless it is to be made.
    fn take(dir: PathBuf, make: bool) -> Result<Option<Self>, XdpError> {
        let failed = |what: &'static str| {
            let path = dir.clone();
            move |source| XdpError::Pin { what, path, source }
        };
        for _ in 0..ATTEMPTS {
            if make {
                make_dir(&dir).map_err(failed("make"))?;
            }
            let lock = match File::open(&dir) {
                Ok(lock) => lock,
                Err(e) if e.kind() == io::ErrorKind::NotFound && make => continue,
                Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(e) => return Err(failed("open")(e)),
            };
            match lock_soon(&lock) {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(XdpError::Busy { path: dir }),
                Err(TryLockError::Error(e)) => return Err(failed("lock")(e)),
            }
            // Whoever held it may have removed it meanwhile: what is locked must be what has the name.
            let held = lock.metadata().map_err(failed("look at"))?;
            if fs::metadata(&dir).is_ok_and(|named| (named.dev(), named.ino()) == (held.dev(), held.ino())) {
                return Ok(Some(Self { dir, kept: AtomicBool::new(false), _lock: lock }));
            }
        }
        Err(failed("lock")(io::Error::other("it comes and goes")))
    }

    /// The folder stays when this process ends.
    pub(super) fn keep(&self) {
        self.kept.store(true, Ordering::Relaxed);
    }

    /// The folder.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where the object `name` is pinned.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Where the state is pinned.
    pub(super) fn state(&self) -> PathBuf {
        self.path(STATE)
    }

    /// Names of the objects that begin with `prefix`.
    pub(super) fn names(&self, prefix: &str) -> Result<Vec<String>, XdpError> {
        let failed = |source| XdpError::Pin { what: "list", path: self.dir.clone(), source };
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(failed)? {
            // A name that is not text is none of ours.
            names.extend(entry.map_err(failed)?.file_name().into_string().ok().filter(|n| n.starts_with(prefix)));
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Removes the object `name`; one that is not there is fine.
    pub(super) fn remove(&self, name: &str) -> Result<(), XdpError> {
        let path = self.path(name);
        match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(XdpError::Pin { what: "remove", path, source: e }),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Removes every object, the state first.
    pub(super) fn clear(&self) -> Result<(), XdpError> {
        self.remove(STATE)?;
        self.names("")?.iter().try_for_each(|name| self.remove(name))
    }

    /// Removes every object and the folder.
    pub(super) fn remove_all(&self) -> Result<(), XdpError> {
        if !self.dir.exists() {
            return Ok(());
        }
        self.clear()?;
        match fs::remove_dir(&self.dir) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                Err(XdpError::Pin { what: "remove", path: self.dir.clone(), source: e })
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        if !self.kept.load(Ordering::Relaxed)
            && self.dir.exists()
            && let Err(error) = super::kept::detach(self, |_, _| true).and_then(|_| self.remove_all())
        {
            tracing::debug!(%error, "the rest of a start that failed stays");
        }
    }
}

/// Locks it, at once or within [`PATIENCE`].
fn lock_soon(folder: &File) -> Result<(), TryLockError> {
    let end = Instant::now() + PATIENCE;
    loop {
        match folder.try_lock() {
            Err(TryLockError::WouldBlock) if Instant::now() < end => std::thread::sleep(PACE),
            other => return other,
        }
    }
}

/// The instances that have a folder, running or not.
pub(super) fn instances() -> Vec<String> {
    let folders = [SYSTEM, PRIVATE].iter().filter(|r| sys::is_bpf_fs(Path::new(r))).map(|r| Path::new(r).join(FOLDER));
    let entries = folders.filter_map(|f| fs::read_dir(f).ok()).flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|e| e.file_name().into_string().ok()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// The folder of `instance`, when there is one and nobody holds it.
///
/// # Errors
/// [`XdpError::Busy`] while a process holds it.
pub(super) fn left_by(instance: &str) -> Result<Option<Pins>, XdpError> {
    let roots = [SYSTEM, PRIVATE].iter().filter(|r| sys::is_bpf_fs(Path::new(r)));
    for root in roots {
        if let Some(pins) = Pins::take(Path::new(root).join(FOLDER).join(file_name(instance)), false)? {
            pins.keep();
            return Ok(Some(pins));
        }
    }
    Ok(None)
}

/// The folder of all instances, in the system's BPF file system or else in one that is mounted for it. Made if need be.
///
/// # Errors
/// No BPF file system, and none can be mounted; or the folder cannot be made.
pub fn instances_folder() -> io::Result<PathBuf> {
    let system = Path::new(SYSTEM);
    let mount = if sys::is_bpf_fs(system) {
        system
    } else {
        let private = Path::new(PRIVATE);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(private)?;
        // Two that mount it at once would hide from each other what they pin.
        let around = File::open(private.parent().unwrap_or(private))?;
        around.lock()?;
        if !sys::is_bpf_fs(private) {
            sys::mount_bpf_fs(private)?;
        }
        private
    };
    let folder = mount.join(FOLDER);
    make_dir(&folder)?;
    Ok(folder)
}

fn make_dir(path: &Path) -> io::Result<()> {
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(e),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// `instance` as a file name: a BPF file system has no dots in names.
fn file_name(instance: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    let name: String = instance.chars().map(safe).take(MAX_NAME).collect();
    if name.is_empty() { "_".into() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_name_is_one_plain_file_name() {
        for (instance, name) in [("web-1", "web-1"), ("a.b/../c", "a_b____c"), ("", "_"), ("ä", "_")] {
            assert_eq!(file_name(instance), name);
        }
        assert_eq!(file_name(&"x".repeat(1000)).len(), MAX_NAME);
    }
}
