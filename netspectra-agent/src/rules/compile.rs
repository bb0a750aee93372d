//! Rules as the masks that the kernel and user space ask.

use super::words::{NON_IP, ports, protocol};
use super::{Action, Net, Rule, RuleError};
use crate::source::xdp::name_matches;
use netspectra_common::abi::{
    FlowKey, LossReason, MAX_RULE_NETS, MAX_RULES, NetKey, NetMasks, RULE_NET_HEAD, RuleSet, Sampling,
};
use netspectra_common::flow::{ADMITTED, EXCLUDED, RuleNets, SAMPLED_OUT, decide, net_key};
use netspectra_common::model::Interface;
use std::collections::{BTreeMap, BTreeSet};
use zerocopy::FromZeros;

/// Rules in the form that the kernel reads.
#[derive(Clone, Debug)]
pub struct CompiledRules {
    pub(crate) set: Box<RuleSet>,
    nets: BTreeMap<Net, NetMasks>,
}

impl CompiledRules {
    /// Compiles `rules` for `interfaces`: a condition on interfaces holds for those of them that it names.
    ///
    /// # Errors
    /// The first value or number that is out of bounds.
    pub fn new(rules: &[Rule], interfaces: &[Interface]) -> Result<Self, RuleError> {
        if rules.len() > MAX_RULES {
            return Err(RuleError::TooMany { found: rules.len() });
        }
        let mut set = empty_set();
        for (n, rule) in rules.iter().enumerate() {
            add(&mut set, n, rule)?;
        }
        watch(&mut set, rules, interfaces);
        Ok(Self { set, nets: nets(rules)? })
    }

    /// The prefixes for the kernel's map: number of bits, key, masks.
    pub(crate) fn prefixes(&self, number: u8) -> impl Iterator<Item = (u32, NetKey, NetMasks)> + '_ {
        self.nets.iter().map(move |(net, masks)| {
            let (family, address, bits) = net.parts();
            (RULE_NET_HEAD + u32::from(bits), net_key(number, family as u8, &address), *masks)
        })
    }
}

/// On the heap at once: it is larger than what a thread's stack may have left.
fn empty_set() -> Box<RuleSet> {
    RuleSet::new_box_zeroed().unwrap_or_else(|_| std::alloc::handle_alloc_error(std::alloc::Layout::new::<RuleSet>()))
}

/// Sets the bit of rule number `n` wherever a packet meets its conditions.
fn add(set: &mut RuleSet, n: usize, rule: &Rule) -> Result<(), RuleError> {
    let bit = 1u64 << n;
    let value = |key: &'static str, found: &str, expected: &'static str| RuleError::Value {
        rule: n + 1,
        key,
        found: found.to_owned(),
        expected,
    };
    if rule.action != Action::Exclude {
        set.include |= bit;
    }
    let sampling = sampling(n, rule)?;
    for (place, rules) in set.sampling.iter_mut().enumerate() {
        *rules |= if sampling.0 >> place & 1 == 1 { bit } else { 0 };
    }
    if rule.port.is_empty() {
        set.no_port |= bit;
        set.ports.iter_mut().for_each(|mask| *mask |= bit);
    }
    for text in &rule.port {
        let range = ports(text).ok_or_else(|| value("port", text, "a port or a range (`8000-8999`), 0 to 65535"))?;
        range.for_each(|port| set.ports[usize::from(port)] |= bit);
    }
    if rule.proto.is_empty() {
        set.not_ip |= bit;
        set.protos.iter_mut().for_each(|mask| *mask |= bit);
    }
    for text in &rule.proto {
        if text == NON_IP {
            set.not_ip |= bit;
        } else {
            let number =
                protocol(text).ok_or_else(|| value("proto", text, "a protocol's name or number, or `non_ip`"))?;
            set.protos[usize::from(number)] |= bit;
        }
    }
    if rule.net.is_empty() && rule.src.is_empty() && rule.dst.is_empty() {
        set.no_address |= bit;
    }
    Ok(())
}

