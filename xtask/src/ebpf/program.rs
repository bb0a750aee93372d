//! The programs of an eBPF object as instructions, each map reference with the map's name.
//!
//! Source: RFC 9669 (BPF instruction set), and the relocations of LLVM's BPF target.

use anyhow::{Context as _, Result, bail};
use object::{Object as _, ObjectSection as _, ObjectSymbol as _, RelocationTarget, SymbolKind};
use std::collections::BTreeMap;

const LEN: usize = 8;

/// One instruction; the second half of a wide one is an instruction of its own with code 0, which is never reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Insn {
    pub(super) code: u8,
    pub(super) dst: u8,
    pub(super) src: u8,
    pub(super) off: i16,
    pub(super) imm: i32,
    /// What a relocation refers to: a map, for `LD_IMM64`.
    pub(super) symbol: Option<String>,
}

/// A function that the kernel calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Program {
    pub(super) name: String,
    pub(super) insns: Vec<Insn>,
}

/// The programs in the sections `xdp` and `classifier` of `file`.
///
/// # Errors
/// A section that cannot be read, or instructions that are cut short.
pub(super) fn programs(file: &object::File<'_>) -> Result<Vec<Program>> {
    let mut found = Vec::new();
    for section in file.sections() {
        let name = section.name().context("a section's name cannot be read")?;
        if !matches!(name.split('/').next(), Some("xdp" | "classifier")) {
            continue;
        }
        let bytes = section.data().with_context(|| format!("section `{name}` cannot be read"))?;
        let mut symbols = BTreeMap::new();
        for (offset, relocation) in section.relocations() {
            if let RelocationTarget::Symbol(index) = relocation.target() {
                let symbol = file.symbol_by_index(index).context("a relocation refers to no symbol")?;
                symbols.insert(offset, symbol.name().context("a symbol's name cannot be read")?.to_owned());
            }
        }
        for symbol in file.symbols() {
            if symbol.section_index() != Some(section.index()) || symbol.kind() != SymbolKind::Text {
                continue;
            }
            let name = symbol.name().context("a program's name cannot be read")?;
            let (from, len) = (symbol.address() as usize, symbol.size() as usize);
            let code = from.checked_add(len).and_then(|to| bytes.get(from..to));
            let code = code.with_context(|| format!("program `{name}` lies outside of its section"))?;
            let insns = decode(code, |at| symbols.get(&((from + at) as u64)).cloned())
                .with_context(|| format!("program `{name}`"))?;
            found.push(Program { name: name.to_owned(), insns });
        }
    }
    Ok(found)
}

/// Reads little-endian instructions; `symbol` tells the relocation at a byte offset.
fn decode(code: &[u8], symbol: impl Fn(usize) -> Option<String>) -> Result<Vec<Insn>> {
    if code.is_empty() || !code.len().is_multiple_of(LEN) {
        bail!("has {} bytes, expected a multiple of {LEN} above 0", code.len());
    }
    let insns = code.as_chunks::<LEN>().0.iter().enumerate().map(|(n, c)| Insn {
        code: c[0],
        dst: c[1] & 0x0f,
        src: c[1] >> 4,
        off: i16::from_le_bytes([c[2], c[3]]),
        imm: i32::from_le_bytes([c[4], c[5], c[6], c[7]]),
        symbol: symbol(n * LEN),
    });
    Ok(insns.collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn instructions_have_their_fields() {
        let code = [0x7b, 0x1a, 0xf8, 0xff, 0, 0, 0, 0, 0xb7, 0, 0, 0, 2, 0, 0, 0];
        let insns = decode(&code, |at| (at == 8).then(|| "M".to_owned())).unwrap();
        let store = Insn { code: 0x7b, dst: 10, src: 1, off: -8, imm: 0, symbol: None };
        assert_eq!(insns, [store, Insn { code: 0xb7, dst: 0, src: 0, off: 0, imm: 2, symbol: Some("M".into()) }]);
        assert!(decode(&code[..9], |_| None).unwrap_err().to_string().contains("has 9 bytes"));
    }
}
