/// Why a frame is not in a flow record. Every frame is in exactly one record or under exactly one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum LossReason {
    /// The captured bytes end inside the link header or a VLAN tag.
    TruncatedLink = 0,
    /// The captured bytes end inside the IP header.
    TruncatedIp = 1,
    /// An IP header that contradicts itself: wrong version, header longer than packet, impossible length.
    MalformedIp = 2,
    /// More VLAN tags or extension headers than the parser follows.
    TooDeep = 3,
    /// A link type that the parser does not know.
    UnsupportedLink = 4,
    /// The flow table was full: totals are kept, the five-tuple is not.
    TableFull = 5,
    /// The table of the CPU that saw the frame was missing: a fault of the agent, never of the traffic.
    NoTable = 6,
    /// The capture ring of an AF_PACKET socket had no room. Packets are those that the kernel says it dropped, a
    /// segmentation-offload super-packet being one; their lengths are not known, so the bytes are 0 here and in `seen`.
    RingFull = 7,
    /// A rule of the configuration leaves it out.
    Excluded = 8,
    /// A rule of the configuration takes one of so many flows, and not this one.
    SampledOut = 9,
}

impl LossReason {
    /// Number of reasons.
    pub const COUNT: usize = 10;
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; Self::COUNT] = [
        Self::TruncatedLink,
        Self::TruncatedIp,
        Self::MalformedIp,
        Self::TooDeep,
        Self::UnsupportedLink,
        Self::TableFull,
        Self::NoTable,
        Self::RingFull,
        Self::Excluded,
        Self::SampledOut,
    ];

    /// Stable name, for metrics and answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TruncatedLink => "truncated_link",
            Self::TruncatedIp => "truncated_ip",
            Self::MalformedIp => "malformed_ip",
            Self::TooDeep => "too_deep",
            Self::UnsupportedLink => "unsupported_link",
            Self::TableFull => "table_full",
            Self::NoTable => "no_table",
            Self::RingFull => "ring_full",
            Self::Excluded => "excluded",
            Self::SampledOut => "sampled_out",
        }
    }
}
