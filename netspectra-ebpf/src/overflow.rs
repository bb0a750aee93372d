//! Packets whose flow found no room in a full table.

use crate::maps::OVERFLOW;
use netspectra_common::abi::{Counter, FlowKey};
use netspectra_common::flow;

/// Counts the packet in the overflow cells of `table`, beside the reason in the totals. Not inlined: packets that find
/// room pay nothing for it, and it has registers of its own. Not `#[cold]` either: that would put it into a section of its
/// own, where the loader takes it for the function at the same offset of `.text`.
#[inline(never)]
pub fn spill(table: u32, key: &FlowKey, counter: Counter) {
    if let Some(overflow) = OVERFLOW.get_ptr_mut(table) {
        // SAFETY: this entry belongs to this CPU and generation, as the totals do: one program at a time writes to it.
        flow::spill(unsafe { &mut *overflow }, key, counter);
    }
}
