#![allow(clippy::unwrap_used, reason = "tests")]
use super::testing::{Data, country, mmdb, system};
use super::*;
use crate::testing::{ACK, Agent, Bench, at, dns, tcp};
use crate::{Engine, EngineConfig};
use netspectra_common::model::{
    BusMessage, DnsKind, DnsMessage, DnsQuestion, DnsRecord, Nanos, Observation, Observed, Owner, SocketSeen,
};
use netspectra_common::ports::StoreBatch;
use std::time::Duration;

fn network(name: &str, cidrs: &[&str]) -> LocalNetwork {
    LocalNetwork { name: name.into(), cidrs: cidrs.iter().map(|c| (*c).into()).collect() }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn countries(dir: &Path) -> PathBuf {
    let registered = Data::Map(vec![("registered_country", Data::Map(vec![("iso_code", Data::Text("FR"))]))]);
    let continent = Data::Map(vec![("continent", Data::Map(vec![("code", Data::Text("EU"))]))]);
    mmdb(
        dir,
        "GeoLite2-Country",
        &[
            ("192.0.2.0", 24, country("DE")),
            ("198.51.100.0", 25, registered),
            ("198.51.100.128", 25, continent),
            ("2001:db8::", 32, country("NZ")),
        ],
    )
}

#[test]
fn countries_and_systems_are_those_of_the_files_and_networks_those_of_the_longest_prefix() {
    let dir = tempfile::tempdir().unwrap();
    let enrichment = Enrichment::open(&EnrichConfig {
        country_file: Some(countries(dir.path())),
        as_file: Some(mmdb(
            dir.path(),
            "GeoLite2-ASN",
            &[("192.0.2.0", 28, system(64_496)), ("2001:db8::", 33, system(4_200_000_001))],
        )),
        networks: vec![
            network("all", &["10.0.0.0/8", "2001:db8::/32"]),
            network("lab", &["10.1.0.0/16", "10.2.3.4", "2001:db8:1::/48"]),
        ],
        ..EnrichConfig::default()
    })
    .unwrap();
    let of = |text: &str| {
        let Place { country, asn, network, .. } = enrichment.place(ip(text));
        (country.map(|c| c.as_str().to_owned()).unwrap_or_default(), asn, network.as_deref().map(str::to_owned))
    };
    let known = |code: &str, asn, network: Option<&str>| (code.to_owned(), asn, network.map(str::to_owned));
    for _ in 0..2 {
        assert_eq!(of("192.0.2.1"), known("DE", Some(64_496), None));
        assert_eq!(of("192.0.2.16"), known("DE", None, None));
        assert_eq!(of("198.51.100.1"), known("FR", None, None));
        assert_eq!(of("198.51.100.129"), known("", None, None));
        assert_eq!(of("10.1.2.3"), known("", None, Some("lab")));
        assert_eq!(of("10.2.3.4"), known("", None, Some("lab")));
        assert_eq!(of("10.2.3.5"), known("", None, Some("all")));
        assert_eq!(of("11.0.0.1"), known("", None, None));
        assert_eq!(of("2001:db8:1::1"), known("NZ", Some(4_200_000_001), Some("lab")));
        assert_eq!(of("2001:db8:8000::1"), known("NZ", None, Some("all")));
        assert_eq!(of("2001:db9::1"), known("", None, None));
    }
    assert_eq!(Enrichment::default().place(ip("10.1.2.3")), Place::default());
}

#[test]
fn what_cannot_be_used_is_named_with_what_was_expected() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |config: EnrichConfig| Enrichment::open(&config).unwrap_err().to_string();
    let text = dir.path().join("a.mmdb");
    std::fs::write(&text, "no such file").unwrap();
    let found = refused(EnrichConfig { country_file: Some(text.clone()), ..EnrichConfig::default() });
    assert_eq!(
        found,
        format!(
            "`{}` cannot be used: expected a file in MaxMind's format (`.mmdb`) with countries, such as GeoLite2-Country",
            text.display()
        )
    );
    let other = countries(dir.path());
    let found = refused(EnrichConfig { as_file: Some(other.clone()), ..EnrichConfig::default() });
    assert!(
        found.ends_with(
            "is a `GeoLite2-Country`: expected a file in MaxMind's format with autonomous systems, such as GeoLite2-ASN"
        ),
        "{found}"
    );
    let networks = |networks| refused(EnrichConfig { networks, ..EnrichConfig::default() });
    let expected = "is no address block, expected such as `10.0.0.0/8` or `2001:db8::/32`";
    for wrong in ["10.0.0.0/33", "10.0.0/8", "::/129", "10.0.0.0/", "x"] {
        assert_eq!(networks(vec![network("lab", &[wrong])]), format!("network `lab`: `{wrong}` {expected}"));
    }
    assert_eq!(
        networks(vec![network(" ", &["10.0.0.0/8"])]),
        "a network of 10.0.0.0/8 has no name: expected 1 to 64 characters"
    );
    // Cut files are refused, or know nothing: they never panic.
    let bytes = std::fs::read(&other).unwrap();
    for length in (0..bytes.len()).step_by(7) {
        let cut = dir.path().join("cut.mmdb");
        std::fs::write(&cut, &bytes[..length]).unwrap();
        if let Ok(enrichment) = Enrichment::open(&EnrichConfig { country_file: Some(cut), ..EnrichConfig::default() }) {
            for address in ["192.0.2.1", "2001:db8::1", "255.255.255.255"] {
                enrichment.place(ip(address));
            }
        }
    }
}

