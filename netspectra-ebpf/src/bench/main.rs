//! Programs that the hook is measured beside: nothing at all, one counter, and the least that counts flows.
#![no_std]
#![no_main]

use aya_ebpf::bindings::{
    BPF_NOEXIST, TC_ACT_UNSPEC,
    xdp_action::{XDP_DROP, XDP_PASS, XDP_TX},
};
use aya_ebpf::btf_maps::{HashMap, LruPerCpuHashMap, PerCpuArray, PerCpuHashMap, ProgramArray};
use aya_ebpf::helpers::{bpf_get_prandom_u32, bpf_ktime_get_coarse_ns};
use aya_ebpf::macros::{btf_map, classifier, xdp};
use aya_ebpf::programs::{TcContext, XdpContext};

/// Packets and bytes.
#[btf_map]
static TOTAL: PerCpuArray<[u64; 2], 1> = PerCpuArray::new();

/// Packets, bytes, time of the last packet, by IPv4 five-tuple.
#[btf_map]
static FLOWS: PerCpuHashMap<[u32; 4], [u64; 3], 262_144, 1> = PerCpuHashMap::new();

/// The floor: what a program costs that does nothing.
#[xdp]
pub fn bench_empty(_ctx: XdpContext) -> u32 {
    XDP_PASS
}

/// One per-CPU counter.
#[xdp]
pub fn bench_array(ctx: XdpContext) -> u32 {
    if let Some(total) = TOTAL.get_ptr_mut(0) {
        // SAFETY: a per-CPU value, touched by one program at a time.
        let total = unsafe { &mut *total };
        total[0] += 1;
        total[1] += (ctx.data_end() - ctx.data()) as u64;
    }
    XDP_PASS
}

/// The same in a map that forgets what was not used for long.
#[btf_map]
static RECENT: LruPerCpuHashMap<[u32; 4], [u64; 3], 262_144> = LruPerCpuHashMap::new();

/// Packets, bytes, time of the last packet, by IPv6 five-tuple.
#[btf_map]
static FLOWS6: PerCpuHashMap<[u32; 10], [u64; 3], 262_144, 1> = PerCpuHashMap::new();

/// Counts in a map of flows what [`least`] or [`least6`] found, with entries of `$words` words.
macro_rules! count {
    ($flows:expr, $found:expr) => {
        count!($flows, $found, 3)
    };
    ($flows:expr, $found:expr, $words:literal) => {
        if let Some((key, bytes)) = $found {
            // SAFETY: the helper has no preconditions.
            let now = unsafe { bpf_ktime_get_coarse_ns() };
            match $flows.get_ptr_mut(key) {
                Some(flow) => {
                    // SAFETY: a per-CPU value, touched by one program at a time.
                    let flow = unsafe { &mut *flow };
                    flow[0] += 1;
                    flow[1] += bytes;
                    flow[2] = now;
                }
                None => {
                    let mut flow = [0; $words];
                    (flow[0], flow[1], flow[2]) = (1, bytes, now);
                    let _ = $flows.insert(key, flow, BPF_NOEXIST as u64);
                }
            }
        }
    };
}

/// As [`FLOWS`], with room for all of them from the start, as the kernel makes it by default.
#[btf_map]
static READY: PerCpuHashMap<[u32; 4], [u64; 3], 262_144> = PerCpuHashMap::new();

/// A map of the kind that ours are of, with entries of the same allocation class.
#[btf_map]
static PLAIN: HashMap<[u32; 4], [u64; 6], 262_144, 1> = HashMap::new();

/// As [`bench_hash`] with a table of this CPU's own.
#[xdp]
pub fn bench_plain(ctx: XdpContext) -> u32 {
    count!(PLAIN, least(&ctx), 6);
    XDP_PASS
}

/// As [`bench_hash`] with room for all flows from the start.
#[xdp]
pub fn bench_ready(ctx: XdpContext) -> u32 {
    count!(READY, least(&ctx));
    XDP_PASS
}

/// IPv4 without options, TCP or UDP, a per-CPU hash: no tags, no IPv6, no fragments, no reasons, no sizes.
#[xdp]
pub fn bench_hash(ctx: XdpContext) -> u32 {
    count!(FLOWS, least(&ctx));
    XDP_PASS
}

/// IPv6 without extension headers, TCP or UDP, and nothing else.
#[xdp]
pub fn bench_hash6(ctx: XdpContext) -> u32 {
    count!(FLOWS6, least6(&ctx));
    XDP_PASS
}

/// As [`bench_hash`] with a per-CPU LRU hash.
#[xdp]
pub fn bench_lru(ctx: XdpContext) -> u32 {
    count!(RECENT, least(&ctx));
    XDP_PASS
}

/// The floor at TC.
#[classifier]
pub fn bench_tc_empty(_ctx: TcContext) -> i32 {
    TC_ACT_UNSPEC
}

