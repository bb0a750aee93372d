//! Which process has a socket, and in which control group it is, by `/proc` and the tree of cgroup v2.
//!
//! The kernel shows the files of a process to those who may trace it (ptrace(2)): as a user who is not root, of one's own
//! processes; as root without CAP_SYS_PTRACE, of those that have no capabilities. The name of a process, its control group and
//! the processes of a control group everybody may read.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Directories of control groups that are looked at.
const GROUPS: usize = 16_384;
/// Processes of a control group whose names are compared.
const MEMBERS: usize = 64;
/// Whoever has sockets for others, who take them over.
const INIT: u32 = 1;

/// The process that has each of the sockets `wanted` (by inode), of those whose files may be seen. Of several the one with
/// the lowest number, but init last. Cost: a look at every file of every process that may be seen.
pub(super) fn owners(wanted: &HashSet<u32>) -> HashMap<u32, u32> {
    let mut found = HashMap::<u32, u32>::new();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    for pid in processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()) {
        for file in fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten() {
            let Some(inode) = fs::read_link(file.path()).ok().and_then(|link| socket_of(&link)) else { continue };
            if wanted.contains(&inode) {
                let owner = found.entry(inode).or_insert(pid);
                *owner = preferred(*owner, pid);
            }
        }
    }
    found
}

/// The lower number, init last.
fn preferred(one: u32, other: u32) -> u32 {
    if (one == INIT, one) <= (other == INIT, other) { one } else { other }
}

/// The inode in `socket:[12345]`.
fn socket_of(link: &Path) -> Option<u32> {
    link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// The name of process `pid`.
pub(super) fn name(pid: u32) -> Option<Arc<str>> {
    let name = fs::read(format!("/proc/{pid}/comm")).ok()?;
    let name = String::from_utf8_lossy(&name);
    let name = name.trim_end_matches('\n');
    (!name.is_empty()).then(|| name.into())
}

/// Paths of control groups by their identifier.
#[derive(Debug, Default)]
pub(super) struct Groups {
    root: Option<PathBuf>,
    paths: HashMap<u64, Arc<str>>,
    /// Those that were looked for and are not below the root: gone, or of another namespace.
    missing: HashSet<u64>,
}

impl Groups {
    /// The tree of this host; empty where cgroup v2 is not mounted.
    pub(super) fn new() -> Self {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let mut groups = Self { root: mount_point(&mounts), ..Self::default() };
        groups.read();
        groups
    }

    /// Looks at the whole tree again if one of `ids` is not known, and was not looked for since [`Groups::forget`].
    pub(super) fn find(&mut self, ids: impl Iterator<Item = u64> + Clone) {
        if ids.clone().any(|id| !self.paths.contains_key(&id) && !self.missing.contains(&id)) {
            self.read();
            let Self { paths, missing, .. } = self;
            missing.extend(ids.filter(|id| !paths.contains_key(id)));
        }
    }

    /// What was not found may be there now.
    pub(super) fn forget(&mut self) {
        self.missing.clear();
    }

    /// The path of `id` below the root.
    pub(super) fn path(&self, id: u64) -> Option<Arc<str>> {
        self.paths.get(&id).cloned()
    }

    fn read(&mut self) {
        let Some(root) = &self.root else { return };
        self.paths.clear();
        let mut open = vec![root.clone()];
        while let Some(dir) = open.pop() {
            if self.paths.len() >= GROUPS {
                return;
            }
            let Ok(metadata) = fs::metadata(&dir) else { continue };
            let path = dir.strip_prefix(root).ok().and_then(Path::to_str).unwrap_or_default();
            self.paths.insert(metadata.ino(), format!("/{path}").into());
            let entries = fs::read_dir(&dir).into_iter().flatten().flatten();
            open.extend(entries.filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path()));
        }
    }

    /// The name that all processes of group `path` share; `None` of the root, of empty and of large ones.
    pub(super) fn one_name(&self, path: &str) -> Option<Arc<str>> {
        let inside = path.strip_prefix('/').filter(|inside| !inside.is_empty())?;
        let members = fs::read_to_string(self.root.as_ref()?.join(inside).join("cgroup.procs")).ok()?;
        let mut members = members.lines().map(|pid| pid.parse().ok().and_then(name));
        let first = members.next()??;
        let mut rest = members.by_ref().take(MEMBERS);
        (rest.all(|name| name.as_ref() == Some(&first)) && members.next().is_none()).then_some(first)
    }
}

/// Where cgroup v2 is mounted, by `/proc/self/mountinfo` (proc(5)).
fn mount_point(mounts: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let (mount, source) = line.split_once(" - ")?;
        let is_cgroup2 = source.split(' ').next() == Some("cgroup2");
        is_cgroup2.then(|| mount.split(' ').nth(4).map(PathBuf::from)).flatten()
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn the_owner_is_the_lowest_number_but_init() {
        assert_eq!((preferred(7, 9), preferred(1, 9), preferred(9, 1)), (7, 9, 9));
        assert_eq!(socket_of(Path::new("socket:[4711]")), Some(4711));
        assert_eq!(socket_of(Path::new("pipe:[4711]")), None);
    }

    #[test]
    fn the_hierarchy_is_the_mount_of_version_two() {
        let mounts = "30 1 0:25 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
            31 1 0:26 / /sys/fs/cgroup/unified rw,nosuid shared:4 - cgroup2 cgroup2 rw\n";
        assert_eq!(mount_point(mounts).unwrap(), Path::new("/sys/fs/cgroup/unified"));
        assert_eq!(mount_point(""), None);
    }

    #[test]
    fn this_process_has_its_own_sockets_and_name() {
        use std::os::fd::AsRawFd;
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let link = fs::read_link(format!("/proc/self/fd/{}", socket.as_raw_fd())).unwrap();
        let inode = socket_of(&link).unwrap();
        assert_eq!(owners(&[inode].into()).get(&inode), Some(&std::process::id()));
        let own = fs::read_to_string("/proc/self/comm").unwrap();
        assert_eq!(name(std::process::id()).unwrap().as_ref(), own.trim_end());
        assert_eq!(name(u32::MAX), None);
    }
}