/// How many of the flows that meet rule number `n` are counted.
fn sampling(n: usize, rule: &Rule) -> Result<Sampling, RuleError> {
    let wrong = |action, expected| {
        let found = rule.one_in.map_or_else(|| "no `one_in`".to_owned(), |found| format!("`one_in = {found}`"));
        RuleError::OneIn { rule: n + 1, action, found, expected }
    };
    match (rule.action, rule.one_in) {
        (Action::Sample, one_in) => one_in
            .and_then(Sampling::one_of)
            .ok_or_else(|| wrong("sample", "`one_in` with a power of two from 2 to 65536")),
        (_, None) => Ok(Sampling::ALL),
        (Action::Include, Some(_)) => Err(wrong("include", "no `one_in`, or action `sample`")),
        (Action::Exclude, Some(_)) => Err(wrong("exclude", "no `one_in`, or action `sample`")),
    }
}

/// Sets the bits of rules wherever an interface meets their conditions.
fn watch(set: &mut RuleSet, rules: &[Rule], interfaces: &[Interface]) {
    set.ifaces = [0; 128];
    for (n, rule) in rules.iter().enumerate() {
        let bit = 1u64 << n;
        if rule.iface.is_empty() {
            set.ifaces.iter_mut().for_each(|mask| *mask |= bit);
        }
        for interface in interfaces.iter().filter(|i| rule.iface.iter().any(|pattern| name_matches(pattern, &i.name))) {
            set.ifaces[usize::from(interface.slot & 127)] |= bit;
        }
    }
}

/// The masks of every network that a rule names, and of the two that hold all addresses. A look-up finds the longest
/// prefix only, so each has the rules of all that hold it.
fn nets(rules: &[Rule]) -> Result<BTreeMap<Net, NetMasks>, RuleError> {
    let everything = ["0.0.0.0/0", "::/0"].iter().filter_map(|text| text.parse::<Net>().ok());
    let all: BTreeSet<Net> =
        rules.iter().flat_map(|r| r.net.iter().chain(&r.src).chain(&r.dst)).copied().chain(everything).collect();
    if all.len() > MAX_RULE_NETS {
        return Err(RuleError::TooManyNets { found: all.len() });
    }
    let met = |nets: &[Net], net: &Net| nets.is_empty() || nets.iter().any(|n| n.holds(net));
    let masks = |net: &Net| {
        let mut masks = NetMasks::default();
        for (n, rule) in rules.iter().enumerate() {
            let bit = 1u64 << n;
            masks.src |= if met(&rule.src, net) { bit } else { 0 };
            masks.dst |= if met(&rule.dst, net) { bit } else { 0 };
            masks.net |= if met(&rule.net, net) { bit } else { 0 };
        }
        masks
    };
    Ok(all.iter().map(|net| (*net, masks(net))).collect())
}

/// The rules as a table in user space asks them.
#[derive(Debug)]
pub struct UserRules {
    rules: Vec<Rule>,
    compiled: CompiledRules,
    nets: UserNets,
}

/// The networks of one family and prefix length.
#[derive(Debug)]
struct Level {
    family: u8,
    bits: u8,
    nets: BTreeMap<[u8; 16], NetMasks>,
}

/// Of each family the longest prefixes first.
#[derive(Debug)]
struct UserNets(Vec<Level>);

impl RuleNets for UserNets {
    fn find(&self, key: &NetKey) -> NetMasks {
        let family = key[0].to_ne_bytes()[1];
        let whole = u128::from(u64::from_be_bytes(key[1].to_ne_bytes())) << 64
            | u128::from(u64::from_be_bytes(key[2].to_ne_bytes()));
        let of_family = self.0.iter().filter(|level| level.family == family);
        of_family
            .filter_map(|level| {
                let mask = u128::MAX.checked_shl(128 - u32::from(level.bits)).unwrap_or(0);
                level.nets.get(&(whole & mask).to_be_bytes())
            })
            .next()
            .copied()
            .unwrap_or_default()
    }
}

impl UserRules {
    /// Rules for a table without interfaces yet; `None` for no rules.
    ///
    /// # Errors
    /// As [`CompiledRules::new`].
    pub fn new(rules: &[Rule]) -> Result<Option<Self>, RuleError> {
        if rules.is_empty() {
            return Ok(None);
        }
        let compiled = CompiledRules::new(rules, &[])?;
        let mut levels: Vec<Level> = Vec::new();
        for (net, masks) in &compiled.nets {
            let (family, address, bits) = net.parts();
            let family = family as u8;
            let at = levels.iter().position(|l| (l.family, l.bits) == (family, bits)).unwrap_or_else(|| {
                levels.push(Level { family, bits, nets: BTreeMap::new() });
                levels.len() - 1
            });
            levels[at].nets.insert(address, *masks);
        }
        levels.sort_unstable_by_key(|level| std::cmp::Reverse(level.bits));
        let nets = UserNets(levels);
        Ok(Some(Self { rules: rules.to_vec(), compiled, nets }))
    }

