//! Bounds-checked access to packet memory: all packet-pointer `unsafe` is here.

use crate::wide;
use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use aya_ebpf::programs::TcContext;
use core::mem::MaybeUninit;
use netspectra_common::abi::FlowKey;
use netspectra_common::wire::{Bytes, Fragment, Head, MAX_OFFSET, Packet};

/// Header bytes that an skb's linear part should hold: room for IPv6 and TCP in VXLAN in IPv6.
const HEADERS: u32 = 192;

/// The directly accessible bytes of a packet.
pub struct Linear {
    data: usize,
    end: usize,
}

impl Linear {
    /// The bytes `data..end`, as the context states them.
    #[inline(always)]
    pub fn new(data: usize, end: usize) -> Self {
        Self { data, end }
    }
}

impl Linear {
    /// Copies up to `N` bytes from offset `at` on, as many as are there and at most `len`; returns how many.
    ///
    /// By a helper, because the verifier does not let a loop of unknown length over packet memory pass on old kernels.
    #[inline(always)]
    pub fn copy<const N: usize>(&self, at: u32, len: u32, to: &mut [u8; N]) -> u16 {
        let from = self.data + at as usize;
        if from >= self.end {
            return 0;
        }
        let there = (self.end - from) as u32;
        let len = if len < there { len } else { there };
        let len = if len < N as u32 { len } else { N as u32 };
        // Hidden from the compiler, so that it keeps the comparison that the verifier needs.
        let len = core::hint::black_box(len);
        if len > N as u32 {
            return 0;
        }
        // SAFETY: `to` has room for `len` bytes by the comparison; the helper reads `from` fault-tolerantly.
        let failed = unsafe { bpf_probe_read_kernel(to.as_mut_ptr().cast(), len, from as *const _) };
        if failed == 0 { len as u16 } else { 0 }
    }
}

impl Bytes for Linear {
    /// Goes through the stack in halves: of a value that was not stored as a whole the verifier knows nothing, so all
    /// ways into a loop's next round look the same and are verified once.
    #[inline(always)]
    fn rejoin(at: u32) -> u32 {
        let mut halves = [0u16; 2];
        let p = halves.as_mut_ptr();
        // SAFETY: `p` points to two halves of this frame's stack.
        unsafe { p.write_volatile(at as u16) };
        // SAFETY: as above; offset 1 is the second half.
        unsafe { p.add(1).write_volatile((at >> 16) as u16) };
        // SAFETY: four initialised bytes; alignment is that of `u16`, hence unaligned, which the target allows.
        let at = unsafe { core::ptr::read_volatile(p.cast::<Half>()) }.0;
        // Bounds the register itself, whatever copy of it the compiler compares later. Changes no value: an offset is at
        // most that of a header that was read (MAX_OFFSET) plus the longest header (2,048).
        at & (2 * MAX_OFFSET + 1)
    }

    #[inline(always)]
    fn array<const N: usize>(&self, at: u32) -> Option<[u8; N]> {
        if at > MAX_OFFSET {
            return None;
        }
        let from = self.data + at as usize;
        // For one byte the compiler would compare `from >= end`, which the verifier does not accept as a proof.
        let to = if N == 1 { core::hint::black_box(from + N) } else { from + N };
        if to > self.end {
            return None;
        }
        // SAFETY: `from..from + N` lies inside `data..end` by the comparison above.
        Some(unsafe { wide::array(from) })
    }

    #[inline(always)]
    fn head(&self) -> Option<Head> {
        if self.data + Head::END > self.end {
            return None;
        }
        // SAFETY: all that is read lies inside `data..end` by the comparison above.
        let link = unsafe { wide::array(self.data + 12) };
        // SAFETY: as above.
        let middle = unsafe { wide::array(self.data + 20) };
        // SAFETY: as above.
        let src = unsafe { wide::array(self.data + 26) };
        // SAFETY: as above.
        let dst = unsafe { wide::array(self.data + 30) };
        // SAFETY: as above.
        let ports = unsafe { wide::array(self.data + 34) };
        Some(Head { link, middle, src, dst, ports })
    }
}

