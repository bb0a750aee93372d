//! BTF of the inner tables.
//!
//! Linux before 6.2 puts an inner map into an outer one only when both have BTF or neither has (`bpf_map_meta_equal`
//! compares what `map_check_btf` found), and the object's template has. Only sizes matter: a table has no locks, timers
//! or pointers.

use super::sys;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Type of a `u32` key.
const U32: u32 = 2;
/// The first type after the integers.
const FIRST: u32 = 3;

/// A loaded BTF object with a key and a value type for each kind of table.
#[derive(Debug)]
pub(super) struct TableTypes {
    fd: OwnedFd,
}

/// The types of one kind of table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Types<'a> {
    pub(super) btf: BorrowedFd<'a>,
    pub(super) key: u32,
    pub(super) value: u32,
}

impl TableTypes {
    /// Loads types for `tables`, each the sizes of key and value in bytes.
    ///
    /// # Errors
    /// The kernel's.
    pub(super) fn load(tables: &[(usize, usize)]) -> io::Result<Self> {
        Ok(Self { fd: sys::load_btf(&encode(tables))? })
    }

    /// The types of table number `n` of those that were loaded. An array's key is a `u32`.
    pub(super) fn of(&self, n: u32, is_array: bool) -> Types<'_> {
        let key = FIRST + 3 * n;
        Types { btf: self.fd.as_fd(), key: if is_array { U32 } else { key }, value: key + 2 }
    }
}

/// The object's bytes: two integers, then for each table an array of bytes (the key), an array of bytes, and a structure
/// that holds it (the value). Source: `Documentation/bpf/btf.rst`.
fn encode(tables: &[(usize, usize)]) -> Vec<u8> {
    const INT: u32 = 1;
    const ARRAY: u32 = 3;
    const STRUCT: u32 = 4;
    const STRINGS: &[u8] = b"\0u8\0u32\0table\0";
    let mut types: Vec<u32> = Vec::new();
    // Name, kind and number of members, size; then what the kind asks for.
    types.extend([1, INT << 24, 1, 8]);
    types.extend([4, INT << 24, 4, 32]);
    let mut next = FIRST;
    for (key, value) in tables {
        types.extend([0, ARRAY << 24, 0, 1, U32, *key as u32]);
        types.extend([0, ARRAY << 24, 0, 1, U32, *value as u32]);
        types.extend([8, (STRUCT << 24) | 1, *value as u32, 0, next + 1, 0]);
        next += 3;
    }
    let (type_len, string_len) = (types.len() as u32 * 4, STRINGS.len() as u32);
    let mut bytes = Vec::new();
    bytes.extend(0xeb9f_u16.to_ne_bytes());
    bytes.extend([1, 0]);
    for word in [24, 0, type_len, type_len, string_len].iter().chain(&types) {
        bytes.extend(word.to_ne_bytes());
    }
    bytes.extend(STRINGS);
    bytes
}
