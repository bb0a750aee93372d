//! Rows as ClickHouse has them. Their fields are the tables' columns.

#[cfg(test)]
pub(super) mod old;

use clickhouse::Row;
use netspectra_common::model::{
    Alert, AlertPhase, AppMessage, BlockId, Counter, Country, Direction, EndReason, Evidence, FlowRecord, FlowState,
    InitiatorBy, LedgerEntry, Nanos, Owner, Place, Pod, Resolution, Rollup, Severity, TimeRange, WindowSketches,
    WindowState,
};
use netspectra_common::ports::StoreBatch;
use netspectra_common::sketch::{Hll, PairSample, Quantiles, SketchError, TopK};
use netspectra_common::wire::Tunnel;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

/// Why a row is none of ours.
#[derive(Debug, thiserror::Error)]
pub(super) enum RowError {
    #[error("column `{column}` has `{found}`, which this build does not know: read it with a newer one")]
    Value { column: &'static str, found: String },
    #[error("column `{column}` holds no sketch")]
    Sketch {
        column: &'static str,
        #[source]
        source: SketchError,
    },
    #[error("columns `ledger` and `nics` hold no ledger")]
    Ledger(#[source] serde_json::Error),
    #[error("column `detail` holds no message that this build knows: read it with a newer one")]
    Message(#[source] serde_json::Error),
}

fn value(column: &'static str, found: &str) -> RowError {
    RowError::Value { column, found: found.to_owned() }
}

/// Nanoseconds of `DateTime64(9)`.
pub(super) fn time(at: Nanos) -> i64 {
    i64::try_from(at.0).unwrap_or(i64::MAX)
}

pub(super) fn nanos(time: i64) -> Nanos {
    Nanos(u64::try_from(time).unwrap_or(0))
}

/// The word for a direction, as filters have it.
const fn way(direction: Direction) -> &'static str {
    match direction {
        Direction::Ingress => "ingress",
        Direction::Egress => "egress",
    }
}

fn country(place: &Place) -> String {
    place.country.as_ref().map_or("", Country::as_str).to_owned()
}

fn text(value: Option<&str>) -> String {
    value.unwrap_or_default().to_owned()
}

/// Empty text is nothing.
fn some(text: &str) -> Option<Arc<str>> {
    (!text.is_empty()).then(|| text.into())
}

/// The place in a country (of `column`), and `[network, name, namespace, pod, workload, process, cgroup]`.
fn place(column: &'static str, country: &str, asn: Option<u32>, texts: [&str; 7]) -> Result<Place, RowError> {
    let country = match country {
        "" => None,
        code => Some(Country::new(code).ok_or_else(|| value(column, code))?),
    };
    let [network, name, namespace, pod, workload, process, cgroup] = texts.map(some);
    let (pod, owner) = (Pod::of(namespace, pod, workload), Owner::of(process, cgroup));
    Ok(Place { country, asn, network, name, pod, owner })
}

/// The place of one end of a row, from its columns.
macro_rules! ends {
    (@columns $row:expr, $country:ident, $asn:ident, $($text:ident),*) => {
        place(stringify!($country), &$row.$country, $row.$asn, [$(&$row.$text),*])?
    };
    (src of $row:expr) => {
        ends!(@columns $row, src_country, src_as, src_network, src_name, src_namespace, src_pod, src_workload, src_process, src_cgroup)
    };
    (dst of $row:expr) => {
        ends!(@columns $row, dst_country, dst_as, dst_network, dst_name, dst_namespace, dst_pod, dst_workload, dst_process, dst_cgroup)
    };
}

fn ip(address: Option<IpAddr>) -> Option<Ipv6Addr> {
    address.map(|address| match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    })
}

/// The address of a packet of this EtherType: an IPv4 address inside an IPv6 one is not the IPv4 address.
fn address(ip: Option<Ipv6Addr>, ether_type: u16) -> Option<IpAddr> {
    const IPV6: u16 = 0x86dd;
    ip.map(|ip| if ether_type == IPV6 { IpAddr::V6(ip) } else { IpAddr::V6(ip).to_canonical() })
}

#[derive(Debug, Serialize, Deserialize, Row)]
pub(super) struct FlowRow {
    log_topic: String,
    log_partition: u32,
    block_first: u64,
    block_last: u64,
    node: String,
    iface: String,
    src_ip: Option<Ipv6Addr>,
    dst_ip: Option<Ipv6Addr>,
    src_port: u16,
    dst_port: u16,
    proto: u8,
    ether_type: u16,
    icmp_type: Option<u8>,
    icmp_code: Option<u8>,
    vlan: Option<u16>,
    inner_vlan: Option<u16>,
    tunnel: String,
    tunnel_id: Option<u32>,
    src_country: String,
    dst_country: String,
    src_as: Option<u32>,
    dst_as: Option<u32>,
    src_network: String,
    dst_network: String,
    src_name: String,
    dst_name: String,
    src_pod: String,
    dst_pod: String,
    src_namespace: String,
    dst_namespace: String,
    src_workload: String,
    dst_workload: String,
    src_process: String,
    dst_process: String,
    src_cgroup: String,
    dst_cgroup: String,
    service: String,
    sampling: u32,
    packets: u64,
    bytes: u64,
    l3_bytes: u64,
    reverse_packets: u64,
    reverse_bytes: u64,
    reverse_l3_bytes: u64,
    tcp_flags: u16,
    reverse_tcp_flags: u16,
    retransmitted: u64,
    reverse_retransmitted: u64,
    out_of_order: u64,
    reverse_out_of_order: u64,
    zero_windows: u64,
    reverse_zero_windows: u64,
    server_rtt_us: Option<u32>,
    client_rtt_us: Option<u32>,
    first_seen: i64,
    last_seen: i64,
    flow_start: i64,
    state: String,
    end_reason: String,
    initiator_by: String,
    flow_id: u64,
}

impl FlowRow {
    pub(super) fn of(block: &BlockId, r: &FlowRecord) -> Self {
        Self {
            log_topic: block.topic.to_string(),
            log_partition: block.partition,
            block_first: block.first,
            block_last: block.last,
            node: r.node.to_string(),
            iface: r.iface.to_string(),
            src_ip: ip(r.src_ip),
            dst_ip: ip(r.dst_ip),
            src_port: r.src_port,
            dst_port: r.dst_port,
            proto: r.proto,
            ether_type: r.ether_type,
            icmp_type: r.icmp_type,
            icmp_code: r.icmp_code,
            vlan: r.vlan,
            inner_vlan: r.inner_vlan,
            tunnel: r.tunnel.as_deref().unwrap_or_default().to_owned(),
            tunnel_id: r.tunnel_id,
            src_country: country(&r.src_place),
            dst_country: country(&r.dst_place),
            src_as: r.src_place.asn,
            dst_as: r.dst_place.asn,
            src_network: text(r.src_place.network.as_deref()),
            dst_network: text(r.dst_place.network.as_deref()),
            src_name: text(r.src_place.name.as_deref()),
            dst_name: text(r.dst_place.name.as_deref()),
            src_pod: text(r.src_place.pod_name()),
            dst_pod: text(r.dst_place.pod_name()),
            src_namespace: text(r.src_place.namespace()),
            dst_namespace: text(r.dst_place.namespace()),
            src_workload: text(r.src_place.workload()),
            dst_workload: text(r.dst_place.workload()),
            src_process: text(r.src_place.process()),
            dst_process: text(r.dst_place.process()),
            src_cgroup: text(r.src_place.cgroup()),
            dst_cgroup: text(r.dst_place.cgroup()),
            service: text(r.service.as_deref()),
            sampling: r.sampling,
            packets: r.packets,
            bytes: r.bytes,
            l3_bytes: r.l3_bytes,
            reverse_packets: r.reverse_packets,
            reverse_bytes: r.reverse_bytes,
            reverse_l3_bytes: r.reverse_l3_bytes,
            tcp_flags: r.tcp_flags,
            reverse_tcp_flags: r.reverse_tcp_flags,
            retransmitted: r.retransmitted,
            reverse_retransmitted: r.reverse_retransmitted,
            out_of_order: r.out_of_order,
            reverse_out_of_order: r.reverse_out_of_order,
            zero_windows: r.zero_windows,
            reverse_zero_windows: r.reverse_zero_windows,
            server_rtt_us: r.server_rtt_us,
            client_rtt_us: r.client_rtt_us,
            first_seen: time(r.first_seen),
            last_seen: time(r.last_seen),
            flow_start: time(r.flow_start),
            state: r.state.name().to_owned(),
            end_reason: r.end_reason.name().to_owned(),
            initiator_by: r.initiator_by.name().to_owned(),
            flow_id: r.flow_id,
        }
    }

