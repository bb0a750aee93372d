//! System calls that no library offers: maps with given types, batch look-up, clocks. The agent's `unsafe` for the kernel side is here.

use super::table_types::Types;
use crate::source::shared::Shared;
use aya::maps::MapData;
use netspectra_common::model::Nanos;
use std::ffi::CString;
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd as _, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::ptr::NonNull;
use zerocopy::{FromBytes, Immutable, IntoBytes};

const BPF_MAP_CREATE: libc::c_long = 0;
const BPF_MAP_LOOKUP_ELEM: libc::c_long = 1;
const BPF_MAP_UPDATE_ELEM: libc::c_long = 2;
const BPF_PROG_TEST_RUN: libc::c_long = 10;
const BPF_BTF_LOAD: libc::c_long = 18;
const BPF_OBJ_GET: libc::c_long = 7;
const BPF_MAP_LOOKUP_BATCH: libc::c_long = 24;
const BPF_MAP_LOOKUP_AND_DELETE_BATCH: libc::c_long = 25;
const BPF_LINK_DETACH: libc::c_long = 34;
/// `BPF_FS_MAGIC` of `include/uapi/linux/magic.h`.
const BPF_FS_MAGIC: u64 = 0xcafe_4a11;

/// `union bpf_attr` for `BPF_MAP_CREATE`.
#[repr(C)]
#[derive(Default)]
struct CreateAttr {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
    inner_map_fd: u32,
    numa_node: u32,
    map_name: [u8; 16],
    map_ifindex: u32,
    btf_fd: u32,
    btf_key_type_id: u32,
    btf_value_type_id: u32,
}

/// What a new map is like.
#[derive(Clone, Copy, Debug)]
pub(super) struct MapShape {
    pub(super) kind: u32,
    pub(super) key: usize,
    pub(super) value: usize,
    pub(super) entries: u32,
    pub(super) flags: u32,
}

/// Makes a map, with `types` as its BTF where it goes into another map.
///
/// # Errors
/// The kernel's.
pub(super) fn create_map(shape: MapShape, types: Option<Types<'_>>) -> io::Result<OwnedFd> {
    let (btf_fd, btf_key_type_id, btf_value_type_id) =
        types.map_or((0, 0, 0), |t| (t.btf.as_raw_fd() as u32, t.key, t.value));
    let attr = CreateAttr {
        map_type: shape.kind,
        key_size: shape.key as u32,
        value_size: shape.value as u32,
        max_entries: shape.entries,
        map_flags: shape.flags,
        map_name: *b"netspectra\0\0\0\0\0\0",
        btf_fd,
        btf_key_type_id,
        btf_value_type_id,
        ..CreateAttr::default()
    };
    // SAFETY: the attribute is a whole `bpf_attr` for this command and holds no pointers.
    unsafe { new_fd(BPF_MAP_CREATE, &attr) }
}

/// An array of one number, to try what this kernel lets a process do with it.
///
/// # Errors
/// The kernel's.
pub(crate) fn small_map() -> io::Result<OwnedFd> {
    let kind = aya_obj::generated::bpf_map_type::BPF_MAP_TYPE_ARRAY as u32;
    create_map(MapShape { kind, key: size_of::<u32>(), value: size_of::<u64>(), entries: 1, flags: 0 }, None)
}

/// Reads the number of a [`small_map`].
///
/// # Errors
/// The kernel's.
pub(crate) fn read_small_map(map: &OwnedFd) -> io::Result<u64> {
    let mut value = 0u64;
    lookup(map.as_fd(), &0u32, &mut value).map(|()| value)
}

/// `union bpf_attr` for `BPF_BTF_LOAD`.
#[repr(C)]
struct BtfAttr {
    btf: u64,
    log_buf: u64,
    btf_size: u32,
    log_size: u32,
    log_level: u32,
    reserved: u32,
}

/// Loads a BTF object.
///
/// # Errors
/// The kernel's: `EINVAL` when it is malformed.
pub(super) fn load_btf(bytes: &[u8]) -> io::Result<OwnedFd> {
    let attr = BtfAttr {
        btf: bytes.as_ptr() as u64,
        log_buf: 0,
        btf_size: bytes.len() as u32,
        log_size: 0,
        log_level: 0,
        reserved: 0,
    };
    // SAFETY: the attribute is a whole `bpf_attr` for this command; `bytes` outlives the call.
    unsafe { new_fd(BPF_BTF_LOAD, &attr) }
}