/// The five-tuple of an IPv4 packet, and its frame's length.
#[inline(always)]
fn least(ctx: &XdpContext) -> Option<([u32; 4], u64)> {
    let (data, end) = (ctx.data(), ctx.data_end());
    if data + 38 > end {
        return None;
    }
    // SAFETY: 38 bytes are there by the comparison above.
    let ether_type = unsafe { core::ptr::read_unaligned((data + 12) as *const u16) };
    if ether_type != 0x0008 {
        return None;
    }
    // SAFETY: as above.
    let (proto, src, dst, ports) = unsafe {
        (
            core::ptr::read((data + 23) as *const u8),
            core::ptr::read_unaligned((data + 26) as *const u32),
            core::ptr::read_unaligned((data + 30) as *const u32),
            core::ptr::read_unaligned((data + 34) as *const u32),
        )
    };
    Some(([src, dst, ports, u32::from(proto)], (end - data) as u64))
}

/// The five-tuple of an IPv6 packet, and its frame's length.
#[inline(always)]
fn least6(ctx: &XdpContext) -> Option<([u32; 10], u64)> {
    let (data, end) = (ctx.data(), ctx.data_end());
    if data + 58 > end {
        return None;
    }
    // SAFETY: 58 bytes are there by the comparison above.
    let ether_type = unsafe { core::ptr::read_unaligned((data + 12) as *const u16) };
    if ether_type != 0xdd86 {
        return None;
    }
    let mut key = [0; 10];
    let mut word = 0;
    // Addresses, then ports.
    while word < 9 {
        // SAFETY: as above.
        key[word] = unsafe { core::ptr::read_unaligned((data + 22 + 4 * word) as *const u32) };
        word += 1;
    }
    // SAFETY: as above.
    key[9] = u32::from(unsafe { core::ptr::read((data + 20) as *const u8) });
    Some((key, (end - data) as u64))
}

/// Flows that [`bench_send`] makes; the loader sets it.
#[unsafe(no_mangle)]
static SEND_FLOWS: u32 = 1;

/// A traffic generator, run with live frames: each IPv4 UDP frame gets one of [`SEND_FLOWS`] source addresses and leaves
/// by the interface that the run names.
#[xdp]
pub fn bench_send(ctx: XdpContext) -> u32 {
    let (data, end) = (ctx.data(), ctx.data_end());
    if data + 42 > end {
        return XDP_DROP;
    }
    // SAFETY: a constant of this object; volatile because the loader may replace it.
    let flows = unsafe { core::ptr::read_volatile(&raw const SEND_FLOWS) };
    // SAFETY: the helper has no preconditions.
    let random = unsafe { bpf_get_prandom_u32() };
    let flow = random.checked_rem(flows).unwrap_or(0);
    // SAFETY: 42 bytes are there by the comparison above.
    unsafe { core::ptr::write_unaligned((data + 26) as *mut u32, (0x0a00_0000 | flow).to_be()) };
    XDP_TX
}

/// The program that [`bench_spread`] hands its packets to.
#[btf_map]
static SPREAD_TO: ProgramArray<1> = ProgramArray::new();

/// Packets of [`bench_spread`] so far.
#[btf_map]
static SPREAD: PerCpuArray<u32, 1> = PerCpuArray::new();

/// Flows that [`bench_spread`] makes, a power of two; the loader sets it.
#[unsafe(no_mangle)]
static SPREAD_FLOWS: u32 = 1;

/// Makes the packet of a test run that repeats one of another flow, as neighbours in a receive queue are: each of the flows once,
/// then any of them at random; then hands it on.
#[xdp]
pub fn bench_spread(ctx: XdpContext) -> u32 {
    let (data, end) = (ctx.data(), ctx.data_end());
    if data + 42 > end {
        return XDP_DROP;
    }
    let Some(next) = SPREAD.get_ptr_mut(0) else { return XDP_DROP };
    // SAFETY: a per-CPU value, touched by one program at a time.
    let next = unsafe { &mut *next };
    // SAFETY: a constant of this object; volatile because the loader may replace it.
    let flows = unsafe { core::ptr::read_volatile(&raw const SPREAD_FLOWS) };
    let at = match *next < flows {
        // An odd step leads to every flow once.
        true => next.wrapping_mul(0x9e37_79b1),
        // SAFETY: the helper has no preconditions.
        false => unsafe { bpf_get_prandom_u32() },
    };
    // An odd number leads to different addresses and ports, without order.
    let flow = (at & flows.wrapping_sub(1)).wrapping_mul(0x85eb_ca6b);
    *next = next.saturating_add(1);
    // SAFETY: 42 bytes are there by the comparison above.
    unsafe {
        // The lower half of the source address, and the source port.
        core::ptr::write_unaligned((data + 28) as *mut u16, ((flow >> 16) as u16).to_be());
        core::ptr::write_unaligned((data + 34) as *mut u16, (flow as u16).to_be());
        SPREAD_TO.tail_call(&ctx, 0);
    }
    XDP_DROP
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    loop {}
}

/// Dual licence, as the kernel asks for the helpers that are used.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
