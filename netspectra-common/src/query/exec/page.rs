use crate::model::{FlowRecord, Nanos};
use crate::query::{FlowCursor, FlowsAnswer, PlanError};
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// Records at one position, at most. A flow has a second record there only when one packet was all that two records have
/// to say; more is damage, or a source that gives every packet the same time.
const MAX_AT_ONE_POSITION: usize = 4096;

/// The first records in order: as many as a page takes, and what shows whether there are more.
///
/// Records of one position stay together, because a cursor can only say "after this position".
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Page {
    limit: usize,
    #[serde(with = "positions")]
    at: BTreeMap<Reverse<FlowCursor>, Vec<FlowRecord>>,
    count: usize,
    /// The first position with more than [`MAX_AT_ONE_POSITION`] records.
    overfull: Option<FlowCursor>,
}

impl Page {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, at: BTreeMap::new(), count: 0, overfull: None }
    }

    /// Adds `record` when it comes behind `after` and before the end of the page. Cost: clones it only then.
    pub(super) fn add(&mut self, record: &FlowRecord, after: Option<FlowCursor>) {
        let position = FlowCursor::of(record);
        let is_read = after.is_some_and(|after| position >= after);
        if !is_read && self.takes(position) {
            self.put(position, record.clone());
        }
    }

    /// The `last_seen` below which a further record changes nothing; `None` while any may.
    pub(super) fn floor(&self) -> Option<Nanos> {
        let (Reverse(last), _) = self.at.last_key_value()?;
        self.is_enough(self.at.len(), self.count).then_some(last.last_seen)
    }

    pub(super) fn merge(&mut self, other: Self) {
        self.overfull = self.overfull.max(other.overfull);
        for (Reverse(position), records) in other.at {
            for record in records {
                if self.takes(position) {
                    self.put(position, record);
                }
            }
        }
    }

    /// Whether `position` is not behind everything that is kept while enough is kept.
    fn takes(&self, position: FlowCursor) -> bool {
        !self.is_enough(self.at.len(), self.count)
            || self.at.last_key_value().is_none_or(|(last, _)| position >= last.0)
    }

    /// Whether the first `count` records, at `positions`, fill the page and show that there are more: the first
    /// position is on the page however many records it has.
    fn is_enough(&self, positions: usize, count: usize) -> bool {
        positions > 1 && count > self.limit
    }

    fn put(&mut self, position: FlowCursor, record: FlowRecord) {
        let here = self.at.entry(Reverse(position)).or_default();
        if here.len() == MAX_AT_ONE_POSITION {
            self.overfull = self.overfull.max(Some(position));
            return;
        }
        here.push(record);
        self.count += 1;
        while let Some((_, last)) = self.at.last_key_value()
            && self.is_enough(self.at.len() - 1, self.count - last.len())
        {
            self.count -= last.len();
            self.at.pop_last();
        }
    }

    pub(super) fn answer(self) -> Result<FlowsAnswer, PlanError> {
        // Behind the end of the page it does not matter.
        if self.overfull.is_some_and(|position| self.at.contains_key(&Reverse(position))) {
            return Err(PlanError::Unanswerable(format!(
                "more than {MAX_AT_ONE_POSITION} records of one flow have the same times: narrow `filter`, or repair the \
                 clock of their source"
            )));
        }
        let mut items: Vec<FlowRecord> = Vec::new();
        let mut more = false;
        for mut records in self.at.into_values() {
            if !items.is_empty() && items.len() + records.len() > self.limit {
                more = true;
                break;
            }
            // An order of their own, so that it does not depend on who delivered them.
            records.sort_unstable();
            items.append(&mut records);
        }
        let next = items.last().filter(|_| more).map(FlowCursor::of);
        Ok(FlowsAnswer { items, next })
    }
}

/// Positions and their records as bytes: the records alone, which say their positions.
mod positions {
    use super::{BTreeMap, FlowCursor, FlowRecord, Reverse};
    use crate::model::{FlowFields, FlowFieldsRef};
    use serde::{Deserialize as _, Deserializer, Serializer};

    type Positions = BTreeMap<Reverse<FlowCursor>, Vec<FlowRecord>>;

    pub(super) fn serialize<S: Serializer>(at: &Positions, serializer: S) -> Result<S::Ok, S::Error> {
        let records: Vec<_> = at.values().flatten().map(FlowFieldsRef).collect();
        serializer.collect_seq(records)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Positions, D::Error> {
        let mut at = Positions::new();
        for FlowFields(record) in Vec::<FlowFields>::deserialize(deserializer)? {
            at.entry(Reverse(FlowCursor::of(&record))).or_default().push(record);
        }
        Ok(at)
    }
}
