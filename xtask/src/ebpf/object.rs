//! The verb `check-object`: rules that an eBPF object must keep whatever its sources say.

use super::btf::{self, Map};
use super::{counted, program};
use crate::process::say;
use anyhow::{Context as _, Result, bail};
use object::{Object as _, ObjectSection as _, ObjectSymbol as _};
use std::fs;
use std::path::Path;

/// The one map that may evict: it holds look-up state. A counting map that evicts loses counts and says nothing.
const MAY_EVICT: &str = "FRAGMENTS";

/// `BPF_MAP_TYPE_LRU_HASH` and `BPF_MAP_TYPE_LRU_PERCPU_HASH`.
const LRU: [u32; 2] = [9, 10];

/// Checks the object at `path` and prints its maps.
///
/// # Errors
/// It is no BPF object, has no BTF or no maps in it, a map other than `FRAGMENTS` evicts, or a program has a way through
/// it that counts its frame nowhere.
pub(crate) fn check_object(path: &Path) -> Result<()> {
    let bytes = fs::read(path)
        .with_context(|| format!("cannot read the object `{}`: run `cargo xtask build-ebpf`", path.display()))?;
    let maps = read_maps(&bytes).with_context(|| format!("`{}`", path.display()))?;
    refuse_eviction(&maps)?;
    let shown: Vec<String> = maps.iter().map(describe).collect();
    let counting = refuse_uncounted(&bytes).with_context(|| format!("`{}`", path.display()))?;
    say(format!("every way through {} counts its frame", counting.join(", ")));
    say(format!("object's maps: {}", shown.join(", ")));
    Ok(())
}

fn read_maps(bytes: &[u8]) -> Result<Vec<Map>> {
    let file = object::File::parse(bytes).context("not an object file")?;
    if file.architecture() != object::Architecture::Bpf {
        bail!("built for {:?}, expected BPF", file.architecture());
    }
    let section = file.section_by_name(".BTF").context("has no section `.BTF`: link with `--btf`")?;
    let mut maps = btf::maps(section.data().context("section `.BTF` cannot be read")?)?;
    maps.extend(plain_maps(&file)?);
    if maps.is_empty() {
        bail!("defines no maps: nothing could be counted");
    }
    Ok(maps)
}

/// Maps without BTF (the logger's): symbols of the section `maps`, whose bytes begin with the type.
fn plain_maps(file: &object::File<'_>) -> Result<Vec<Map>> {
    let Some(section) = file.section_by_name("maps") else { return Ok(Vec::new()) };
    let bytes = section.data().context("section `maps` cannot be read")?;
    let mut maps = Vec::new();
    for symbol in file.symbols().filter(|s| s.section_index() == Some(section.index()) && s.is_definition()) {
        let name = symbol.name().context("a map's name cannot be read")?.to_owned();
        let at = usize::try_from(symbol.address()).context("a map's address does not fit")?;
        let word = bytes.get(at..).and_then(|rest| rest.first_chunk::<4>());
        let map_type = u32::from_le_bytes(*word.with_context(|| format!("map `{name}` is cut short"))?);
        maps.push(Map { name, map_type, inner: None });
    }
    Ok(maps)
}

fn refuse_eviction(maps: &[Map]) -> Result<()> {
    let evicts = |map: &&Map| LRU.contains(&map.map_type) || map.inner.is_some_and(|inner| LRU.contains(&inner));
    let evicting: Vec<&str> =
        maps.iter().filter(|m| m.name != MAY_EVICT).filter(evicts).map(|m| m.name.as_str()).collect();
    if !evicting.is_empty() {
        bail!("map `{}` evicts (LRU), only `{MAY_EVICT}` may: counts would be lost silently", evicting.join("`, `"));
    }
    Ok(())
}

/// The loader finds the functions that programs call by their offset in `.text`: one in a section of its own is taken for
/// whatever is at that offset.
fn refuse_other_code(file: &object::File<'_>) -> Result<()> {
    for section in file.sections().filter(|s| s.kind() == object::SectionKind::Text && s.size() > 0) {
        let name = section.name().context("a section's name cannot be read")?;
        if !matches!(name.split('/').next(), Some(".text" | "xdp" | "classifier")) {
            bail!("has code in section `{name}`, expected it in `.text`: set `link_section` of the functions in it");
        }
    }
    Ok(())
}

/// Checks every program; returns their names.
fn refuse_uncounted(bytes: &[u8]) -> Result<Vec<String>> {
    let file = object::File::parse(bytes).context("not an object file")?;
    refuse_other_code(&file)?;
    let programs = program::programs(&file)?;
    if programs.is_empty() {
        bail!("has no program in a section `xdp` or `classifier`: nothing would be counted");
    }
    programs.iter().try_for_each(counted::check)?;
    Ok(programs.into_iter().map(|p| format!("`{}`", p.name)).collect())
}

fn describe(map: &Map) -> String {
    match map.inner {
        Some(inner) => format!("{} ({} of {})", map.name, type_name(map.map_type), type_name(inner)),
        None => format!("{} ({})", map.name, type_name(map.map_type)),
    }
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
        let of = |maps: &[(&str, u32, Option<u32>)]| refuse_eviction(&btf::maps(&sample(maps)).unwrap());
        assert!(of(&[("FLOWS", 12, Some(1)), ("FRAGMENTS", 9, None)]).is_ok());
        let error = of(&[("FLOWS", 12, Some(9)), ("SOURCES", 10, None)]).unwrap_err().to_string();
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
