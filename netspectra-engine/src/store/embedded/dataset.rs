use serde::{Deserialize, Serialize};

/// A kind of stored rows; each has its own segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dataset {
    /// Flow records.
    Flows,
    /// Roll-ups of closed windows.
    Rollups,
    /// Closed windows with their sketches.
    Windows,
    /// Where every frame of a generation went.
    Ledger,
}

impl Dataset {
    /// All of them, in the order of their [`tag`](Self::tag)s.
    pub const ALL: [Self; 4] = [Self::Flows, Self::Rollups, Self::Windows, Self::Ledger];

    /// The name that segment files begin with.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Flows => "flows",
            Self::Rollups => "rollups",
            Self::Windows => "windows",
            Self::Ledger => "ledger",
        }
    }

    /// The byte that stands for it in the log, also its place in [`ALL`](Self::ALL).
    pub(super) const fn tag(self) -> u8 {
        match self {
            Self::Flows => 0,
            Self::Rollups => 1,
            Self::Windows => 2,
            Self::Ledger => 3,
        }
    }

    pub(super) fn from_tag(tag: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|d| d.tag() == tag)
    }
}