    pub(super) fn record(self) -> Result<FlowRecord, RowError> {
        let state = FlowState::ALL.into_iter().find(|s| s.name() == self.state);
        let end_reason = EndReason::ALL.into_iter().find(|r| r.name() == self.end_reason);
        let initiator_by = InitiatorBy::ALL.into_iter().find(|i| i.name() == self.initiator_by);
        Ok(FlowRecord {
            state: state.ok_or_else(|| value("state", &self.state))?,
            end_reason: end_reason.ok_or_else(|| value("end_reason", &self.end_reason))?,
            initiator_by: initiator_by.ok_or_else(|| value("initiator_by", &self.initiator_by))?,
            node: self.node.into(),
            iface: self.iface.into(),
            src_ip: address(self.src_ip, self.ether_type),
            dst_ip: address(self.dst_ip, self.ether_type),
            src_port: self.src_port,
            dst_port: self.dst_port,
            proto: self.proto,
            ether_type: self.ether_type,
            icmp_type: self.icmp_type,
            icmp_code: self.icmp_code,
            vlan: self.vlan,
            inner_vlan: self.inner_vlan,
            tunnel: (!self.tunnel.is_empty()).then(|| self.tunnel.into()),
            tunnel_id: self.tunnel_id,
            src_place: ends!(src of self),
            dst_place: ends!(dst of self),
            service: some(&self.service),
            sampling: self.sampling,
            packets: self.packets,
            bytes: self.bytes,
            l3_bytes: self.l3_bytes,
            reverse_packets: self.reverse_packets,
            reverse_bytes: self.reverse_bytes,
            reverse_l3_bytes: self.reverse_l3_bytes,
            tcp_flags: self.tcp_flags,
            reverse_tcp_flags: self.reverse_tcp_flags,
            retransmitted: self.retransmitted,
            reverse_retransmitted: self.reverse_retransmitted,
            out_of_order: self.out_of_order,
            reverse_out_of_order: self.reverse_out_of_order,
            zero_windows: self.zero_windows,
            reverse_zero_windows: self.reverse_zero_windows,
            server_rtt_us: self.server_rtt_us,
            client_rtt_us: self.client_rtt_us,
            first_seen: nanos(self.first_seen),
            last_seen: nanos(self.last_seen),
            flow_start: nanos(self.flow_start),
            flow_id: self.flow_id,
        })
    }
}

#[derive(Debug, Serialize, Deserialize, Row)]
pub(super) struct RollupRow {
    log_topic: String,
    log_partition: u32,
    block_first: u64,
    block_last: u64,
    window: i64,
    node: String,
    iface: String,
    direction: String,
    src_ip: Option<Ipv6Addr>,
    dst_ip: Option<Ipv6Addr>,
    src_port: u16,
    dst_port: u16,
    proto: u8,
    ether_type: u16,
    vlan: Option<u16>,
    tunnel: String,
    tunnel_id: Option<u32>,
    src_country: String,
    dst_country: String,
    src_as: Option<u32>,
    dst_as: Option<u32>,
    src_network: String,
    dst_network: String,
    src_name: String,
    dst_name: String,
    src_pod: String,
    dst_pod: String,
    src_namespace: String,
    dst_namespace: String,
    src_workload: String,
    dst_workload: String,
    src_process: String,
    dst_process: String,
    src_cgroup: String,
    dst_cgroup: String,
    service: String,
    sampling: u32,
    packets: u64,
    bytes: u64,
    l3_bytes: u64,
    new_flows: u64,
}

impl RollupRow {
    pub(super) fn of(block: &BlockId, r: &Rollup) -> Self {
        Self {
            log_topic: block.topic.to_string(),
            log_partition: block.partition,
            block_first: block.first,
            block_last: block.last,
            window: time(r.window),
            node: r.node.to_string(),
            iface: r.iface.to_string(),
            direction: r.direction.map_or("", way).to_owned(),
            src_ip: ip(r.src_ip),
            dst_ip: ip(r.dst_ip),
            src_port: r.src_port,
            dst_port: r.dst_port,
            proto: r.proto,
            ether_type: r.ether_type,
            vlan: r.vlan,
            tunnel: r.tunnel.map_or("", Tunnel::name).to_owned(),
            tunnel_id: r.tunnel_id,
            src_country: country(&r.src_place),
            dst_country: country(&r.dst_place),
            src_as: r.src_place.asn,
            dst_as: r.dst_place.asn,
            src_network: text(r.src_place.network.as_deref()),
            dst_network: text(r.dst_place.network.as_deref()),
            src_name: text(r.src_place.name.as_deref()),
            dst_name: text(r.dst_place.name.as_deref()),
            src_pod: text(r.src_place.pod_name()),
            dst_pod: text(r.dst_place.pod_name()),
            src_namespace: text(r.src_place.namespace()),
            dst_namespace: text(r.dst_place.namespace()),
            src_workload: text(r.src_place.workload()),
            dst_workload: text(r.dst_place.workload()),
            src_process: text(r.src_place.process()),
            dst_process: text(r.dst_place.process()),
            src_cgroup: text(r.src_place.cgroup()),
            dst_cgroup: text(r.dst_place.cgroup()),
            service: text(r.service.as_deref()),
            sampling: r.sampling,
            packets: r.packets,
            bytes: r.bytes,
            l3_bytes: r.l3_bytes,
            new_flows: r.new_flows,
        }
    }
}

/// Roll-ups with equal values in the dimensions that were asked for, added up.
#[derive(Debug, Deserialize, Row)]
pub(super) struct GroupRow {
    first: i64,
    last: i64,
    node: String,
    iface: String,
    direction: String,
    src_ip: Option<Ipv6Addr>,
    dst_ip: Option<Ipv6Addr>,
    src_port: u16,
    dst_port: u16,
    proto: u8,
    ether_type: u16,
    vlan: Option<u16>,
    tunnel: String,
    tunnel_id: Option<u32>,
    src_country: String,
    dst_country: String,
    src_as: Option<u32>,
    dst_as: Option<u32>,
    src_network: String,
    dst_network: String,
    src_name: String,
    dst_name: String,
    src_pod: String,
    dst_pod: String,
    src_namespace: String,
    dst_namespace: String,
    src_workload: String,
    dst_workload: String,
    src_process: String,
    dst_process: String,
    src_cgroup: String,
    dst_cgroup: String,
    service: String,
    sampling: u32,
    packets: u64,
    bytes: u64,
    new_flows: u64,
}

impl GroupRow {
    /// The row of the first window with the sums, and one of the last window with nothing: what the answer spans.
    pub(super) fn rollups(self) -> Result<[Rollup; 2], RowError> {
        let direction = match self.direction.as_str() {
            "" => None,
            name => Some(
                [Direction::Ingress, Direction::Egress]
                    .into_iter()
                    .find(|d| way(*d) == name)
                    .ok_or_else(|| value("direction", name))?,
            ),
        };
        let tunnel = match self.tunnel.as_str() {
            "" => None,
            name => Some(Tunnel::from_name(name).ok_or_else(|| value("tunnel", name))?),
        };
        let first = Rollup {
            window: nanos(self.first),
            node: self.node.into(),
            iface: self.iface.into(),
            direction,
            src_ip: address(self.src_ip, self.ether_type),
            dst_ip: address(self.dst_ip, self.ether_type),
            src_port: self.src_port,
            dst_port: self.dst_port,
            proto: self.proto,
            ether_type: self.ether_type,
            vlan: self.vlan,
            tunnel,
            tunnel_id: self.tunnel_id,
            src_place: ends!(src of self),
            dst_place: ends!(dst of self),
            service: some(&self.service),
            sampling: self.sampling,
            packets: self.packets,
            bytes: self.bytes,
            l3_bytes: 0,
            new_flows: self.new_flows,
        };
        let last = Rollup { window: nanos(self.last), packets: 0, bytes: 0, new_flows: 0, ..first.clone() };
        Ok([first, last])
    }
}

/// Rows that have the sketches of a window beside columns of their own.
macro_rules! rows_with_sketches {
    (sketches $sketches:tt $($(#[$attr:meta])* struct $name:ident { $($column:ident: $type:ty,)* })*) => {
        $(rows_with_sketches!(@one $(#[$attr])* $name { $($column: $type,)* } $sketches);)*
    };
    (@one $(#[$attr:meta])* $name:ident { $($column:ident: $type:ty,)* } { $($sketch:ident: $kind:ident,)* }) => {
        $(#[$attr])*
        #[derive(Debug, Default, Serialize, Deserialize, Row)]
        pub(super) struct $name {
            $(pub(super) $column: $type,)*
            $($sketch: ByteBuf,)*
        }

        impl $name {
            /// A row with these sketches, and nothing else yet.
            fn with_sketches(sketches: Option<&WindowSketches>) -> Self {
                let mut row = Self::default();
                if let Some(sketches) = sketches {
                    $(row.$sketch = ByteBuf::from(sketches.$sketch.to_bytes());)*
                }
                row
            }

            /// Those of its sketches that were read.
            fn sketches(&self) -> Result<Box<WindowSketches>, RowError> {
                Ok(Box::new(WindowSketches {
                    $($sketch: sketch(stringify!($sketch), &self.$sketch, $kind::from_bytes)?,)*
                }))
            }
        }
    };
}

rows_with_sketches! {
    sketches {
        src_ips: Hll,
        dst_ips: Hll,
        ips: Hll,
        dst_ports: Hll,
        pairs: Hll,
        flows: Hll,
        top_src_bytes: TopK,
        top_dst_bytes: TopK,
        top_src_packets: TopK,
        top_dst_packets: TopK,
        top_dst_port_bytes: TopK,
        packet_size: Quantiles,
        flow_duration: Quantiles,
        server_rtt: Quantiles,
        client_rtt: Quantiles,
        dns_latency: Quantiles,
        peers: PairSample,
    }

    struct WindowRow {
        log_topic: String,
        log_partition: u32,
        block_first: u64,
        block_last: u64,
        node: String,
        resolution_seconds: u32,
        start: i64,
        packets: u64,
        bytes: u64,
        new_flows: u64,
        protocols: Vec<(i16, u64, u64)>,
    }

    /// Windows of a minute of all nodes as one: `first` to `last` are the begins of those that are in it, of the blocks of
    /// `partitions` up to their `throughs`.
    struct MergedRow {
        log_topic: String,
        id: u64,
        length_seconds: u32,
        start: i64,
        first: i64,
        last: i64,
        partitions: Vec<u32>,
        throughs: Vec<u64>,
        packets: u64,
        bytes: u64,
        new_flows: u64,
        protocols: Vec<(i16, u64, u64)>,
    }
}

/// The protocol of frames that are not IP.
const NON_IP: i16 = -1;

fn of_protocols(protocols: &BTreeMap<Option<u8>, Counter>) -> Vec<(i16, u64, u64)> {
    protocols.iter().map(|(p, c)| (p.map_or(NON_IP, i16::from), c.packets, c.bytes)).collect()
}

fn protocols(columns: &[(i16, u64, u64)]) -> BTreeMap<Option<u8>, Counter> {
    columns.iter().map(|(p, packets, bytes)| (u8::try_from(*p).ok(), Counter::new(*packets, *bytes))).collect()
}

impl WindowRow {
    pub(super) fn of(block: &BlockId, w: &WindowState) -> Self {
        Self {
            log_topic: block.topic.to_string(),
            log_partition: block.partition,
            block_first: block.first,
            block_last: block.last,
            node: w.node.to_string(),
            resolution_seconds: w.resolution.secs(),
            start: time(w.start),
            packets: w.total.packets,
            bytes: w.total.bytes,
            new_flows: w.new_flows,
            protocols: of_protocols(&w.protocols),
            ..Self::with_sketches(w.sketches.as_deref())
        }
    }

    /// The window, with those sketches that were read.
    pub(super) fn window(self) -> Result<WindowState, RowError> {
        let resolution = Resolution::from_secs(self.resolution_seconds)
            .ok_or_else(|| value("resolution_seconds", &self.resolution_seconds.to_string()))?;
        let sketches = match resolution {
            Resolution::S1 => None,
            Resolution::S10 | Resolution::S60 => Some(self.sketches()?),
        };
        Ok(WindowState {
            node: Arc::from(self.node),
            resolution,
            start: nanos(self.start),
            total: Counter::new(self.packets, self.bytes),
            new_flows: self.new_flows,
            protocols: protocols(&self.protocols),
            sketches,
        })
    }
}

impl MergedRow {
    /// `w` is the sum of windows that begin from `first` to `last`, in the `length` from its start on.
    pub(super) fn of(topic: &str, key: &MergedKey, (first, last): (Nanos, Nanos), w: &WindowState) -> Self {
        Self {
            log_topic: topic.to_owned(),
            id: key.id,
            length_seconds: key.length_seconds,
            start: key.start,
            first: time(first),
            last: time(last),
            partitions: key.partitions.clone(),
            throughs: key.throughs.clone(),
            packets: w.total.packets,
            bytes: w.total.bytes,
            new_flows: w.new_flows,
            protocols: of_protocols(&w.protocols),
            ..Self::with_sketches(w.sketches.as_deref())
        }
    }

    /// The sum, with those sketches that were read, and the time that it is of.
    pub(super) fn sum(&self) -> Result<(WindowState, TimeRange), RowError> {
        let minute = Resolution::S60;
        let window = WindowState {
            node: "".into(),
            resolution: minute,
            start: nanos(self.first),
            total: Counter::new(self.packets, self.bytes),
            new_flows: self.new_flows,
            protocols: protocols(&self.protocols),
            sketches: Some(self.sketches()?),
        };
        Ok((window, TimeRange { from: nanos(self.first), to: nanos(self.last).plus(minute.duration()) }))
    }
}

/// A merged row without what it holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Row)]
pub(super) struct MergedKey {
    /// Of the blocks in it: rows with equal ids hold the same.
    pub(super) id: u64,
    pub(super) length_seconds: u32,
    pub(super) start: i64,
    pub(super) partitions: Vec<u32>,
    pub(super) throughs: Vec<u64>,
}

/// A sketch from its bytes; one that was not read is empty.
fn sketch<T: Default>(
    column: &'static str,
    bytes: &[u8],
    read: impl Fn(&[u8]) -> Result<T, SketchError>,
) -> Result<T, RowError> {
    match bytes {
        [] => Ok(T::default()),
        bytes => read(bytes).map_err(|source| RowError::Sketch { column, source }),
    }
}

#[derive(Debug, Serialize, Deserialize, Row)]
pub(super) struct LedgerRow {
    log_topic: String,
    log_partition: u32,
    block_first: u64,
    block_last: u64,
    node: String,
    epoch: u64,
    generation: u64,
    start: i64,
    end: i64,
    seen_packets: u64,
    seen_bytes: u64,
    accounted_packets: u64,
    accounted_bytes: u64,
    ledger: String,
    nics: String,
    chain_break: bool,
}

impl LedgerRow {
    pub(super) fn of(block: &BlockId, e: &LedgerEntry) -> Self {
        let accounted = e.ledger.accounted();
        Self {
            log_topic: block.topic.to_string(),
            log_partition: block.partition,
            block_first: block.first,
            block_last: block.last,
            node: e.node.to_string(),
            epoch: e.epoch,
            generation: e.generation,
            start: time(e.start),
            end: time(e.end),
            seen_packets: e.ledger.seen.packets,
            seen_bytes: e.ledger.seen.bytes,
            accounted_packets: accounted.packets,
            accounted_bytes: accounted.bytes,
            // Numbers, lists of numbers and bytes: always JSON.
            ledger: serde_json::to_string(&e.ledger).unwrap_or_default(),
            nics: serde_json::to_string(&e.nics).unwrap_or_default(),
            chain_break: e.chain_break,
        }
    }

    pub(super) fn entry(self) -> Result<LedgerEntry, RowError> {
        Ok(LedgerEntry {
            ledger: serde_json::from_str(&self.ledger).map_err(RowError::Ledger)?,
            nics: serde_json::from_str(&self.nics).map_err(RowError::Ledger)?,
            chain_break: self.chain_break,
            node: self.node.into(),
            epoch: self.epoch,
            generation: self.generation,
            start: nanos(self.start),
            end: nanos(self.end),
        })
    }
}

/// A row that says when it was.
pub(super) trait At {
    /// When.
    fn at(&self) -> Nanos;
}

impl At for FlowRow {
    fn at(&self) -> Nanos {
        nanos(self.last_seen)
    }
}

#[derive(Debug, Serialize, Deserialize, Row)]
pub(super) struct AlertRow {
    log_topic: String,
    log_partition: u32,
    block_first: u64,
    block_last: u64,
    id: u64,
    node: String,
    detector: String,
    phase: String,
    severity: String,
    subject: String,
    why: String,
    at: i64,
    first_seen: i64,
    last_seen: i64,
    score: f64,
    threshold: f64,
    evidence: Vec<(String, f64)>,
    flows: Vec<u64>,
}

impl At for AlertRow {
    fn at(&self) -> Nanos {
        nanos(self.at)
    }
}

impl AlertRow {
    pub(super) fn of(block: &BlockId, a: &Alert) -> Self {
        Self {
            log_topic: block.topic.to_string(),
            log_partition: block.partition,
            block_first: block.first,
            block_last: block.last,
            id: a.id,
            node: a.node.to_string(),
            detector: a.detector.clone(),
            phase: a.phase.name().to_owned(),
            severity: a.severity.name().to_owned(),
            subject: a.subject.clone(),
            why: a.why.clone(),
            at: time(a.at),
            first_seen: time(a.first_seen),
            last_seen: time(a.last_seen),
            score: a.score,
            threshold: a.threshold,
            evidence: a.evidence.iter().map(|e| (e.name.clone(), e.value)).collect(),
            flows: a.flows.clone(),
        }
    }

    pub(super) fn alert(self) -> Result<Alert, RowError> {
        let phase = AlertPhase::ALL.into_iter().find(|p| p.name() == self.phase);
        let severity = Severity::ALL.into_iter().find(|s| s.name() == self.severity);
        Ok(Alert {
            id: self.id,
            node: self.node.into(),
            detector: self.detector,
            phase: phase.ok_or_else(|| value("phase", &self.phase))?,
            severity: severity.ok_or_else(|| value("severity", &self.severity))?,
            subject: self.subject,
            why: self.why,
            at: nanos(self.at),
            first_seen: nanos(self.first_seen),
            last_seen: nanos(self.last_seen),
            score: self.score,
            threshold: self.threshold,
            evidence: self.evidence.into_iter().map(|(name, value)| Evidence { name, value }).collect(),
            flows: self.flows,
        })
    }
}

#[derive(Debug, Serialize, Deserialize, Row)]
pub(super) struct MessageRow {
    log_topic: String,
    log_partition: u32,
    block_first: u64,
    block_last: u64,
    id: u64,
    node: String,
    at: i64,
    src_ip: Option<Ipv6Addr>,
    dst_ip: Option<Ipv6Addr>,
    src_port: u16,
    dst_port: u16,
    proto: u8,
    vlan: Option<u16>,
    app: String,
    message: String,
    name: Option<String>,
    code: Option<u16>,
    latency_us: Option<u64>,
    detail: String,
}

impl At for MessageRow {
    fn at(&self) -> Nanos {
        nanos(self.at)
    }
}

impl MessageRow {
    pub(super) fn of(block: &BlockId, m: &AppMessage) -> Self {
        Self {
            log_topic: block.topic.to_string(),
            log_partition: block.partition,
            block_first: block.first,
            block_last: block.last,
            id: m.id,
            node: m.node.to_string(),
            at: time(m.at),
            src_ip: ip(m.src_ip),
            dst_ip: ip(m.dst_ip),
            src_port: m.src_port,
            dst_port: m.dst_port,
            proto: m.proto,
            vlan: m.vlan,
            app: m.what.protocol().to_owned(),
            message: m.what.kind().name().to_owned(),
            name: m.name.clone(),
            code: m.what.code(),
            latency_us: m.what.latency().and_then(|l| u64::try_from(l.as_micros()).ok()),
            // Numbers, texts and lists of them: always JSON.
            detail: serde_json::to_string(&m.what).unwrap_or_default(),
        }
    }

    pub(super) fn message(self) -> Result<AppMessage, RowError> {
        let address = |ip: Option<Ipv6Addr>| ip.map(|ip| IpAddr::V6(ip).to_canonical());
        Ok(AppMessage {
            id: self.id,
            node: self.node.into(),
            at: nanos(self.at),
            src_ip: address(self.src_ip),
            dst_ip: address(self.dst_ip),
            src_port: self.src_port,
            dst_port: self.dst_port,
            proto: self.proto,
            vlan: self.vlan,
            name: self.name,
            what: serde_json::from_str(&self.detail).map_err(RowError::Message)?,
        })
    }
}

#[derive(Debug, Serialize, Deserialize, Row)]
pub(super) struct BlockRow {
    log_topic: String,
    log_partition: u32,
    block_first: u64,
    block_last: u64,
    flows: u64,
    rollups: u64,
    windows: u64,
    generations: u64,
}

impl BlockRow {
    pub(super) fn of(block: &BlockId, batch: &StoreBatch) -> Self {
        Self {
            log_topic: block.topic.to_string(),
            log_partition: block.partition,
            block_first: block.first,
            block_last: block.last,
            flows: batch.flows.len() as u64,
            rollups: batch.rollups.len() as u64,
            windows: batch.windows.len() as u64,
            generations: batch.ledger.len() as u64,
        }
    }
}

#[derive(Debug, Serialize, Deserialize, Row)]
pub(super) struct StateRow {
    pub(super) log_topic: String,
    pub(super) log_partition: u32,
    pub(super) block_first: u64,
    pub(super) block_last: u64,
    pub(super) part: u32,
    pub(super) parts: u32,
    pub(super) state: ByteBuf,
}
