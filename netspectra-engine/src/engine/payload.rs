//! What payloads say: first bytes are dissected, messages are counted and go with their generation's batch.

use super::{Engine, EngineStats, Wanted};
use crate::enrich::{names, sockets};
use crate::lifecycle::{address, vlan};
use crate::window::Place;
use hashbrown::HashMap;
use netspectra_common::model::{
    AppMessage, DnsKind, DnsMessage, FlowKey, GenerationId, Manifest, Nanos, Observation, Observed, PayloadSeen,
    SocketSeen,
};
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64_with_seed;
use zerocopy::IntoBytes;

/// What came of a generation's payloads before its manifest.
#[derive(Debug, Default)]
pub(super) struct Events {
    of: Option<GenerationId>,
    payloads: Vec<Arc<Vec<PayloadSeen>>>,
    observed: Vec<Arc<Vec<Observed>>>,
    sockets: Vec<Arc<Vec<SocketSeen>>>,
}

impl Events {
    /// The events of generation `of`; those of an earlier one, whose manifest did not come, are given up.
    fn of(&mut self, of: &GenerationId) -> &mut Self {
        if self.of.as_ref() != Some(of) {
            *self = Self { of: Some(of.clone()), ..Self::default() };
        }
        self
    }
}

/// Seed of the identities of messages: "nsmessag".
const SEED: u64 = u64::from_be_bytes(*b"nsmessag");

/// What `node` said in one generation, as it is stored.
///
/// A message is known by node, time and flow, and by its place among those that share them: not by the run that saw it, so
/// that the same packets give the same identities.
pub(super) fn messages(node: &Arc<str>, observed: Vec<Observed>) -> Vec<AppMessage> {
    let mut places: HashMap<(Nanos, FlowKey), u32> = HashMap::with_capacity(observed.len());
    let mut bytes = node.as_bytes().to_vec();
    bytes.push(0xff);
    let of_node = bytes.len();
    let message = |Observed { at, key, what }: Observed| {
        let flow = FlowKey { obs: 0, ..key };
        let place = places.entry((at, flow)).or_default();
        bytes.truncate(of_node);
        bytes.extend_from_slice(&at.0.to_le_bytes());
        bytes.extend_from_slice(flow.as_bytes());
        bytes.extend_from_slice(&place.to_le_bytes());
        *place += 1;
        AppMessage {
            id: xxh3_64_with_seed(&bytes, SEED),
            node: node.clone(),
            at,
            src_ip: address(key.family, &key.src),
            dst_ip: address(key.family, &key.dst),
            src_port: key.src_port,
            dst_port: key.dst_port,
            proto: key.proto,
            vlan: vlan(key.vlan),
            name: what.subject(),
            what,
        }
    };
    observed.into_iter().map(message).collect()
}

impl Engine {
    /// Keeps first bytes until the manifest comes.
    pub(super) fn keep_payloads(&mut self, of: &GenerationId, seen: &Arc<Vec<PayloadSeen>>) {
        if let Some(node) = self.node(&of.node) {
            self.nodes[node as usize].payload.of(of).payloads.push(seen.clone());
        }
    }

    /// Keeps messages until the manifest comes.
    pub(super) fn keep_observed(&mut self, of: &GenerationId, said: &Arc<Vec<Observed>>) {
        if let Some(node) = self.node(&of.node) {
            self.nodes[node as usize].payload.of(of).observed.push(said.clone());
        }
    }

    /// Keeps sockets of the node's host until the manifest comes.
    pub(super) fn keep_sockets(&mut self, of: &GenerationId, seen: &Arc<Vec<SocketSeen>>) {
        if let Some(node) = self.node(&of.node) {
            self.nodes[node as usize].payload.of(of).sockets.push(seen.clone());
        }
    }

    /// The messages of the generation of node `at` that `manifest` closes, counted. What they say of addresses, and what
    /// was said of sockets, is known from now on.
    pub(super) fn take_said(&mut self, at: u32, manifest: &Manifest) -> Vec<Observed> {
        let events = std::mem::take(&mut self.nodes[at as usize].payload);
        if events.of.as_ref() != Some(&manifest.id) {
            return Vec::new();
        }
        let mut all: Vec<Observed> = Vec::new();
        for said in events.observed {
            all.extend(Arc::unwrap_or_clone(said));
        }
        for seen in events.payloads.iter().flat_map(|p| p.iter()) {
            let before = all.len();
            self.prefixes.dissect(seen, &mut all);
            self.stats.not_dns += u64::from(all.len() == before);
        }
        for observed in &all {
            self.stats.count_observation(&observed.what);
        }
        let node = &self.nodes[at as usize].name;
        let bounds = (self.config.max_names, self.config.names_hold);
        names::learn(&mut self.points.names, node, &all, bounds);
        for seen in events.sockets.iter().flat_map(|seen| seen.iter()) {
            sockets::learn(&mut self.points.sockets, node, seen, (manifest.start, manifest.end));
        }
        all
    }

    /// Books the times of DNS answers in the window of their generation. Multicast has many answers to a query, or none:
    /// its times are left out.
    pub(super) fn time_answers(&mut self, at: u32, place: Place, observed: &[Observed]) {
        if self.config.wanted == Wanted::Records {
            return;
        }
        let latency = |o: &Observed| match &o.what {
            Observation::Dns(m) if m.kind == DnsKind::Dns => m.latency.map(|l| l.as_secs_f64()),
            Observation::Dns(_)
            | Observation::HttpRequest(_)
            | Observation::HttpResponse(_)
            | Observation::TlsClient(_)
            | Observation::TlsServer(_)
            | Observation::Other { .. } => None,
        };
        let mut latencies = observed.iter().filter_map(latency).peekable();
        if latencies.peek().is_some() {
            self.nodes[at as usize].windows.open(place).answer(latencies);
        }
    }
}

impl EngineStats {
    fn count_observation(&mut self, what: &Observation) {
        let count = match what {
            Observation::Dns(message) => self.dns_count(message),
            Observation::HttpRequest(_) => &mut self.http_requests,
            Observation::HttpResponse(_) => &mut self.http_responses,
            Observation::TlsClient(_) => &mut self.tls_client_hellos,
            Observation::TlsServer(_) => &mut self.tls_server_hellos,
            Observation::Other { .. } => &mut self.other_messages,
        };
        *count += 1;
    }

    fn dns_count(&mut self, message: &DnsMessage) -> &mut u64 {
        match (message.response, message.rcode) {
            (false, _) => &mut self.dns_queries,
            (true, 0) => &mut self.dns_answers,
            (true, _) => &mut self.dns_errors,
        }
    }
}
