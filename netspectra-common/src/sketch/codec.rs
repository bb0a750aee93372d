//! The envelope (kind, version) and the integers of sketch bytes: little-endian, or LEB128 in its shortest form.
use super::SketchError;

/// Identity of one sketch's byte format.
#[derive(Clone, Copy)]
pub(super) struct Format {
    /// Name in errors.
    pub(super) name: &'static str,
    /// First byte.
    pub(super) kind: u8,
    /// Second byte; covers layout, parameters and hash seed.
    pub(super) version: u8,
}
impl Format {
    /// Starts a buffer with the envelope.
    pub(super) fn begin(self, capacity: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(capacity + 2);
        out.extend([self.kind, self.version]);
        out
    }
    /// Checks the envelope and returns a reader of the rest.
    pub(super) fn open(self, bytes: &[u8]) -> Result<Reader<'_>, SketchError> {
        let mut reader = Reader { format: self, rest: bytes };
        let kind = reader.u8()?;
        if kind != self.kind {
            return Err(SketchError::Kind { sketch: self.name, found: kind, expected: self.kind });
        }
        let version = reader.u8()?;
        if version != self.version {
            return Err(SketchError::Version { sketch: self.name, found: version, expected: self.version });
        }
        Ok(reader)
    }
}

/// Appends `value` as LEB128.
pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A bounds-checked cursor over untrusted bytes.
pub(super) struct Reader<'a> {
    format: Format,
    rest: &'a [u8],
}
impl<'a> Reader<'a> {
    pub(super) fn take(&mut self, len: usize) -> Result<&'a [u8], SketchError> {
        let truncated = SketchError::Truncated { sketch: self.format.name };
        let (head, rest) = self.rest.split_at_checked(len).ok_or(truncated)?;
        self.rest = rest;
        Ok(head)
    }
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], SketchError> {
        let truncated = SketchError::Truncated { sketch: self.format.name };
        let (head, rest) = self.rest.split_first_chunk().ok_or(truncated)?;
        self.rest = rest;
        Ok(*head)
    }
    pub(super) fn u8(&mut self) -> Result<u8, SketchError> {
        Ok(self.array::<1>()?[0])
    }
    /// Reads one LEB128 number; refuses more than 64 bits and forms that are longer than needed.
    pub(super) fn varint(&mut self) -> Result<u64, SketchError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let part = u64::from(byte & 0x7f);
            self.require((part << shift) >> shift == part, "a number has more than 64 bits")?;
            value |= part << shift;
            if byte & 0x80 == 0 {
                self.require(byte != 0 || shift == 0, "a number is not in its shortest form")?;
                return Ok(value);
            }
        }
        Err(self.inconsistent("a number has more than 64 bits"))
    }
    /// Reads a number of at most `max`.
    pub(super) fn varint_to(&mut self, max: usize, reason: &'static str) -> Result<usize, SketchError> {
        let value = self.varint()?;
        usize::try_from(value).ok().filter(|value| *value <= max).ok_or_else(|| self.inconsistent(reason))
    }
    pub(super) fn inconsistent(&self, reason: &'static str) -> SketchError {
        SketchError::Inconsistent { sketch: self.format.name, reason }
    }
    pub(super) fn require(&self, holds: bool, reason: &'static str) -> Result<(), SketchError> {
        if holds { Ok(()) } else { Err(self.inconsistent(reason)) }
    }
    /// Checks that nothing follows.
    pub(super) fn finish(self) -> Result<(), SketchError> {
        self.require(self.rest.is_empty(), "bytes follow the end of the sketch")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use proptest::prelude::*;

    use super::*;

    const FORMAT: Format = Format { name: "test", kind: b'?', version: 3 };

    fn reader(bytes: &[u8]) -> Reader<'_> {
        Reader { format: FORMAT, rest: bytes }
    }

    proptest! {
        #[test]
        fn varints_return_as_they_were(value: u64) {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            let mut reader = reader(&out);
            prop_assert_eq!(reader.varint(), Ok(value));
            prop_assert_eq!(reader.finish(), Ok(()));
        }
    }

    #[test]
    fn long_and_large_varints_are_refused() {
        let refused = |bytes: &[u8]| matches!(reader(bytes).varint(), Err(SketchError::Inconsistent { .. }));
        assert!(refused(&[0x80, 0x00]));
        assert!(refused(&[0xff; 11]));
        assert!(refused(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02]));
        assert_eq!(reader(&[0x80]).varint(), Err(SketchError::Truncated { sketch: "test" }));
    }

    #[test]
    fn envelope_errors_name_what_was_found_and_expected() {
        let kind = FORMAT.open(b"x\x03").err().unwrap();
        assert_eq!(kind, SketchError::Kind { sketch: "test", found: b'x', expected: b'?' });
        let version = FORMAT.open(b"?\x04").err().unwrap();
        assert_eq!(version, SketchError::Version { sketch: "test", found: 4, expected: 3 });
        assert_eq!(FORMAT.open(b"?").err(), Some(SketchError::Truncated { sketch: "test" }));
        assert!(version.to_string().starts_with("`test` bytes have format version 4, expected 3"));
    }
}
