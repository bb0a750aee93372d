//! Which crate of the workspace may depend on which.

use super::Violation;
use anyhow::{Context as _, Result};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// The crates and what they may depend on. A new crate needs its line here.
const ALLOWED: [(&str, &[&str]); 9] = [
    ("netspectra-common", &[]),
    ("netspectra-ebpf", &["netspectra-common"]),
    ("netspectra-agent", &["netspectra-common"]),
    ("netspectra-engine", &["netspectra-common"]),
    ("netspectra-api", &["netspectra-common"]),
    ("netspectra", &["netspectra-common", "netspectra-agent", "netspectra-engine", "netspectra-api"]),
    ("netspectra-fuzz", &["netspectra-common", "netspectra-agent", "netspectra-engine"]),
    ("netspectra-chdb", &[]),
    ("xtask", &[]),
];

/// A package, as `cargo metadata` has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Package {
    pub(super) name: String,
    /// Relative to the workspace's root.
    pub(super) folder: PathBuf,
    /// Of every kind: a test may no more cross the layers than the code may.
    pub(super) dependencies: Vec<Dependency>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Dependency {
    pub(super) name: String,
    /// As it is called in the sources.
    pub(super) library: String,
    local: bool,
    default_features: bool,
}

/// The packages of `cargo metadata --no-deps`.
///
/// # Errors
/// The answer has not the shape that cargo documents.
pub(super) fn packages(metadata: &Value, root: &Path) -> Result<Vec<Package>> {
    let list = metadata["packages"].as_array().context("`cargo metadata` lists no packages")?;
    list.iter()
        .map(|package| {
            let manifest = Path::new(text(package, "manifest_path")?);
            let folder = manifest.parent().context("a manifest has no folder")?;
            let dependencies = package["dependencies"].as_array().context("a package has no `dependencies`")?;
            Ok(Package {
                name: text(package, "name")?.to_owned(),
                folder: folder.strip_prefix(root).unwrap_or(folder).to_owned(),
                dependencies: dependencies.iter().map(dependency).collect::<Result<_>>()?,
            })
        })
        .collect()
}

fn dependency(value: &Value) -> Result<Dependency> {
    let name = text(value, "name")?;
    Ok(Dependency {
        name: name.to_owned(),
        library: value["rename"].as_str().unwrap_or(name).replace('-', "_"),
        local: value["path"].is_string(),
        default_features: value["uses_default_features"].as_bool().unwrap_or(true),
    })
}

fn text<'a>(value: &'a Value, field: &str) -> Result<&'a str> {
    value[field].as_str().with_context(|| format!("`cargo metadata` has no `{field}` where one was expected"))
}

/// Dependencies on crates of the workspace that are not allowed. `manifest` and its `text` give the line.
pub(super) fn dependencies(package: &Package, manifest: &Path, text: &str) -> Vec<Violation> {
    let violation = |line: usize, message: String| Violation { file: manifest.to_owned(), line, message };
    let Some((_, allowed)) = ALLOWED.iter().find(|(name, _)| *name == package.name) else {
        let message =
            format!("crate `{}` has no layer: add it to `ALLOWED` in xtask's `layers/crates.rs`", package.name);
        return vec![violation(1, message)];
    };
    let line_of = |name: &str| {
        let named = |line: &str| line.trim().strip_prefix(name).is_some_and(|rest| !rest.starts_with(is_name));
        text.lines().position(named).map_or(1, |index| index + 1)
    };
    let mut found = Vec::new();
    for dependency in package.dependencies.iter().filter(|d| d.local) {
        let name = dependency.name.as_str();
        if !allowed.contains(&name) {
            let may = if allowed.is_empty() {
                "no crate of the workspace".into()
            } else {
                format!("`{}`", allowed.join("`, `"))
            };
            let message = format!(
                "`{}` depends on `{name}`, may depend on {may}: talk through a port of netspectra-common",
                package.name
            );
            found.push(violation(line_of(name), message));
        }
        if package.name == "netspectra-ebpf" && dependency.default_features {
            let message =
                format!("`{name}` with default features has std, which the kernel has not: `default-features = false`");
            found.push(violation(line_of(name), message));
        }
    }
    found.dedup();
    found
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '-' || c == '_'
}

/// `[lints] workspace = true`, without which the workspace's lints do not hold in a crate.
pub(super) fn inherits_lints(package: &Package, manifest: &Path, text: &str) -> Option<Violation> {
    let mut table = "";
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            table = line;
        }
        let words: String = line.chars().filter(|c| !c.is_whitespace()).collect();
        if (table == "[lints]" && words == "workspace=true") || (table.is_empty() && words == "lints.workspace=true") {
            return None;
        }
    }
    let message =
        format!("`{}` does not inherit the workspace's lints: add `[lints]` with `workspace = true`", package.name);
    Some(Violation { file: manifest.to_owned(), line: 1, message })
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use serde_json::json;

    /// A package as cargo describes it, that depends on crates of the workspace (`/w/…`) and on others.
    pub(in super::super) fn package(name: &str, dependencies: &[&str]) -> Package {
        let dependencies: Vec<Value> = dependencies
            .iter()
            .map(|d| match d.starts_with("netspectra") {
                true => json!({"name": d, "path": format!("/w/{d}"), "uses_default_features": true}),
                false => json!({"name": d, "uses_default_features": true}),
            })
            .collect();
        let metadata = json!({"packages": [
            {"name": name, "manifest_path": format!("/w/{name}/Cargo.toml"), "dependencies": dependencies}
        ]});
        packages(&metadata, Path::new("/w")).unwrap().remove(0)
    }

    fn lines(name: &str, on: &[&str]) -> Vec<String> {
        let text = on.iter().map(|d| format!("{d}.workspace = true\n")).collect::<String>();
        let found = dependencies(&package(name, on), Path::new("Cargo.toml"), &format!("[dependencies]\n{text}"));
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_design_is_allowed() {
        for (name, on) in ALLOWED.iter().filter(|(name, _)| *name != "netspectra-ebpf") {
            assert_eq!(lines(name, on), [""; 0], "{name}");
        }
        assert_eq!(lines("netspectra-agent", &["tokio", "netspectra-common"]), [""; 0]);
    }

    #[test]
    fn parts_must_not_know_each_other() {
        let found = lines("netspectra-agent", &["netspectra-common", "netspectra-engine"]);
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("Cargo.toml:3: `netspectra-agent` depends on `netspectra-engine`"), "{found:?}");
        assert_eq!(lines("netspectra-common", &["netspectra-api"]).len(), 1);
        assert_eq!(lines("xtask", &["netspectra-common"]).len(), 1);
        assert_eq!(lines("netspectra-api", &["netspectra"]).len(), 1);
    }

    #[test]
    fn a_crate_without_a_layer_is_a_violation() {
        assert!(lines("netspectra-extra", &[])[0].contains("has no layer"));
    }

    #[test]
    fn the_kernel_side_takes_common_without_std() {
        assert!(lines("netspectra-ebpf", &["netspectra-common"])[0].contains("default-features = false"));
    }

    #[test]
    fn lints_must_be_inherited_in_their_own_table() {
        let check = |text| inherits_lints(&package("xtask", &[]), Path::new("Cargo.toml"), text).is_none();
        assert!(check("[package]\n[lints]\nworkspace = true\n"));
        assert!(check("lints.workspace=true\n[package]\n"));
        assert!(!check("[package]\nname = \"x\"\n"));
        assert!(!check("[dependencies]\nworkspace = true\n"), "another table");
        assert!(!check("[lints]\nworkspace = false\n"));
    }
}
