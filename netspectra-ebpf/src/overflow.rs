//! Packets whose flow found no room in a full table.

use crate::asked;
use crate::maps::OVERFLOW;
use netspectra_common::abi::Counter;
use netspectra_common::flow;

/// Counts the packet in the overflow cells of `table`, beside the reason in the totals.
#[inline(always)]
pub fn spill(table: u32, key: &impl asked::Key, counter: Counter) {
    if key.hand_over() {
        netspectra_spill(table, counter.packets, counter.bytes);
    }
}

/// Always 0: the kernel wants functions to return a number.
#[unsafe(no_mangle)]
#[inline(never)]
// The compiler would put it among unlikely code, in a section of its own, where the loader does not tell functions apart.
#[unsafe(link_section = ".text")]
extern "C" fn netspectra_spill(table: u32, packets: u64, bytes: u64) -> u32 {
    if let (Some(overflow), Some(key)) = (OVERFLOW.get_ptr_mut(table), asked::key()) {
        // SAFETY: this entry belongs to this CPU and generation, as the totals do: one program at a time writes to it.
        flow::spill(unsafe { &mut *overflow }, key, Counter::new(packets, bytes));
    }
    0
}
