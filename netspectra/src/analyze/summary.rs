//! Folds the engine's batches into the answers of the report, in bounded memory.

use super::Read;
use super::alerts::Alerts;
use super::applications::Applications;
use anyhow::anyhow;
use netspectra_agent::payload::PayloadStats;
use netspectra_common::model::{Counter, EndReason, FlowState, Ledger, Nanos, Resolution, TimeRange};
use netspectra_common::ports::StoreBatch;
use netspectra_common::query::{Answer, Filter, Metric, Partial, Plan, Quantity, Query, answer};
use netspectra_common::schema::Dimension;
use netspectra_common::wire::ethertype;
use std::collections::BTreeMap;
use std::time::Duration;

const QUANTILES: [f64; 5] = [0.0, 0.5, 0.9, 0.99, 1.0];

/// A list of the report and the plan behind it.
struct Question {
    name: &'static str,
    plan: Plan,
    partial: Partial,
}

pub(super) struct Summary {
    questions: Vec<Question>,
    protocols: BTreeMap<Option<u8>, Counter>,
    non_ip: BTreeMap<u16, Counter>,
    states: BTreeMap<FlowState, u64>,
    end_reasons: BTreeMap<EndReason, u64>,
    records: u64,
    flows: u64,
    applications: Option<Applications>,
    alerts: Option<Alerts>,
    top: usize,
}

/// Everything that the report says.
pub(super) struct Finished {
    pub(super) elapsed: Duration,
    pub(super) files: Vec<(String, String, u64, Option<String>)>,
    pub(super) first: Option<Nanos>,
    pub(super) last: Option<Nanos>,
    pub(super) ledger: Ledger,
    pub(super) answers: Vec<(&'static str, Answer)>,
    pub(super) protocols: Vec<(u8, Counter)>,
    pub(super) non_ip: Vec<(u16, Counter)>,
    pub(super) states: BTreeMap<FlowState, u64>,
    pub(super) end_reasons: BTreeMap<EndReason, u64>,
    pub(super) records: u64,
    pub(super) flows: u64,
    /// `None` when payloads were not read.
    pub(super) applications: Option<Applications>,
    pub(super) payloads: Option<PayloadStats>,
    /// `None` when no anomalies were looked for.
    pub(super) alerts: Option<Alerts>,
    /// Rows of a list.
    pub(super) top: usize,
}

impl Summary {
    pub(super) fn new(top: usize, read_payloads: bool, detect: bool) -> anyhow::Result<Self> {
        let list = |by: Vec<Dimension>, metric| Query::Top { by, metric, limit: top, exact: false };
        let count = |of: Vec<Dimension>| Query::Cardinality { of };
        let quantiles = |of| Query::Quantiles { of, q: QUANTILES.to_vec() };
        let queries = vec![
            ("ledger", Query::Ledger),
            ("top_sources_by_bytes", list(vec![Dimension::SrcIp], Metric::Bytes)),
            ("top_sources_by_packets", list(vec![Dimension::SrcIp], Metric::Packets)),
            ("top_destinations_by_bytes", list(vec![Dimension::DstIp], Metric::Bytes)),
            ("top_destinations_by_packets", list(vec![Dimension::DstIp], Metric::Packets)),
            ("top_destination_ports_by_bytes", list(vec![Dimension::Proto, Dimension::DstPort], Metric::Bytes)),
            ("top_sources_by_peers", list(vec![Dimension::SrcIp], Metric::Peers)),
            ("top_destinations_by_peers", list(vec![Dimension::DstIp], Metric::Peers)),
            ("source_addresses", count(vec![Dimension::SrcIp])),
            ("destination_addresses", count(vec![Dimension::DstIp])),
            ("destination_ports", count(vec![Dimension::Proto, Dimension::DstPort])),
            ("address_pairs", count(vec![Dimension::SrcIp, Dimension::DstIp])),
            ("packet_size", quantiles(Quantity::PacketSize)),
            ("flow_duration", quantiles(Quantity::FlowDuration)),
        ];
        let mut questions = Vec::with_capacity(queries.len());
        for (name, query) in queries {
            let plan = Plan { range: TimeRange::ALL, filter: Filter::ALL, query };
            let partial = Partial::new(&plan)?;
            questions.push(Question { name, plan, partial });
        }
        Ok(Self {
            questions,
            protocols: BTreeMap::new(),
            non_ip: BTreeMap::new(),
            states: BTreeMap::new(),
            end_reasons: BTreeMap::new(),
            records: 0,
            flows: 0,
            applications: read_payloads.then(Applications::default),
            alerts: detect.then(Alerts::default),
            top,
        })
    }

