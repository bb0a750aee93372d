//! The report's part on application protocols: tallies over what dissectors said, in bounded memory.

use super::report::heading;
use crate::output::grouped;
use netspectra_common::model::{
    AppMessage, DnsKind, DnsMessage, HttpRequest, HttpResponse, Observation, TlsClient, TlsServer, tls_version_name,
};
use netspectra_common::sketch::{Estimate, Quantiles};
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::fmt::Write as _;

/// Distinct keys of one tally; further ones are counted together.
const MAX_KEYS: usize = 65_536;
/// Keys of a tally in the JSON report.
const MAX_LISTED: usize = 1000;
const LATENCY_QUANTILES: [f64; 4] = [0.5, 0.9, 0.99, 1.0];

/// Counts by key. Keys that differ in case only are the same where `fold` says so; the first spelling is shown.
#[derive(Debug, Default)]
struct Tally {
    counts: HashMap<String, (String, u64)>,
    /// Counted without a key for want of room.
    others: u64,
}

impl Tally {
    fn add(&mut self, key: &str) {
        self.add_as(key.to_owned(), key);
    }

    /// For names whose case does not matter (RFC 4343, RFC 9110 section 4.2.3).
    fn add_name(&mut self, name: &str) {
        self.add_as(name.to_ascii_lowercase(), name);
    }

    fn add_as(&mut self, folded: String, shown: &str) {
        if let Some((_, n)) = self.counts.get_mut(&folded) {
            *n += 1;
        } else if self.counts.len() < MAX_KEYS {
            self.counts.insert(folded, (shown.to_owned(), 1));
        } else {
            self.others += 1;
        }
    }

    /// The most frequent first, equal ones by key.
    fn sorted(&self) -> Vec<(&str, u64)> {
        let mut all: Vec<(&str, u64)> = self.counts.values().map(|(k, n)| (k.as_str(), *n)).collect();
        all.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
        all
    }

    fn json(&self) -> Value {
        let listed = self.sorted().into_iter().take(MAX_LISTED);
        Value::Object(listed.map(|(k, n)| (k.to_owned(), json!(n))).collect::<Map<_, _>>())
    }

    /// Distinct keys, as far as they were told apart.
    fn len(&self) -> usize {
        self.counts.len()
    }
}

#[derive(Debug, Default)]
struct Dns {
    queries: u64,
    responses: u64,
    repeated: u64,
    answered: u64,
    rcodes: Tally,
    types: Tally,
    names: Tally,
    latency: Quantiles,
}

#[derive(Debug, Default)]
struct Http {
    requests: u64,
    responses: u64,
    methods: Tally,
    hosts: Tally,
    status_codes: Tally,
    user_agents: Tally,
    latency: Quantiles,
}

#[derive(Debug, Default)]
struct Tls {
    client_hellos: u64,
    server_hellos: u64,
    quic: u64,
    sni: Tally,
    alpn: Tally,
    versions: Tally,
    offered_versions: Tally,
    ja4: Tally,
}

/// What was said over all protocols.
#[derive(Debug, Default)]
pub(super) struct Applications {
    /// By [`DnsKind`]: DNS, multicast DNS, LLMNR.
    dns: [Dns; 3],
    http: Http,
    tls: Tls,
    others: Tally,
}

impl Applications {
    pub(super) fn fold(&mut self, messages: &[AppMessage]) {
        for o in messages {
            match &o.what {
                Observation::Dns(message) => self.dns[message.kind as usize].fold(message),
                Observation::HttpRequest(request) => self.http.request(request),
                Observation::HttpResponse(response) => self.http.response(response),
                Observation::TlsClient(hello) => self.tls.client(hello),
                Observation::TlsServer(hello) => self.tls.server(hello),
                Observation::Other { protocol, .. } => self.others.add(protocol),
            }
        }
    }

