//! The maps. Names and layouts are those of `netspectra_common::abi`.

use crate::asked::Asked;
use crate::hints::Event;
use crate::segments::Segments;
use crate::tunnel::Tunnelled;
use aya_ebpf::bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC};
use aya_ebpf::btf_maps::{Array, ArrayOfMaps, HashMap, LpmTrie, LruHashMap, PerCpuArray, RingBuf};
use aya_ebpf::macros::btf_map;
use netspectra_common::abi::{
    Control, Counter, FlowKey, FlowKey4, FlowStats, Front, GenTotals, MAX_RULE_NETS, Marks, NetKey, NetMasks, Overflow,
    RULE_SETS, RuleSet,
};
use netspectra_common::flow::{FragmentKey, FragmentValue, Fragments};

/// Capacity of the inner maps' template; the agent makes the real ones with the configured capacity.
const TEMPLATE: usize = 1024;
/// Entries of the outer maps; the agent sets generation slots times CPUs before it loads.
const OUTER: usize = 2;
/// First fragments remembered.
const FIRST_FRAGMENTS: usize = 16_384;
/// Room between two drains: for about 30,000 DNS messages, or the first bytes of 5,000 TLS connections.
const EVENT_BYTES: usize = 8 << 20;
/// Room for 4,096 CPUs.
const FILLING_BYTES: usize = 64 << 10;
const NO_PREALLOC: usize = BPF_F_NO_PREALLOC as usize;

pub type Flows4 = HashMap<FlowKey4, FlowStats, TEMPLATE, NO_PREALLOC>;
pub type Flows = HashMap<FlowKey, FlowStats, TEMPLATE, NO_PREALLOC>;

/// The agent looks for the map of its own version.
#[btf_map]
static ABI_6: Array<u32, 1> = Array::new();
const _: () = assert!(netspectra_common::abi::ABI_VERSION == 6, "rename the map `ABI_6` with the version");

#[btf_map]
pub static CONTROL: Array<Control, 1> = Array::new();

/// Mapped by the agent, which so reads it without calls, and sets its size before it loads.
#[btf_map]
pub static MARKS: Array<Marks, OUTER, { BPF_F_MMAPABLE as usize }> = Array::new();

/// As [`MARKS`].
#[btf_map]
pub static FRONT: Array<Front, OUTER, { BPF_F_MMAPABLE as usize }> = Array::new();

/// As [`MARKS`].
#[btf_map]
pub static FRONT_LONG: Array<FlowKey, OUTER, { BPF_F_MMAPABLE as usize }> = Array::new();

#[btf_map]
pub static FLOWS4: ArrayOfMaps<Flows4, OUTER> = ArrayOfMaps::new();

#[btf_map]
pub static FLOWS: ArrayOfMaps<Flows, OUTER> = ArrayOfMaps::new();

#[btf_map]
pub static TOTALS: ArrayOfMaps<Array<GenTotals, 1>, OUTER> = ArrayOfMaps::new();

#[btf_map]
pub static OVERFLOW: Array<Overflow, OUTER> = Array::new();

/// See `asked`.
#[btf_map]
pub static ASKED: PerCpuArray<Asked, 1> = PerCpuArray::new();

#[btf_map]
pub static RULES: Array<RuleSet, { RULE_SETS as usize }> = Array::new();

/// Both sets' prefixes.
#[btf_map]
pub static RULE_NETS: LpmTrie<NetKey, NetMasks, { RULE_SETS as usize * MAX_RULE_NETS }> = LpmTrie::new();

#[btf_map]
pub static IFACES: Array<u32, 65536> = Array::new();

/// The rest of them: a kernel that makes and removes interfaces goes on counting up.
#[btf_map]
pub static IFACES_HIGH: HashMap<u32, u32, 256> = HashMap::new();

#[btf_map]
pub static NO_TABLE: PerCpuArray<Counter, 1> = PerCpuArray::new();

/// Where tunnels are entered.
#[btf_map]
pub static TUNNELLED: PerCpuArray<Tunnelled, 1> = PerCpuArray::new();

/// What a super-packet is on the wire.
#[btf_map]
pub static SEGMENTS: PerCpuArray<Segments, 1> = PerCpuArray::new();

/// Hints: what does not fit is counted as lost, and no count depends on it.
#[btf_map]
pub static EVENTS: RingBuf<u8, EVENT_BYTES> = RingBuf::new();

/// The event that is being made.
#[btf_map]
pub static EVENT: PerCpuArray<Event, 1> = PerCpuArray::new();

/// Wakes the agent before a table is full. Of the generation's every CPU one entry at most, so that it never is full.
#[btf_map]
pub static FILLING: RingBuf<u32, FILLING_BYTES> = RingBuf::new();

#[btf_map]
static FRAGMENTS: LruHashMap<FragmentKey, FragmentValue, FIRST_FRAGMENTS> = LruHashMap::new();

/// First fragments of all CPUs, because the later ones may arrive on another. Look-up state: nothing is counted here.
pub struct FragmentMap;

impl Fragments for FragmentMap {
    #[inline(always)]
    fn remember(&mut self, key: &FragmentKey, value: &FragmentValue) {
        // A failure makes the later fragments orphans, which are counted.
        let _ = FRAGMENTS.insert(key, value, 0);
    }

    #[inline(always)]
    fn recall(&self, key: &FragmentKey) -> Option<FragmentValue> {
        // SAFETY: the value is copied out at once; a torn copy could only mix two first fragments with the same
        // identity, which the protocol forbids within the time that they are remembered.
        unsafe { FRAGMENTS.get(key) }.copied()
    }
}
