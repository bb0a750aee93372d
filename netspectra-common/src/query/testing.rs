//! Rows for tests of the query core.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::{Answer, Filter, Partial, Plan, Query, answer, keys, parse_filter};
use crate::model::{
    Alert, AppMessage, Counter, Direction, EndReason, FlowRecord, FlowState, InitiatorBy, LedgerEntry, Nanos, Place,
    Resolution, Rollup, TimeRange, WindowSketches, WindowState,
};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

/// 10:00:00 of a day, a begin of an hour.
pub(super) const T0: u64 = 1_767_261_600;

pub(super) fn secs(after_t0: u64) -> Nanos {
    Nanos::from_secs(T0 + after_t0)
}

/// Seconds after [`T0`].
pub(super) fn range(from: u64, to: u64) -> TimeRange {
    TimeRange { from: secs(from), to: secs(to) }
}

pub(super) fn plan(range: TimeRange, filter: &str, query: Query) -> Plan {
    Plan { range, filter: parse_filter(filter).unwrap(), query }
}

/// The same question, in words that only exact rows can answer.
pub(super) fn exactly(plan: &Plan) -> Plan {
    Plan { filter: Filter::Or(vec![Filter::ALL, Filter::ALL]), ..plan.clone() }
}

pub(super) fn ip(text: &str) -> Option<IpAddr> {
    Some(text.parse().unwrap())
}

/// tcp 10.0.0.1:50000 -> 10.0.0.2:443 over node n1, eth0; one packet of 100 bytes at `T0`, still active.
pub(super) fn flow() -> FlowRecord {
    FlowRecord {
        node: "n1".into(),
        iface: "eth0".into(),
        src_ip: ip("10.0.0.1"),
        dst_ip: ip("10.0.0.2"),
        src_port: 50_000,
        dst_port: 443,
        proto: 6,
        ether_type: 0x0800,
        icmp_type: None,
        icmp_code: None,
        vlan: None,
        inner_vlan: None,
        tunnel: None,
        tunnel_id: None,
        src_place: Place::default(),
        dst_place: Place::default(),
        service: None,
        sampling: 1,
        packets: 1,
        bytes: 100,
        l3_bytes: 86,
        reverse_packets: 0,
        reverse_bytes: 0,
        reverse_l3_bytes: 0,
        tcp_flags: 2,
        reverse_tcp_flags: 0,
        retransmitted: 0,
        reverse_retransmitted: 0,
        out_of_order: 0,
        reverse_out_of_order: 0,
        zero_windows: 0,
        reverse_zero_windows: 0,
        server_rtt_us: None,
        client_rtt_us: None,
        first_seen: secs(0),
        last_seen: secs(0),
        flow_start: secs(0),
        state: FlowState::Active,
        end_reason: EndReason::None,
        initiator_by: InitiatorBy::Syn,
        flow_id: 1,
    }
}

/// What [`flow`] is in its window.
pub(super) fn rollup() -> Rollup {
    Rollup {
        window: secs(0),
        node: "n1".into(),
        iface: "eth0".into(),
        direction: Some(Direction::Ingress),
        src_ip: ip("10.0.0.1"),
        dst_ip: ip("10.0.0.2"),
        src_port: 50_000,
        dst_port: 443,
        proto: 6,
        ether_type: 0x0800,
        vlan: None,
        tunnel: None,
        tunnel_id: None,
        src_place: Place::default(),
        dst_place: Place::default(),
        service: None,
        sampling: 1,
        packets: 1,
        bytes: 100,
        l3_bytes: 86,
        new_flows: 1,
    }
}

/// An ARP frame.
pub(super) fn arp() -> Rollup {
    Rollup {
        src_ip: None,
        dst_ip: None,
        src_port: 0,
        dst_port: 0,
        proto: 0,
        ether_type: 0x0806,
        packets: 1,
        bytes: 60,
        ..rollup()
    }
}

type Windows = BTreeMap<(Resolution, Nanos, Arc<str>), WindowState>;

/// Everything that a store may hold.
#[derive(Clone, Debug, Default)]
pub(super) struct Data {
    pub(super) flows: Vec<FlowRecord>,
    pub(super) rollups: Vec<Rollup>,
    pub(super) windows: Vec<WindowState>,
    pub(super) ledger: Vec<LedgerEntry>,
    pub(super) alerts: Vec<Alert>,
    pub(super) messages: Vec<AppMessage>,
}

