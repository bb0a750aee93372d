use super::groups::Groups;
use crate::model::{Rollup, TimeRange, WindowState};
use crate::query::source::SketchTop;
use crate::query::{Metric, PlanError, TopAnswer, TopRow, keys};
use crate::schema::Dimension;
use crate::sketch::{Estimate, TopK};
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;

/// Exact sums by group, from roll-ups.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct RankedGroups {
    sums: Groups<u64>,
    total: u64,
}

impl RankedGroups {
    pub(super) fn add(&mut self, row: &Rollup, by: &[Dimension], metric: Metric) {
        let weight = match metric {
            Metric::Bytes => row.bytes,
            Metric::Packets => row.packets,
            Metric::Flows => row.new_flows,
            // Of pairs of groups, see `peers`.
            Metric::Peers => 0,
        };
        // A group that nothing is known of is no group: sketches do not have it either.
        if weight > 0 {
            self.total = self.total.saturating_add(weight);
            self.sums.add(|key| keys::group(key, row, by), weight, sum);
        }
    }

    pub(super) fn merge(&mut self, other: Self) {
        self.total = self.total.saturating_add(other.total);
        self.sums.merge(other.sums, sum);
    }

    pub(super) fn answer(self, range: TimeRange, by: &[Dimension], limit: usize) -> Result<TopAnswer, PlanError> {
        let mut groups = self.sums.into_groups()?;
        if groups.len() > limit {
            // Only groups that may be in the answer are turned into text, which decides between equal ones.
            let (_, (_, least), _) = groups.select_nth_unstable_by_key(limit - 1, |(_, weight)| Reverse(*weight));
            let least = *least;
            groups.retain(|(_, weight)| *weight >= least);
        }
        let mut items: Vec<_> =
            groups.into_iter().map(|(key, weight)| (Reverse(weight), keys::group_text(&key, by))).collect();
        items.sort_unstable();
        items.truncate(limit);
        let row = |(Reverse(weight), key)| TopRow { key, value: Estimate::exact(weight as f64) };
        Ok(TopAnswer { range, items: items.into_iter().map(row).collect(), total: self.total })
    }
}

fn sum(sum: &mut u64, weight: u64) {
    *sum = sum.saturating_add(weight);
}

/// Sums by group from the sketches of windows, which know IP alone, and the exact rest from their totals.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct SketchedTop {
    ranked: TopK,
    total: u64,
    /// Non-IP frames have no addresses, protocol and ports: in roll-ups they are the group of empty values.
    non_ip: u64,
}

impl SketchedTop {
    pub(super) fn add(&mut self, window: &WindowState, by: &[Dimension], metric: Metric) {
        let (Some(sketches), Some(which)) = (window.sketches.as_deref(), SketchTop::of(by, metric)) else { return };
        let of_packets = match which {
            SketchTop::SrcPackets | SketchTop::DstPackets => true,
            SketchTop::SrcBytes | SketchTop::DstBytes | SketchTop::DstPortBytes => false,
        };
        self.ranked.merge(match which {
            SketchTop::SrcBytes => &sketches.top_src_bytes,
            SketchTop::DstBytes => &sketches.top_dst_bytes,
            SketchTop::SrcPackets => &sketches.top_src_packets,
            SketchTop::DstPackets => &sketches.top_dst_packets,
            SketchTop::DstPortBytes => &sketches.top_dst_port_bytes,
        });
        let non_ip = window.protocols.get(&None).copied().unwrap_or_default();
        let pick = |c: crate::model::Counter| if of_packets { c.packets } else { c.bytes };
        sum(&mut self.total, pick(window.total));
        sum(&mut self.non_ip, pick(non_ip));
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.ranked.merge(&other.ranked);
        sum(&mut self.total, other.total);
        sum(&mut self.non_ip, other.non_ip);
    }

    pub(super) fn answer(self, range: TimeRange, by: &[Dimension], limit: usize) -> TopAnswer {
        let row = |entry: crate::sketch::TopEntry| TopRow { key: text(&entry.key, by), value: entry.value };
        // All of them: which of equal ones come first is decided by text, as it is for roll-ups.
        let mut items: Vec<_> = self.ranked.top(usize::MAX).into_iter().map(row).collect();
        if self.non_ip > 0 {
            items.push(TopRow { key: vec![String::new(); by.len()], value: Estimate::exact(self.non_ip as f64) });
        }
        items.sort_unstable_by(|a, b| b.value.estimate.total_cmp(&a.value.estimate).then_with(|| a.key.cmp(&b.key)));
        items.truncate(limit);
        TopAnswer { range, items, total: self.total }
    }
}

/// The group of a sketch's key.
fn text(key: &[u8], by: &[Dimension]) -> Vec<String> {
    let port = keys::decode_port(key);
    let value = |d: &Dimension| match (d, port) {
        (Dimension::Proto, Some((proto, _))) => keys::proto_text(proto),
        (Dimension::DstPort, Some((_, port))) => port.to_string(),
        _ => keys::address_text(key).unwrap_or_default(),
    };
    by.iter().map(value).collect()
}
