//! Rules of the configuration: which packets get a flow record. The first rule that a packet meets decides; a packet that
//! meets none is included. What a rule leaves out is counted as `excluded` or `sampled_out`.

mod compile;
mod handle;
mod words;

pub use compile::{CompiledRules, UserRules};
pub use handle::RulesHandle;
pub use netspectra_common::model::Net;

use netspectra_common::abi::{MAX_RULE_NETS, MAX_RULES};
use serde::{Deserialize, Serialize};

/// What a rule does with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// It gets a flow record.
    Include,
    /// It is counted under `excluded` and gets none.
    Exclude,
    /// One flow in [`Rule::one_in`] gets records, whole and in both directions, by a hash of addresses and ports; the rest is
    /// counted under `sampled_out`. Frames that are not IP get their records all.
    Sample,
}

/// One rule. A packet meets it when it meets every condition that the rule has; of several values in a condition one is
/// enough. A rule without a condition is met by every packet.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// What happens.
    pub action: Action,
    /// Of `sample`: a power of two from 2 to 65536.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub one_in: Option<u32>,
    /// Networks (`10.0.0.0/8`, `2001:db8::/32`, or one address) of the source or the destination.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub net: Vec<Net>,
    /// Networks of the source.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub src: Vec<Net>,
    /// Networks of the destination.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dst: Vec<Net>,
    /// Ports or ranges of ports (`443`, `8000-8999`) of the source or the destination; TCP, UDP, UDP-Lite and SCTP.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub port: Vec<String>,
    /// Protocols by name or number (`udp`, `47`); `non_ip` for frames that are not IP.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub proto: Vec<String>,
    /// Interface names or globs; of a capture file, its name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub iface: Vec<String>,
}

/// Rules that cannot be kept. The text names the rule, counted from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// Too many rules.
    #[error("there are {found} rules, expected at most {MAX_RULES}: put several values into one rule")]
    TooMany {
        /// How many.
        found: usize,
    },
    /// Too many networks.
    #[error("the rules have {found} networks, expected at most {MAX_RULE_NETS}: name larger networks")]
    TooManyNets {
        /// How many different ones.
        found: usize,
    },
    /// `one_in` is missing, or not of use.
    #[error("rule {rule}: action `{action}` has {found}, expected {expected}")]
    OneIn {
        /// Which rule.
        rule: usize,
        /// What it does.
        action: &'static str,
        /// What is there.
        found: String,
        /// What is legal.
        expected: &'static str,
    },
    /// A value that is none.
    #[error("rule {rule}: `{key}` has `{found}`, expected {expected}")]
    Value {
        /// Which rule.
        rule: usize,
        /// Which condition.
        key: &'static str,
        /// What is there.
        found: String,
        /// What is legal.
        expected: &'static str,
    },
}

/// Checks `rules` without interfaces to apply them to.
///
/// # Errors
/// The first that cannot be kept.
pub fn validate(rules: &[Rule]) -> Result<(), RuleError> {
    CompiledRules::new(rules, &[]).map(drop)
}