/// A command that returns a new descriptor.
///
/// # Safety
/// `attr` is what `command` reads, and its pointers are good for the call.
unsafe fn new_fd<T>(command: libc::c_long, attr: &T) -> io::Result<OwnedFd> {
    // SAFETY: by the contract of this function.
    let rc = unsafe { libc::syscall(libc::SYS_bpf, command, &raw const *attr, size_of::<T>()) };
    match i32::try_from(rc) {
        // SAFETY: the kernel just made this descriptor for us (closed on exec, as all of `bpf`).
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// `union bpf_attr` for batch commands (`include/uapi/linux/bpf.h`).
#[repr(C)]
struct BatchAttr {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// What a batch does with the entries that it reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Batch {
    /// They stay.
    Read,
    /// They are deleted.
    Take,
}

/// Reads up to `keys.len() / key_size` entries of a hash map, after the position `cursor` (`None`: from the start).
///
/// Returns the entries read and whether more may follow. `keys` and `values` are packed arrays for `capacity` entries.
///
/// # Errors
/// The kernel's; `ENOSPC` when a bucket has more entries than `capacity`.
pub(super) fn batch(
    what: Batch,
    map: BorrowedFd<'_>,
    cursor: &mut Option<[u8; 64]>,
    keys: &mut [u8],
    values: &mut [u8],
    capacity: u32,
) -> io::Result<(usize, bool)> {
    let command = match what {
        Batch::Read => BPF_MAP_LOOKUP_BATCH,
        Batch::Take => BPF_MAP_LOOKUP_AND_DELETE_BATCH,
    };
    let mut next = [0u8; 64];
    let mut attr = BatchAttr {
        in_batch: cursor.as_ref().map_or(0, |c| c.as_ptr() as u64),
        out_batch: next.as_mut_ptr() as u64,
        keys: keys.as_mut_ptr() as u64,
        values: values.as_mut_ptr() as u64,
        count: capacity,
        map_fd: map.as_raw_fd() as u32,
        elem_flags: 0,
        flags: 0,
    };
    // SAFETY: the attribute is a whole `bpf_attr` for this command; its pointers are to buffers that outlive the call,
    // and the caller sized `keys` and `values` for `capacity` entries of the map (asserted in `tables`).
    let rc = unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut attr, size_of::<BatchAttr>()) };
    if rc == 0 {
        *cursor = Some(next);
        return Ok((attr.count as usize, true));
    }
    let error = io::Error::last_os_error();
    // The end of the map: what was read up to it is in the buffers.
    if error.raw_os_error() == Some(libc::ENOENT) { Ok((attr.count as usize, false)) } else { Err(error) }
}

