use crate::query::{Row, keys};
use crate::schema::Dimension;
use crate::sketch::{Estimate, Hll};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;

/// Distinct values that are counted exactly; more are estimated.
pub const EXACT_DISTINCT: usize = 4096;

/// Distinct values: exact while few, then the sketch of the same keys. Which of the two depends on the set alone.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Distinct {
    exact: HashSet<Box<[u8]>>,
    /// Holds everything once there were too many; `exact` is then empty.
    sketch: Option<Hll>,
    /// Spared allocations.
    #[serde(skip)]
    key: Vec<u8>,
}

impl Distinct {
    pub(super) fn add(&mut self, row: &impl Row, of: &[Dimension]) {
        if !keys::distinct(&mut self.key, row, of) {
            return;
        }
        match &mut self.sketch {
            Some(sketch) => sketch.insert(&self.key),
            None if self.exact.contains(&*self.key) => {}
            None => {
                self.exact.insert(self.key.as_slice().into());
                self.check();
            }
        }
    }

    pub(super) fn merge(&mut self, other: Self) {
        match (&mut self.sketch, other.sketch) {
            (Some(mine), Some(theirs)) => mine.merge(&theirs),
            (Some(mine), None) => other.exact.iter().for_each(|key| mine.insert(key)),
            (None, Some(mut theirs)) => {
                self.exact.drain().for_each(|key| theirs.insert(&key));
                self.sketch = Some(theirs);
            }
            (None, None) => {
                self.exact.extend(other.exact);
                self.check();
            }
        }
    }

    fn check(&mut self) {
        if self.exact.len() > EXACT_DISTINCT {
            let mut sketch = Hll::default();
            std::mem::take(&mut self.exact).iter().for_each(|key| sketch.insert(key));
            self.sketch = Some(sketch);
        }
    }

    pub(super) fn estimate(&self) -> Estimate {
        match &self.sketch {
            Some(sketch) => sketch.estimate(),
            None => Estimate::exact(self.exact.len() as f64),
        }
    }
}
