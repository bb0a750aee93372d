//! A packet's key on its way to functions with global linkage, which the verifier checks once each, and not once for every
//! way that leads to them. They take numbers only, so the key goes through a per-CPU value: in the form in which it is
//! looked up, because a byte that is read makes ways differ to the verifier that are the same without it.

use crate::maps::{ASKED, FRONT_LONG};
use netspectra_common::abi::{Family, FlowKey, FlowKey4, Front};

/// The key that was handed over last.
#[repr(C)]
pub struct Asked {
    long: FlowKey,
    short: FlowKey4,
    is_short: u64,
}

/// A kind of key.
pub trait Key: Copy {
    /// Hands the key over. Every CPU has its value, so this never fails.
    fn hand_over(&self) -> bool;
    /// The hash that chooses a row in front of the tables, and what the key is there.
    fn in_front(&self) -> (u64, FlowKey4);
    /// Whether the place `at`, in which `short` is what this key is there, is this flow's.
    fn has(&self, at: u32) -> bool;
    /// Takes the place `at`.
    fn take(&self, at: u32);
}

/// Bits that differ, those of all words together. Of an equation the compiler makes a call, which compares bytes.
#[inline(always)]
pub fn differing<const N: usize>(a: [u64; N], b: [u64; N]) -> u64 {
    let mut bits = 0;
    let mut at = 0;
    while at < N {
        bits |= a[at] ^ b[at];
        at += 1;
    }
    bits
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

    #[inline(always)]
    fn in_front(&self) -> (u64, FlowKey4) {
        let hash = Front::hash_long(self);
        (hash, Front::digest(hash))
    }

    #[inline(always)]
    fn has(&self, at: u32) -> bool {
        match FRONT_LONG.get(at) {
            Some(key) => differing(self.words(), key.words()) == 0,
            None => false,
        }
    }

    #[inline(always)]
    fn take(&self, at: u32) {
        if let Some(key) = FRONT_LONG.get_ptr_mut(at) {
            // SAFETY: this CPU's, one program at a time; user space only reads those of frozen generations.
            unsafe { *key = *self };
        }
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

    #[inline(always)]
    fn in_front(&self) -> (u64, FlowKey4) {
        (Front::hash_short(self), *self)
    }

    #[inline(always)]
    fn has(&self, _: u32) -> bool {
        true
    }

    #[inline(always)]
    fn take(&self, _: u32) {}
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