    /// The sections `dns`, `mdns`, `llmnr`, `http`, `tls` and `other_protocols`.
    pub(super) fn json(&self, into: &mut Map<String, Value>) {
        for (kind, name) in [(DnsKind::Dns, "dns"), (DnsKind::Mdns, "mdns"), (DnsKind::Llmnr, "llmnr")] {
            into.insert(name.into(), self.dns[kind as usize].json());
        }
        into.insert("http".into(), self.http.json());
        into.insert("tls".into(), self.tls.json());
        into.insert("other_protocols".into(), self.others.json());
    }

    /// For people: at most `top` lines a list, nothing about what did not occur.
    pub(super) fn text(&self, t: &mut String, top: usize) {
        for (kind, name) in [(DnsKind::Dns, "DNS"), (DnsKind::Mdns, "Multicast DNS"), (DnsKind::Llmnr, "LLMNR")] {
            self.dns[kind as usize].text(t, name, top);
        }
        self.http.text(t, top);
        self.tls.text(t, top);
        list(t, "Other protocols", &self.others, top);
    }
}

impl Dns {
    fn fold(&mut self, message: &DnsMessage) {
        if message.response {
            self.responses += 1;
            self.rcodes.add(&message.rcode.to_string());
            if let Some(latency) = message.latency {
                self.answered += 1;
                self.latency.add(latency.as_secs_f64(), 1);
            }
            return;
        }
        self.queries += 1;
        self.repeated += u64::from(message.repeated);
        if let Some(question) = &message.question {
            self.names.add_name(&question.name);
            self.types.add(&type_name(question.qtype));
        }
    }

    fn json(&self) -> Value {
        json!({
            "queries": self.queries,
            "responses": self.responses,
            "rcodes": self.rcodes.json(),
            "repeated_queries": self.repeated,
            "answered_queries": self.answered,
            "unanswered_queries": self.unanswered(),
            "distinct_names": self.names.len(),
            "names": self.names.json(),
            "types": self.types.json(),
            "latency_seconds": latency(&self.latency),
        })
    }

    /// Different queries whose response was not seen.
    fn unanswered(&self) -> u64 {
        self.queries.saturating_sub(self.repeated).saturating_sub(self.answered)
    }

    fn text(&self, t: &mut String, name: &str, top: usize) {
        if self.queries + self.responses == 0 {
            return;
        }
        heading(t, name);
        line(t, "queries", self.queries);
        line(t, "responses", self.responses);
        for (code, n) in self.rcodes.sorted() {
            line(t, &format!("responses with code {code}"), n);
        }
        latency_text(t, &self.latency);
        list(t, &format!("{name} names asked for"), &self.names, top);
    }
}

impl Http {
    fn request(&mut self, request: &HttpRequest) {
        self.requests += 1;
        self.methods.add(&request.method);
        if let Some(host) = &request.host {
            self.hosts.add_name(host);
        }
        if let Some(agent) = &request.user_agent {
            self.user_agents.add(agent);
        }
    }

    fn response(&mut self, response: &HttpResponse) {
        self.responses += 1;
        self.status_codes.add(&response.status.to_string());
        if let Some(latency) = response.latency {
            self.latency.add(latency.as_secs_f64(), 1);
        }
    }

    fn json(&self) -> Value {
        json!({
            "requests": self.requests,
            "responses": self.responses,
            "methods": self.methods.json(),
            "hosts": self.hosts.json(),
            "status_codes": self.status_codes.json(),
            "user_agents": self.user_agents.json(),
            "latency_seconds": latency(&self.latency),
        })
    }

    fn text(&self, t: &mut String, top: usize) {
        if self.requests + self.responses == 0 {
            return;
        }
        heading(t, "HTTP");
        line(t, "requests", self.requests);
        line(t, "responses", self.responses);
        for (code, n) in self.status_codes.sorted().into_iter().take(top) {
            line(t, &format!("responses with status {code}"), n);
        }
        latency_text(t, &self.latency);
        list(t, "HTTP hosts", &self.hosts, top);
    }
}

