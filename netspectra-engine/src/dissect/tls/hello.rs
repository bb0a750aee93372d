//! The first messages of a handshake (RFC 8446 section 4.1).

use super::super::reader::Reader;
use super::ja4;
use netspectra_common::model::{TlsClient, TlsServer};

/// Message type of a ClientHello.
pub(in super::super) const CLIENT: u8 = 1;
/// Message type of a ServerHello.
pub(super) const SERVER: u8 = 2;
/// Protocols of an ALPN extension that are kept.
const MAX_ALPN: usize = 32;
/// The random value that makes a ServerHello a HelloRetryRequest (RFC 8446 section 4.1.3).
const RETRY: [u8; 32] = [
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91, 0xc2, 0xa2, 0x11,
    0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];

/// Extensions that are read.
pub(super) mod extension {
    pub(in super::super) const SERVER_NAME: u16 = 0;
    pub(in super::super) const SIGNATURE_ALGORITHMS: u16 = 13;
    pub(in super::super) const ALPN: u16 = 16;
    pub(in super::super) const SUPPORTED_VERSIONS: u16 = 43;
}

/// A hello.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) enum Hello {
    Client(TlsClient),
    Server(TlsServer),
    /// The server wants another ClientHello.
    Retry,
}

/// What a ClientHello offers, as it is on the wire.
#[derive(Debug, Default)]
pub(super) struct Offer {
    /// Of the message itself; TLS 1.3 leaves 1.2 here.
    pub(super) legacy_version: u16,
    pub(super) ciphers: Vec<u16>,
    /// Types, in their order.
    pub(super) extensions: Vec<u16>,
    pub(super) versions: Vec<u16>,
    pub(super) signature_algorithms: Vec<u16>,
    pub(super) alpn: Vec<Vec<u8>>,
    pub(super) sni: Option<String>,
    /// The whole message was there.
    pub(super) whole: bool,
}

impl Offer {
    /// The highest version offered.
    pub(super) fn version(&self) -> u16 {
        self.versions.iter().copied().filter(|v| !ja4::is_grease(*v)).max().unwrap_or(self.legacy_version)
    }
}

/// Reads a handshake message, its header included, `quic` by that version of QUIC. A ClientHello that is cut off gives
/// what was there, without fingerprint, when its extensions had begun.
pub(in super::super) fn parse(message: &[u8], quic: Option<u32>) -> Option<Hello> {
    let mut header = Reader(message);
    let kind = header.u8()?;
    let len = header.take(3)?;
    let len = usize::from(*len.first()?) << 16 | usize::from(*len.get(1)?) << 8 | usize::from(*len.get(2)?);
    let body = header.0.get(..len).unwrap_or(header.0);
    let whole = header.0.len() >= len;
    match kind {
        CLIENT => client(Reader(body), whole).map(|offer| Hello::Client(said(offer, quic))),
        SERVER if whole => server(Reader(body)),
        _ => None,
    }
}

fn said(offer: Offer, quic: Option<u32>) -> TlsClient {
    let ja4 = if offer.whole { ja4::fingerprint(&offer, quic.is_some()) } else { String::new() };
    TlsClient {
        version: offer.version(),
        ja4,
        alpn: offer.alpn.iter().map(|p| printable(p)).collect(),
        sni: offer.sni,
        quic,
    }
}

fn client(mut r: Reader<'_>, whole: bool) -> Option<Offer> {
    let mut offer = Offer { legacy_version: r.u16()?, whole, ..Offer::default() };
    r.take(32)?;
    r.vector8()?;
    offer.ciphers = r.vector16()?.all_u16();
    r.vector8()?;
    // SSL 3.0 and early TLS have no extensions.
    let Some(len) = r.u16() else { return whole.then_some(offer) };
    let mut extensions = Reader(r.0.get(..usize::from(len)).unwrap_or(r.0));
    while !extensions.is_empty() {
        let (Some(kind), Some(len)) = (extensions.u16(), extensions.u16()) else {
            offer.whole = false;
            break;
        };
        offer.extensions.push(kind);
        let Some(data) = extensions.take(usize::from(len)) else {
            offer.whole = false;
            break;
        };
        client_extension(&mut offer, kind, Reader(data));
    }
    Some(offer)
}

/// Reads an extension; what is malformed is taken for absent.
fn client_extension(offer: &mut Offer, kind: u16, mut data: Reader<'_>) {
    match kind {
        extension::SERVER_NAME => offer.sni = server_name(data),
        extension::ALPN => {
            if let Some(mut list) = data.vector16() {
                let names = std::iter::from_fn(|| list.vector8()).take(MAX_ALPN);
                offer.alpn = names.map(|n| n.0.to_vec()).collect();
            }
        }
        extension::SUPPORTED_VERSIONS => offer.versions = data.vector8().map(Reader::all_u16).unwrap_or_default(),
        extension::SIGNATURE_ALGORITHMS => {
            offer.signature_algorithms = data.vector16().map(Reader::all_u16).unwrap_or_default();
        }
        _ => {}
    }
}

/// The first host name (RFC 6066 section 3).
fn server_name(mut data: Reader<'_>) -> Option<String> {
    let mut list = data.vector16()?;
    while let Some(kind) = list.u8() {
        let name = list.vector16()?;
        if kind == 0 && !name.is_empty() {
            return Some(printable(name.0));
        }
    }
    None
}

fn server(mut r: Reader<'_>) -> Option<Hello> {
    let mut hello = TlsServer { version: r.u16()?, ..TlsServer::default() };
    if r.take(32)? == RETRY {
        return Some(Hello::Retry);
    }
    r.vector8()?;
    hello.cipher = r.u16()?;
    r.u8()?;
    let mut extensions = r.vector16().unwrap_or(Reader(&[]));
    while let (Some(kind), Some(mut data)) = (extensions.u16(), extensions.vector16()) {
        match kind {
            extension::SUPPORTED_VERSIONS => hello.version = data.u16().unwrap_or(hello.version),
            extension::ALPN => {
                hello.alpn = data.vector16().and_then(|mut list| list.vector8()).map(|name| printable(name.0));
            }
            _ => {}
        }
    }
    Some(Hello::Server(hello))
}

/// Bytes that should be ASCII, as text: others are escaped.
fn printable(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}
