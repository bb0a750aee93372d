use super::build::Columns;
use super::nics::{self, Nics};
use super::read::{Bytes, Numbers, TextDecoder, Times};
use super::{DecodeError, Record, TimeColumns};
use crate::store::embedded::dataset::Dataset;
use arrow::array::RecordBatch;
use arrow::datatypes::{UInt8Type, UInt64Type};
use arrow::error::ArrowError;
use netspectra_common::abi::LossReason;
use netspectra_common::model::{Counter, Ledger, LedgerEntry, TimeRange};
use netspectra_common::ports::StoreBatch;
use netspectra_common::sketch::OverflowSummary;
use std::sync::Arc;
use std::time::Duration;

/// The columns of a reason: packets and bytes.
const fn columns_of(reason: LossReason) -> (&'static str, &'static str) {
    match reason {
        LossReason::TruncatedLink => ("truncated_link_packets", "truncated_link_bytes"),
        LossReason::TruncatedIp => ("truncated_ip_packets", "truncated_ip_bytes"),
        LossReason::MalformedIp => ("malformed_ip_packets", "malformed_ip_bytes"),
        LossReason::TooDeep => ("too_deep_packets", "too_deep_bytes"),
        LossReason::UnsupportedLink => ("unsupported_link_packets", "unsupported_link_bytes"),
        LossReason::TableFull => ("table_full_packets", "table_full_bytes"),
        LossReason::NoTable => ("no_table_packets", "no_table_bytes"),
        LossReason::RingFull => ("ring_full_packets", "ring_full_bytes"),
        LossReason::Excluded => ("excluded_packets", "excluded_bytes"),
        LossReason::SampledOut => ("sampled_out_packets", "sampled_out_bytes"),
    }
}

#[derive(Default)]
pub(in crate::store::embedded) struct LedgerDecoder {
    /// Stands for text that was not asked for.
    unread: Arc<str>,
    node: TextDecoder<Arc<str>>,
}

impl Record for LedgerEntry {
    const DATASET: Dataset = Dataset::Ledger;
    const TIME: TimeColumns = TimeColumns { lower: "start", upper: "end", length: Duration::from_nanos(1) };
    const BATCH: usize = 8192;
    const ROW_GROUP: usize = 131_072;
    type Decoder = LedgerDecoder;

    fn encode(rows: &[&Self]) -> Result<RecordBatch, ArrowError> {
        let mut columns = Columns::of(rows)
            .text("node", |r| &r.node)
            .u64("epoch", |r| r.epoch)
            .u64("generation", |r| r.generation)
            .time("start", |r| r.start)
            .time("end", |r| r.end)
            .u64("seen_packets", |r| r.ledger.seen.packets)
            .u64("seen_bytes", |r| r.ledger.seen.bytes)
            .u64("flows_packets", |r| r.ledger.flows.packets)
            .u64("flows_bytes", |r| r.ledger.flows.bytes)
            .u64("non_ip_packets", |r| r.ledger.non_ip.packets)
            .u64("non_ip_bytes", |r| r.ledger.non_ip.bytes);
        for reason in LossReason::ALL {
            let (packets, bytes) = columns_of(reason);
            columns = columns
                .u64(packets, |r| r.ledger.reasons[reason].packets)
                .u64(bytes, |r| r.ledger.reasons[reason].bytes);
        }
        let (nics, counted) = nics::column(rows)?;
        columns
            .u64("orphan_fragments", |r| r.ledger.orphan_fragments)
            .u64("events_lost", |r| r.ledger.events_lost)
            .opt_bytes("overflow", |r| r.ledger.overflow.as_ref().map(|o| o.to_bytes()))
            .push(nics, counted)
            .u8("chain_breaks", |r| r.chain_break.into())
            .finish()
    }

    fn decode(d: &mut LedgerDecoder, batch: &RecordBatch, each: &mut dyn FnMut(Self)) -> Result<(), DecodeError> {
        let mut node = d.node.bind(batch, "node")?;
        let epoch = Numbers::<UInt64Type>::bind(batch, "epoch")?;
        let generation = Numbers::<UInt64Type>::bind(batch, "generation")?;
        let start = Times::bind(batch, "start")?;
        let end = Times::bind(batch, "end")?;
        let seen = Counters::bind(batch, ("seen_packets", "seen_bytes"))?;
        let flows = Counters::bind(batch, ("flows_packets", "flows_bytes"))?;
        let non_ip = Counters::bind(batch, ("non_ip_packets", "non_ip_bytes"))?;
        let reasons = LossReason::ALL
            .into_iter()
            .map(|reason| Counters::bind(batch, columns_of(reason)))
            .collect::<Result<Vec<_>, _>>()?;
        let orphan_fragments = Numbers::<UInt64Type>::bind(batch, "orphan_fragments")?;
        let events_lost = Numbers::<UInt64Type>::bind(batch, "events_lost")?;
        let overflow = Bytes::bind(batch, "overflow")?;
        let nics = Nics::bind(batch);
        let chain_breaks = Numbers::<UInt8Type>::bind(batch, "chain_breaks")?;
        for i in 0..batch.num_rows() {
            let mut ledger = Ledger {
                seen: seen.at(i),
                flows: flows.at(i),
                non_ip: non_ip.at(i),
                orphan_fragments: orphan_fragments.or_zero(i),
                events_lost: events_lost.or_zero(i),
                overflow: overflow.at(i).map(overflow_of).transpose()?.map(Box::new),
                ..Ledger::default()
            };
            for (reason, counters) in LossReason::ALL.into_iter().zip(&reasons) {
                ledger.reasons[reason] = counters.at(i);
            }
            each(Self {
                node: node.required(i, &d.unread)?,
                epoch: epoch.or_zero(i),
                generation: generation.or_zero(i),
                start: start.at(i),
                end: end.at(i),
                ledger,
                nics: nics.at(i)?,
                chain_break: chain_breaks.or_zero(i) != 0,
            });
        }
        Ok(())
    }

    fn span(&self) -> TimeRange {
        // A generation without length still covers an instant, and a clock set back does not make it vanish.
        TimeRange { from: self.start.min(self.end), to: self.start.max(self.end).plus(Self::TIME.length) }
    }

    fn order(&self) -> (u64, u64) {
        (self.start.0, self.generation)
    }

    fn of(batch: &StoreBatch) -> &[Self] {
        &batch.ledger
    }

    fn of_mut(batch: &mut StoreBatch) -> &mut Vec<Self> {
        &mut batch.ledger
    }
}

fn overflow_of(bytes: &[u8]) -> Result<OverflowSummary, DecodeError> {
    OverflowSummary::from_bytes(bytes).map_err(|e| DecodeError::Value {
        column: "overflow",
        found: e.to_string(),
        expected: "a summary of packets without room",
    })
}

struct Counters<'a> {
    packets: Numbers<'a, UInt64Type>,
    bytes: Numbers<'a, UInt64Type>,
}

impl<'a> Counters<'a> {
    fn bind(batch: &'a RecordBatch, (packets, bytes): (&'static str, &'static str)) -> Result<Self, DecodeError> {
        Ok(Self { packets: Numbers::bind(batch, packets)?, bytes: Numbers::bind(batch, bytes)? })
    }

    fn at(&self, i: usize) -> Counter {
        Counter::new(self.packets.or_zero(i), self.bytes.or_zero(i))
    }
}