    /// Other interfaces are there: conditions on interfaces are looked at again.
    pub fn set_interfaces(&mut self, interfaces: &[Interface]) {
        watch(&mut self.compiled.set, &self.rules, interfaces);
    }

    /// Whether a packet with `key` is counted in a flow, and how many flows of its kind are.
    ///
    /// # Errors
    /// The reason under which it is counted instead.
    pub fn admit(&self, key: &FlowKey) -> Result<Sampling, LossReason> {
        match decide(&self.compiled.set, 0, &self.nets, key) {
            EXCLUDED => Err(LossReason::Excluded),
            SAMPLED_OUT => Err(LossReason::SampledOut),
            admitted => Ok(Sampling((admitted - ADMITTED) as u8)),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use netspectra_common::abi::{Direction, Obs};
    use std::sync::Arc;

    fn rule(action: Action) -> Rule {
        let [net, src, dst] = [const { Vec::new() }; 3];
        Rule { action, one_in: None, net, src, dst, port: Vec::new(), proto: Vec::new(), iface: Vec::new() }
    }

    fn udp(src: [u8; 4], dst: [u8; 4], slot: u8) -> FlowKey {
        let obs = Obs::new(slot, Direction::Ingress).0;
        let mut key = FlowKey { family: 4, proto: 17, src_port: 40_000, dst_port: 53, obs, ..FlowKey::default() };
        key.src[..4].copy_from_slice(&src);
        key.dst[..4].copy_from_slice(&dst);
        key
    }

    fn nets(texts: &[&str]) -> Vec<Net> {
        texts.iter().map(|t| t.parse().unwrap()).collect()
    }

    #[test]
    fn the_first_rule_that_is_met_decides_and_none_includes() {
        let inner = Rule { net: nets(&["10.1.0.0/16"]), ..rule(Action::Include) };
        let outer = Rule { net: nets(&["10.0.0.0/8"]), ..rule(Action::Exclude) };
        let admits = |rules: &[Rule], key: &FlowKey| UserRules::new(rules).unwrap().unwrap().admit(key).is_ok();
        let (near, far, other) =
            (udp([10, 1, 0, 1], [9, 9, 9, 9], 0), udp([9, 9, 9, 9], [10, 2, 0, 1], 0), udp([1; 4], [2; 4], 0));
        let (rules, reversed) = ([inner.clone(), outer.clone()], [outer, inner]);
        assert_eq!([&near, &far, &other].map(|k| admits(&rules, k)), [true, false, true]);
        assert_eq!([&near, &far, &other].map(|k| admits(&reversed, k)), [false, false, true]);
    }

    #[test]
    fn source_and_destination_are_told_apart_and_all_conditions_must_hold() {
        let both = Rule { src: nets(&["10.0.0.0/8"]), dst: nets(&["9.0.0.0/8"]), ..rule(Action::Exclude) };
        let user = UserRules::new(std::slice::from_ref(&both)).unwrap().unwrap();
        assert_eq!(user.admit(&udp([10, 0, 0, 1], [9, 0, 0, 1], 0)), Err(LossReason::Excluded));
        assert_eq!(user.admit(&udp([9, 0, 0, 1], [10, 0, 0, 1], 0)), Ok(Sampling::ALL));
        let port = UserRules::new(&[Rule { port: vec!["53-60".into()], proto: vec!["tcp".into()], ..both }]);
        assert!(port.unwrap().unwrap().admit(&udp([10, 0, 0, 1], [9, 0, 0, 1], 0)).is_ok(), "not TCP");
    }

    #[test]
    fn interfaces_are_met_by_name_also_when_they_come_later() {
        let interface = |slot: u8, name: &str| Interface { slot, ifindex: 0, name: Arc::from(name) };
        let rule = Rule { iface: vec!["eth*".into()], ..rule(Action::Exclude) };
        let mut user = UserRules::new(&[rule]).unwrap().unwrap();
        let keys = [udp([1; 4], [2; 4], 0), udp([1; 4], [2; 4], 1)];
        assert_eq!(keys.each_ref().map(|k| user.admit(k).is_ok()), [true, true]);
        user.set_interfaces(&[interface(0, "lo"), interface(1, "eth0")]);
        assert_eq!(keys.each_ref().map(|k| user.admit(k).is_ok()), [true, false]);
    }

    #[test]
    fn a_sample_has_both_directions_of_one_flow_in_so_many_and_a_smaller_one_is_inside_it() {
        let sample = |one_in| Rule { one_in: Some(one_in), proto: vec!["udp".into()], ..rule(Action::Sample) };
        let user = |one_in| UserRules::new(&[sample(one_in)]).unwrap().unwrap();
        let (fourth, sixteenth) = (user(4), user(16));
        let (mut of_fourth, mut of_sixteenth) = (0u32, 0u32);
        const FLOWS: u32 = 20_000;
        for n in 0..FLOWS {
            let [a, b, c, d] = n.to_be_bytes();
            let there = udp([10, b, c, d], [172, 16, a, 7], 0);
            let back = FlowKey { src: there.dst, dst: there.src, src_port: 53, dst_port: 40_000, obs: 1, ..there };
            assert_eq!(fourth.admit(&there), fourth.admit(&back));
            assert_eq!(sixteenth.admit(&there), sixteenth.admit(&back));
            match (fourth.admit(&there), sixteenth.admit(&there)) {
                (Ok(sampling), smaller) => {
                    assert_eq!(sampling.one_in(), 4);
                    of_fourth += 1;
                    of_sixteenth += u32::from(smaller == Ok(Sampling(4)));
                }
                (Err(reason), smaller) => {
                    assert_eq!((reason, smaller), (LossReason::SampledOut, Err(LossReason::SampledOut)));
                }
            }
            // Another protocol meets no rule.
            assert_eq!(fourth.admit(&FlowKey { proto: 6, ..there }), Ok(Sampling::ALL));
        }
        // Five standard deviations of a binomial count: sqrt(20,000 * 3/16) = 61, sqrt(20,000 * 15/256) = 34.
        assert!(
            of_fourth.abs_diff(FLOWS / 4) < 305 && of_sixteenth.abs_diff(FLOWS / 16) < 170,
            "{of_fourth} {of_sixteenth}"
        );
    }

    #[test]
    fn a_ping_and_its_answer_are_one_flow_and_other_frames_are_not_sampled() {
        let user = UserRules::new(&[Rule { one_in: Some(8), ..rule(Action::Sample) }]).unwrap().unwrap();
        for n in 0..200 {
            let echo = FlowKey { proto: 1, src_port: 0, dst_port: 8 << 8, ..udp([10, 0, 0, n], [9; 4], 0) };
            let reply = FlowKey { src: echo.dst, dst: echo.src, dst_port: 0, ..echo };
            assert_eq!(user.admit(&echo), user.admit(&reply));
            let arp = FlowKey { family: 0, src_port: 0x0806 + u16::from(n), ..FlowKey::default() };
            assert_eq!(user.admit(&arp), Ok(Sampling::ALL));
        }
    }

    #[test]
    fn a_sample_of_no_use_is_named() {
        let error = |action, one_in| {
            let rules = [rule(Action::Include), Rule { one_in, ..rule(action) }];
            CompiledRules::new(&rules, &[]).unwrap_err().to_string()
        };
        let expected = "expected `one_in` with a power of two from 2 to 65536";
        assert_eq!(error(Action::Sample, Some(100)), format!("rule 2: action `sample` has `one_in = 100`, {expected}"));
        assert_eq!(error(Action::Sample, None), format!("rule 2: action `sample` has no `one_in`, {expected}"));
        assert!(error(Action::Sample, Some(131_072)).ends_with(expected));
        assert!(error(Action::Sample, Some(1)).ends_with(expected));
        let said = error(Action::Exclude, Some(4));
        assert_eq!(said, "rule 2: action `exclude` has `one_in = 4`, expected no `one_in`, or action `sample`");
    }

    #[test]
    fn too_many_networks_are_refused() {
        let many = (0..=MAX_RULE_NETS as u32).map(|n| format!("10.{}.{}.0/24", n >> 8, n & 255).parse().unwrap());
        let error = CompiledRules::new(&[Rule { net: many.collect(), ..rule(Action::Exclude) }], &[]).unwrap_err();
        assert!(error.to_string().contains("networks, expected at most 4096"), "{error}");
    }
}