    pub(super) fn fold(&mut self, batch: &StoreBatch) -> anyhow::Result<()> {
        for q in &mut self.questions {
            batch.fold(&q.plan, &mut q.partial);
        }
        for window in batch.windows.iter().filter(|w| w.resolution == Resolution::S60) {
            self.flows += window.new_flows;
            for (proto, counter) in &window.protocols {
                self.protocols.entry(*proto).or_default().add(*counter);
            }
        }
        if let Some(applications) = &mut self.applications {
            applications.fold(&batch.messages);
        }
        if let Some(alerts) = &mut self.alerts {
            alerts.fold(&batch.alerts);
        }
        for r in &batch.flows {
            self.records += 1;
            if r.src_ip.is_none() {
                self.non_ip.entry(r.ether_type).or_default().add(Counter::new(r.packets, r.bytes));
            }
            *self.states.entry(r.state).or_default() += 1;
            *self.end_reasons.entry(r.end_reason).or_default() += 1;
        }
        Ok(())
    }

    pub(super) fn finish(self, read: &Read) -> anyhow::Result<Finished> {
        let mut ledger = None;
        let mut answers = Vec::new();
        for q in self.questions {
            match answer(&q.plan, q.partial)? {
                Answer::Ledger(l) => ledger = Some(l.ledger),
                other @ (Answer::Flows(_)
                | Answer::Alerts(_)
                | Answer::Messages(_)
                | Answer::Top(_)
                | Answer::Series(_)
                | Answer::Cardinality(_)
                | Answer::Quantiles(_)) => answers.push((q.name, other)),
            }
        }
        let mut protocols: Vec<(u8, Counter)> =
            self.protocols.into_iter().filter_map(|(p, c)| p.map(|p| (p, c))).collect();
        protocols.sort_by_key(|(p, c)| (std::cmp::Reverse(c.bytes), *p));
        let mut non_ip: Vec<(u16, Counter)> = self.non_ip.into_iter().collect();
        non_ip.sort_by_key(|(p, c)| (std::cmp::Reverse(c.bytes), *p));
        Ok(Finished {
            elapsed: read.elapsed,
            files: read
                .files
                .iter()
                .map(|f| {
                    (
                        f.path.display().to_string(),
                        f.format.clone(),
                        f.frames,
                        f.error.as_ref().map(ToString::to_string),
                    )
                })
                .collect(),
            first: read.span.map(|(first, _)| first),
            last: read.span.map(|(_, last)| last),
            ledger: ledger.ok_or_else(|| anyhow!("the ledger has no answer"))?,
            answers,
            protocols,
            non_ip,
            states: self.states,
            end_reasons: self.end_reasons,
            records: self.records,
            flows: self.flows,
            applications: self.applications,
            payloads: read.payloads,
            alerts: self.alerts,
            top: self.top,
        })
    }
}

/// The usual name of an EtherType.
pub(super) fn ether_type_name(ether_type: u16) -> &'static str {
    match ether_type {
        0 => "LLC",
        0x0806 => "ARP",
        0x8035 => "RARP",
        0x809b => "AppleTalk",
        0x8137 => "IPX",
        0x8809 => "slow protocols (LACP)",
        0x888e => "802.1X",
        0x88cc => "LLDP",
        0x88e5 => "MACsec",
        0x88f7 => "PTP",
        0x8863 => "PPPoE discovery",
        ethertype::PPPOE => "PPPoE session (not IP)",
        ethertype::MPLS | ethertype::MPLS_MC => "MPLS (not IP)",
        _ => "",
    }
}
