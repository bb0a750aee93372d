//! The inner identity of tunnelled packets.
//!
//! Finding a tunnel and entering it are functions with global linkage, so that the verifier checks each once and not once
//! for every way that leads to it: inside the hook they would be too large. They work on a per-CPU value, because of a
//! value in a map the verifier knows nothing that would tell ways apart, and because a program and the functions it calls
//! share 512 bytes of stack.

use crate::maps::TUNNELLED;
use crate::packet::Linear;
use aya_ebpf::bindings::{__sk_buff, xdp_md};
use aya_ebpf::programs::{TcContext, XdpContext};
use netspectra_common::wire::{self, Inside, MAX_TUNNELS, Packet};

/// The packet whose tunnels are entered.
#[repr(C)]
pub struct Tunnelled {
    pub packet: Packet,
    spare: Packet,
    inside: Inside,
    pub wire_len: u32,
}

/// Set by the loader before the programs are loaded: 1 books tunnelled packets to the innermost five-tuple.
#[unsafe(no_mangle)]
static INNER_IDENTITY: u8 = 0;

/// The verifier knows the value and drops the code that it does not need.
#[inline(always)]
fn wanted() -> bool {
    // SAFETY: a constant of this object; volatile because the loader may replace it.
    unsafe { core::ptr::read_volatile(&raw const INNER_IDENTITY) != 0 }
}

/// A program's context.
pub trait Tunnels {
    /// Finds the next tunnel of the packet in [`TUNNELLED`]; 0 when there is none.
    fn find(&self) -> u32;
    /// Makes that packet the one inside; 0 when it cannot be read.
    fn enter(&self) -> u32;
}

impl Tunnels for XdpContext {
    #[inline(always)]
    fn find(&self) -> u32 {
        netspectra_find_xdp(self.ctx)
    }

    #[inline(always)]
    fn enter(&self) -> u32 {
        netspectra_enter_xdp(self.ctx)
    }
}

impl Tunnels for TcContext {
    #[inline(always)]
    fn find(&self) -> u32 {
        netspectra_find_tc(self.skb.skb)
    }

    #[inline(always)]
    fn enter(&self) -> u32 {
        netspectra_enter_tc(self.skb.skb)
    }
}

/// Makes `packet` the innermost one, when the configuration asks for it.
#[inline(always)]
pub fn innermost<C: Tunnels>(ctx: &C, wire_len: u32, packet: &mut Packet) {
    if !wanted() {
        return;
    }
    // Every CPU has its value, so nothing is left out here.
    let Some(tunnelled) = TUNNELLED.get_ptr_mut(0) else { return };
    // SAFETY: a per-CPU value, touched by one program at a time; the reference ends before the function uses the value.
    let value = unsafe { &mut *tunnelled };
    value.packet.copy_from(packet);
    value.wire_len = wire_len;
    let mut entered = 0;
    while entered < MAX_TUNNELS && ctx.find() != 0 && ctx.enter() != 0 {
        entered += 1;
    }
    // Also when no tunnel was entered: the verifier then knows nothing more of the packet, and follows what comes next once
    // and not for every way that leads here.
    // SAFETY: as above.
    packet.copy_from(unsafe { &(*tunnelled).packet });
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn netspectra_find_xdp(ctx: *mut xdp_md) -> u32 {
    find(&xdp_frame(ctx))
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn netspectra_enter_xdp(ctx: *mut xdp_md) -> u32 {
    enter(&xdp_frame(ctx))
}

#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn netspectra_find_tc(skb: *mut __sk_buff) -> u32 {
    find(&tc_frame(skb))
}

#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn netspectra_enter_tc(skb: *mut __sk_buff) -> u32 {
    enter(&tc_frame(skb))
}

#[inline(always)]
pub fn xdp_frame(ctx: *mut xdp_md) -> Linear {
    // SAFETY: `ctx` is the context the kernel gave the program.
    let (data, end) = unsafe { ((*ctx).data as usize, (*ctx).data_end as usize) };
    Linear::new(data, end)
}

#[inline(always)]
pub fn tc_frame(skb: *mut __sk_buff) -> Linear {
    // SAFETY: `skb` is the context the kernel gave the program.
    let (data, end) = unsafe { ((*skb).data as usize, (*skb).data_end as usize) };
    Linear::new(data, end)
}

#[inline(always)]
fn find(frame: &Linear) -> u32 {
    let Some(value) = TUNNELLED.get_ptr_mut(0) else { return 0 };
    // SAFETY: a per-CPU value, touched by one program at a time.
    let value = unsafe { &mut *value };
    match wire::inside(frame, &value.packet) {
        Some(inside) => {
            value.inside = inside;
            1
        }
        None => 0,
    }
}

#[inline(always)]
fn enter(frame: &Linear) -> u32 {
    let Some(value) = TUNNELLED.get_ptr_mut(0) else { return 0 };
    // SAFETY: as above.
    let Tunnelled { packet, spare, inside, wire_len } = unsafe { &mut *value };
    u32::from(wire::enter(frame, *wire_len, inside, packet, spare))
}
