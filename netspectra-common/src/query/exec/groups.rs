use crate::model::{Nanos, WindowState};
use crate::query::{PlanError, SeriesPoint, keys};
use crate::schema::Dimension;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// Groups (in a series: points of groups) that an answer is made of, at most. Memory: some 150 bytes each.
pub const MAX_GROUPS: usize = 1_000_000;

/// A group's encoded key and its value.
pub(super) type Group<V> = (Box<[u8]>, V);

/// Values by encoded key, of bounded number. Keys come from packets: the map's hash is seeded at random.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Groups<V> {
    map: HashMap<Box<[u8]>, V>,
    most: usize,
    /// There were more than `most`: nothing is kept any longer.
    overflow: bool,
    /// Spared allocations.
    #[serde(skip)]
    key: Vec<u8>,
}

impl<V> Default for Groups<V> {
    fn default() -> Self {
        Self::bounded(MAX_GROUPS)
    }
}

impl<V> Groups<V> {
    pub(super) fn bounded(most: usize) -> Self {
        Self { map: HashMap::new(), most, overflow: false, key: Vec::new() }
    }

    /// Adds `value` under the key that `write` writes, by `add` where there is one already.
    pub(super) fn add(&mut self, write: impl FnOnce(&mut Vec<u8>), value: V, add: impl FnOnce(&mut V, V)) {
        if self.overflow {
            return;
        }
        self.key.clear();
        write(&mut self.key);
        match self.map.get_mut(&*self.key) {
            Some(sum) => add(sum, value),
            None => self.insert(self.key.as_slice().into(), value),
        }
    }

    fn insert(&mut self, key: Box<[u8]>, value: V) {
        if self.map.len() >= self.most || self.overflow {
            self.overflow = true;
            self.map = HashMap::new();
        } else {
            self.map.insert(key, value);
        }
    }

    pub(super) fn merge(&mut self, mut other: Self, add: impl Fn(&mut V, V)) {
        if self.overflow || other.overflow {
            self.overflow = true;
            self.map = HashMap::new();
            return;
        }
        if other.map.len() > self.map.len() {
            std::mem::swap(&mut self.map, &mut other.map);
        }
        for (key, value) in other.map {
            match self.map.get_mut(&key) {
                Some(sum) => add(sum, value),
                None => self.insert(key, value),
            }
        }
    }

    /// The groups, in no order.
    pub(super) fn into_groups(self) -> Result<Vec<Group<V>>, PlanError> {
        if self.overflow {
            return Err(PlanError::Unanswerable(format!(
                "the answer would need more than {} groups: narrow the range or `filter`, group by fewer dimensions, or \
                 take a longer `step`",
                self.most
            )));
        }
        Ok(self.map.into_iter().collect())
    }
}

/// What a point of a series adds up. Sums saturate.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct SeriesSums {
    pub(super) packets: u64,
    pub(super) bytes: u64,
    /// `None` where it is not known.
    pub(super) new_flows: Option<u64>,
}

impl SeriesSums {
    pub(super) fn add(&mut self, other: Self) {
        self.packets = self.packets.saturating_add(other.packets);
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.new_flows = self.new_flows.zip(other.new_flows).map(|(mine, theirs)| mine.saturating_add(theirs));
    }
}

impl Groups<SeriesSums> {
    /// Adds to the point at `start` of the group whose key `write` appends.
    pub(super) fn add_point(&mut self, start: Nanos, sums: SeriesSums, write: impl FnOnce(&mut Vec<u8>)) {
        if sums.packets == 0 && sums.new_flows.unwrap_or(0) == 0 {
            return;
        }
        let key = |key: &mut Vec<u8>| {
            key.extend(start.0.to_be_bytes());
            write(key);
        };
        self.add(key, sums, SeriesSums::add);
    }

    /// Adds the totals of `window` to the points at `start`: of all, of its node, or of each protocol.
    pub(super) fn add_window(&mut self, window: &WindowState, start: Nanos, by: &[Dimension]) {
        if !by.contains(&Dimension::Proto) {
            let total = window.total;
            let sums = SeriesSums { packets: total.packets, bytes: total.bytes, new_flows: Some(window.new_flows) };
            let node = by.contains(&Dimension::Node).then_some(&window.node);
            return self.add_point(start, sums, |key| {
                if let Some(node) = node {
                    keys::group_of_node(key, node);
                }
            });
        }
        for (proto, counter) in &window.protocols {
            let sums = SeriesSums { packets: counter.packets, bytes: counter.bytes, new_flows: None };
            self.add_point(start, sums, |key| keys::group_of_proto(key, *proto));
        }
    }

    /// By key, then time.
    pub(super) fn points(self, by: &[Dimension]) -> Result<Vec<SeriesPoint>, PlanError> {
        let point = |(key, sums): Group<SeriesSums>| {
            let (start, group) =
                key.split_first_chunk::<8>().map_or((0, &[][..]), |(s, g)| (u64::from_be_bytes(*s), g));
            SeriesPoint {
                start: Nanos(start),
                key: keys::group_text(group, by),
                packets: sums.packets,
                bytes: sums.bytes,
                new_flows: sums.new_flows,
            }
        };
        let mut points: Vec<_> = self.into_groups()?.into_iter().map(point).collect();
        points.sort_unstable_by(|a, b| a.key.cmp(&b.key).then(a.start.cmp(&b.start)));
        Ok(points)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn of(most: usize, keys: &[u8]) -> Groups<u64> {
        let mut groups = Groups::bounded(most);
        keys.iter().for_each(|k| groups.add(|key| key.push(*k), 1, |sum, v| *sum += v));
        groups
    }

    #[test]
    fn as_many_groups_as_the_bound_are_kept() {
        let mut groups = of(3, &[1, 2, 3, 1, 1]).into_groups().unwrap();
        groups.sort_unstable();
        assert_eq!(groups, [([1].into(), 3), ([2].into(), 1), ([3].into(), 1)]);
    }

    #[test]
    fn one_group_more_than_the_bound_is_an_error_that_names_it_and_frees_the_memory() {
        let groups = of(3, &[1, 2, 3, 4, 1]);
        assert_eq!(groups.map.capacity(), 0);
        let error = groups.into_groups().unwrap_err().to_string();
        assert_eq!(
            error,
            "the answer would need more than 3 groups: narrow the range or `filter`, group by fewer dimensions, or take a \
             longer `step`"
        );
    }

    #[test]
    fn the_bound_holds_across_merges_and_an_overflow_is_never_forgotten() {
        let mut groups = of(3, &[1, 2]);
        groups.merge(of(3, &[2, 3]), |sum, v| *sum += v);
        assert!(!groups.overflow);
        let mut both = groups.clone();
        both.merge(of(3, &[4]), |sum, v| *sum += v);
        assert!(both.overflow);
        let mut late = of(3, &[1]);
        late.merge(both, |sum, v| *sum += v);
        late.add(|key| key.push(9), 1, |sum, v| *sum += v);
        assert!(late.overflow && late.map.is_empty());
    }
}