/// `union bpf_attr` for element commands.
#[repr(C)]
struct ElemAttr {
    map_fd: u32,
    reserved: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// Reads the value of `key` from a map with exactly these key and value sizes, which holds one value a key.
///
/// # Errors
/// The kernel's.
pub(super) fn lookup<K: IntoBytes + Immutable, V: FromBytes + IntoBytes>(
    map: BorrowedFd<'_>,
    key: &K,
    value: &mut V,
) -> io::Result<()> {
    lookup_bytes(map, key, value.as_mut_bytes())
}

/// As [`lookup`], into bytes whose number is the map's value size.
///
/// # Errors
/// The kernel's.
pub(super) fn lookup_bytes<K: IntoBytes + Immutable>(map: BorrowedFd<'_>, key: &K, value: &mut [u8]) -> io::Result<()> {
    let attr = ElemAttr {
        map_fd: map.as_raw_fd() as u32,
        reserved: 0,
        key: key.as_bytes().as_ptr() as u64,
        value: value.as_mut_ptr() as u64,
        flags: 0,
    };
    // SAFETY: key and value are live buffers of the map's sizes: the maps are made from the same types, or their sizes
    // were asked for before.
    let rc = unsafe { libc::syscall(libc::SYS_bpf, BPF_MAP_LOOKUP_ELEM, &raw const attr, size_of::<ElemAttr>()) };
    if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Writes the value of `key` into a map with exactly these key and value sizes, which holds one value a key.
///
/// # Errors
/// The kernel's.
pub(super) fn update<K: IntoBytes + Immutable, V: IntoBytes + Immutable>(
    map: BorrowedFd<'_>,
    key: &K,
    value: &V,
) -> io::Result<()> {
    let attr = ElemAttr {
        map_fd: map.as_raw_fd() as u32,
        reserved: 0,
        key: key.as_bytes().as_ptr() as u64,
        value: value.as_bytes().as_ptr() as u64,
        flags: 0,
    };
    // SAFETY: key and value are live buffers of the map's sizes: the maps are made from the same types, or their sizes
    // were checked before. The kernel only reads them.
    let rc = unsafe { libc::syscall(libc::SYS_bpf, BPF_MAP_UPDATE_ELEM, &raw const attr, size_of::<ElemAttr>()) };
    if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// `union bpf_attr` for `BPF_OBJ_GET`.
#[repr(C)]
struct ObjectAttr {
    pathname: u64,
    bpf_fd: u32,
    file_flags: u32,
}

/// Opens the object that is pinned at `path`.
///
/// # Errors
/// The kernel's.
pub(super) fn object(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let attr = ObjectAttr { pathname: path.as_ptr() as u64, bpf_fd: 0, file_flags: 0 };
    // SAFETY: the attribute is a whole `bpf_attr` for this command; `path` ends with a zero and outlives the call.
    unsafe { new_fd(BPF_OBJ_GET, &attr) }
}

/// `union bpf_attr` for `BPF_LINK_DETACH`.
#[repr(C)]
struct DetachAttr {
    link_fd: u32,
    reserved: u32,
}

/// Takes a link's program off its hook, whoever else holds the link.
///
/// # Errors
/// The kernel's.
pub(super) fn detach_link(link: BorrowedFd<'_>) -> io::Result<()> {
    let attr = DetachAttr { link_fd: link.as_raw_fd() as u32, reserved: 0 };
    // SAFETY: the attribute is a whole `bpf_attr` for this command and holds no pointers.
    let rc = unsafe { libc::syscall(libc::SYS_bpf, BPF_LINK_DETACH, &raw const attr, size_of::<DetachAttr>()) };
    if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Whether `path` is in a BPF file system.
pub(super) fn is_bpf_fs(path: &Path) -> bool {
    let Ok(path) = CString::new(path.as_os_str().as_bytes()) else { return false };
    // SAFETY: all zeros is a valid structure to fill in.
    let mut info: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: the path ends with a zero and outlives the call, which writes into `info` only.
    let rc = unsafe { libc::statfs(path.as_ptr(), &raw mut info) };
    rc == 0 && info.f_type as u64 == BPF_FS_MAGIC
}

/// Mounts a BPF file system at `path`, for its owner alone.
///
/// # Errors
/// The kernel's.
pub(super) fn mount_bpf_fs(path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    // SAFETY: all strings end with a zero and outlive the call.
    let rc =
        unsafe { libc::mount(c"bpf".as_ptr(), path.as_ptr(), c"bpf".as_ptr(), flags, c"mode=0700".as_ptr().cast()) };
    if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// `union bpf_attr` for `BPF_PROG_TEST_RUN`.
#[repr(C)]
#[derive(Default)]
struct TestAttr {
    prog_fd: u32,
    retval: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    ctx_size_in: u32,
    ctx_size_out: u32,
    ctx_in: u64,
    ctx_out: u64,
    flags: u32,
    cpu: u32,
    batch_size: u32,
    reserved: u32,
}

/// Runs an XDP program `repeat` times on `frame`; the mean time of a run in nanoseconds.
///
/// # Errors
/// The kernel's.
pub(super) fn test_run(program: BorrowedFd<'_>, frame: &[u8], repeat: u32) -> io::Result<u32> {
    let mut attr = TestAttr {
        prog_fd: program.as_raw_fd() as u32,
        data_size_in: frame.len() as u32,
        data_in: frame.as_ptr() as u64,
        repeat,
        ..TestAttr::default()
    };
    // SAFETY: the attribute is a whole `bpf_attr` for this command; `frame` outlives the call and no output is asked for.
    let rc = unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_TEST_RUN, &raw mut attr, size_of::<TestAttr>()) };
    if rc == 0 { Ok(attr.duration) } else { Err(io::Error::last_os_error()) }
}

/// The values of an array that was made to be mapped (`BPF_F_MMAPABLE`), of a size that is a multiple of eight.
///
/// The kernel's programs may write to them at any time, so there is never a reference to one: they are copied out and in. A value that is
/// written meanwhile is a mixture of old and new bytes, which every type here allows; callers read those that no program uses.
pub(super) struct Mapped<T> {
    memory: Shared,
    values: usize,
    of: PhantomData<T>,
    /// Open, so that the kernel tells of it among the process's maps.
    _map: MapData,
}

impl<T: FromBytes + IntoBytes + Immutable + Copy> Mapped<T> {
    const IS_PACKED: () =
        assert!(size_of::<T>().is_multiple_of(8) && align_of::<T>() <= 8, "the kernel's array has other distances");

    /// Maps the `values` values of `map`, which are of this type.
    ///
    /// # Errors
    /// The kernel's.
    pub(super) fn new(map: MapData, values: usize) -> io::Result<Self> {
        let () = Self::IS_PACKED;
        let len = values.checked_mul(size_of::<T>()).ok_or(io::ErrorKind::InvalidInput)?;
        let memory = Shared::map(map.fd().as_fd().as_raw_fd(), len)?;
        Ok(Self { memory, values, of: PhantomData, _map: map })
    }

    /// Where value `at` is, if there is one.
    #[inline]
    fn place(&self, at: usize) -> Option<NonNull<T>> {
        // SAFETY: inside the mapping, which begins at a page.
        (at < self.values).then(|| unsafe { self.memory.start().cast::<T>().add(at) })
    }

    /// A copy of value `at`, if there is one.
    #[inline]
    pub(super) fn read(&self, at: usize) -> Option<T> {
        // SAFETY: inside the mapping; any bytes are a valid `T`.
        self.place(at).map(|place| unsafe { place.read_volatile() })
    }

    /// Writes value `at`, if there is one.
    pub(super) fn write(&mut self, at: usize, value: T) {
        if let Some(place) = self.place(at) {
            // SAFETY: as for a read.
            unsafe { place.write_volatile(value) }
        }
    }
}

fn clock(id: libc::clockid_t) -> u64 {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `t` is a valid timespec to write to; the clocks used here always exist.
    unsafe { libc::clock_gettime(id, &raw mut t) };
    (t.tv_sec as u64).wrapping_mul(Nanos::PER_SECOND).wrapping_add(t.tv_nsec as u64)
}

/// What to add to `CLOCK_MONOTONIC` to get Unix time, now. Modulo 2^64.
pub(super) fn wall_minus_monotonic() -> u64 {
    clock(libc::CLOCK_REALTIME).wrapping_sub(clock(libc::CLOCK_MONOTONIC))
}

/// CPUs that may ever run a program; numbers are below it.
pub(super) fn possible_cpus() -> u32 {
    aya::util::nr_cpus().map(|n| n as u32).unwrap_or(1)
}

/// The effective set of this thread, a bit for each capability by its number (capabilities(7)).
pub fn effective_capabilities() -> u64 {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let set = status.lines().find_map(|l| l.strip_prefix("CapEff:"));
    set.and_then(|v| u64::from_str_radix(v.trim(), 16).ok()).unwrap_or(0)
}

/// Whether this process may load programs: CAP_BPF and CAP_NET_ADMIN, or CAP_SYS_ADMIN, in the effective set.
pub(super) fn has_bpf_privilege() -> bool {
    const NET_ADMIN: u64 = 1 << 12;
    const SYS_ADMIN: u64 = 1 << 21;
    const BPF: u64 = 1 << 39;
    let effective = effective_capabilities();
    effective & SYS_ADMIN != 0 || effective & (BPF | NET_ADMIN) == (BPF | NET_ADMIN)
}
