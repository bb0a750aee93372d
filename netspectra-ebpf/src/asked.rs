//! A packet's key on its way to functions with global linkage, which the verifier checks once each, and not once for every
//! way that leads to them. They take numbers only, so the key goes through a per-CPU value.

use crate::maps::ASKED;
use netspectra_common::abi::FlowKey;

/// Hands `key` over. Every CPU has its value, so this never fails.
#[inline(always)]
pub fn hand_over(key: &FlowKey) -> bool {
    let Some(asked) = ASKED.get_ptr_mut(0) else { return false };
    // SAFETY: a per-CPU value, touched by one program at a time; no reference to it is alive here.
    unsafe { *asked = *key };
    true
}

/// The key handed over last.
#[inline(always)]
pub fn key() -> Option<&'static FlowKey> {
    let asked = ASKED.get_ptr_mut(0)?;
    // SAFETY: a per-CPU value that stays where it is, and that nothing writes to until the function returns.
    Some(unsafe { &*asked })
}
