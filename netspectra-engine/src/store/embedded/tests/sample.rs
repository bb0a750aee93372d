//! Rows with every field in use.

use netspectra_common::abi::{FlowKey, LossReason, Overflow};
use netspectra_common::model::{
    Alert, AlertPhase, AppMessage, Counter, Country, Direction, DnsKind, DnsMessage, DnsQuestion, DnsRecord, EndReason,
    Evidence, FlowRecord, FlowState, HttpRequest, HttpResponse, InitiatorBy, Ledger, LedgerEntry, Nanos, NicCounters,
    NicDelta, Observation, Owner, Place, Pod, Resolution, Rollup, Severity, TlsClient, TlsServer, WindowSketches,
    WindowState,
};
use netspectra_common::ports::StoreBatch;
use netspectra_common::schema::SKETCHES;
use netspectra_common::sketch::OverflowSum;
use netspectra_common::wire::Tunnel;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

/// 2023-11-14T22:13:20Z.
pub(in crate::store) const T0: Nanos = Nanos::from_secs(1_700_000_000);

/// Random enough, the same each time (splitmix64).
pub(super) struct Rng(pub(super) u64);

impl Rng {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn option<T>(&mut self, value: T) -> Option<T> {
        self.below(2).eq(&0).then_some(value)
    }

    fn address(&mut self) -> Option<IpAddr> {
        match self.below(5) {
            0 => None,
            1 => Some(Ipv6Addr::from(u128::from(self.next()) << 64 | u128::from(self.next())).into()),
            // An IPv4 address inside an IPv6 one is not the IPv4 address.
            2 => Some(Ipv4Addr::from(self.next() as u32).to_ipv6_mapped().into()),
            _ => Some(Ipv4Addr::from(0x0a00_0000 | self.below(300) as u32).into()),
        }
    }

    /// Mostly ordinary, sometimes extreme.
    fn number(&mut self) -> u64 {
        match self.below(8) {
            0 => u64::MAX,
            1 => 0,
            _ => self.below(1_000_000),
        }
    }
}

pub(super) fn flow(rng: &mut Rng, at: Nanos) -> FlowRecord {
    let first_seen = Nanos(at.0 + rng.below(1_000_000_000));
    FlowRecord {
        node: ["alpha", "beta", "γ"][rng.below(3) as usize].into(),
        iface: ["eth0", ""][rng.below(2) as usize].into(),
        src_ip: rng.address(),
        dst_ip: rng.address(),
        src_port: rng.next() as u16,
        dst_port: rng.next() as u16,
        proto: rng.next() as u8,
        ether_type: rng.next() as u16,
        icmp_type: {
            let v = rng.next() as u8;
            rng.option(v)
        },
        icmp_code: {
            let v = rng.next() as u8;
            rng.option(v)
        },
        vlan: {
            let v = rng.next() as u16;
            rng.option(v)
        },
        inner_vlan: {
            let v = rng.next() as u16;
            rng.option(v)
        },
        tunnel: rng.option("vxlan".into()),
        tunnel_id: {
            let v = rng.next() as u32;
            rng.option(v)
        },
        src_place: place(rng),
        dst_place: place(rng),
        service: rng.option("https".into()),
        sampling: 1 << rng.below(3),
        packets: rng.number(),
        bytes: rng.number(),
        l3_bytes: rng.number(),
        reverse_packets: rng.number(),
        reverse_bytes: rng.number(),
        reverse_l3_bytes: rng.number(),
        tcp_flags: rng.next() as u16,
        reverse_tcp_flags: rng.next() as u16,
        retransmitted: rng.next() % 9,
        reverse_retransmitted: rng.next() % 9,
        out_of_order: rng.next() % 9,
        reverse_out_of_order: rng.next() % 9,
        zero_windows: rng.next() % 9,
        reverse_zero_windows: rng.next() % 9,
        server_rtt_us: rng.next().is_multiple_of(2).then_some(rng.next() as u32),
        client_rtt_us: rng.next().is_multiple_of(2).then_some(rng.next() as u32),
        first_seen,
        last_seen: Nanos(first_seen.0 + rng.below(60_000_000_000)),
        flow_start: Nanos(first_seen.0 - rng.below(1_000_000_000_000)),
        state: FlowState::ALL[rng.below(3) as usize],
        end_reason: EndReason::ALL[rng.below(7) as usize],
        initiator_by: InitiatorBy::ALL[rng.below(3) as usize],
        flow_id: rng.next(),
    }
}

