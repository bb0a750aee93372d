//! Flat records as JSON: the same bytes as `serde_json`, in a fraction of its time.
//!
//! Names of fields are known not to need escapes, numbers and texts go straight into the buffer. Whatever is not flat
//! (a list, a map, an enum with contents, a float) is left to `serde_json`, for the whole record.

use serde::Serialize;
use serde::ser::{Error as _, Impossible, SerializeStruct, Serializer};
use std::fmt::{self, Display, Write as _};

/// Appends `record` to `out`.
///
/// # Errors
/// Those of `serde_json`.
pub(super) fn write<T: Serialize>(out: &mut Vec<u8>, record: &T) -> serde_json::Result<()> {
    let start = out.len();
    match record.serialize(Flat { out }) {
        Ok(()) => Ok(()),
        Err(_) => {
            out.truncate(start);
            serde_json::to_writer(out, record)
        }
    }
}

/// Why a record is left to `serde_json`.
#[derive(Debug, thiserror::Error)]
#[error("not flat")]
struct NotFlat;

impl serde::ser::Error for NotFlat {
    fn custom<T: Display>(_: T) -> Self {
        Self
    }
}

struct Flat<'a> {
    out: &'a mut Vec<u8>,
}

impl Flat<'_> {
    fn bytes(self, bytes: &[u8]) -> Result<(), NotFlat> {
        self.out.extend_from_slice(bytes);
        Ok(())
    }
}

/// Whether `text` stands in a JSON string as it is.
fn is_plain(text: &[u8]) -> bool {
    text.iter().all(|b| *b >= 0x20 && *b != b'"' && *b != b'\\')
}

/// Writes text that must not need an escape.
struct Plain<'a>(&'a mut Vec<u8>);

impl fmt::Write for Plain<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if !is_plain(text.as_bytes()) {
            return Err(fmt::Error);
        }
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

macro_rules! integers {
    ($($method:ident $type:ty),*) => {
        $(fn $method(self, n: $type) -> Result<(), NotFlat> {
            self.bytes(itoa::Buffer::new().format(n).as_bytes())
        })*
    };
}

macro_rules! not_flat {
    ($($method:ident($($type:ty),*) -> $ok:ty;)*) => {
        $(fn $method(self, $(_: $type),*) -> Result<$ok, NotFlat> {
            Err(NotFlat)
        })*
    };
}

impl<'a> Serializer for Flat<'a> {
    type Ok = ();
    type Error = NotFlat;
    type SerializeSeq = Impossible<(), NotFlat>;
    type SerializeTuple = Impossible<(), NotFlat>;
    type SerializeTupleStruct = Impossible<(), NotFlat>;
    type SerializeTupleVariant = Impossible<(), NotFlat>;
    type SerializeMap = Impossible<(), NotFlat>;
    type SerializeStruct = Fields<'a>;
    type SerializeStructVariant = Impossible<(), NotFlat>;

    integers! {
        serialize_i8 i8, serialize_i16 i16, serialize_i32 i32, serialize_i64 i64,
        serialize_u16 u16, serialize_u32 u32
    }

    fn serialize_u8(self, n: u8) -> Result<(), NotFlat> {
        self.serialize_u64(u64::from(n))
    }

    fn serialize_u64(self, n: u64) -> Result<(), NotFlat> {
        if n < 10 {
            self.out.push(b'0' + n as u8);
            return Ok(());
        }
        self.bytes(itoa::Buffer::new().format(n).as_bytes())
    }

    fn serialize_bool(self, b: bool) -> Result<(), NotFlat> {
        self.bytes(if b { b"true" } else { b"false" })
    }

    fn serialize_str(self, text: &str) -> Result<(), NotFlat> {
        if !is_plain(text.as_bytes()) {
            return serde_json::to_writer(self.out, text).map_err(NotFlat::custom);
        }
        self.out.push(b'"');
        self.out.extend_from_slice(text.as_bytes());
        self.out.push(b'"');
        Ok(())
    }

