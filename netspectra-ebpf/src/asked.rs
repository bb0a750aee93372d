//! A packet's key on its way to functions with global linkage, which the verifier checks once each, and not once for every
//! way that leads to them. They take numbers only, so the key goes through a per-CPU value: in the form in which it is
//! looked up, because a byte that is read makes ways differ to the verifier that are the same without it.

use crate::maps::ASKED;
use netspectra_common::abi::{Family, FlowKey, FlowKey4};

/// The key that was handed over last.
#[repr(C)]
pub struct Asked {
    long: FlowKey,
    short: FlowKey4,
    is_short: u64,
}

/// A key that can be handed over. Every CPU has its value, so this never fails.
pub trait Key {
    fn hand_over(&self) -> bool;
}

impl Key for FlowKey {
    #[inline(always)]
    fn hand_over(&self) -> bool {
        let Some(asked) = ASKED.get_ptr_mut(0) else { return false };
        // SAFETY: a per-CPU value, touched by one program at a time; no reference to it is alive here.
        let asked = unsafe { &mut *asked };
        asked.long = *self;
        asked.is_short = 0;
        true
    }
}

impl Key for FlowKey4 {
    #[inline(always)]
    fn hand_over(&self) -> bool {
        let Some(asked) = ASKED.get_ptr_mut(0) else { return false };
        // SAFETY: as above.
        let asked = unsafe { &mut *asked };
        asked.short = *self;
        asked.is_short = 1;
        true
    }
}

/// The key handed over last, in the long form.
#[inline(always)]
pub fn key() -> Option<&'static FlowKey> {
    let asked = ASKED.get_ptr_mut(0)?;
    // SAFETY: a per-CPU value that stays where it is, and that nothing else writes to until the function returns.
    let asked = unsafe { &mut *asked };
    if asked.is_short != 0 {
        lengthen(&asked.short, &mut asked.long);
    }
    Some(&asked.long)
}

/// As `FlowKey::from`, in place: functions called on top of a program have little stack left.
#[inline(always)]
fn lengthen(short: &FlowKey4, long: &mut FlowKey) {
    // Hidden from the compiler, which would call a function to fill the rest.
    let z = core::hint::black_box(0);
    let wide = |[a, b, c, d]: [u8; 4]| [a, b, c, d, z, z, z, z, z, z, z, z, z, z, z, z];
    long.src = wide(short.src);
    long.dst = wide(short.dst);
    long.src_port = short.src_port;
    long.dst_port = short.dst_port;
    long.vlan = short.vlan;
    long.inner_vlan = 0;
    long.proto = short.proto;
    long.family = Family::V4 as u8;
    long.obs = short.obs;
    long.tunnel = 0;
    long.tunnel_id = 0;
}
