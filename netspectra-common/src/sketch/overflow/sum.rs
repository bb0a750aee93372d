//! The tables of several CPUs added up, and read.
use super::{NAMED, NAMED_PART, OverflowSummary, PrefixCount, add};
use crate::abi::{Counter, Overflow, PREFIX_CELLS, PREFIX_ROWS};
use crate::flow::{cell, prefix_hash};
use std::collections::BTreeMap;

type Row = [Counter; PREFIX_CELLS];

/// Adds up what the CPUs counted in one generation. 64 KiB, and the heavy prefixes of all of them.
#[derive(Debug)]
pub struct OverflowSum {
    summary: OverflowSummary,
    rows: Box<[Row; PREFIX_ROWS]>,
    /// What is certain of each heavy prefix.
    since: BTreeMap<u64, Counter>,
}

impl Default for OverflowSum {
    fn default() -> Self {
        Self {
            summary: OverflowSummary::default(),
            rows: Box::new([[Counter::default(); PREFIX_CELLS]; PREFIX_ROWS]),
            since: BTreeMap::new(),
        }
    }
}

impl OverflowSum {
    /// Adds one CPU's table.
    pub fn add(&mut self, table: &Overflow) {
        for (direction, cells) in table.protocols.iter().enumerate() {
            for (protocol, counter) in cells.iter().enumerate().filter(|(_, c)| !c.is_zero()) {
                add(self.summary.protocols.entry((direction as u8, protocol as u16)).or_default(), *counter);
            }
        }
        for (mine, theirs) in self.summary.registers.iter_mut().zip(&table.sources) {
            *mine = (*mine).max((*theirs).min(super::MAX_RANK));
        }
        for (mine, theirs) in self.rows.iter_mut().flatten().zip(table.prefixes.iter().flatten()) {
            add(mine, *theirs);
        }
        for heavy in table.heavy.iter().filter(|h| h.prefix != 0) {
            add(self.since.entry(heavy.prefix).or_default(), heavy.since);
        }
    }

    /// What the tables say, with bounds.
    pub fn finish(self) -> OverflowSummary {
        let Self { mut summary, mut rows, since } = self;
        let mut total = Counter::default();
        rows[0].iter().for_each(|c| add(&mut total, *c));
        summary.prefixes = since.iter().map(|(prefix, low)| (*prefix, read(&rows, total, *prefix, *low))).collect();
        // What is certain to be of a named prefix is not of an unnamed one. In each row an unnamed one has at most what
        // is left in its cell, so at most what is left in the fullest cell.
        for (prefix, low) in &since {
            let hash = prefix_hash(*prefix);
            for (n, row) in rows.iter_mut().enumerate() {
                let left = &mut row[cell(hash, n)];
                *left = Counter::new(left.packets.saturating_sub(low.packets), left.bytes.saturating_sub(low.bytes));
            }
        }
        let fullest = |of: fn(&Counter) -> u64| rows.iter().filter_map(|row| row.iter().map(of).max()).min();
        summary.unnamed = Counter::new(fullest(|c| c.packets).unwrap_or(0), fullest(|c| c.bytes).unwrap_or(0));
        let light = |c: &PrefixCount| {
            let part = |of: fn(&Counter) -> u64| of(&c.estimate) < of(&total) / NAMED_PART;
            part(|c| c.packets) && part(|c| c.bytes)
        };
        let lightest: Vec<u64> = summary.prefixes.iter().filter(|(_, c)| light(c)).map(|(p, _)| *p).collect();
        lightest.into_iter().for_each(|prefix| summary.forget(prefix));
        summary.name_the_heaviest(NAMED);
        summary
    }
}

/// At most the least of its cells; the guess takes the other prefixes' expected share off each cell (Count-Mean-Min,
/// Deng and Rafiei 2007).
fn read(rows: &[Row; PREFIX_ROWS], total: Counter, prefix: u64, low: Counter) -> PrefixCount {
    let hash = prefix_hash(prefix);
    let mut cells = [Counter::default(); PREFIX_ROWS];
    for (n, (found, row)) in cells.iter_mut().zip(rows).enumerate() {
        *found = row[cell(hash, n)];
    }
    let value = |of: fn(&Counter) -> u64, total: u64, low: u64| {
        let high = cells.iter().map(of).min().unwrap_or(0);
        let others = PREFIX_CELLS as u64 - 1;
        let mut guesses = cells.each_ref().map(|c| of(c).saturating_sub(total.saturating_sub(of(c)) / others));
        guesses.sort_unstable();
        // The middle one: of an even number the lower of both.
        let middle = guesses[(PREFIX_ROWS - 1) / 2];
        (middle.clamp(low.min(high), high), high)
    };
    let (packets, most_packets) = value(|c| c.packets, total.packets, low.packets);
    let (bytes, most_bytes) = value(|c| c.bytes, total.bytes, low.bytes);
    PrefixCount { estimate: Counter::new(packets, bytes), low, high: Counter::new(most_packets, most_bytes) }
}