pub(super) fn rollup(rng: &mut Rng, at: Nanos) -> Rollup {
    Rollup {
        window: at.floor(Duration::from_secs(10)),
        node: "alpha".into(),
        iface: ["eth0", "trunk.7"][rng.below(2) as usize].into(),
        direction: [None, Some(Direction::Ingress), Some(Direction::Egress)][rng.below(3) as usize],
        src_ip: rng.address(),
        dst_ip: rng.address(),
        src_port: rng.next() as u16,
        dst_port: rng.next() as u16,
        proto: rng.next() as u8,
        ether_type: rng.next() as u16,
        vlan: {
            let v = rng.next() as u16;
            rng.option(v)
        },
        tunnel: {
            let tunnel = Tunnel::ALL[rng.below(11) as usize];
            rng.option(tunnel)
        },
        tunnel_id: {
            let id = rng.next() as u32;
            rng.option(id)
        },
        src_place: place(rng),
        dst_place: place(rng),
        service: rng.option("https".into()),
        sampling: 1 << rng.below(3),
        packets: rng.number(),
        bytes: rng.number(),
        l3_bytes: rng.number(),
        new_flows: rng.number(),
    }
}

pub(super) fn window(rng: &mut Rng, at: Nanos, resolution: Resolution) -> WindowState {
    let protocols = [(None, 3), (Some(6), 5), (Some(17), u64::MAX), (Some(0), 1)];
    WindowState {
        node: "alpha".into(),
        resolution,
        start: at.floor(resolution.duration()),
        total: Counter::new(rng.number(), rng.number()),
        new_flows: rng.number(),
        protocols: protocols
            .into_iter()
            .take(rng.below(5) as usize)
            .map(|(proto, n)| (proto, Counter::new(n, rng.number())))
            .collect(),
        sketches: (resolution != Resolution::S1).then(|| Box::new(sketches(rng))),
    }
}

/// Something is known of some addresses.
fn place(rng: &mut Rng) -> Place {
    let mut one = |of: [&str; 2]| {
        let text = of[rng.below(2) as usize];
        rng.option(Arc::<str>::from(text))
    };
    let (name, network) = (one(["www.example.com", "db.example"]), one(["lab", "office \u{1f3e2}"]));
    let pod = Pod::of(one(["shop", "ops"]), one(["web-1", "web-2"]), one(["Deployment/web", "StatefulSet/db"]));
    let owner = Owner::of(one(["nginx", "curl"]), one(["/system.slice/nginx.service", "/"]));
    let (country, asn) = (["DE", "NZ", "US"][rng.below(3) as usize], rng.below(70_000) as u32);
    Place { country: rng.option(Country::new(country)).flatten(), asn: rng.option(asn), network, name, pod, owner }
}

/// No two sketches of the same kind are equal, so that none can stand in for another.
fn sketches(rng: &mut Rng) -> WindowSketches {
    let mut s = WindowSketches::default();
    let hlls = [&mut s.src_ips, &mut s.dst_ips, &mut s.ips, &mut s.dst_ports, &mut s.pairs, &mut s.flows];
    for (n, hll) in hlls.into_iter().enumerate() {
        (0..=n).for_each(|_| hll.insert(&rng.next().to_be_bytes()));
    }
    let tops = [
        &mut s.top_src_bytes,
        &mut s.top_dst_bytes,
        &mut s.top_src_packets,
        &mut s.top_dst_packets,
        &mut s.top_dst_port_bytes,
    ];
    for (n, top) in tops.into_iter().enumerate() {
        (0..=n).for_each(|_| top.add(&rng.next().to_be_bytes(), 1 + rng.below(1000)));
    }
    s.packet_size.add(64.0 + rng.below(1400) as f64, 3);
    s.flow_duration.add(rng.below(1000) as f64 / 7.0, 1);
    s.server_rtt.add(rng.below(1000) as f64 / 1e3, 2);
    s.client_rtt.add(rng.below(1000) as f64 / 1e4, 4);
    s.dns_latency.add(rng.below(1000) as f64 / 1e5, 5);
    let mut pair = [0; 32];
    pair.chunks_exact_mut(8).for_each(|part| part.copy_from_slice(&rng.next().to_be_bytes()));
    s.peers.insert(&pair);
    s
}

