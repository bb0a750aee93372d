use super::build::Columns;
use super::flows::word;
use super::read::{FromText, Json, Numbers, TextDecoder, Times};
use super::{DecodeError, Record, TimeColumns};
use crate::store::embedded::dataset::Dataset;
use arrow::array::RecordBatch;
use arrow::datatypes::{Float64Type, UInt64Type};
use arrow::error::ArrowError;
use netspectra_common::model::{Alert, AlertPhase, Severity, TimeRange};
use netspectra_common::ports::StoreBatch;
use std::sync::Arc;
use std::time::Duration;

word!(AlertPhase, "a phase (open, updated, closed)");
word!(Severity, "a severity (low, medium, high)");

#[derive(Default)]
pub(in crate::store::embedded) struct AlertDecoder {
    /// Stands for text that was not asked for.
    unread: Arc<str>,
    node: TextDecoder<Arc<str>>,
    detector: TextDecoder<Arc<str>>,
    phase: TextDecoder<AlertPhase>,
    severity: TextDecoder<Severity>,
    subject: TextDecoder<Arc<str>>,
    why: TextDecoder<Arc<str>>,
}

impl Record for Alert {
    const DATASET: Dataset = Dataset::Alerts;
    const TIME: TimeColumns = TimeColumns { lower: "at", upper: "at", length: Duration::from_nanos(1) };
    const BATCH: usize = 8192;
    const ROW_GROUP: usize = 131_072;
    type Decoder = AlertDecoder;

    fn encode(rows: &[&Self]) -> Result<RecordBatch, ArrowError> {
        Columns::of(rows)
            .u64("alert_id", |r| r.id)
            .text("node", |r| &r.node)
            .text("detector", |r| &r.detector)
            .text("phase", |r| r.phase.name())
            .text("severity", |r| r.severity.name())
            .text("subject", |r| &r.subject)
            .text("why", |r| &r.why)
            .time("at", |r| r.at)
            .time("first_seen", |r| r.first_seen)
            .time("last_seen", |r| r.last_seen)
            .f64("score", |r| r.score)
            .f64("threshold", |r| r.threshold)
            .json("evidence", |r| &r.evidence)?
            .json("flows", |r| &r.flows)?
            .finish()
    }

    fn decode(d: &mut AlertDecoder, batch: &RecordBatch, each: &mut dyn FnMut(Self)) -> Result<(), DecodeError> {
        let id = Numbers::<UInt64Type>::bind(batch, "alert_id")?;
        let mut node = d.node.bind(batch, "node")?;
        let mut detector = d.detector.bind(batch, "detector")?;
        let mut phase = d.phase.bind(batch, "phase")?;
        let mut severity = d.severity.bind(batch, "severity")?;
        let mut subject = d.subject.bind(batch, "subject")?;
        let mut why = d.why.bind(batch, "why")?;
        let at = Times::bind(batch, "at")?;
        let first_seen = Times::bind_opt(batch, "first_seen")?;
        let last_seen = Times::bind_opt(batch, "last_seen")?;
        let score = Numbers::<Float64Type>::bind(batch, "score")?;
        let threshold = Numbers::<Float64Type>::bind(batch, "threshold")?;
        let evidence = Json::bind(batch, "evidence")?;
        let flows = Json::bind(batch, "flows")?;
        for i in 0..batch.num_rows() {
            each(Self {
                id: id.or_zero(i),
                node: node.required(i, &d.unread)?,
                detector: detector.required(i, &d.unread)?.to_string(),
                phase: phase.required(i, &AlertPhase::Open)?,
                severity: severity.required(i, &Severity::Low)?,
                subject: subject.required(i, &d.unread)?.to_string(),
                why: why.at(i)?.unwrap_or_else(|| d.unread.clone()).to_string(),
                at: at.at(i),
                first_seen: first_seen.as_ref().map_or_else(|| at.at(i), |t| t.at(i)),
                last_seen: last_seen.as_ref().map_or_else(|| at.at(i), |t| t.at(i)),
                score: score.or_zero(i),
                threshold: threshold.or_zero(i),
                evidence: evidence.at(i)?.unwrap_or_default(),
                flows: flows.at(i)?.unwrap_or_default(),
            });
        }
        Ok(())
    }

    fn span(&self) -> TimeRange {
        TimeRange { from: self.at, to: self.at.plus(Self::TIME.length) }
    }

    fn order(&self) -> (u64, u64) {
        (self.at.0, self.id)
    }

    fn of(batch: &StoreBatch) -> &[Self] {
        &batch.alerts
    }

    fn of_mut(batch: &mut StoreBatch) -> &mut Vec<Self> {
        &mut batch.alerts
    }
}
