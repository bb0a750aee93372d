//! What follows a head, passed over without being kept. Source: RFC 9112 sections 6.3 and 7.1.

/// Hexadecimal digits of a chunk's size.
const MAX_DIGITS: u32 = 16;

/// What follows a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// So many bytes, then the next head.
    Length(u64),
    /// Chunks, then the next head.
    Chunked(Chunks),
    /// Everything until the connection ends.
    UntilClose,
    /// Another protocol.
    Tunnel,
    /// Something that contradicts itself.
    Broken,
}

impl Body {
    /// Chunks, from the first.
    pub(super) const CHUNKED: Self = Self::Chunked(Chunks::SIZE);
}

/// Where in a chunked body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chunks {
    /// In the line with the size: the size so far, its digits, and whether they are over.
    Size { size: u64, digits: u32, over: bool },
    /// So many bytes of data are to come.
    Data(u64),
    /// Between the data and the next size.
    DataEnd,
    /// In the trailer section; whether the line is empty so far.
    Trailer { empty: bool },
}

/// How far [`Chunks::pass`] came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Passed {
    /// The bytes ended first.
    All,
    /// The body ended after so many bytes.
    End(usize),
    /// It is malformed.
    Broken,
}

impl Chunks {
    const SIZE: Self = Self::Size { size: 0, digits: 0, over: false };

    /// Passes over `bytes` up to the end of the body.
    pub(super) fn pass(&mut self, bytes: &[u8]) -> Passed {
        let mut at = 0;
        while let Some(byte) = bytes.get(at) {
            match self {
                Self::Data(left) => {
                    let now = (*left).min((bytes.len() - at) as u64);
                    *left -= now;
                    at += now as usize;
                    if *left == 0 {
                        *self = Self::DataEnd;
                    }
                    continue;
                }
                Self::Size { size, digits, over } => match (byte, (*byte as char).to_digit(16)) {
                    (b'\n', _) if *digits == 0 => return Passed::Broken,
                    (b'\n', _) if *size == 0 => *self = Self::Trailer { empty: true },
                    (b'\n', _) => *self = Self::Data(*size),
                    (_, Some(digit)) if !*over => {
                        if *digits == MAX_DIGITS {
                            return Passed::Broken;
                        }
                        *size = *size << 4 | u64::from(digit);
                        *digits += 1;
                    }
                    // Extensions, and white space, which some senders put there.
                    _ if *digits > 0 => *over = true,
                    _ => return Passed::Broken,
                },
                Self::DataEnd => match byte {
                    b'\r' => {}
                    b'\n' => *self = Self::SIZE,
                    _ => return Passed::Broken,
                },
                Self::Trailer { empty } => match byte {
                    b'\r' => {}
                    b'\n' if *empty => return Passed::End(at + 1),
                    b'\n' => *empty = true,
                    _ => *empty = false,
                },
            }
            at += 1;
        }
        Passed::All
    }

    /// Passes over `missing` bytes of data; false when they were not all data of one chunk.
    pub(super) fn skip(&mut self, missing: u64) -> bool {
        match self {
            Self::Data(left) if *left >= missing => {
                *left -= missing;
                if *left == 0 {
                    *self = Self::DataEnd;
                }
                true
            }
            Self::Data(_) | Self::Size { .. } | Self::DataEnd | Self::Trailer { .. } => false,
        }
    }
}
