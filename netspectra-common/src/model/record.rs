use super::{Country, Nanos, Place};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::sync::Arc;

/// Where a flow is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FlowState {
    /// Not ended: seen within the idle timeout, or cut by the active timeout and going on.
    Active,
    /// Ended by the protocol (FIN both ways, or RST).
    Closed,
    /// Ended by silence.
    TimedOut,
}

impl FlowState {
    /// All states.
    pub const ALL: [Self; 3] = [Self::Active, Self::Closed, Self::TimedOut];

    /// Stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Closed => "closed",
            Self::TimedOut => "timed_out",
        }
    }
}

/// Why a record was written (IPFIX `flowEndReason`, information element 136, refined).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// It was not: the flow is being watched (answers from live state only).
    None,
    /// No packet for the idle timeout (1).
    IdleTimeout,
    /// The record covers an active timeout; the flow goes on (2).
    ActiveTimeout,
    /// FIN from both sides (3).
    Fin,
    /// RST (3).
    Rst,
    /// The input ended or the process was stopped (4).
    EndOfInput,
    /// The flow table was full and this flow was the one longest silent (5).
    LackOfResources,
}

impl EndReason {
    /// All reasons.
    pub const ALL: [Self; 7] = [
        Self::None,
        Self::IdleTimeout,
        Self::ActiveTimeout,
        Self::Fin,
        Self::Rst,
        Self::EndOfInput,
        Self::LackOfResources,
    ];

    /// Stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::IdleTimeout => "idle_timeout",
            Self::ActiveTimeout => "active_timeout",
            Self::Fin => "fin",
            Self::Rst => "rst",
            Self::EndOfInput => "end_of_input",
            Self::LackOfResources => "lack_of_resources",
        }
    }
}

/// How the initiator was told from the responder (RFC 5103 `biflowDirection`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InitiatorBy {
    /// It sent the SYN (or the other side the SYN+ACK).
    Syn,
    /// It sent the first packet that was seen.
    FirstPacket,
    /// The other side's port is the lower one: both directions began in the same instant.
    Port,
}

impl InitiatorBy {
    /// All ways.
    pub const ALL: [Self; 3] = [Self::Syn, Self::FirstPacket, Self::Port];

    /// Stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Syn => "syn",
            Self::FirstPacket => "first_packet",
            Self::Port => "port",
        }
    }
}

/// A biflow: source is the initiator, `reverse_*` is what the responder sent.
///
/// Counts cover this record only (delta counts): the records of one flow add up to the flow.
///
/// The order is by field, without meaning: it makes lists of records with equal times reproducible.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FlowRecord {
    /// Node that saw it.
    pub node: Arc<str>,
    /// Interface that saw it.
    pub iface: Arc<str>,
    /// `None` for non-IP.
    pub src_ip: Option<IpAddr>,
    /// `None` for non-IP.
    pub dst_ip: Option<IpAddr>,
    /// 0 where there are none.
    pub src_port: u16,
    /// 0 where there are none.
    pub dst_port: u16,
    /// IANA protocol number; 0 for non-IP.
    pub proto: u8,
    /// 0x0800, 0x86dd, or the EtherType of non-IP frames (0 for LLC).
    pub ether_type: u16,
    /// ICMP type of the initiator's packets.
    pub icmp_type: Option<u8>,
    /// ICMP code of the initiator's packets.
    pub icmp_code: Option<u8>,
    /// Outer VLAN identifier.
    pub vlan: Option<u16>,
    /// Second VLAN identifier.
    pub inner_vlan: Option<u16>,
    /// Tunnel whose inside this is, by its stable name.
    pub tunnel: Option<Arc<str>>,
    /// VNI, GRE key, TEID.
    pub tunnel_id: Option<u32>,
    /// Where the source is, as far as the engine knew.
    pub src_place: Place,
    /// Where the destination is.
    pub dst_place: Place,
    /// Service by protocol and port, as far as the engine has a name for it.
    pub service: Option<Arc<str>>,
    /// One in so many flows of its kind was counted, the highest of the flow's rules; 1: all.
    pub sampling: u32,
    /// Initiator's packets.
    pub packets: u64,
    /// Initiator's L2 bytes.
    pub bytes: u64,
    /// Initiator's L3 bytes.
    pub l3_bytes: u64,
    /// Responder's packets.
    pub reverse_packets: u64,
    /// Responder's L2 bytes.
    pub reverse_bytes: u64,
    /// Responder's L3 bytes.
    pub reverse_l3_bytes: u64,
    /// OR of the initiator's TCP flags (low nine bits).
    pub tcp_flags: u16,
    /// OR of the responder's TCP flags.
    pub reverse_tcp_flags: u16,
    /// Initiator's TCP segments that repeat sequence numbers already seen.
    pub retransmitted: u64,
    /// Responder's.
    pub reverse_retransmitted: u64,
    /// Initiator's TCP segments that fill a gap in the sequence right after it appeared.
    pub out_of_order: u64,
    /// Responder's.
    pub reverse_out_of_order: u64,
    /// Initiator's TCP segments that announce a window of 0.
    pub zero_windows: u64,
    /// Responder's.
    pub reverse_zero_windows: u64,
    /// Microseconds from the SYN to the SYN+ACK: the network between observation point and responder, and its answering.
    /// `None` where one of them was not seen, or the SYN came twice (Karn). The flow's, in each of its records.
    pub server_rtt_us: Option<u32>,
    /// Microseconds from the SYN+ACK to the initiator's ACK. `None` where one of them was not seen, or the SYN+ACK came
    /// twice. The flow's, in each of its records.
    pub client_rtt_us: Option<u32>,
    /// First packet of this record.
    pub first_seen: Nanos,
    /// Last packet of this record.
    pub last_seen: Nanos,
    /// First packet of the flow; earlier than `first_seen` where an active timeout cut it.
    pub flow_start: Nanos,
    /// State when the record was made.
    pub state: FlowState,
    /// Why the record was made.
    pub end_reason: EndReason,
    /// How the initiator was found.
    pub initiator_by: InitiatorBy,
    /// Stable identity of the flow; the same in all its records.
    pub flow_id: u64,
}

