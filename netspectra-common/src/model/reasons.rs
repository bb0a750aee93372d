use super::Counter;
use crate::abi::LossReason;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::ops::{Index, IndexMut};

/// Reasons that every release knows.
const FIRST: usize = 9;
/// Reasons that a list has at most, whoever wrote it.
const MOST: usize = 64;

/// Counters by [`LossReason`], and those of reasons that later releases have. What a newer agent counts under a reason without a
/// name here is in the balance all the same, and is told on as it came.
///
/// Other processes get a list: later reasons are left out where they are 0, so that earlier releases that take no longer list
/// read what they know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reasons {
    known: [Counter; LossReason::COUNT],
    /// Of reason number [`LossReason::COUNT`] and those behind it; the last one is not 0.
    later: Vec<Counter>,
}

impl Reasons {
    /// Those of a list, by number; `None` when it is longer than any list of ours.
    pub fn of_list(list: &[Counter]) -> Option<Self> {
        if list.len() > MOST {
            return None;
        }
        let mut this = Self::default();
        let (known, later) = list.split_at(list.len().min(LossReason::COUNT));
        this.known[..known.len()].copy_from_slice(known);
        this.later = later.to_vec();
        this.trim();
        Some(this)
    }

    /// The list that other processes get.
    pub fn told(&self) -> Vec<Counter> {
        let last = self.all().enumerate().filter(|(_, counter)| !counter.is_zero()).map(|(at, _)| at + 1).last();
        self.all().take(last.unwrap_or(0).max(FIRST)).copied().collect()
    }

    /// All counters, those without a name last.
    pub fn all(&self) -> impl Iterator<Item = &Counter> {
        self.known.iter().chain(&self.later)
    }

    /// Every reason with its name; one of a later release is called `reason_` and its number.
    pub fn named(&self) -> impl Iterator<Item = (Cow<'static, str>, &Counter)> {
        let known = LossReason::ALL.iter().zip(&self.known).map(|(reason, counter)| (reason.name().into(), counter));
        let later = self.later.iter().enumerate();
        known.chain(later.map(|(at, counter)| (format!("reason_{}", LossReason::COUNT + at).into(), counter)))
    }

    /// Adds `other`.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.known.iter_mut().zip(&other.known) {
            mine.add(*theirs);
        }
        if self.later.len() < other.later.len() {
            self.later.resize(other.later.len(), Counter::default());
        }
        for (mine, theirs) in self.later.iter_mut().zip(&other.later) {
            mine.add(*theirs);
        }
        self.trim();
    }

    fn trim(&mut self) {
        while self.later.pop_if(|counter| counter.is_zero()).is_some() {}
    }
}

impl From<[Counter; LossReason::COUNT]> for Reasons {
    fn from(known: [Counter; LossReason::COUNT]) -> Self {
        Self { known, later: Vec::new() }
    }
}

impl Index<LossReason> for Reasons {
    type Output = Counter;

    fn index(&self, reason: LossReason) -> &Counter {
        &self.known[reason as usize]
    }
}

impl IndexMut<LossReason> for Reasons {
    fn index_mut(&mut self, reason: LossReason) -> &mut Counter {
        &mut self.known[reason as usize]
    }
}

impl Serialize for Reasons {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(self.told())
    }
}

impl<'de> Deserialize<'de> for Reasons {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let list = Vec::<Counter>::deserialize(from)?;
        Self::of_list(&list).ok_or_else(|| D::Error::custom("more reasons than any release has"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn reasons_of_a_later_release_are_counted_and_told_on_as_they_came() {
        let mut told = vec![Counter::default(); 12];
        (told[0], told[11]) = (Counter::new(1, 60), Counter::new(2, 120));
        let reasons = Reasons::of_list(&told).unwrap();
        assert_eq!(reasons.told(), told);
        assert_eq!(reasons.all().map(|c| c.packets).sum::<u64>(), 3);
        let named: Vec<_> = reasons.named().filter(|(_, c)| !c.is_zero()).map(|(name, c)| (name, c.packets)).collect();
        assert_eq!(named, [("truncated_link".into(), 1), ("reason_11".into(), 2)]);
        let mut sum = Reasons::default();
        sum[LossReason::Excluded] = Counter::new(5, 300);
        sum.merge(&reasons);
        sum.merge(&Reasons::of_list(&told[..11]).unwrap());
        assert_eq!((sum[LossReason::Excluded].packets, sum[LossReason::TruncatedLink].packets), (5, 2));
        assert_eq!(sum.told()[11], told[11]);
        // The same through what states, journals and rows of the store have.
        let bytes = postcard::to_stdvec(&sum).unwrap();
        assert_eq!(postcard::from_bytes::<Reasons>(&bytes).unwrap(), sum);
        assert_eq!(serde_json::from_str::<Reasons>(&serde_json::to_string(&sum).unwrap()).unwrap(), sum);
    }

    #[test]
    fn later_ones_that_are_0_are_left_out_and_no_list_is_endless() {
        assert_eq!(Reasons::default().told(), vec![Counter::default(); FIRST]);
        let zeros = Reasons::of_list(&[Counter::default(); MOST]).unwrap();
        assert_eq!((zeros.clone(), zeros.told().len()), (Reasons::default(), FIRST));
        assert_eq!(Reasons::of_list(&[Counter::default(); MOST + 1]), None);
    }
}