#[test]
fn a_file_that_changed_is_read_again_and_a_bad_one_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = countries(dir.path());
    let enrichment =
        Enrichment::open(&EnrichConfig { country_file: Some(path.clone()), ..EnrichConfig::default() }).unwrap();
    let code = || enrichment.place(ip("192.0.2.1")).country.map(|c| c.as_str().to_owned());
    assert_eq!((enrichment.refresh().unwrap(), code().as_deref()), (false, Some("DE")));
    let stamp = |seconds| {
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
    };
    std::fs::write(&path, "half of it").unwrap();
    stamp(1000);
    assert!(enrichment.refresh().is_err());
    assert_eq!(code().as_deref(), Some("DE"));
    mmdb(dir.path(), "GeoLite2-Country", &[("192.0.2.0", 24, country("AT"))]);
    stamp(2000);
    assert_eq!((enrichment.refresh().unwrap(), code().as_deref()), (true, Some("AT")));
    assert!(!enrichment.refresh().unwrap());
}

#[test]
fn rows_have_what_was_known_when_they_were_made_also_those_that_are_not_stored() {
    let networks = |name: &str| {
        Enrichment::open(&EnrichConfig { networks: vec![network(name, &["10.0.0.0/8"])], ..EnrichConfig::default() })
            .unwrap()
    };
    let config = EngineConfig { enrich: networks("before"), ..EngineConfig::default() };
    let mut bench = Bench::new(config);
    bench.feed((0.0, 1.0), &[tcp((1, 1000), (2, 80), ACK, (0.1, 0.2))]);
    let name = |place: &Place| place.network.as_deref().map(str::to_owned);
    let before = Some("before".to_owned());
    assert_eq!(
        bench.live_flows().iter().map(|f| name(&f.src_place)).collect::<Vec<_>>(),
        std::slice::from_ref(&before)
    );
    let batch = bench.feed((20.0, 21.0), &[tcp((1, 1000), (2, 80), ACK, (20.1, 20.2))]);
    assert!(!batch.rollups.is_empty());
    assert!(batch.rollups.iter().all(|r| name(&r.src_place) == before && name(&r.dst_place) == before));
    // As after a restart: the state knows nothing, and the rows made from it know what is known now.
    let mut state = Vec::new();
    bench.engine.snapshot(&mut state).unwrap();
    bench.engine = Engine::restore(&state).unwrap();
    bench.engine.enrich(networks("after"));
    let rest = bench.finish();
    let after = Some("after".to_owned());
    assert!(
        rest.flows.iter().all(|f| name(&f.src_place) == after && name(&f.dst_place) == after) && !rest.flows.is_empty()
    );
}

