//! Which library may be used where: an adapter's library stays in the adapter.

use super::Violation;
use super::crates::Package;
use super::source::{Source, Word, is_word};

/// Libraries and the places that may name them.
struct Fence {
    /// As called in the sources.
    libraries: &'static [&'static str],
    /// Beginnings of paths; `**/x` stands for any path below with a part that begins with `x`.
    places: &'static [&'static str],
}

const FENCES: [Fence; 7] = [
    Fence { libraries: &["aya", "aya_log", "aya_obj"], places: &["netspectra-agent/src/source/xdp"] },
    Fence { libraries: &["rdkafka"], places: &["netspectra-agent/src/**/kafka", "netspectra-engine/src/**/kafka"] },
    Fence {
        libraries: &["clickhouse", "redis"],
        places: &["netspectra-engine/src/**/clickhouse", "netspectra-engine/src/**/redis"],
    },
    Fence {
        libraries: &["hyper_rustls", "rustls", "webpki_roots"],
        places: &[
            "netspectra-engine/src/enrich/kubernetes.rs",
            "netspectra-engine/src/remote_write",
            "netspectra-engine/src/tls.rs",
        ],
    },
    Fence { libraries: &["snap"], places: &["netspectra-engine/src/remote_write"] },
    Fence { libraries: &["axum", "tonic"], places: &["netspectra-api/src/"] },
    Fence { libraries: &["arrow", "parquet"], places: &["netspectra-engine/src/store"] },
];

/// Uses of fenced libraries outside their places. Tests beside `src` may use what they like.
pub(super) fn check(package: &Package, source: &Source) -> Vec<Violation> {
    let path = source.file.to_string_lossy();
    let mut found = Vec::new();
    for fence in &FENCES {
        // A path that begins with a library's name is that library only if the crate depends on it.
        let libraries: Vec<&str> = package
            .dependencies
            .iter()
            .filter(|d| fence.libraries.contains(&d.name.replace('-', "_").as_str()))
            .map(|d| d.library.as_str())
            .collect();
        if libraries.is_empty() || fence.places.iter().any(|place| is_at(&path, place)) {
            continue;
        }
        for word in source.words().into_iter().filter(|w| libraries.contains(&w.text) && names_crate(source, *w)) {
            let message =
                format!("`{}` may be used in `{}` only: go through the adapter", word.text, fence.places.join("`, `"));
            found.push(source.violation(word.at, message));
        }
    }
    found
}

/// `lib::…`, `use lib;`, `use lib as x;`, `extern crate lib`.
fn names_crate(source: &Source, word: Word<'_>) -> bool {
    let after_keyword = ["use", "crate"].iter().any(|keyword| {
        let before = source.before(word).strip_suffix(keyword.as_bytes());
        before.is_some_and(|rest| rest.last().is_none_or(|b| !is_word(*b)))
    });
    source.begins_path(word) || after_keyword
}

fn is_at(path: &str, place: &str) -> bool {
    match place.split_once("**/") {
        None => path.starts_with(place),
        Some((below, part)) => {
            path.strip_prefix(below).is_some_and(|rest| rest.split('/').any(|p| p.starts_with(part)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::crates::tests::package;
    use super::*;

    fn found(file: &str, text: &str) -> Vec<String> {
        let all = [
            "aya",
            "aya-log",
            "rdkafka",
            "clickhouse",
            "redis",
            "axum",
            "tonic",
            "arrow",
            "parquet",
            "snap",
            "hyper-rustls",
        ];
        check(&package("netspectra-agent", &all), &Source::new(file, text)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_library_is_allowed_in_its_place_and_refused_elsewhere() {
        for (library, place) in [
            ("aya", "netspectra-agent/src/source/xdp/attach.rs"),
            ("aya_log", "netspectra-agent/src/source/xdp.rs"),
            ("rdkafka", "netspectra-engine/src/bus/kafka.rs"),
            ("clickhouse", "netspectra-engine/src/store/clickhouse/insert.rs"),
            ("redis", "netspectra-engine/src/store/redis.rs"),
            ("snap", "netspectra-engine/src/remote_write/sender.rs"),
            ("hyper_rustls", "netspectra-engine/src/remote_write/link.rs"),
            ("hyper_rustls", "netspectra-engine/src/enrich/kubernetes.rs"),
            ("axum", "netspectra-api/src/rest/mod.rs"),
            ("tonic", "netspectra-api/src/grpc.rs"),
            ("arrow", "netspectra-engine/src/store/embedded/segment.rs"),
            ("parquet", "netspectra-engine/src/store/embedded/mod.rs"),
        ] {
            let text = format!("//! {library}::x\n\nuse {library}::Thing;\n");
            assert_eq!(found(place, &text), [""; 0], "{library} in {place}");
            let elsewhere = found("netspectra/src/main.rs", &text);
            assert_eq!(elsewhere.len(), 1, "{library}");
            assert!(elsewhere[0].starts_with(&format!("netspectra/src/main.rs:3: `{library}` may be used in")));
        }
    }

    #[test]
    fn every_way_to_name_a_crate_is_seen() {
        for text in
            ["use aya;", "use aya as a;", "extern crate aya;", "fn f() -> aya::Ebpf {}", "use {std::fmt, aya::Ebpf};"]
        {
            assert_eq!(found("netspectra-agent/src/drain.rs", text).len(), 1, "{text}");
        }
        for text in ["use crate::store::redis::Store;", "let aya = 1;", "\"aya::x\"", "// use aya::x", "use sayaya::x;"]
        {
            assert_eq!(found("netspectra-agent/src/drain.rs", text), [""; 0], "{text}");
        }
    }

    #[test]
    fn a_module_may_bear_the_name_of_a_library_that_is_no_dependency() {
        let source = Source::new("netspectra-engine/src/sink.rs", "mod redis;\npub use redis::Sink;");
        assert_eq!(check(&package("netspectra-engine", &["tokio"]), &source), []);
    }
}