pub(super) fn ledger(rng: &mut Rng, at: Nanos, generation: u64) -> LedgerEntry {
    let mut ledger = Ledger {
        seen: Counter::new(rng.number(), rng.number()),
        flows: Counter::new(rng.number(), rng.number()),
        non_ip: Counter::new(rng.number(), rng.number()),
        // Sums of these are not made to wrap.
        orphan_fragments: rng.below(1_000_000),
        events_lost: rng.below(1_000_000),
        ..Ledger::default()
    };
    for reason in LossReason::ALL {
        ledger.reasons[reason] = Counter::new(rng.number(), rng.number());
    }
    // Every other generation has packets without room.
    if generation.is_multiple_of(2) {
        let mut table = Box::new(Overflow::EMPTY);
        for _ in 0..3 {
            let mut key = FlowKey { family: 4, proto: 17, ..FlowKey::default() };
            key.src[..8].copy_from_slice(&rng.next().to_be_bytes());
            netspectra_common::flow::spill(&mut table, &key, Counter::new(1, rng.below(1500)));
        }
        let mut sum = OverflowSum::default();
        sum.add(&table);
        ledger.overflow = Some(Box::new(sum.finish()));
    }
    let end = at.plus(Duration::from_secs(1));
    let nic = |ifindex: u32, counter: u64| NicDelta {
        ifindex,
        iface: format!("eth{ifindex}").into(),
        gained: NicCounters::from_array(std::array::from_fn(|at| counter + at as u64)),
        reset: counter.is_multiple_of(3),
    };
    let nics = (0..rng.below(4) as u32).map(|ifindex| nic(ifindex, rng.below(1_000_000))).collect();
    let (epoch, chain_break) = (rng.next(), rng.below(8) == 0);
    LedgerEntry { node: "alpha".into(), epoch, generation, start: at, end, ledger, nics, chain_break }
}

pub(super) fn alert(rng: &mut Rng, at: Nanos) -> Alert {
    Alert {
        id: rng.next(),
        node: ["alpha", "γ"][rng.below(2) as usize].into(),
        detector: ["port_scan", "new \"talker\""][rng.below(2) as usize].into(),
        phase: AlertPhase::ALL[rng.below(3) as usize],
        severity: Severity::ALL[rng.below(3) as usize],
        subject: format!("10.0.0.{}", rng.below(4)),
        why: ["1,000 ports in 10 s", ""][rng.below(2) as usize].into(),
        at: Nanos(at.0 + rng.below(1_000_000_000)),
        first_seen: Nanos(at.0 - rng.below(9_000_000_000)),
        last_seen: at,
        score: rng.below(1000) as f64 / 7.0,
        threshold: 100.0,
        evidence: (0..rng.below(3)).map(|n| Evidence { name: format!("ports_{n}"), value: n as f64 / 3.0 }).collect(),
        flows: (0..rng.below(4)).map(|_| rng.next()).collect(),
    }
}