impl Tls {
    fn client(&mut self, hello: &TlsClient) {
        self.client_hellos += 1;
        self.quic += u64::from(hello.quic.is_some());
        if let Some(name) = &hello.sni {
            self.sni.add_name(name);
        }
        hello.alpn.iter().for_each(|p| self.alpn.add(p));
        self.offered_versions.add(&tls_version_name(hello.version));
        if !hello.ja4.is_empty() {
            self.ja4.add(&hello.ja4);
        }
    }

    fn server(&mut self, hello: &TlsServer) {
        self.server_hellos += 1;
        self.versions.add(&tls_version_name(hello.version));
    }

    fn json(&self) -> Value {
        json!({
            "client_hellos": self.client_hellos,
            "server_hellos": self.server_hellos,
            "quic_client_hellos": self.quic,
            "sni": self.sni.json(),
            "alpn": self.alpn.json(),
            "versions": self.versions.json(),
            "offered_versions": self.offered_versions.json(),
            "ja4": self.ja4.json(),
        })
    }

    fn text(&self, t: &mut String, top: usize) {
        if self.client_hellos + self.server_hellos == 0 {
            return;
        }
        heading(t, "TLS");
        line(t, "ClientHellos", self.client_hellos);
        line(t, "of them in QUIC", self.quic);
        line(t, "ServerHellos", self.server_hellos);
        for (version, n) in self.versions.sorted() {
            line(t, &format!("servers that chose {version}"), n);
        }
        list(t, "TLS server names", &self.sni, top);
    }
}

fn latency(q: &Quantiles) -> Value {
    let items: Vec<Value> = latency_items(q).into_iter().map(|(q, v)| json!({"q": q, "value": v})).collect();
    json!({"count": q.count(), "items": items})
}

fn latency_items(sketch: &Quantiles) -> Vec<(f64, Estimate)> {
    LATENCY_QUANTILES.iter().filter_map(|q| sketch.quantile(*q).map(|v| (*q, v))).collect()
}

fn latency_text(t: &mut String, sketch: &Quantiles) {
    for (q, v) in latency_items(sketch) {
        let label = if q == 1.0 { "latency, longest".to_owned() } else { format!("latency, p{}", q * 100.0) };
        let _ = writeln!(t, "  {label:<46} {:>20.3} ms", v.estimate * 1000.0);
    }
}

fn line(t: &mut String, label: &str, n: u64) {
    let _ = writeln!(t, "  {label:<46} {:>22}", grouped(n));
}

fn list(t: &mut String, title: &str, tally: &Tally, top: usize) {
    let sorted = tally.sorted();
    if sorted.is_empty() {
        return;
    }
    heading(t, title);
    for (key, n) in sorted.into_iter().take(top) {
        line(t, &printable(key), n);
    }
}

/// Text from the network, safe for a terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// The usual name of a record type, `TYPE` and the number for the rest (RFC 3597).
fn type_name(rtype: u16) -> String {
    match rtype {
        1 => "A".into(),
        2 => "NS".into(),
        5 => "CNAME".into(),
        6 => "SOA".into(),
        12 => "PTR".into(),
        15 => "MX".into(),
        16 => "TXT".into(),
        28 => "AAAA".into(),
        33 => "SRV".into(),
        35 => "NAPTR".into(),
        43 => "DS".into(),
        48 => "DNSKEY".into(),
        64 => "SVCB".into(),
        65 => "HTTPS".into(),
        252 => "AXFR".into(),
        255 => "ANY".into(),
        other => format!("TYPE{other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tally_is_sorted_and_bounded_and_keeps_the_first_spelling() {
        let mut tally = Tally::default();
        for name in ["Example.org", "a", "EXAMPLE.org", "b"] {
            tally.add_name(name);
        }
        assert_eq!(tally.sorted(), [("Example.org", 2), ("a", 1), ("b", 1)]);
        for n in 0..MAX_KEYS {
            tally.add(&n.to_string());
        }
        assert_eq!((tally.len(), tally.others), (MAX_KEYS, 3));
    }
}
