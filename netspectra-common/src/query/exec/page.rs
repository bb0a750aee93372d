use crate::model::{Alert, AppMessage, FlowFields, Nanos};
use crate::query::{PlanError, RowCursor, RowsAnswer};
use serde::{Deserialize, Serialize};
use std::cmp::{Ordering, Reverse};
use std::collections::BTreeMap;

/// Rows at one position, at most. A flow has a second record there only when one packet was all that two records have
/// to say; more is damage, or a source that gives every packet the same time.
const MAX_AT_ONE_POSITION: usize = 4096;

/// A row that is listed.
pub(super) trait Listed: Clone {
    /// Where it is in the list.
    fn position(&self) -> RowCursor;

    /// The order of rows at one position, so that it does not depend on who delivered them.
    fn order(&self, other: &Self) -> Ordering;
}

impl Listed for FlowFields {
    fn position(&self) -> RowCursor {
        RowCursor::of_flow(&self.0)
    }

    fn order(&self, other: &Self) -> Ordering {
        self.cmp(other)
    }
}

impl Listed for Alert {
    fn position(&self) -> RowCursor {
        RowCursor::of_alert(self)
    }

    /// What is said of an incident at one time: that it opened, that it grew, that it ended.
    fn order(&self, other: &Self) -> Ordering {
        (other.phase as u8, &other.node).cmp(&(self.phase as u8, &self.node))
    }
}

impl Listed for AppMessage {
    fn position(&self) -> RowCursor {
        RowCursor::of_message(self)
    }

    fn order(&self, other: &Self) -> Ordering {
        self.node.cmp(&other.node)
    }
}

/// The first rows in order: as many as a page takes, and what shows whether there are more.
///
/// Rows of one position stay together, because a cursor can only say "after this position".
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(bound(serialize = "R: Listed + Serialize", deserialize = "R: Listed + Deserialize<'de>"))]
pub(super) struct Page<R> {
    limit: usize,
    #[serde(with = "positions")]
    at: BTreeMap<Reverse<RowCursor>, Vec<R>>,
    count: usize,
    /// The first position with more than [`MAX_AT_ONE_POSITION`] rows.
    overfull: Option<RowCursor>,
}

impl<R: Listed> Page<R> {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, at: BTreeMap::new(), count: 0, overfull: None }
    }

    /// Adds the row at `position` when it comes behind `after` and before the end of the page; `row` makes it only then.
    pub(super) fn add(&mut self, position: RowCursor, after: Option<RowCursor>, row: impl FnOnce() -> R) {
        let is_read = after.is_some_and(|after| position >= after);
        if !is_read && self.takes(position) {
            self.put(position, row());
        }
    }

    /// The time below which a further row changes nothing; `None` while any may.
    pub(super) fn floor(&self) -> Option<Nanos> {
        let (Reverse(last), _) = self.at.last_key_value()?;
        self.is_enough(self.at.len(), self.count).then_some(last.at)
    }

    pub(super) fn merge(&mut self, other: Self) {
        self.overfull = self.overfull.max(other.overfull);
        for (Reverse(position), rows) in other.at {
            for row in rows {
                if self.takes(position) {
                    self.put(position, row);
                }
            }
        }
    }

    /// Whether `position` is not behind everything that is kept while enough is kept.
    fn takes(&self, position: RowCursor) -> bool {
        !self.is_enough(self.at.len(), self.count)
            || self.at.last_key_value().is_none_or(|(last, _)| position >= last.0)
    }

    /// Whether the first `count` rows, at `positions`, fill the page and show that there are more: the first
    /// position is on the page however many rows it has.
    fn is_enough(&self, positions: usize, count: usize) -> bool {
        positions > 1 && count > self.limit
    }

    fn put(&mut self, position: RowCursor, row: R) {
        let here = self.at.entry(Reverse(position)).or_default();
        if here.len() == MAX_AT_ONE_POSITION {
            self.overfull = self.overfull.max(Some(position));
            return;
        }
        here.push(row);
        self.count += 1;
        while let Some((_, last)) = self.at.last_key_value()
            && self.is_enough(self.at.len() - 1, self.count - last.len())
        {
            self.count -= last.len();
            self.at.pop_last();
        }
    }

    pub(super) fn answer(self) -> Result<RowsAnswer<R>, PlanError> {
        // Behind the end of the page it does not matter.
        if self.overfull.is_some_and(|position| self.at.contains_key(&Reverse(position))) {
            return Err(PlanError::Unanswerable(format!(
                "more than {MAX_AT_ONE_POSITION} records of one flow have the same times: narrow `filter`, or repair the \
                 clock of their source"
            )));
        }
        let mut items: Vec<R> = Vec::new();
        let mut more = false;
        for mut rows in self.at.into_values() {
            if !items.is_empty() && items.len() + rows.len() > self.limit {
                more = true;
                break;
            }
            rows.sort_unstable_by(R::order);
            items.append(&mut rows);
        }
        let next = items.last().filter(|_| more).map(R::position);
        Ok(RowsAnswer { items, next })
    }
}

/// Positions and their rows as bytes: the rows alone, which say their positions.
mod positions {
    use super::{BTreeMap, Listed, Reverse, RowCursor};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    type Positions<R> = BTreeMap<Reverse<RowCursor>, Vec<R>>;

    pub(super) fn serialize<R, S>(at: &Positions<R>, serializer: S) -> Result<S::Ok, S::Error>
    where
        R: Serialize,
        S: Serializer,
    {
        serializer.collect_seq(at.values().flatten().collect::<Vec<_>>())
    }

    pub(super) fn deserialize<'de, R, D>(deserializer: D) -> Result<Positions<R>, D::Error>
    where
        R: Listed + Deserialize<'de>,
        D: Deserializer<'de>,
    {
        let mut at = Positions::new();
        for row in Vec::<R>::deserialize(deserializer)? {
            at.entry(Reverse(row.position())).or_insert_with(Vec::new).push(row);
        }
        Ok(at)
    }
}
