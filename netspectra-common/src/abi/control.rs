use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Generation slots: one is filled by the kernel while the other one, frozen, is read.
pub const SLOTS: u32 = 2;

/// What user space tells the programs. One writer (the agent), read once per packet.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Control {
    /// Low byte: the slot that programs fill, `0..SLOTS`. Above it: the rules in force, 0 for none, else the number of the
    /// [`super::RuleSet`] plus one. A packet takes the slot by one read, so that all it counts is in one generation, and the rules by one read
    /// later, so that it meets one set.
    pub slot: u32,
    /// CPUs of the outer maps: a program uses entry `slot * cpus + cpu`.
    pub cpus: u32,
    /// 1: send first bytes of payloads, see [`super::EventHead`]; 0: none.
    pub events: u32,
    /// When a CPU has made this many new flow entries in a generation it asks for the generation's end; 0: never.
    pub early: u32,
    /// Rows of places in front of each CPU's tables ([`super::Front`]).
    pub rows: u32,
}

const _: () = assert!(size_of::<Control>() == 20);

impl Control {
    /// Bits of the slot in [`Control::slot`].
    pub const SLOT_BITS: u32 = 8;

    /// The word that chooses `slot` and `rules` (0: none, else the set's number plus one).
    pub const fn word(slot: u32, rules: u32) -> u32 {
        slot | (rules << Self::SLOT_BITS)
    }
}
