//! Bounds-checked access to packet memory: all packet-pointer `unsafe` is here.

use aya_ebpf::programs::TcContext;
use netspectra_common::wire::Bytes;

/// Highest header offset. The verifier wants packet offsets bounded; no legal header chain of ours is longer.
const MAX_OFFSET: u32 = 0x7ff;
/// Header bytes that an skb's linear part should hold.
const HEADERS: u32 = 128;

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

impl Bytes for Linear {
    #[inline(always)]
    fn array<const N: usize>(&self, at: u32) -> Option<[u8; N]> {
        if at > MAX_OFFSET {
            return None;
        }
        let from = self.data + at as usize;
        if from + N > self.end {
            return None;
        }
        // SAFETY: `from..from + N` lies inside `data..end` by the comparison above; any bytes are a valid array.
        Some(unsafe { core::ptr::read_unaligned(from as *const [u8; N]) })
    }
}

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