impl FlowRecord {
    /// One record for each direction that has packets: the initiator's, and the responder's with the ends exchanged.
    ///
    /// Times are the whole record's, because a record does not keep them by direction.
    /// What only the initiator's packets say (ICMP type and code) the responder's record does not have.
    pub fn unidirectional(&self) -> impl Iterator<Item = Self> {
        let forward = Self {
            reverse_packets: 0,
            reverse_bytes: 0,
            reverse_l3_bytes: 0,
            reverse_tcp_flags: 0,
            reverse_retransmitted: 0,
            reverse_out_of_order: 0,
            reverse_zero_windows: 0,
            ..self.clone()
        };
        let backward = Self {
            src_ip: self.dst_ip,
            dst_ip: self.src_ip,
            src_port: self.dst_port,
            dst_port: self.src_port,
            src_place: self.dst_place.clone(),
            dst_place: self.src_place.clone(),
            icmp_type: None,
            icmp_code: None,
            packets: self.reverse_packets,
            bytes: self.reverse_bytes,
            l3_bytes: self.reverse_l3_bytes,
            tcp_flags: self.reverse_tcp_flags,
            retransmitted: self.reverse_retransmitted,
            out_of_order: self.reverse_out_of_order,
            zero_windows: self.reverse_zero_windows,
            ..forward.clone()
        };
        [forward, backward].into_iter().filter(|r| r.packets > 0)
    }
}