impl Data {
    /// Folds everything into a partial, as a caller does who does not look at the plan.
    pub(super) fn partial(&self, plan: &Plan) -> Partial {
        let mut partial = Partial::new(plan).unwrap();
        self.flows.iter().for_each(|row| partial.fold_flow(plan, row));
        self.rollups.iter().for_each(|row| partial.fold_rollup(plan, row));
        self.windows.iter().for_each(|row| partial.fold_window(plan, row));
        self.ledger.iter().for_each(|row| partial.fold_ledger(plan, row));
        self.alerts.iter().for_each(|row| partial.fold_alert(plan, row));
        self.messages.iter().for_each(|row| partial.fold_message(plan, row));
        partial
    }

    pub(super) fn answer(&self, plan: &Plan) -> Answer {
        answer(plan, self.partial(plan)).unwrap()
    }

    /// The windows of all lengths that `rollups` add up to, as the engine makes them. A window of one second begins with
    /// each roll-up.
    pub(super) fn with_windows(mut self) -> Self {
        let mut windows = Windows::new();
        fn open<'a>(
            windows: &'a mut Windows,
            node: &Arc<str>,
            at: Nanos,
            resolution: Resolution,
        ) -> &'a mut WindowState {
            let start = at.floor(resolution.duration());
            windows.entry((resolution, start, node.clone())).or_insert_with(|| WindowState {
                node: node.clone(),
                resolution,
                start,
                total: Counter::default(),
                new_flows: 0,
                protocols: BTreeMap::new(),
                sketches: (resolution != Resolution::S1).then(Box::default),
            })
        }
        for resolution in Resolution::ALL {
            for row in &self.rollups {
                let window = open(&mut windows, &row.node, row.window, resolution);
                let counter = Counter::new(row.packets, row.bytes);
                window.total.add(counter);
                window.new_flows += row.new_flows;
                window.protocols.entry(row.src_ip.map(|_| row.proto)).or_default().add(counter);
                if let Some(sketches) = &mut window.sketches {
                    feed(sketches, row);
                }
            }
            let goes_on = |reason| matches!(reason, EndReason::None | EndReason::ActiveTimeout);
            for flow in self.flows.iter().filter(|f| !goes_on(f.end_reason)) {
                if let Some(sketches) = &mut open(&mut windows, &flow.node, flow.last_seen, resolution).sketches {
                    sketches.flow_duration.add(flow.last_seen.since(flow.flow_start).as_secs_f64(), 1);
                }
            }
            for flow in self.flows.iter().filter(|f| f.first_seen == f.flow_start) {
                let Some(sketches) = &mut open(&mut windows, &flow.node, flow.flow_start, resolution).sketches else {
                    continue;
                };
                let times = [flow.server_rtt_us, flow.client_rtt_us];
                for (sketch, micros) in [&mut sketches.server_rtt, &mut sketches.client_rtt].into_iter().zip(times) {
                    micros.into_iter().for_each(|micros| sketch.add(f64::from(micros) / 1e6, 1));
                }
            }
        }
        self.windows = windows.into_values().collect();
        self
    }
}

fn feed(sketches: &mut WindowSketches, row: &Rollup) {
    let (Some(src), Some(dst)) = (row.src_ip, row.dst_ip) else { return };
    if row.packets == 0 {
        return;
    }
    let (src, dst) = (keys::address(src), keys::address(dst));
    let port = keys::port(row.proto, row.dst_port);
    sketches.src_ips.insert(&src);
    sketches.dst_ips.insert(&dst);
    sketches.dst_ports.insert(&port);
    sketches.pairs.insert(&keys::pair(&src, &dst));
    sketches.peers.insert(&keys::pair(&src, &dst));
    sketches.flows.insert(&keys::five_tuple(&src, &dst, row.proto, row.src_port, row.dst_port));
    sketches.top_src_bytes.add(&src, row.bytes);
    sketches.top_dst_bytes.add(&dst, row.bytes);
    sketches.top_src_packets.add(&src, row.packets);
    sketches.top_dst_packets.add(&dst, row.packets);
    sketches.top_dst_port_bytes.add(&port, row.bytes);
    sketches.packet_size.add(row.bytes as f64 / row.packets as f64, row.packets);
}
