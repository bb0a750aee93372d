use super::Counter;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Cells by protocol: one for each IANA number, and [`NON_IP_CELL`].
pub const PROTOCOL_CELLS: usize = 257;
/// The cell of frames that are not IP.
pub const NON_IP_CELL: usize = 256;
/// HyperLogLog registers of source addresses: 2^12.
pub const SOURCE_REGISTERS: usize = 4096;
/// Rows of the Count-Min sketch of source prefixes.
pub const PREFIX_ROWS: usize = 4;
/// Cells of a row.
pub const PREFIX_CELLS: usize = 1024;
/// Places for heavy prefixes: two halves, a prefix has one place in each.
pub const HEAVY_PREFIXES: usize = 128;

/// A source prefix that may be heavy.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct HeavyPrefix {
    /// The prefix as a number, see `flow::prefix_of`; 0 where the place is free.
    pub prefix: u64,
    /// Packets of the prefix at most, when it was last counted; decides which prefix keeps a place.
    pub at_most: u64,
    /// Counted since the prefix took this place: certain.
    pub since: Counter,
}

/// What one CPU counts in one generation of packets whose flow found no room. `flow::spill` fills it.
///
/// About 80 KiB, touched only while a table is full.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Overflow {
    /// By [`super::Direction`], then by protocol. Adds up to [`super::LossReason::TableFull`].
    pub protocols: [[Counter; PROTOCOL_CELLS]; 2],
    /// HyperLogLog of source addresses of IP packets: the highest rank of each register.
    pub sources: [u8; SOURCE_REGISTERS],
    /// Count-Min of source prefixes of IP packets.
    pub prefixes: [[Counter; PREFIX_CELLS]; PREFIX_ROWS],
    /// Prefixes worth naming.
    pub heavy: [HeavyPrefix; HEAVY_PREFIXES],
}

const _: () = assert!(
    size_of::<Overflow>()
        == 2 * PROTOCOL_CELLS * 16 + SOURCE_REGISTERS + PREFIX_ROWS * PREFIX_CELLS * 16 + HEAVY_PREFIXES * 32
);

impl Overflow {
    /// Of no packets.
    pub const EMPTY: Self = Self {
        protocols: [[Counter::new(0, 0); PROTOCOL_CELLS]; 2],
        sources: [0; SOURCE_REGISTERS],
        prefixes: [[Counter::new(0, 0); PREFIX_CELLS]; PREFIX_ROWS],
        heavy: [HeavyPrefix { prefix: 0, at_most: 0, since: Counter::new(0, 0) }; HEAVY_PREFIXES],
    };
}