    fn collect_str<T: Display + ?Sized>(self, text: &T) -> Result<(), NotFlat> {
        self.out.push(b'"');
        write!(Plain(self.out), "{text}").map_err(NotFlat::custom)?;
        self.out.push(b'"');
        Ok(())
    }

    fn serialize_none(self) -> Result<(), NotFlat> {
        self.bytes(b"null")
    }

    fn serialize_unit(self) -> Result<(), NotFlat> {
        self.bytes(b"null")
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), NotFlat> {
        value.serialize(self)
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Fields<'a>, NotFlat> {
        self.out.push(b'{');
        Ok(Fields { out: self.out, is_first: true })
    }

    not_flat! {
        serialize_f32(f32) -> ();
        serialize_f64(f64) -> ();
        serialize_char(char) -> ();
        serialize_bytes(&[u8]) -> ();
        serialize_unit_struct(&'static str) -> ();
        serialize_unit_variant(&'static str, u32, &'static str) -> ();
        serialize_seq(Option<usize>) -> Self::SerializeSeq;
        serialize_tuple(usize) -> Self::SerializeTuple;
        serialize_tuple_struct(&'static str, usize) -> Self::SerializeTupleStruct;
        serialize_tuple_variant(&'static str, u32, &'static str, usize) -> Self::SerializeTupleVariant;
        serialize_map(Option<usize>) -> Self::SerializeMap;
        serialize_struct_variant(&'static str, u32, &'static str, usize) -> Self::SerializeStructVariant;
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<(), NotFlat> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<(), NotFlat> {
        Err(NotFlat)
    }
}

/// The fields of a record.
struct Fields<'a> {
    out: &'a mut Vec<u8>,
    is_first: bool,
}

impl SerializeStruct for Fields<'_> {
    type Ok = ();
    type Error = NotFlat;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), NotFlat> {
        self.out.extend_from_slice(if self.is_first { b"\"" } else { b",\"" });
        self.is_first = false;
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
        value.serialize(Flat { out: self.out })
    }

    fn end(self) -> Result<(), NotFlat> {
        self.out.push(b'}');
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[derive(Serialize)]
    struct Record<T> {
        name: &'static str,
        of: T,
        none: Option<u8>,
        numbers: (Option<u64>, i32),
    }

    #[derive(Serialize)]
    struct Flatter<T> {
        of: T,
        small: u8,
        large: Option<u64>,
        negative: i32,
        none: Option<u16>,
        is: bool,
        address: std::net::IpAddr,
    }

    fn is_as_serde_writes_it<T: Serialize>(record: &T) {
        let mut out = b"before ".to_vec();
        write(&mut out, record).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), format!("before {}", serde_json::to_string(record).unwrap()));
    }

    #[test]
    fn records_are_written_as_serde_json_writes_them() {
        for text in ["", "plain", "\"quoted\"", "back\\slash", "line\nend", "nul\0", "ümlaut \u{2028}", "\u{7f}"] {
            for address in ["192.0.2.255", "2001:db8::1"] {
                let (small, large, negative, none, is) = (9, Some(u64::MAX), i32::MIN, None, true);
                let address = address.parse().unwrap();
                is_as_serde_writes_it(&Flatter { of: text, small, large, negative, none, is, address });
                let of = format_args!("{text}{}", 10);
                is_as_serde_writes_it(&Flatter { of, small, large, negative, none, is, address });
            }
        }
    }

    #[test]
    fn what_is_not_flat_is_written_all_the_same() {
        is_as_serde_writes_it(&Record { name: "n", of: vec![1.5, 0.1], none: None, numbers: (Some(7), -1) });
        let of = std::collections::BTreeMap::from([("a", Some('c')), ("b", None)]);
        is_as_serde_writes_it(&Record { name: "\"", of, none: Some(1), numbers: (None, 0) });
    }
}
