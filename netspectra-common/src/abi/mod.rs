//! The bytes that kernel programs and user space exchange through maps.
//!
//! Integers and byte arrays only, padding named, one structure a file, sizes asserted at compile time. Integers are in
//! host byte order (kernel and agent share the host). A change of any layout here must raise [`ABI_VERSION`].

mod control;
mod event;
mod front;
mod key;
mod overflow;
mod reason;
mod rules;
mod sequence;
mod stats;
mod totals;

pub use control::{Control, SLOTS};
pub use event::{EventHead, EventKind, PREFIX_LEN};
pub use front::{Front, Lane, Marks};
pub use key::{Direction, Family, FlowKey, FlowKey4, ICMP_UNKNOWN, Obs, VLAN_PRESENT};
pub use overflow::{
    HEAVY_PREFIXES, HeavyPrefix, NON_IP_CELL, Overflow, PREFIX_CELLS, PREFIX_ROWS, PROTOCOL_CELLS, SOURCE_REGISTERS,
};
pub use reason::LossReason;
pub use rules::{MAX_RULE_NETS, MAX_RULES, NetKey, NetMasks, RULE_NET_HEAD, RULE_SETS, RuleSet, SAMPLING_BITS};
pub(crate) use sequence::micros_up;
pub use sequence::{Continuation, MAX_WINDOW, seq_ahead};
pub use stats::{
    FLAG_FIRST_SEQ, FLAG_FOLLOWED, FLAG_GAP, FLAG_OPENS, FLAG_SYN_ACK_SEEN, FLAG_SYN_AGAIN, FLAG_SYN_SEEN, FlowStats,
    Sampling, TCP_FLAGS_MASK,
};
pub use totals::{Counter, GenTotals, SIZE_BINS, size_bin, size_bin_range};

/// Version of every layout in this module. The agent refuses an object built with another one.
pub const ABI_VERSION: u32 = 6;

/// Names of the maps in the eBPF object.
pub mod maps {
    /// `ARRAY[1]` of [`super::Control`]: which generation slot is being filled.
    pub const CONTROL: &str = "CONTROL";
    /// `ARRAY[SLOTS * cpus * rows]` of [`super::Marks`]: the rows in front of entry 0 of the tables, of entry 1, and so on.
    pub const MARKS: &str = "MARKS";
    /// `ARRAY[SLOTS * cpus * rows * Front::LANES]` of [`super::Front`]: the places of each of these rows.
    pub const FRONT: &str = "FRONT";
    /// `ARRAY[SLOTS * cpus * rows * Front::LANES]` of [`super::FlowKey`]: the long keys of flows in [`FRONT`].
    pub const FRONT_LONG: &str = "FRONT_LONG";
    /// `ARRAY_OF_MAPS[SLOTS * cpus]` of `HASH<FlowKey4, FlowStats>`.
    pub const FLOWS4: &str = "FLOWS4";
    /// `ARRAY_OF_MAPS[SLOTS * cpus]` of `HASH<FlowKey, FlowStats>`.
    pub const FLOWS: &str = "FLOWS";
    /// `ARRAY_OF_MAPS[SLOTS * cpus]` of `ARRAY[1]` of [`super::GenTotals`].
    pub const TOTALS: &str = "TOTALS";
    /// `ARRAY[SLOTS * cpus]` of [`super::Overflow`].
    pub const OVERFLOW: &str = "OVERFLOW";
    /// `ARRAY[RULE_SETS]` of [`super::RuleSet`].
    pub const RULES: &str = "RULES";
    /// `LPM_TRIE` of [`super::NetMasks`] by address, see [`super::NetKey`].
    pub const RULE_NETS: &str = "RULE_NETS";
    /// `ARRAY[65536]` of `u32`: by interface index, the interface slot plus one; 0 where nothing is observed.
    pub const IFACES: &str = "IFACES";
    /// `HASH<u32, u32>`: the same for interface indexes from 65536 on.
    pub const IFACES_HIGH: &str = "IFACES_HIGH";
    /// `PERCPU_ARRAY[1]` of [`super::Counter`]: frames seen while the CPU had no table.
    pub const NO_TABLE: &str = "NO_TABLE";
    /// `LRU_HASH` of fragment identities; holds look-up state, never a count.
    pub const FRAGMENTS: &str = "FRAGMENTS";
    /// Ring buffer of CPU numbers (`u32`), one when a CPU has made [`super::Control::early`] new entries.
    pub const FILLING: &str = "FILLING";
    /// Ring buffer of [`super::EventHead`]s, each with the first bytes of a payload.
    pub const EVENTS: &str = "EVENTS";
}
