//! The order of the modules inside netspectra-common, and `no_std` where the kernel compiles along.

use super::Violation;
use super::source::{Source, Word};

/// A module may use its own layer and the layers before it. A new module needs its place here.
const LAYERS: [&[&str]; 6] = [
    &["abi"],
    &["wire"],
    &["flow"],
    &["model", "sketch", "schema"],
    &["query"],
    &["ports", "registry", "dissect", "kafka", "proto", "detect", "report"],
];

/// Layers that the eBPF programs compile: no `std` in them.
const KERNEL_LAYERS: usize = 3;

const FOLDER: &str = "netspectra-common/src/";

/// Uses of later layers, and of `std` in what the kernel compiles. Test modules may use `std`, but no later layer either.
pub(super) fn check(source: &Source) -> Vec<Violation> {
    let path = source.file.to_string_lossy();
    let Some(parts) = path.strip_prefix(FOLDER).map(|p| p.trim_end_matches(".rs").split('/').collect::<Vec<_>>())
    else {
        return Vec::new();
    };
    let module = parts[0];
    if module == "lib" {
        return Vec::new();
    }
    let Some(own) = layer_of(module) else {
        let message = format!("module `{module}` has no layer: add it to `LAYERS` in xtask's `layers/modules.rs`");
        return vec![source.violation(0, message)];
    };
    let mut found = Vec::new();
    // How many `super` lead from this file to the crate's root.
    let depth = parts.iter().filter(|part| **part != "mod").count();
    for (used, at) in root_uses(source, depth) {
        if let Some(layer) = layer_of(used).filter(|layer| *layer > own) {
            let message = format!("`{module}` uses `{used}`, a later layer: the order is {}", order(layer));
            found.push(source.violation(at, message));
        }
    }
    let is_test_file = parts.iter().any(|part| *part == "tests" || part.ends_with("_tests"));
    if own < KERNEL_LAYERS && !is_test_file {
        let kernel = source.without(&["#[cfg(test)]", "#[cfg(feature = \"std\")]"]);
        for word in kernel.words().into_iter().filter(|w| w.text == "std" && kernel.begins_path(*w)) {
            found.push(
                kernel
                    .violation(word.at, format!("`{module}` is compiled for the kernel and has no `std`: use `core`")),
            );
        }
    }
    found
}

