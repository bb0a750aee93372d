//! Flow records as table, JSON, NDJSON or CSV.

use crate::cli::Format;
use crate::output;
use netspectra_common::model::FlowRecord;
use netspectra_common::query::keys::proto_text;
use netspectra_common::schema::FLOW_FIELDS;
use serde_json::Value;

/// Bytes collected before they are written.
const BUFFER: usize = 1 << 20;

/// Writes records as they come; memory does not grow with their number, except for the aligned table's page.
pub(super) struct Writer {
    format: Format,
    unidirectional: bool,
    text: String,
    written: u64,
}

impl Writer {
    pub(super) fn new(format: Format, unidirectional: bool) -> anyhow::Result<Self> {
        let mut text = String::new();
        match format {
            Format::Json => text.push_str("[\n"),
            Format::Csv => {
                let names: Vec<&str> = FLOW_FIELDS.iter().map(|f| f.name).collect();
                text.push_str(&names.join(","));
                text.push('\n');
            }
            Format::Table => text.push_str(&table_line(
                "first seen (UTC)",
                "duration",
                "proto",
                "source",
                "destination",
                "packets",
                "bytes",
                "state",
                "end",
            )),
            Format::Ndjson => {}
        }
        Ok(Self { format, unidirectional, text, written: 0 })
    }

    pub(super) fn write(&mut self, record: &FlowRecord) -> anyhow::Result<()> {
        if self.unidirectional {
            for one in record.unidirectional() {
                self.record(&one)?;
            }
        } else {
            self.record(record)?;
        }
        if self.text.len() > BUFFER {
            output::print(&self.text)?;
            self.text.clear();
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> anyhow::Result<()> {
        if self.format == Format::Json {
            self.text.push_str("\n]\n");
        }
        output::print(&self.text)?;
        Ok(())
    }

    fn record(&mut self, record: &FlowRecord) -> anyhow::Result<()> {
        match self.format {
            Format::Json => {
                if self.written > 0 {
                    self.text.push_str(",\n");
                }
                self.text.push_str(&serde_json::to_string(record)?);
            }
            Format::Ndjson => {
                self.text.push_str(&serde_json::to_string(record)?);
                self.text.push('\n');
            }
            Format::Csv => {
                let value = serde_json::to_value(record)?;
                let cells: Vec<String> = FLOW_FIELDS.iter().map(|f| csv_cell(value.get(f.name))).collect();
                self.text.push_str(&cells.join(","));
                self.text.push('\n');
            }
            Format::Table => self.text.push_str(&row(record)),
        }
        self.written += 1;
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
