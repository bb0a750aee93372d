//! Protection of Initial packets (RFC 9001 section 5). The keys are public: this hides nothing and proves nothing but
//! that a datagram is QUIC.

use super::packet::Initial;
use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::aes::Aes128;
use aes_gcm::aes::cipher::{Block, BlockCipherEncrypt};
use aes_gcm::{Aes128Gcm, Nonce};
use hkdf::Hkdf;
use sha2::Sha256;

/// Version 1 (RFC 9000).
const V1: u32 = 1;
/// Version 2 (RFC 9369).
pub(super) const V2: u32 = 0x6b33_43cf;
/// The last drafts before version 1.
const DRAFT_29: u32 = 0xff00_001d;
const DRAFT_32: u32 = 0xff00_0020;

const SALT_V1: [u8; 20] = [
    0x38, 0x76, 0x2c, 0xf7, 0xf5, 0x59, 0x34, 0xb3, 0x4d, 0x17, 0x9a, 0xe6, 0xa4, 0xc8, 0x0c, 0xad, 0xcc, 0xbb, 0x7f,
    0x0a,
];
const SALT_V2: [u8; 20] = [
    0x0d, 0xed, 0xe3, 0xde, 0xf7, 0x00, 0xa6, 0xdb, 0x81, 0x93, 0x81, 0xbe, 0x6e, 0x26, 0x9d, 0xcb, 0xf9, 0xbd, 0x2e,
    0xd9,
];
const SALT_DRAFT: [u8; 20] = [
    0xaf, 0xbf, 0xec, 0x28, 0x99, 0x93, 0xd2, 0x4c, 0x9e, 0x97, 0x86, 0xf1, 0x9c, 0x61, 0x11, 0xe0, 0x43, 0x90, 0xa8,
    0x99,
];

/// Bytes of the sample that masks a header (section 5.4.2), and where it is behind the packet number's begin.
const SAMPLE: usize = 16;
const SAMPLE_AT: usize = 4;

/// Whether the keys of `version` can be derived.
pub(super) fn is_known(version: u32) -> bool {
    salt(version).is_some()
}

fn salt(version: u32) -> Option<&'static [u8; 20]> {
    match version {
        V1 => Some(&SALT_V1),
        V2 => Some(&SALT_V2),
        DRAFT_29..=DRAFT_32 => Some(&SALT_DRAFT),
        _ => None,
    }
}

/// Keys of one direction.
struct Keys {
    packet: Aes128Gcm,
    iv: [u8; 12],
    header: Aes128,
}

/// Keys of both directions of a connection.
pub(super) struct Secrets {
    client: Keys,
    server: Keys,
}

impl Secrets {
    /// By the identifier that the client's first Initial is sent to; `None` for an unknown version.
    pub(super) fn new(version: u32, destination: &[u8]) -> Option<Self> {
        let initial = Hkdf::<Sha256>::new(Some(salt(version)?), destination);
        Some(Self {
            client: Keys::new(&initial, "client in", version)?,
            server: Keys::new(&initial, "server in", version)?,
        })
    }

    /// The payload of `initial`; `None` when it is not protected by these keys, or was not captured whole.
    pub(super) fn open(&self, initial: &Initial<'_>, from_client: bool) -> Option<Vec<u8>> {
        if from_client { self.client.open(initial) } else { self.server.open(initial) }
    }
}

impl Keys {
    fn new(initial: &Hkdf<Sha256>, who: &str, version: u32) -> Option<Self> {
        let mut secret = [0; 32];
        expand(initial, who, &mut secret)?;
        let own = Hkdf::<Sha256>::from_prk(&secret).ok()?;
        let prefix = if version == V2 { "quicv2" } else { "quic" };
        let (mut key, mut iv, mut header) = ([0; 16], [0; 12], [0; 16]);
        expand(&own, &format!("{prefix} key"), &mut key)?;
        expand(&own, &format!("{prefix} iv"), &mut iv)?;
        expand(&own, &format!("{prefix} hp"), &mut header)?;
        Some(Self { packet: Aes128Gcm::new(&key.into()), iv, header: Aes128::new(&header.into()) })
    }

    fn open(&self, initial: &Initial<'_>) -> Option<Vec<u8>> {
        let at = initial.number_at;
        let sample: [u8; SAMPLE] = *initial.bytes.get(at + SAMPLE_AT..)?.first_chunk()?;
        let mut mask = Block::<Aes128>::from(sample);
        self.header.encrypt_block(&mut mask);
        let first = initial.bytes.first()? ^ (mask[0] & 0x0f);
        let number_len = usize::from(first & 3) + 1;
        let mut header = initial.bytes.get(..at + number_len)?.to_vec();
        *header.first_mut()? = first;
        let mut nonce = self.iv;
        // Initial packets are the first ones: their truncated numbers are the whole ones.
        let places = nonce.iter_mut().skip(12 - number_len);
        for ((byte, mask), place) in header[at..].iter_mut().zip(mask.iter().skip(1)).zip(places) {
            *byte ^= mask;
            *place ^= *byte;
        }
        let payload = Payload { msg: initial.bytes.get(at + number_len..)?, aad: &header };
        self.packet.decrypt(&Nonce::from(nonce), payload).ok()
    }
}

/// HKDF-Expand-Label with an empty context (RFC 8446 section 7.1).
fn expand(secret: &Hkdf<Sha256>, label: &str, out: &mut [u8]) -> Option<()> {
    const PREFIX: &str = "tls13 ";
    let mut info = u16::try_from(out.len()).ok()?.to_be_bytes().to_vec();
    info.push(u8::try_from(PREFIX.len() + label.len()).ok()?);
    info.extend_from_slice(PREFIX.as_bytes());
    info.extend_from_slice(label.as_bytes());
    info.push(0);
    secret.expand(&info, out).ok()
}

#[cfg(test)]
impl Secrets {
    /// Protects `frames` as the payload of the packet whose header, unprotected, is `packet`; its number has four bytes.
    pub(super) fn seal(&self, packet: &mut Vec<u8>, number_at: usize, frames: &[u8], from_client: bool) {
        let keys = if from_client { &self.client } else { &self.server };
        let mut nonce = keys.iv;
        nonce[8..].iter_mut().zip(&packet[number_at..]).for_each(|(n, p)| *n ^= p);
        let payload = Payload { msg: frames, aad: packet };
        if let Ok(sealed) = keys.packet.encrypt(&Nonce::from(nonce), payload) {
            packet.extend(sealed);
        }
        let mut mask = Block::<Aes128>::default();
        mask.copy_from_slice(&packet[number_at + SAMPLE_AT..number_at + SAMPLE_AT + SAMPLE]);
        keys.header.encrypt_block(&mut mask);
        packet[0] ^= mask[0] & 0x0f;
        packet[number_at..number_at + 4].iter_mut().zip(&mask[1..]).for_each(|(p, m)| *p ^= m);
    }
}
