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
    /// What detectors said.
    Alerts,
    /// Messages of application protocols.
    Messages,
}

impl Dataset {
    /// All of them, in the order of their [`tag`](Self::tag)s.
    pub const ALL: [Self; 6] = [Self::Flows, Self::Rollups, Self::Windows, Self::Ledger, Self::Alerts, Self::Messages];

    /// The name that segment files begin with.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Flows => "flows",
            Self::Rollups => "rollups",
            Self::Windows => "windows",
            Self::Ledger => "ledger",
            Self::Alerts => "alerts",
            Self::Messages => "messages",
        }
    }

    /// The byte that stands for it in the log, also its place in [`ALL`](Self::ALL).
    pub(super) const fn tag(self) -> u8 {
        match self {
            Self::Flows => 0,
            Self::Rollups => 1,
            Self::Windows => 2,
            Self::Ledger => 3,
            Self::Alerts => 4,
            Self::Messages => 5,
        }
    }

    pub(super) fn from_tag(tag: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|d| d.tag() == tag)
    }
}
