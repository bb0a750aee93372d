//! Flow records as table, JSON, NDJSON, CSV, Parquet or IPFIX.

use super::flat_json;
use super::ipfix::Ipfix;
use super::out::Out;
use crate::cli::Format;
use netspectra_common::model::FlowRecord;
use netspectra_common::query::Filter;
use netspectra_common::query::keys::proto_text;
use netspectra_common::schema::FLOW_FIELDS;
use netspectra_engine::store::embedded::FlowsFile;
use serde_json::Value;
use std::io::Write;

/// Bytes collected before they are written.
const BUFFER: usize = 1 << 20;

/// How records are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text(Format),
    Parquet,
    Ipfix,
}

/// Writes records as they come; memory does not grow with their number.
pub(super) struct Writer {
    unidirectional: bool,
    sink: Sink,
}

enum Sink {
    Text(Text),
    Parquet(Box<FlowsFile<Out>>),
    Ipfix(Ipfix),
}

impl Writer {
    /// # Errors
    /// Those of `out`.
    pub(super) fn new(kind: Kind, out: Out, unidirectional: bool) -> anyhow::Result<Self> {
        let sink = match kind {
            Kind::Text(format) => Sink::Text(Text::new(format, out)),
            Kind::Ipfix => Sink::Ipfix(Ipfix::new(out)),
            Kind::Parquet => Sink::Parquet(Box::new(FlowsFile::create(out)?)),
        };
        Ok(Self { unidirectional, sink })
    }

    /// Writes those of `records` for which `filter` holds.
    pub(super) fn write(&mut self, records: &[FlowRecord], filter: &Filter) -> anyhow::Result<()> {
        if !self.unidirectional && filter.is_all() {
            return self.sink.write(records);
        }
        let kept = records.iter().filter(|record| filter.matches(*record));
        let kept: Vec<FlowRecord> = if self.unidirectional {
            kept.flat_map(FlowRecord::unidirectional).collect()
        } else {
            kept.cloned().collect()
        };
        self.sink.write(&kept)
    }

    /// Writes what is collected; without it the output is not whole.
    pub(super) fn finish(self) -> anyhow::Result<()> {
        match self.sink {
            Sink::Text(text) => text.finish(),
            Sink::Parquet(file) => Ok(file.finish()?.flush()?),
            Sink::Ipfix(messages) => messages.finish(),
        }
    }
}

impl Sink {
    fn write(&mut self, records: &[FlowRecord]) -> anyhow::Result<()> {
        match self {
            Self::Text(text) => records.iter().try_for_each(|r| text.record(r)),
            Self::Parquet(file) => Ok(file.write(records)?),
            Self::Ipfix(messages) => messages.write(records),
        }
    }
}

struct Text {
    format: Format,
    out: Out,
    /// Collected until there is enough of it to be written.
    text: Vec<u8>,
    written: u64,
}

impl Text {
    fn new(format: Format, out: Out) -> Self {
        let mut text = Vec::new();
        match format {
            Format::Json => text.extend(b"[\n"),
            Format::Csv => {
                let names: Vec<&str> = FLOW_FIELDS.iter().map(|f| f.name).collect();
                text.extend(names.join(",").as_bytes());
                text.push(b'\n');
            }
            Format::Table => text.extend(
                table_line(
                    "first seen (UTC)",
                    "duration",
                    "proto",
                    "source",
                    "destination",
                    "packets",
                    "bytes",
                    "state",
                    "end",
                )
                .as_bytes(),
            ),
            Format::Ndjson => {}
        }
        Self { format, out, text, written: 0 }
    }

    fn finish(mut self) -> anyhow::Result<()> {
        if self.format == Format::Json {
            self.text.extend(b"\n]\n");
        }
        self.out.write_all(&self.text)?;
        Ok(self.out.flush()?)
    }

    fn record(&mut self, record: &FlowRecord) -> anyhow::Result<()> {
        match self.format {
            Format::Json => {
                if self.written > 0 {
                    self.text.extend(b",\n");
                }
                flat_json::write(&mut self.text, record)?;
            }
            Format::Ndjson => {
                flat_json::write(&mut self.text, record)?;
                self.text.push(b'\n');
            }
            Format::Csv => {
                let value = serde_json::to_value(record)?;
                let cells: Vec<String> = FLOW_FIELDS.iter().map(|f| csv_cell(value.get(f.name))).collect();
                self.text.extend(cells.join(",").as_bytes());
                self.text.push(b'\n');
            }
            Format::Table => self.text.extend(row(record).as_bytes()),
        }
        self.written += 1;
        if self.text.len() > BUFFER {
            self.out.write_all(&self.text)?;
            self.text.clear();
        }
        Ok(())
    }
}

/// RFC 4180.
fn csv_cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(s)) if s.contains(['"', ',', '\n', '\r']) => format!("\"{}\"", s.replace('"', "\"\"")),
        Some(Value::String(s)) => s.clone(),
        Some(other) => other.to_string(),
    }
}

fn row(r: &FlowRecord) -> String {
    let end = |ip: Option<std::net::IpAddr>, port: u16| match ip {
        Some(ip) if port == 0 => ip.to_string(),
        Some(std::net::IpAddr::V6(ip)) => format!("[{ip}]:{port}"),
        Some(ip) => format!("{ip}:{port}"),
        None => "-".into(),
    };
    let proto = match r.src_ip {
        None => format!("0x{:04x}", r.ether_type),
        Some(_) => proto_text(r.proto),
    };
    table_line(
        &r.first_seen.to_string(),
        &format!("{:.3} s", r.last_seen.since(r.first_seen).as_secs_f64()),
        &proto,
        &end(r.src_ip, r.src_port),
        &end(r.dst_ip, r.dst_port),
        &format!("{}/{}", r.packets, r.reverse_packets),
        &format!("{}/{}", r.bytes, r.reverse_bytes),
        r.state.name(),
        r.end_reason.name(),
    )
}

#[allow(clippy::too_many_arguments, reason = "one argument a column")]
fn table_line(
    at: &str,
    duration: &str,
    proto: &str,
    src: &str,
    dst: &str,
    packets: &str,
    bytes: &str,
    state: &str,
    end: &str,
) -> String {
    format!("{at:<30} {duration:>12} {proto:<7} {src:<40} {dst:<40} {packets:>15} {bytes:>21} {state:<9} {end}\n")
}
