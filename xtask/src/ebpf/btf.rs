//! As much of BTF as it takes to read map definitions.
//!
//! A map is a variable in the data section `.maps`; its type is a structure whose member `type` is a pointer to an
//! array, and the length of that array is the map's type. Every offset and count is checked: the bytes come from a file.
//!
//! Source: the kernel's `Documentation/bpf/btf.rst` and `libbpf` conventions for BTF-defined maps.

use anyhow::{Context as _, Result, bail};

const MAGIC: u16 = 0xeb9f;
const HEADER: usize = 24;
/// More types than this is no object of ours.
const MAX_TYPES: usize = 1 << 20;
/// Modifiers and typedefs between a variable and its structure; a longer chain is a loop.
const MAX_CHAIN: usize = 32;

mod kind {
    pub(super) const INT: u32 = 1;
    pub(super) const PTR: u32 = 2;
    pub(super) const ARRAY: u32 = 3;
    pub(super) const STRUCT: u32 = 4;
    pub(super) const UNION: u32 = 5;
    pub(super) const ENUM: u32 = 6;
    pub(super) const TYPEDEF: u32 = 8;
    pub(super) const RESTRICT: u32 = 11;
    pub(super) const FUNC_PROTO: u32 = 13;
    pub(super) const VAR: u32 = 14;
    pub(super) const DATASEC: u32 = 15;
    pub(super) const DECL_TAG: u32 = 17;
    pub(super) const ENUM64: u32 = 19;
    pub(super) const LAST: u32 = 19;
}

/// A map that the object defines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Map {
    pub(super) name: String,
    /// `enum bpf_map_type`.
    pub(super) map_type: u32,
}

struct Type<'a> {
    name: u32,
    kind: u32,
    /// Size or type, as the kind has it.
    of: u32,
    /// What follows the fixed part.
    tail: &'a [u8],
}

struct Btf<'a> {
    types: Vec<Type<'a>>,
    strings: &'a [u8],
}

/// The maps that the contents of a section `.BTF` define, in the section's order.
///
/// # Errors
/// The bytes are not little-endian BTF, or a map's definition is not understood.
pub(super) fn maps(bytes: &[u8]) -> Result<Vec<Map>> {
    let btf = Btf::parse(bytes)?;
    let mut maps = Vec::new();
    for section in btf.types.iter().filter(|t| t.kind == kind::DATASEC) {
        if btf.name(section.name)? != ".maps" {
            continue;
        }
        for entry in section.tail.chunks_exact(12) {
            let var = btf.get(word(entry, 0)?)?;
            let name = btf.name(var.name)?;
            let map_type = btf.map_type(var.of).with_context(|| format!("map `{name}` has an unknown definition"))?;
            maps.push(Map { name: name.to_owned(), map_type });
        }
    }
    Ok(maps)
}

impl<'a> Btf<'a> {
    fn parse(bytes: &'a [u8]) -> Result<Self> {
        let magic = bytes.get(..2).context("BTF ends before its magic number")?;
        if u16::from_le_bytes([magic[0], magic[1]]) != MAGIC {
            bail!("BTF has the wrong magic number or byte order, expected {MAGIC:#x} little-endian");
        }
        let header = word(bytes, 4)? as usize;
        if header < HEADER {
            bail!("BTF header has {header} bytes, expected at least {HEADER}");
        }
        let part = |offset: u32, len: u32| -> Result<&'a [u8]> {
            let start = header.checked_add(offset as usize).context("BTF offset overflows")?;
            let end = start.checked_add(len as usize).context("BTF length overflows")?;
            bytes.get(start..end).context("BTF section is cut short")
        };
        let mut rest = part(word(bytes, 8)?, word(bytes, 12)?)?;
        let strings = part(word(bytes, 16)?, word(bytes, 20)?)?;
        let mut types = Vec::new();
        while !rest.is_empty() {
            if types.len() == MAX_TYPES {
                bail!("BTF has more than {MAX_TYPES} types");
            }
            let (name, info, of) = (word(rest, 0)?, word(rest, 4)?, word(rest, 8)?);
            let (kind, count) = ((info >> 24) & 0x1f, (info & 0xffff) as usize);
            let tail = tail_len(kind, count)?;
            let tail_bytes = rest.get(12..12 + tail).context("BTF type is cut short")?;
            types.push(Type { name, kind, of, tail: tail_bytes });
            rest = &rest[12 + tail..];
        }
        Ok(Self { types, strings })
    }

    /// Type ids begin at 1; 0 is `void`.
    fn get(&self, id: u32) -> Result<&Type<'a>> {
        (id as usize).checked_sub(1).and_then(|i| self.types.get(i)).with_context(|| format!("BTF has no type {id}"))
    }

    fn name(&self, offset: u32) -> Result<&'a str> {
        let rest = self.strings.get(offset as usize..).context("BTF name is outside the strings")?;
        let end = rest.iter().position(|&b| b == 0).context("BTF name has no end")?;
        std::str::from_utf8(&rest[..end]).context("BTF name is not UTF-8")
    }

    /// Follows typedefs and qualifiers.
    fn resolve(&self, mut id: u32) -> Result<&Type<'a>> {
        for _ in 0..MAX_CHAIN {
            let found = self.get(id)?;
            if !(kind::TYPEDEF..=kind::RESTRICT).contains(&found.kind) {
                return Ok(found);
            }
            id = found.of;
        }
        bail!("BTF type {id} refers to itself")
    }

    /// `type` of the map structure `id`. Rust wraps the definition in single-member structures (`UnsafeCell`): these
    /// are looked through.
    fn map_type(&self, id: u32) -> Result<u32> {
        let mut id = id;
        for _ in 0..MAX_CHAIN {
            let outer = self.resolve(id)?;
            if outer.kind != kind::STRUCT {
                bail!("expected a structure, found BTF kind {}", outer.kind);
            }
            let mut inner = None;
            for member in outer.tail.chunks_exact(12) {
                if self.name(word(member, 0)?)? == "type" {
                    return self.pointed_length(word(member, 4)?);
                }
                let of = word(member, 4)?;
                if inner.is_none() && self.resolve(of).is_ok_and(|t| t.kind == kind::STRUCT) {
                    inner = Some(of);
                }
            }
            id = inner.context("there is no member `type`")?;
        }
        bail!("the structures nest too deeply")
    }

    fn pointed_length(&self, id: u32) -> Result<u32> {
        let pointer = self.resolve(id)?;
        if pointer.kind != kind::PTR {
            bail!("member `type` is no pointer");
        }
        let array = self.resolve(pointer.of)?;
        if array.kind != kind::ARRAY {
            bail!("member `type` points to no array");
        }
        word(array.tail, 8)
    }
}

