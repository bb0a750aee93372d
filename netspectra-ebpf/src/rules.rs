//! The configuration's rules, asked before a packet is counted in a flow.

use crate::asked;
use crate::maps::{RULE_NETS, RULES};
use aya_ebpf::btf_maps::lpm_trie::Key;
use netspectra_common::abi::{LossReason, NetKey, NetMasks, RULE_NET_HEAD};
use netspectra_common::flow::{self, ADMITTED, EXCLUDED, RuleNets, SAMPLED_OUT};

struct Nets;

impl RuleNets for Nets {
    #[inline(always)]
    fn find(&self, key: &NetKey) -> NetMasks {
        match RULE_NETS.get(&Key::new(RULE_NET_HEAD + 128, *key)) {
            Some(masks) => *masks,
            None => NetMasks::default(),
        }
    }
}

/// Asks the rules in force (`rules` of the control word, not 0). Returns the number of the packet's `Sampling`.
///
/// # Errors
/// [`LossReason::Excluded`], [`LossReason::SampledOut`] when a rule leaves the packet out.
#[inline(always)]
pub fn admit(rules: u32, key: &impl asked::Key) -> Result<u32, LossReason> {
    if !key.hand_over() {
        return Ok(0);
    }
    match netspectra_admit(rules) {
        EXCLUDED => Err(LossReason::Excluded),
        SAMPLED_OUT => Err(LossReason::SampledOut),
        admitted => Ok(admitted - ADMITTED),
    }
}

/// As [`flow::decide`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn netspectra_admit(rules: u32) -> u32 {
    let number = rules.wrapping_sub(1);
    // The agent writes the set before it names it.
    let Some(set) = RULES.get(number) else { return ADMITTED };
    let Some(key) = asked::key() else { return ADMITTED };
    flow::decide(set, number as u8, &Nets, key)
}