/// What goes before the manifest of a generation that names host 2 and says whose host 1's socket is.
fn said(manifest: &BusMessage, at_seconds: f64, process: &str) -> Vec<BusMessage> {
    let BusMessage::Manifest(manifest) = manifest else { panic!("a manifest, not {manifest:?}") };
    let answer = DnsMessage {
        question: Some(DnsQuestion { name: "Db.example".into(), qtype: 1, qclass: 1 }),
        questions: 1,
        answers: 1,
        records: vec![DnsRecord { name: "db.example".into(), rtype: 1, ttl: 60, data: "10.0.0.2".into() }],
        ..dns(DnsKind::Dns, true)
    };
    let answer =
        Observed { at: Nanos(at(at_seconds)), key: Default::default(), what: Observation::Dns(Box::new(answer)) };
    let socket = SocketSeen {
        proto: 6,
        local: (ip("10.0.0.1"), 1000),
        remote: Some((ip("10.0.0.2"), 80)),
        owner: Arc::new(Owner { process: Some(process.into()), cgroup: Some("/user.slice".into()) }),
    };
    vec![
        BusMessage::Observed { of: manifest.id.clone(), said: Arc::new(vec![answer]) },
        BusMessage::Sockets { of: manifest.id.clone(), seen: Arc::new(vec![socket]) },
    ]
}

fn names_of(place: &Place) -> [Option<String>; 3] {
    [place.name.as_deref(), place.process(), place.cgroup()].map(|text| text.map(str::to_owned))
}

#[test]
fn names_and_owners_are_in_rows_of_their_node_alone_and_a_restart_or_a_replay_gives_the_same() {
    let log = || {
        let mut log = Vec::new();
        let (mut one, mut other) = (Agent::new("n1"), Agent::new("n2"));
        let flow = |seen| [tcp((1, 1000), (2, 80), ACK, seen)];
        for (agent, tells) in [(&mut one, true), (&mut other, false)] {
            let mut messages = agent.generation((0.0, 1.0), &flow((0.1, 0.2)));
            if tells {
                let before = said(messages.last().unwrap(), 0.05, "curl");
                let last = messages.len() - 1;
                messages.splice(last..last, before);
            }
            log.push(messages);
            // A record is written by idle timeout, windows by log time, and the rest at the end.
            log.push(agent.generation((40.0, 41.0), &flow((40.1, 40.2))));
            log.push(agent.generation((60.0, 61.0), &flow((60.1, 60.2))));
        }
        log
    };
    let run = |restart: bool, twice: bool| {
        let mut bench = Bench::new(EngineConfig::default());
        for messages in log() {
            for message in &messages {
                bench.apply(std::slice::from_ref(message));
                if twice {
                    bench.apply(std::slice::from_ref(message));
                }
            }
            if restart {
                let mut state = Vec::new();
                bench.engine.snapshot(&mut state).unwrap();
                bench.engine = Engine::restore(&state).unwrap();
            }
        }
        bench.finish();
        bench.written
    };
    let plain = run(false, false);
    let known = |name: &str| [name, "curl", "/user.slice"].map(|text| (!text.is_empty()).then(|| text.to_owned()));
    let rows = |batch: &StoreBatch| {
        let flows =
            batch.flows.iter().map(|f| (f.node.clone(), f.src_place.clone(), f.dst_place.clone(), f.service.clone()));
        let rollups =
            batch.rollups.iter().map(|r| (r.node.clone(), r.src_place.clone(), r.dst_place.clone(), r.service.clone()));
        flows.chain(rollups).collect::<Vec<_>>()
    };
    let all = rows(&plain);
    assert!(plain.flows.len() >= 4 && plain.rollups.len() >= 6, "{all:?}");
    for (node, src, dst, service) in &all {
        assert_eq!(service.as_deref(), Some("http"));
        if &**node == "n1" {
            // The socket's owner is host 1's; the name is host 2's.
            let [_, process, cgroup] = known("");
            assert_eq!(names_of(src), [None, process, cgroup]);
            assert_eq!(names_of(dst), [Some("db.example".into()), None, None]);
        } else {
            assert_eq!((names_of(src), names_of(dst)), ([None, None, None], [None, None, None]));
        }
    }
    for (restart, twice) in [(true, false), (false, true), (true, true)] {
        assert_eq!(rows(&run(restart, twice)), all, "restart {restart}, twice {twice}");
    }
}

#[test]
fn a_clock_that_was_set_back_forgets_names_and_owners() {
    let mut bench = Bench::new(EngineConfig::default());
    let mut messages = bench.agent.generation((1000.0, 1001.0), &[]);
    let before = said(messages.last().unwrap(), 1000.5, "curl");
    messages.splice(0..0, before);
    bench.apply(&messages);
    assert_eq!((bench.engine.points.names.len(), bench.engine.points.sockets.len()), (1, 1));
    bench.feed((0.0, 1.0), &[]);
    assert_eq!((bench.engine.points.names.len(), bench.engine.points.sockets.len()), (0, 0));
}