/// Bytes after the fixed 12 of a type.
fn tail_len(kind: u32, count: usize) -> Result<usize> {
    Ok(match kind {
        kind::INT | kind::VAR | kind::DECL_TAG => 4,
        kind::ARRAY => 12,
        kind::STRUCT | kind::UNION | kind::DATASEC | kind::ENUM64 => 12 * count,
        kind::ENUM | kind::FUNC_PROTO => 8 * count,
        1..=kind::LAST => 0,
        other => bail!("BTF kind {other} is unknown"),
    })
}

fn word(bytes: &[u8], at: usize) -> Result<u32> {
    let four = bytes.get(at..).and_then(|rest| rest.first_chunk::<4>()).context("BTF is cut short")?;
    Ok(u32::from_le_bytes(*four))
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    /// BTF of maps, each definition wrapped in one more structure, as `UnsafeCell` does it.
    pub(in super::super) fn sample(maps: &[(&str, u32)]) -> Vec<u8> {
        let (mut types, mut strings) = (Vec::new(), b"\0type\0.maps\0".to_vec());
        let push = |types: &mut Vec<u8>, words: &[u32]| types.extend(words.iter().flat_map(|w| w.to_le_bytes()));
        let mut vars = Vec::new();
        for (index, (name, map_type)) in maps.iter().enumerate() {
            let first = 1 + 5 * index as u32;
            let offset = strings.len() as u32;
            strings.extend(name.bytes().chain([0]));
            push(&mut types, &[0, kind::ARRAY << 24, 0, 0, 0, *map_type]);
            push(&mut types, &[0, kind::PTR << 24, first]);
            push(&mut types, &[0, kind::STRUCT << 24 | 1, 8, 1, first + 1, 0]);
            push(&mut types, &[0, kind::STRUCT << 24 | 1, 8, 0, first + 2, 0]);
            push(&mut types, &[offset, kind::VAR << 24, first + 3, 1]);
            vars.extend([first + 4, 0, 8]);
        }
        push(&mut types, &[6, kind::DATASEC << 24 | maps.len() as u32, 0]);
        push(&mut types, &vars);
        let mut bytes = Vec::new();
        bytes.extend(MAGIC.to_le_bytes());
        bytes.extend([1, 0]);
        push(&mut bytes, &[HEADER as u32, 0, types.len() as u32, types.len() as u32, strings.len() as u32]);
        bytes.extend(types);
        bytes.extend(strings);
        bytes
    }

    #[test]
    fn map_types_are_read_through_wrappers() {
        let found = maps(&sample(&[("FLOWS", 12), ("FRAGMENTS", 9)])).unwrap();
        let expected = [("FLOWS", 12), ("FRAGMENTS", 9)].map(|(name, map_type)| Map { name: name.into(), map_type });
        assert_eq!(found, expected);
    }

    #[test]
    fn cut_or_changed_bytes_are_errors_or_answers_and_never_panics() {
        let whole = sample(&[("FLOWS", 12), ("FRAGMENTS", 9)]);
        for len in 0..whole.len() {
            assert!(maps(&whole[..len]).is_err(), "{len} of {} bytes", whole.len());
        }
        for at in 0..whole.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut bytes = whole.clone();
                bytes[at] = value;
                let _ = maps(&bytes);
            }
        }
    }

    #[test]
    fn a_type_that_refers_to_itself_ends() {
        let mut bytes = sample(&[("FLOWS", 12)]);
        // The first structure (two types, 24 + 12 bytes, before it) becomes a typedef of itself.
        let at = HEADER + 36;
        bytes[at + 4..at + 8].copy_from_slice(&(kind::TYPEDEF << 24).to_le_bytes());
        bytes[at + 8..at + 12].copy_from_slice(&3u32.to_le_bytes());
        assert!(maps(&bytes).is_err());
    }
}
