//! The kernel side of NetSpectra: count, and let pass.
//!
//! Each program parses the frame with the parser that user space uses, folds it into the table of its CPU's current
//! generation, and returns the verdict that changes nothing. There is no other logic here.
#![no_std]
#![no_main]
// Loads of several bytes at any address, see `wide`.
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]

mod account;
mod asked;
mod hints;
mod maps;
mod overflow;
mod packet;
mod rules;
mod segments;
mod tunnel;
mod wide;

use aya_ebpf::bindings::{TC_ACT_UNSPEC, xdp_action::XDP_PASS};
use aya_ebpf::macros::{classifier, xdp};
use aya_ebpf::programs::{TcContext, XdpContext};
use netspectra_common::abi::Direction;

// Programs are inlined in what the macros make of them, so that the object check sees each as one.

/// Ingress as XDP. Runs in native and in generic mode.
#[xdp]
#[inline(always)]
pub fn netspectra_ingress(ctx: XdpContext) -> u32 {
    // SAFETY: `ctx` is the context the kernel gave this program.
    let ifindex = unsafe { (*ctx.ctx).ingress_ifindex };
    let frame = packet::Linear::new(ctx.data(), ctx.data_end());
    let seen = account::Seen::frame((ctx.data_end() - ctx.data()) as u32, ifindex, Direction::Ingress);
    account::count(&ctx, &frame, &seen);
    XDP_PASS
}

/// Ingress at TCX or clsact, where XDP is not to be had: behind GRO and before bridges, bonds and VLAN devices.
#[classifier]
#[inline(always)]
pub fn netspectra_tc_ingress(ctx: TcContext) -> i32 {
    classify(&ctx, Direction::Ingress)
}

/// Egress, at TCX or clsact.
#[classifier]
#[inline(always)]
pub fn netspectra_egress(ctx: TcContext) -> i32 {
    classify(&ctx, Direction::Egress)
}

/// `TC_ACT_UNSPEC` (TCX: next) hands the packet on to whoever comes after us.
#[inline(always)]
fn classify(ctx: &TcContext, direction: Direction) -> i32 {
    let skb = ctx.skb.skb;
    packet::linearize(ctx);
    // SAFETY: `skb` is the context the kernel gave this program.
    let ifindex = unsafe { (*skb).ifindex };
    let seen = account::Seen::skb(skb, ifindex, direction);
    // After the last call that may move the packet: the verifier forgets packet pointers there.
    // SAFETY: as above; the fields are read with the kernel's conversions.
    let (data, end) = unsafe { ((*skb).data as usize, (*skb).data_end as usize) };
    account::count(ctx, &packet::Linear::new(data, end), &seen);
    TC_ACT_UNSPEC
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
