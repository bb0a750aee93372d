//! The verb `check-object`: rules that an eBPF object must keep whatever its sources say.

use super::btf::{self, Map};
use crate::process::say;
use anyhow::{Context as _, Result, bail};
use object::{Object as _, ObjectSection as _};
use std::fs;
use std::path::Path;

/// The one map that may evict: it holds look-up state. A counting map that evicts loses counts and says nothing.
const MAY_EVICT: &str = "FRAGMENTS";

/// `BPF_MAP_TYPE_LRU_HASH` and `BPF_MAP_TYPE_LRU_PERCPU_HASH`.
const LRU: [u32; 2] = [9, 10];

/// Checks the object at `path` and prints its maps.
///
/// # Errors
/// It is no BPF object, has no BTF or no maps in it, defines maps the old way (without BTF), or a map other than
/// `FRAGMENTS` evicts.
pub(crate) fn check_object(path: &Path) -> Result<()> {
    let bytes = fs::read(path)
        .with_context(|| format!("cannot read the object `{}`: run `cargo xtask build-ebpf`", path.display()))?;
    let maps = read_maps(&bytes).with_context(|| format!("`{}`", path.display()))?;
    refuse_eviction(&maps)?;
    let shown: Vec<String> = maps.iter().map(|m| format!("{} ({})", m.name, type_name(m.map_type))).collect();
    say(format!("object's maps: {}", shown.join(", ")));
    Ok(())
}

fn read_maps(bytes: &[u8]) -> Result<Vec<Map>> {
    let file = object::File::parse(bytes).context("not an object file")?;
    if file.architecture() != object::Architecture::Bpf {
        bail!("built for {:?}, expected BPF", file.architecture());
    }
    if file.section_by_name("maps").is_some() {
        bail!("has maps without BTF (`#[map]`): use `#[btf_map]`, so that sizes and types are checked");
    }
    let section = file.section_by_name(".BTF").context("has no section `.BTF`: link with `--btf`")?;
    let maps = btf::maps(section.data().context("section `.BTF` cannot be read")?)?;
    if maps.is_empty() {
        bail!("defines no maps: nothing could be counted");
    }
    Ok(maps)
}

fn refuse_eviction(maps: &[Map]) -> Result<()> {
    let evicting: Vec<&str> =
        maps.iter().filter(|m| LRU.contains(&m.map_type) && m.name != MAY_EVICT).map(|m| m.name.as_str()).collect();
    if !evicting.is_empty() {
        bail!("map `{}` evicts (LRU), only `{MAY_EVICT}` may: counts would be lost silently", evicting.join("`, `"));
    }
    Ok(())
}

/// The kernel's name of a map type that the programs use, else its number.
fn type_name(map_type: u32) -> String {
    let name = match map_type {
        1 => "hash",
        2 => "array",
        5 => "percpu_hash",
        6 => "percpu_array",
        9 => "lru_hash",
        10 => "lru_percpu_hash",
        11 => "lpm_trie",
        12 => "array_of_maps",
        13 => "hash_of_maps",
        27 => "ringbuf",
        other => return format!("type {other}"),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::ebpf::btf::tests::sample;

    #[test]
    fn only_fragments_may_evict() {
        let of = |maps: &[(&str, u32)]| refuse_eviction(&btf::maps(&sample(maps)).unwrap());
        assert!(of(&[("FLOWS", 12), ("FRAGMENTS", 9)]).is_ok());
        let error = of(&[("FLOWS", 9), ("SOURCES", 10)]).unwrap_err().to_string();
        assert_eq!(error, "map `FLOWS`, `SOURCES` evicts (LRU), only `FRAGMENTS` may: counts would be lost silently");
    }

    #[test]
    fn other_files_are_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.o");
        assert!(check_object(&path).unwrap_err().to_string().contains("run `cargo xtask build-ebpf`"));
        fs::write(&path, "text").unwrap();
        assert!(format!("{:#}", check_object(&path).unwrap_err()).contains("not an object file"));
        let this_program = std::env::current_exe().unwrap();
        assert!(format!("{:#}", check_object(&this_program).unwrap_err()).contains("expected BPF"));
    }
}