/// A fresh packet in `place`.
///
/// The key's zeros are written word by word. The compiler makes calls of `memset` of them, which sets one byte at a time.
#[inline(always)]
pub fn fresh(place: &mut MaybeUninit<Packet>) -> &mut Packet {
    const WORDS: usize = size_of::<FlowKey>() / size_of::<u64>();
    let packet = place.as_mut_ptr();
    // SAFETY: `packet` is aligned memory for a packet, so its key is inside it, at its begin.
    let key = unsafe { &raw mut (*packet).key }.cast::<u64>();
    for word in 0..WORDS {
        // SAFETY: the key has this many words, and a packet their alignment.
        let word = unsafe { key.add(word) };
        // SAFETY: as above.
        unsafe { word.write_volatile(0) };
    }
    // SAFETY: inside the packet, as the key is.
    unsafe { (&raw mut (*packet).l3_len).write_volatile(0) };
    // SAFETY: inside the packet, as the key is.
    unsafe { (&raw mut (*packet).l4_offset).write_volatile(0) };
    // SAFETY: inside the packet, as the key is.
    unsafe { (&raw mut (*packet).l3_end).write_volatile(0) };
    // SAFETY: inside the packet, as the key is.
    unsafe { (&raw mut (*packet).tcp_flags).write_volatile(0) };
    // SAFETY: inside the packet, as the key is.
    unsafe { (&raw mut (*packet).is_segment).write_volatile(false) };
    // Field by field: of a whole one the compiler makes copies.
    // SAFETY: inside the packet, as the key is.
    unsafe { (&raw mut (*packet).segment.seq).write_volatile(0) };
    // SAFETY: inside the packet, as the key is.
    unsafe { (&raw mut (*packet).segment.payload).write_volatile(0) };
    // SAFETY: inside the packet, as the key is.
    unsafe { (&raw mut (*packet).segment.window).write_volatile(0) };
    // SAFETY: inside the packet, as the key is.
    unsafe { (&raw mut (*packet).fragment).write(Fragment::No) };
    // SAFETY: every field is initialised, the key by zeros, which its type allows.
    unsafe { place.assume_init_mut() }
}

/// Writes what a key's last bytes are as one word: they were set one by one, and what reads the key next, the hash of a
/// map, reads words. See [`FlowKey4::from_words`](netspectra_common::abi::FlowKey4::from_words).
#[inline(always)]
pub fn settle(key: &mut FlowKey) {
    let byte = |of: &u8| {
        // SAFETY: a live reference; volatile, so that the compiler does not make one load of all four.
        u32::from(unsafe { core::ptr::read_volatile(of) })
    };
    let word = byte(&key.proto) | byte(&key.family) << 8 | byte(&key.obs) << 16 | byte(&key.tunnel) << 24;
    let to = (&raw mut key.proto).cast::<u32>();
    // SAFETY: the four bytes lie side by side at a multiple of four in the key, as is checked below.
    unsafe { to.write_volatile(word) };
}

const _: () = assert!(core::mem::offset_of!(FlowKey, proto) % 4 == 0);
const _: () = assert!(core::mem::offset_of!(FlowKey, tunnel) == core::mem::offset_of!(FlowKey, proto) + 3);

/// Pulls the headers of an skb into its linear part when they are not there.
#[inline(always)]
pub fn linearize(ctx: &TcContext) {
    let len = ctx.len();
    let need = if len < HEADERS { len } else { HEADERS };
    if ((ctx.data_end() - ctx.data()) as u32) < need {
        // On failure the parser meets the end of the data and the packet is counted with that reason.
        let _ = ctx.pull_data(need);
    }
}

/// A `u32` at the alignment of its halves.
#[repr(C, packed(2))]
#[derive(Clone, Copy)]
struct Half(u32);