impl Serialize for FlowRecord {
    /// As an object with the names of [`crate::schema::FLOW_FIELDS`], in their order.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let mut s = serializer.serialize_struct("FlowRecord", crate::schema::FLOW_FIELDS.len())?;
        s.serialize_field("src_ip", &self.src_ip)?;
        s.serialize_field("dst_ip", &self.dst_ip)?;
        s.serialize_field("src_port", &self.src_port)?;
        s.serialize_field("dst_port", &self.dst_port)?;
        s.serialize_field("proto", &self.src_ip.map(|_| self.proto))?;
        s.serialize_field("ether_type", &self.ether_type)?;
        s.serialize_field("icmp_type", &self.icmp_type)?;
        s.serialize_field("icmp_code", &self.icmp_code)?;
        s.serialize_field("vlan", &self.vlan)?;
        s.serialize_field("inner_vlan", &self.inner_vlan)?;
        s.serialize_field("tunnel", &self.tunnel)?;
        s.serialize_field("tunnel_id", &self.tunnel_id)?;
        s.serialize_field("packets", &self.packets)?;
        s.serialize_field("bytes", &self.bytes)?;
        s.serialize_field("l3_bytes", &self.l3_bytes)?;
        s.serialize_field("reverse_packets", &self.reverse_packets)?;
        s.serialize_field("reverse_bytes", &self.reverse_bytes)?;
        s.serialize_field("reverse_l3_bytes", &self.reverse_l3_bytes)?;
        s.serialize_field("tcp_flags", &self.tcp_flags)?;
        s.serialize_field("reverse_tcp_flags", &self.reverse_tcp_flags)?;
        s.serialize_field("retransmitted", &self.retransmitted)?;
        s.serialize_field("reverse_retransmitted", &self.reverse_retransmitted)?;
        s.serialize_field("out_of_order", &self.out_of_order)?;
        s.serialize_field("reverse_out_of_order", &self.reverse_out_of_order)?;
        s.serialize_field("zero_windows", &self.zero_windows)?;
        s.serialize_field("reverse_zero_windows", &self.reverse_zero_windows)?;
        s.serialize_field("server_rtt_us", &self.server_rtt_us)?;
        s.serialize_field("client_rtt_us", &self.client_rtt_us)?;
        s.serialize_field("first_seen", text(&self.first_seen.to_text()))?;
        s.serialize_field("last_seen", text(&self.last_seen.to_text()))?;
        s.serialize_field("flow_start", text(&self.flow_start.to_text()))?;
        s.serialize_field("state", self.state.name())?;
        s.serialize_field("end_reason", self.end_reason.name())?;
        s.serialize_field("initiator_by", self.initiator_by.name())?;
        s.serialize_field("node", &self.node)?;
        s.serialize_field("iface", &self.iface)?;
        s.serialize_field("flow_id", text(&hex(self.flow_id)))?;
        s.serialize_field("src_country", &self.src_place.country.as_ref().map(Country::as_str))?;
        s.serialize_field("dst_country", &self.dst_place.country.as_ref().map(Country::as_str))?;
        s.serialize_field("src_as", &self.src_place.asn)?;
        s.serialize_field("dst_as", &self.dst_place.asn)?;
        s.serialize_field("src_network", &self.src_place.network)?;
        s.serialize_field("dst_network", &self.dst_place.network)?;
        s.serialize_field("sampling", &self.sampling)?;
        s.serialize_field("src_name", &self.src_place.name)?;
        s.serialize_field("dst_name", &self.dst_place.name)?;
        s.serialize_field("src_pod", &self.src_place.pod_name())?;
        s.serialize_field("dst_pod", &self.dst_place.pod_name())?;
        s.serialize_field("src_namespace", &self.src_place.namespace())?;
        s.serialize_field("dst_namespace", &self.dst_place.namespace())?;
        s.serialize_field("src_workload", &self.src_place.workload())?;
        s.serialize_field("dst_workload", &self.dst_place.workload())?;
        s.serialize_field("src_process", &self.src_place.process())?;
        s.serialize_field("dst_process", &self.dst_place.process())?;
        s.serialize_field("src_cgroup", &self.src_place.cgroup())?;
        s.serialize_field("dst_cgroup", &self.dst_place.cgroup())?;
        s.serialize_field("service", &self.service)?;
        s.end()
    }
}

/// ASCII, without the formatter's detours: a list of flows has millions of these.
fn text(ascii: &[u8]) -> &str {
    str::from_utf8(ascii).unwrap_or_default()
}