fn layer_of(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

/// The layers up to `last`, for messages.
fn order(last: usize) -> String {
    let shown: Vec<String> = LAYERS[..=last].iter().map(|layer| layer.join(", ")).collect();
    format!("`{}`", shown.join("` <- `"))
}

/// What is named at the crate's root: `crate::x`, `crate::{x, y::z}`, `netspectra_common::x`, `super::…::x`.
fn root_uses(source: &Source, depth: usize) -> Vec<(&str, usize)> {
    let words = source.words();
    let mut uses = Vec::new();
    for (index, word) in words.iter().enumerate() {
        let last = match word.text {
            "crate" | "netspectra_common" if source.begins_path(*word) => Some(index),
            "super" if source.begins_path(*word) => {
                supers(source, &words, index).filter(|last| last + 1 - index == depth)
            }
            _ => None,
        };
        let Some(last) = last else { continue };
        let after = source.after(words[last]);
        if after.strip_prefix(b"::").is_some_and(|rest| rest.trim_ascii_start().starts_with(b"{")) {
            uses.extend(group(source, &words, last + 1));
        } else {
            uses.extend(words.get(last + 1).map(|w| (w.text, w.at)));
        }
    }
    uses
}

/// The last word of the chain `super::super::…` that begins at `index` and goes on to a name.
fn supers(source: &Source, words: &[Word<'_>], index: usize) -> Option<usize> {
    let mut last = index;
    while words.get(last + 1).is_some_and(|w| w.text == "super") && source.after(words[last]).starts_with(b"::") {
        last += 1;
    }
    source.after(words[last]).starts_with(b"::").then_some(last)
}

/// First names of the entries of a group: `{a, b::{c, d}, e}` has `a`, `b`, `e`.
fn group<'a>(source: &'a Source, words: &[Word<'a>], first: usize) -> Vec<(&'a str, usize)> {
    let mut depth = 1usize;
    let mut names = Vec::new();
    for (offset, word) in words.iter().enumerate().skip(first) {
        let gap = source.between(words[offset - 1], *word);
        let skip_open = usize::from(offset == first);
        for byte in gap.iter().filter(|b| matches!(b, b'{' | b'}')).skip(skip_open) {
            depth = if *byte == b'{' { depth + 1 } else { depth.saturating_sub(1) };
        }
        if depth == 0 {
            break;
        }
        let starts_entry = gap.trim_ascii_end().last().is_some_and(|b| matches!(b, b'{' | b','));
        if depth == 1 && starts_entry {
            names.push((word.text, word.at));
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(file: &str, text: &str) -> Vec<String> {
        check(&Source::new(format!("{FOLDER}{file}"), text)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_order_of_the_design_is_allowed() {
        for (file, text) in [
            ("wire/parse.rs", "use crate::abi::FlowKey;"),
            ("flow/fold.rs", "use crate::{abi::FlowStats, wire::Parsed};"),
            ("model/window.rs", "use crate::sketch::Hll; use super::Nanos;"),
            ("sketch/mod.rs", "use crate::model::Nanos;"),
            ("query/plan.rs", "use crate::{model, schema::Dimension};"),
            ("ports.rs", "use crate::query::Plan; use super::model::FlowRecord;"),
            ("lib.rs", "pub mod ports; use crate::ports::Bus;"),
        ] {
            assert_eq!(found(file, text), [""; 0], "{file}");
        }
    }

    #[test]
    fn every_way_to_reach_a_later_layer_is_seen() {
        for (file, text, count) in [
            ("abi/key.rs", "\nuse crate::wire::Parsed;", 1),
            ("abi/mod.rs", "\nuse super::flow::fold;", 1),
            ("abi/key.rs", "\nuse super::super::flow::fold;", 1),
            ("wire/mod.rs", "\nuse crate::{abi::FlowKey, flow::{self, fold}};", 1),
            ("flow/mod.rs", "\nfn f(x: crate::model::Nanos) {}", 1),
            ("model/mod.rs", "\nuse crate::{query, abi::{Counter, FlowKey}, ports};", 2),
            ("schema.rs", "\nuse netspectra_common::query::Plan;", 1),
            ("query/plan.rs", "\nuse crate :: ports :: Store;", 1),
            ("flow/mod.rs", "\n#[cfg(test)]\nmod tests { use crate::model::Nanos; }", 1),
        ] {
            let found = found(file, text);
            assert_eq!(found.len(), count, "{file}: {text}: {found:?}");
            assert!(found[0].contains("a later layer"), "{found:?}");
        }
        assert!(
            found("abi/key.rs", "\nuse crate::wire::Parsed;")[0]
                .starts_with("netspectra-common/src/abi/key.rs:2: `abi` uses `wire`")
        );
    }

    #[test]
    fn children_and_comments_are_no_uses() {
        for text in ["use super::model::X;", "use self::ports::X;", "// crate::ports", "let s = \"crate::ports\";"] {
            assert_eq!(found("abi/key.rs", text), [""; 0], "{text}");
        }
    }

    #[test]
    fn a_module_without_a_layer_is_a_violation() {
        assert!(found("extra/mod.rs", "")[0].contains("module `extra` has no layer"));
    }

    #[test]
    fn what_the_kernel_compiles_has_no_std() {
        for file in ["abi/key.rs", "wire/mod.rs", "flow/mod.rs"] {
            assert_eq!(found(file, "use std::net::IpAddr;").len(), 1, "{file}");
            assert_eq!(
                found(file, "use core::fmt;\n#[cfg(test)]\nmod tests { use std::vec::Vec; }"),
                [""; 0],
                "{file}"
            );
            assert_eq!(found(file, "#[cfg(feature = \"std\")]\nimpl std::error::Error for E {}\nfn f() {}"), [""; 0]);
        }
        assert_eq!(found("wire/tests.rs", "use std::vec::Vec;"), [""; 0]);
        assert_eq!(found("model/mod.rs", "use std::net::IpAddr;"), [""; 0]);
    }
}
