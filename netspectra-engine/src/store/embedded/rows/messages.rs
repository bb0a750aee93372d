use super::build::Columns;
use super::read::{Json, Numbers, TextDecoder, Times};
use super::{DecodeError, Record, TimeColumns};
use crate::store::embedded::dataset::Dataset;
use arrow::array::RecordBatch;
use arrow::datatypes::{UInt8Type, UInt16Type, UInt64Type};
use arrow::error::ArrowError;
use netspectra_common::model::{AppMessage, TimeRange};
use netspectra_common::ports::StoreBatch;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// What was said, as JSON: the columns before it are made of it, for other tools and for filters.
const DETAIL: &str = "detail";

#[derive(Default)]
pub(in crate::store::embedded) struct MessageDecoder {
    /// Stands for text that was not asked for.
    unread: Arc<str>,
    node: TextDecoder<Arc<str>>,
    src_ip: TextDecoder<IpAddr>,
    dst_ip: TextDecoder<IpAddr>,
    name: TextDecoder<Arc<str>>,
}

impl Record for AppMessage {
    const DATASET: Dataset = Dataset::Messages;
    const TIME: TimeColumns = TimeColumns { lower: "at", upper: "at", length: Duration::from_nanos(1) };
    const BATCH: usize = 4096;
    const ROW_GROUP: usize = 65_536;
    type Decoder = MessageDecoder;

    fn encode(rows: &[&Self]) -> Result<RecordBatch, ArrowError> {
        Columns::of(rows)
            .u64("message_id", |r| r.id)
            .text("node", |r| &r.node)
            .time("at", |r| r.at)
            .address("src_ip", |r| r.src_ip)
            .address("dst_ip", |r| r.dst_ip)
            .u16("src_port", |r| r.src_port)
            .u16("dst_port", |r| r.dst_port)
            .u8("proto", |r| r.proto)
            .opt_u16("vlan", |r| r.vlan)
            .text("app", |r| r.what.protocol())
            .text("message", |r| r.what.kind().name())
            .opt_text("name", |r| r.name.as_deref())
            .opt_u16("code", |r| r.what.code())
            .opt_u64("latency_ns", |r| r.what.latency().and_then(|l| u64::try_from(l.as_nanos()).ok()))
            .json(DETAIL, |r| &r.what)?
            .finish()
    }

    fn decode(d: &mut MessageDecoder, batch: &RecordBatch, each: &mut dyn FnMut(Self)) -> Result<(), DecodeError> {
        let id = Numbers::<UInt64Type>::bind(batch, "message_id")?;
        let mut node = d.node.bind(batch, "node")?;
        let at = Times::bind(batch, "at")?;
        let mut src_ip = d.src_ip.bind(batch, "src_ip")?;
        let mut dst_ip = d.dst_ip.bind(batch, "dst_ip")?;
        let src_port = Numbers::<UInt16Type>::bind(batch, "src_port")?;
        let dst_port = Numbers::<UInt16Type>::bind(batch, "dst_port")?;
        let proto = Numbers::<UInt8Type>::bind(batch, "proto")?;
        let vlan = Numbers::<UInt16Type>::bind(batch, "vlan")?;
        let mut name = d.name.bind(batch, "name")?;
        let detail = Json::bind(batch, DETAIL)?;
        for i in 0..batch.num_rows() {
            each(Self {
                id: id.or_zero(i),
                node: node.required(i, &d.unread)?,
                at: at.at(i),
                src_ip: src_ip.at(i)?,
                dst_ip: dst_ip.at(i)?,
                src_port: src_port.or_zero(i),
                dst_port: dst_port.or_zero(i),
                proto: proto.or_zero(i),
                vlan: vlan.at(i),
                name: name.at(i)?.map(|name| name.to_string()),
                what: detail.at(i)?.ok_or(DecodeError::Missing { column: DETAIL })?,
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
        &batch.messages
    }

    fn of_mut(batch: &mut StoreBatch) -> &mut Vec<Self> {
        &mut batch.messages
    }
}
