//! The least that tells flows apart: a mapped file, its record headers one after the other, and a hash table of five-tuples of
//! IPv4 without options. Classic pcap, little-endian, Ethernet. It checks nothing and ends no flow.

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::path::Path;

/// Slots of the table; far more than there are flows in the captures that it is meant for.
const SLOTS: usize = 1 << 20;

#[derive(Clone, Copy, Default)]
struct Slot {
    addresses: u64,
    ports: u32,
    proto: u32,
    packets: u64,
    bytes: u64,
    first: u64,
    last: u64,
}

/// A file in memory until it is dropped.
struct Mapped(&'static [u8]);

impl Mapped {
    fn new(path: &Path) -> Self {
        let file = File::open(path).unwrap();
        let len = file.metadata().unwrap().len() as usize;
        let (read, private) = (libc::PROT_READ, libc::MAP_PRIVATE);
        // SAFETY: a fresh private mapping of a file that is open; nothing else is at the address that the kernel chooses.
        let at = unsafe { libc::mmap(std::ptr::null_mut(), len, read, private, file.as_raw_fd(), 0) };
        assert!(at != libc::MAP_FAILED, "the file cannot be mapped");
        // SAFETY: the mapping is `len` bytes long and is only read; the benchmark's file is not changed while it runs.
        Self(unsafe { std::slice::from_raw_parts(at.cast(), len) })
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: the mapping was made in `new` with this address and length, and nothing borrows from it any more.
        unsafe { libc::munmap(self.0.as_ptr().cast_mut().cast(), self.0.len()) };
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

pub(crate) fn main(path: &Path) {
    let file = Mapped::new(path);
    let bytes = file.0;
    let mut table = vec![Slot::default(); SLOTS];
    let (mut at, mut frames, mut flows) = (24, 0u64, 0u64);
    while at + 16 <= bytes.len() {
        let (captured, len) = (u32_at(bytes, at + 8) as usize, u32_at(bytes, at + 12));
        let time = u64::from(u32_at(bytes, at)) * 1_000_000 + u64::from(u32_at(bytes, at + 4));
        let Some(frame) = bytes.get(at + 16..at + 16 + captured) else { break };
        at += 16 + captured;
        frames += 1;
        if captured < 38 || frame[12..14] != [8, 0] || frame[14] != 0x45 {
            continue;
        }
        let addresses = u64::from(u32_at(frame, 26)) | u64::from(u32_at(frame, 30)) << 32;
        let (ports, proto) = (u32_at(frame, 34), u32::from(frame[23]));
        let mixed = (addresses ^ 0x9e37_79b9_7f4a_7c15).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed =
            (mixed ^ mixed >> 32 ^ u64::from(ports) << 8 ^ u64::from(proto)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let mut place = (mixed >> 32) as usize % SLOTS;
        loop {
            let slot = &mut table[place];
            if slot.packets == 0 {
                flows += 1;
                *slot = Slot { addresses, ports, proto, first: time, ..*slot };
            } else if (slot.addresses, slot.ports, slot.proto) != (addresses, ports, proto) {
                place = (place + 1) % SLOTS;
                continue;
            }
            slot.packets += 1;
            slot.bytes += u64::from(len);
            slot.last = time;
            break;
        }
    }
    let longest = table.iter().map(|slot| slot.last.wrapping_sub(slot.first)).max();
    std::hint::black_box((longest, frames, flows));
}
