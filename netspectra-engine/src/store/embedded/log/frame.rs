/// What a log file begins with.
pub(super) const PREAMBLE_MAGIC: [u8; 8] = *b"NSPECLOG";
/// Version of the file's format.
pub(super) const VERSION: u32 = 1;
/// Magic, version, CRC-32 of both.
pub(super) const PREAMBLE_LEN: usize = 16;
/// Magic, length, two checksums.
pub(crate) const HEADER_LEN: usize = 16;
/// Longest payload.
pub(crate) const MAX_PAYLOAD: usize = 1 << 30;
const MAGIC: [u8; 4] = *b"NSFR";

/// The first bytes of a file.
pub(super) fn preamble() -> [u8; PREAMBLE_LEN] {
    let mut bytes = [0; PREAMBLE_LEN];
    bytes[..8].copy_from_slice(&PREAMBLE_MAGIC);
    bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
    let crc = crc32fast::hash(&bytes[..12]);
    bytes[12..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// The version that a preamble states; `None` when it is not one.
pub(super) fn preamble_version(bytes: &[u8; PREAMBLE_LEN]) -> Option<u32> {
    let sound = bytes[..8] == PREAMBLE_MAGIC && word(bytes, 12) == crc32fast::hash(&bytes[..12]);
    sound.then(|| word(bytes, 8))
}

/// A frame's header, its checksum verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) payload_len: u32,
    pub(crate) payload_crc: u32,
}

impl Header {
    /// The header of `payload`, whose length is at most [`MAX_PAYLOAD`].
    pub(crate) fn of(payload: &[u8]) -> Self {
        Self { payload_len: payload.len() as u32, payload_crc: crc32fast::hash(payload) }
    }

    pub(crate) fn to_bytes(self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4..8].copy_from_slice(&self.payload_len.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.payload_crc.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..12]);
        bytes[12..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads the first 16 of `bytes`; `None` when they are not a header.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; HEADER_LEN] = bytes.first_chunk()?;
        if bytes[..4] != MAGIC || word(bytes, 12) != crc32fast::hash(&bytes[..12]) {
            return None;
        }
        let header = Self { payload_len: word(bytes, 4), payload_crc: word(bytes, 8) };
        (header.payload_len as usize <= MAX_PAYLOAD).then_some(header)
    }

    /// Header and payload together.
    pub(crate) fn frame_len(self) -> u64 {
        HEADER_LEN as u64 + u64::from(self.payload_len)
    }
}

fn word(bytes: &[u8; 16], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
