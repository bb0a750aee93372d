//! Handshake messages in the records of one direction (RFC 8446 section 5.1).

use super::HANDSHAKE;

/// Record type of ChangeCipherSpec, which may stand between a retry request and the ServerHello.
const CHANGE_CIPHER_SPEC: u8 = 20;
/// Bytes of a handshake message that are kept: a longer hello is not read.
const MAX_MESSAGE: usize = 32 << 10;
/// Bytes of a record's header, and of a handshake message's.
const RECORD_HEADER: usize = 5;
const MESSAGE_HEADER: usize = 4;

/// One direction, up to the hello.
#[derive(Debug, Default)]
pub(super) struct Records {
    header: Vec<u8>,
    /// Bytes of the record that are still to come.
    left: usize,
    /// The record is of handshake messages.
    is_handshake: bool,
    /// Handshake bytes that are no whole message yet.
    messages: Vec<u8>,
    /// What is there is all that will be: bytes are missing, or no handshake follows.
    is_over: bool,
    is_finished: bool,
}

impl Records {
    /// Takes the next bytes of the stream.
    pub(super) fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && !self.is_finished && !self.is_over {
            if self.left == 0 {
                let (now, rest) = bytes.split_at(bytes.len().min(RECORD_HEADER - self.header.len()));
                self.header.extend_from_slice(now);
                bytes = rest;
                if let &[kind, major, _, hi, lo] = &self.header[..] {
                    self.header.clear();
                    self.left = usize::from(u16::from_be_bytes([hi, lo]));
                    self.is_handshake = kind == HANDSHAKE;
                    // Alerts, application data, or no TLS at all: no hello comes any more.
                    self.is_over = major != 3 || !matches!(kind, HANDSHAKE | CHANGE_CIPHER_SPEC);
                }
                continue;
            }
            let (now, rest) = bytes.split_at(bytes.len().min(self.left));
            self.left -= now.len();
            bytes = rest;
            if self.is_handshake {
                self.messages.extend_from_slice(now);
                self.is_over |= self.messages.len() > MAX_MESSAGE + MESSAGE_HEADER;
            }
        }
    }

    /// Takes out the next whole message, its header included.
    pub(super) fn next_message(&mut self) -> Option<Vec<u8>> {
        let [_, len @ ..] = *self.messages.first_chunk::<MESSAGE_HEADER>()?;
        let len = MESSAGE_HEADER + u32::from_be_bytes([0, len[0], len[1], len[2]]) as usize;
        if len > self.messages.len() {
            return None;
        }
        let rest = self.messages.split_off(len);
        Some(std::mem::replace(&mut self.messages, rest))
    }

    /// The message that is not whole.
    pub(super) fn partial(&self) -> &[u8] {
        &self.messages
    }

    /// Nothing was fed yet.
    pub(super) fn is_at_start(&self) -> bool {
        self.header.is_empty() && self.left == 0 && self.messages.is_empty()
    }

    /// Bytes are missing here.
    pub(super) fn cut(&mut self) {
        self.is_over = true;
    }

    /// No message comes any more.
    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    /// Nothing more is wanted.
    pub(super) fn finish(&mut self) {
        *self = Self { is_finished: true, ..Self::default() };
    }

    pub(super) fn is_finished(&self) -> bool {
        self.is_finished
    }
}
