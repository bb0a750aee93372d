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
    /// The type of the maps inside, for a map of maps.
    pub(super) inner: Option<u32>,
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
            maps.push(btf.map(name, var.of).with_context(|| format!("map `{name}` has an unknown definition"))?);
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

    /// Reads the map definition `id`, and for a map of maps that of the maps inside.
    fn map(&self, name: &str, id: u32) -> Result<Map> {
        let (map_type, values) = self.definition(id)?;
        // `values: [*const Inner; 0]`: only the kernel's maps of maps have it.
        let inner = match values {
            Some(values) => {
                let array = self.expect(values, kind::ARRAY, "`values`")?;
                let pointer = self.expect(word(array.tail, 0)?, kind::PTR, "an element of `values`")?;
                Some(self.definition(pointer.of)?.0)
            }
            None => None,
        };
        Ok(Map { name: name.to_owned(), map_type, inner })
    }

    /// The map type, and the type of the member `values`, of the structure `id`. Rust wraps the definition in
    /// structures with one member (`UnsafeCell`): these are looked through.
    fn definition(&self, mut id: u32) -> Result<(u32, Option<u32>)> {
        for _ in 0..MAX_CHAIN {
            let outer = self.expect(id, kind::STRUCT, "a map")?;
            let (mut map_type, mut values, mut inner) = (None, None, None);
            for member in outer.tail.chunks_exact(12) {
                let of = word(member, 4)?;
                match self.name(word(member, 0)?)? {
                    "type" => {
                        let pointer = self.expect(of, kind::PTR, "`type`")?;
                        map_type = Some(word(self.expect(pointer.of, kind::ARRAY, "what `type` points to")?.tail, 8)?);
                    }
                    "values" => values = Some(of),
                    _ => {
                        inner = inner.or(Some(of).filter(|of| self.resolve(*of).is_ok_and(|t| t.kind == kind::STRUCT)))
                    }
                }
            }
            if let Some(map_type) = map_type {
                return Ok((map_type, values));
            }
            id = inner.context("there is no member `type`")?;
        }
        bail!("the structures nest too deeply")
    }

    fn expect(&self, id: u32, kind: u32, what: &str) -> Result<&Type<'a>> {
        let found = self.resolve(id)?;
        if found.kind != kind {
            bail!("{what} has BTF kind {}, expected {kind}", found.kind);
        }
        Ok(found)
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

    /// BTF of maps `(name, type, inner type)`, each definition wrapped in one more structure, as `UnsafeCell` does it.
    pub(in super::super) fn sample(maps: &[(&str, u32, Option<u32>)]) -> Vec<u8> {
        const TYPE: u32 = 1;
        const VALUES: u32 = 12;
        let (mut types, mut strings) = (Types::default(), b"\0type\0.maps\0values\0".to_vec());
        let mut section = Vec::new();
        for (name, map_type, inner) in maps {
            let offset = strings.len() as u32;
            strings.extend(name.bytes().chain([0]));
            let values = inner.map(|inner| {
                let definition = types.definition(&[TYPE], inner, 0);
                let pointer = types.push(&[0, kind::PTR << 24, definition]);
                types.push(&[0, kind::ARRAY << 24, 0, pointer, 0, 0])
            });
            let definition = match values {
                Some(values) => types.definition(&[TYPE, VALUES], *map_type, values),
                None => types.definition(&[TYPE], *map_type, 0),
            };
            let wrapper = types.push(&[0, kind::STRUCT << 24 | 1, 8, 0, definition, 0]);
            section.extend([types.push(&[offset, kind::VAR << 24, wrapper, 1]), 0, 8]);
        }
        types.push(&[&[6, kind::DATASEC << 24 | maps.len() as u32, 0], section.as_slice()].concat());
        let len = (types.words.len() * 4) as u32;
        let head = [HEADER as u32, 0, len, len, strings.len() as u32];
        let words = head.into_iter().chain(types.words).flat_map(u32::to_le_bytes);
        MAGIC.to_le_bytes().into_iter().chain([1, 0]).chain(words).chain(strings).collect()
    }

    #[derive(Default)]
    struct Types {
        words: Vec<u32>,
        count: u32,
    }

    impl Types {
        /// Appends a type and returns its id.
        fn push(&mut self, words: &[u32]) -> u32 {
            self.words.extend(words);
            self.count += 1;
            self.count
        }

        fn definition(&mut self, names: &[u32], map_type: u32, values: u32) -> u32 {
            let array = self.push(&[0, kind::ARRAY << 24, 0, 0, 0, map_type]);
            let pointer = self.push(&[0, kind::PTR << 24, array]);
            let mut words = vec![0, kind::STRUCT << 24 | names.len() as u32, 8];
            for (name, of) in names.iter().zip([pointer, values]) {
                words.extend([*name, of, 0]);
            }
            self.push(&words)
        }
    }

    #[test]
    fn map_types_are_read_through_wrappers_and_inside_maps_of_maps() {
        let found = maps(&sample(&[("FLOWS", 12, Some(1)), ("FRAGMENTS", 9, None)])).unwrap();
        let expected = [("FLOWS", 12, Some(1)), ("FRAGMENTS", 9, None)];
        assert_eq!(found, expected.map(|(name, map_type, inner)| Map { name: name.into(), map_type, inner }));
    }

    #[test]
    fn cut_or_changed_bytes_are_errors_or_answers_and_never_panics() {
        let whole = sample(&[("FLOWS", 12, Some(1)), ("FRAGMENTS", 9, None)]);
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
        let mut bytes = sample(&[("FLOWS", 2, None)]);
        // The first structure (two types, 24 + 12 bytes, before it) becomes a typedef of itself.
        let at = HEADER + 36;
        bytes[at + 4..at + 8].copy_from_slice(&(kind::TYPEDEF << 24).to_le_bytes());
        bytes[at + 8..at + 12].copy_from_slice(&3u32.to_le_bytes());
        assert!(maps(&bytes).is_err());
    }
}