pub(super) fn message(rng: &mut Rng, at: Nanos) -> AppMessage {
    let name = format!("Host{}.example", rng.below(5));
    let latency = Duration::from_nanos(rng.below(1_000_000_000));
    let latency = rng.option(latency);
    let what = match rng.below(6) {
        0 => Observation::Dns(Box::new(DnsMessage {
            kind: [DnsKind::Dns, DnsKind::Mdns, DnsKind::Llmnr][rng.below(3) as usize],
            id: rng.next() as u16,
            response: rng.below(2) == 0,
            opcode: 0,
            rcode: rng.below(4) as u16,
            truncated: false,
            question: rng.option(DnsQuestion { name: name.clone(), qtype: 1, qclass: 1 }),
            questions: 1,
            answers: 1,
            records: vec![DnsRecord { name, rtype: 16, ttl: 60, data: "\"quoted\" \\ text\n".into() }],
            udp_size: Some(1232),
            complete: true,
            repeated: false,
            latency,
        })),
        1 => Observation::HttpRequest(Box::new(HttpRequest {
            method: "GET".into(),
            target: "/a?b=c".into(),
            host: rng.option(name),
            ..HttpRequest::default()
        })),
        2 => Observation::HttpResponse(Box::new(HttpResponse {
            status: 200 + rng.below(300) as u16,
            content_length: Some(rng.next()),
            host: Some(name),
            latency,
            ..HttpResponse::default()
        })),
        3 => Observation::TlsClient(Box::new(TlsClient {
            sni: Some(name),
            alpn: vec!["h2".into(), "http/1.1".into()],
            version: 0x0304,
            ja4: "t13d".into(),
            quic: rng.option(1),
        })),
        4 => Observation::TlsServer(Box::new(TlsServer { version: 0x0304, cipher: 0x1301, alpn: None })),
        _ => Observation::Other { protocol: "ssh".into(), fields: vec![("banner".into(), "SSH-2.0-x".into())] },
    };
    AppMessage {
        id: rng.next(),
        node: ["alpha", "γ"][rng.below(2) as usize].into(),
        at: Nanos(at.0 + rng.below(1_000_000_000)),
        src_ip: rng.address(),
        dst_ip: rng.address(),
        src_port: rng.next() as u16,
        dst_port: [53, 80, 443][rng.below(3) as usize],
        proto: [6, 17][rng.below(2) as usize],
        vlan: rng.option(7),
        name: what.subject(),
        what,
    }
}

/// Some rows of every dataset, one second after the batch before.
pub(in crate::store) fn batch(number: u64) -> StoreBatch {
    let mut rng = Rng(number);
    let at = T0.plus(Duration::from_secs(number));
    StoreBatch {
        block: None,
        closed_by: None,
        flows: (0..5).map(|_| flow(&mut rng, at)).collect(),
        rollups: (0..4).map(|_| rollup(&mut rng, at)).collect(),
        windows: Resolution::ALL.into_iter().map(|r| window(&mut rng, at, r)).collect(),
        ledger: vec![ledger(&mut rng, at, number)],
        alerts: (0..2).map(|_| alert(&mut rng, at)).collect(),
        messages: (0..6).map(|_| message(&mut rng, at)).collect(),
    }
}

/// Rows of [`batch`].
pub(super) const BATCH_ROWS: u64 = 21;

pub(super) fn joined(batches: impl IntoIterator<Item = StoreBatch>) -> StoreBatch {
    batches.into_iter().fold(StoreBatch::default(), |mut all, b| {
        all.absorb(b);
        all
    })
}

/// A row as text that is the same exactly when the row is; sketches by their bytes.
pub(super) trait Exact {
    fn exact(&self) -> String;
}

macro_rules! exact_by_debug {
    ($($kind:ty),*) => { $(impl Exact for $kind {
        fn exact(&self) -> String {
            format!("{self:?}")
        }
    })* };
}
exact_by_debug!(FlowRecord, Rollup, LedgerEntry, Alert, AppMessage);

impl Exact for WindowState {
    fn exact(&self) -> String {
        let sketches = self.sketches.as_deref().map(|s| {
            let bytes: [Vec<u8>; SKETCHES.len()] = [
                s.src_ips.to_bytes(),
                s.dst_ips.to_bytes(),
                s.ips.to_bytes(),
                s.dst_ports.to_bytes(),
                s.pairs.to_bytes(),
                s.flows.to_bytes(),
                s.top_src_bytes.to_bytes(),
                s.top_dst_bytes.to_bytes(),
                s.top_src_packets.to_bytes(),
                s.top_dst_packets.to_bytes(),
                s.top_dst_port_bytes.to_bytes(),
                s.packet_size.to_bytes(),
                s.flow_duration.to_bytes(),
                s.server_rtt.to_bytes(),
                s.client_rtt.to_bytes(),
                s.dns_latency.to_bytes(),
                s.peers.to_bytes(),
            ];
            bytes
        });
        let plain = WindowState { sketches: None, ..self.clone() };
        format!("{plain:?} {sketches:?}")
    }
}

/// All of them, whatever their order.
pub(super) fn exact<R: Exact>(rows: &[R]) -> Vec<String> {
    let mut all: Vec<String> = rows.iter().map(Exact::exact).collect();
    all.sort();
    all
}