/// 16 hexadecimal digits.
fn hex(id: u64) -> [u8; 16] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    std::array::from_fn(|at| DIGITS[(id >> (60 - 4 * at)) as usize & 15])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::model::{Owner, Pod};
    use crate::schema::FLOW_FIELDS;

    fn record() -> FlowRecord {
        FlowRecord {
            node: "n1".into(),
            iface: "eth0".into(),
            src_ip: Some("10.0.0.1".parse().unwrap()),
            dst_ip: Some("2001:db8::1".parse().unwrap()),
            src_port: 50_000,
            dst_port: 443,
            proto: 6,
            ether_type: 0x0800,
            icmp_type: Some(8),
            icmp_code: None,
            vlan: Some(7),
            inner_vlan: None,
            tunnel: Some("vxlan".into()),
            tunnel_id: Some(5),
            src_place: Place { network: Some("office".into()), ..Place::default() },
            dst_place: Place {
                country: Country::new("DE"),
                asn: Some(3320),
                name: Some("www.example.com".into()),
                pod: Pod::of(Some("shop".into()), Some("web-1".into()), Some("Deployment/web".into())),
                owner: Owner::of(Some("nginx".into()), None),
                ..Place::default()
            },
            service: Some("https".into()),
            sampling: 16,
            packets: 3,
            bytes: 300,
            l3_bytes: 258,
            reverse_packets: 2,
            reverse_bytes: 200,
            reverse_l3_bytes: 172,
            tcp_flags: 0x1b,
            reverse_tcp_flags: 0x12,
            retransmitted: 1,
            reverse_retransmitted: 2,
            out_of_order: 3,
            reverse_out_of_order: 4,
            zero_windows: 5,
            reverse_zero_windows: 6,
            server_rtt_us: Some(700),
            client_rtt_us: None,
            first_seen: Nanos(1_709_164_800_000_000_001),
            last_seen: Nanos(1_709_164_801_500_000_000),
            flow_start: Nanos(1_709_164_800_000_000_000),
            state: FlowState::TimedOut,
            end_reason: EndReason::IdleTimeout,
            initiator_by: InitiatorBy::FirstPacket,
            flow_id: 0xabc,
        }
    }

    #[test]
    fn a_record_serializes_to_the_documented_fields_in_their_order() {
        let json = serde_json::to_string(&record()).unwrap();
        assert_eq!(
            json,
            "{\"src_ip\":\"10.0.0.1\",\"dst_ip\":\"2001:db8::1\",\"src_port\":50000,\"dst_port\":443,\"proto\":6,\
             \"ether_type\":2048,\"icmp_type\":8,\"icmp_code\":null,\"vlan\":7,\"inner_vlan\":null,\
             \"tunnel\":\"vxlan\",\"tunnel_id\":5,\"packets\":3,\"bytes\":300,\"l3_bytes\":258,\
             \"reverse_packets\":2,\"reverse_bytes\":200,\"reverse_l3_bytes\":172,\"tcp_flags\":27,\
             \"reverse_tcp_flags\":18,\"retransmitted\":1,\"reverse_retransmitted\":2,\"out_of_order\":3,\
             \"reverse_out_of_order\":4,\"zero_windows\":5,\"reverse_zero_windows\":6,\"server_rtt_us\":700,\
             \"client_rtt_us\":null,\"first_seen\":\"2024-02-29T00:00:00.000000001Z\",\
             \"last_seen\":\"2024-02-29T00:00:01.500000000Z\",\"flow_start\":\"2024-02-29T00:00:00.000000000Z\",\
             \"state\":\"timed_out\",\"end_reason\":\"idle_timeout\",\"initiator_by\":\"first_packet\",\
             \"node\":\"n1\",\"iface\":\"eth0\",\"flow_id\":\"0000000000000abc\",\
             \"src_country\":null,\"dst_country\":\"DE\",\"src_as\":null,\"dst_as\":3320,\
             \"src_network\":\"office\",\"dst_network\":null,\"sampling\":16,\
             \"src_name\":null,\"dst_name\":\"www.example.com\",\"src_pod\":null,\"dst_pod\":\"web-1\",\
             \"src_namespace\":null,\"dst_namespace\":\"shop\",\"src_workload\":null,\
             \"dst_workload\":\"Deployment/web\",\"src_process\":null,\"dst_process\":\"nginx\",\
             \"src_cgroup\":null,\"dst_cgroup\":null,\"service\":\"https\"}"
        );
        let mut rest = &*json;
        for field in FLOW_FIELDS {
            let (_, behind) = rest.split_once(&format!("\"{}\":", field.name)).unwrap();
            rest = behind;
        }
    }

    #[test]
    fn each_direction_with_packets_becomes_a_record_of_its_own() {
        let both = record();
        let [there, back] = &both.unidirectional().collect::<Vec<_>>()[..] else { panic!("two directions") };
        assert_eq!((there.src_ip, there.packets, there.bytes, there.l3_bytes), (both.src_ip, 3, 300, 258));
        assert_eq!((there.reverse_packets, there.reverse_bytes, there.reverse_tcp_flags), (0, 0, 0));
        assert_eq!((there.icmp_type, there.tcp_flags), (Some(8), 0x1b));
        assert_eq!((back.src_ip, back.dst_ip), (both.dst_ip, both.src_ip));
        assert_eq!((&back.src_place, &back.dst_place), (&both.dst_place, &both.src_place));
        assert_eq!((back.src_port, back.dst_port), (443, 50_000));
        assert_eq!((back.packets, back.bytes, back.l3_bytes, back.tcp_flags), (2, 200, 172, 0x12));
        assert_eq!((there.retransmitted, there.reverse_retransmitted, there.reverse_out_of_order), (1, 0, 0));
        assert_eq!((back.retransmitted, back.out_of_order, back.zero_windows), (2, 4, 6));
        assert_eq!((back.reverse_zero_windows, back.server_rtt_us), (0, Some(700)));
        assert_eq!((back.reverse_packets, back.reverse_l3_bytes, back.icmp_type), (0, 0, None));
        assert_eq!((back.flow_id, back.first_seen, back.state), (both.flow_id, both.first_seen, both.state));
    }

    #[test]
    fn a_silent_direction_has_no_record() {
        let heard = FlowRecord { packets: 0, ..record() };
        assert_eq!(heard.unidirectional().map(|r| r.src_port).collect::<Vec<_>>(), [443]);
        let silent = FlowRecord { reverse_packets: 0, ..heard };
        assert_eq!(silent.unidirectional().count(), 0);
    }
}
