//! One direction of a connection: heads and what is between them.

use super::body::{Body, Passed};
use super::head::{self, Head};
use netspectra_common::dissect::Claim;
use netspectra_common::model::Nanos;

/// Bytes of a head; of a longer one what fits is read.
const MAX_HEAD: usize = 32 << 10;

#[derive(Debug)]
enum State {
    /// In a head, of which these bytes are there.
    Head(Vec<u8>),
    /// After a head.
    Body(Body),
    /// After a gap, where heads begin is not known. What comes in one piece and looks like a head is taken for one.
    Lost,
    /// After something malformed nothing is believed.
    Broken,
}

#[derive(Debug)]
pub(super) struct Direction {
    state: State,
    last: Nanos,
    /// A head that was cut off by a gap or is too long, to be said with the next bytes or at the end.
    cut: Option<Head>,
}

impl Default for Direction {
    fn default() -> Self {
        Self { state: State::Head(Vec::new()), last: Nanos(0), cut: None }
    }
}

impl Direction {
    /// Whether another protocol is spoken here now.
    pub(super) fn is_tunnel(&self) -> bool {
        matches!(self.state, State::Body(Body::Tunnel))
    }

    /// Whether the next bytes go on with a message that has begun, as far as that is known.
    pub(super) fn is_in_message(&self) -> bool {
        !matches!(&self.state, State::Head(kept) if kept.is_empty())
    }

    /// Takes the next bytes; `each` gets each head that ends in them and says what follows it.
    pub(super) fn feed(&mut self, mut bytes: &[u8], at: Nanos, each: &mut dyn FnMut(Head) -> Body) {
        self.last = at;
        if let Some(cut) = self.cut.take() {
            each(cut);
        }
        while !bytes.is_empty() {
            match &mut self.state {
                State::Head(kept) => {
                    if kept.is_empty() {
                        // Empty lines before a start line are passed over (RFC 9112 section 2.2).
                        let lines = bytes.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
                        bytes = &bytes[lines..];
                    }
                    let before = kept.len();
                    let Some(end) = head::end(kept, bytes) else {
                        let now = bytes.len().min(MAX_HEAD.saturating_sub(before));
                        kept.extend_from_slice(&bytes[..now]);
                        if now < bytes.len() {
                            if let Some(head) = head::parse(kept) {
                                each(head);
                            }
                            self.state = State::Broken;
                        }
                        return;
                    };
                    let (head, rest) = bytes.split_at(end);
                    bytes = rest;
                    let parsed = if kept.is_empty() {
                        head::parse(head)
                    } else {
                        kept.extend_from_slice(head);
                        head::parse(kept)
                    };
                    self.state = match parsed.map(&mut *each) {
                        Some(Body::Length(0)) => State::Head(Vec::new()),
                        Some(Body::Broken) | None => State::Broken,
                        Some(body) => State::Body(body),
                    };
                }
                State::Body(Body::Length(left)) => {
                    let now = (*left).min(bytes.len() as u64);
                    *left -= now;
                    bytes = &bytes[now as usize..];
                    if *left == 0 {
                        self.state = State::Head(Vec::new());
                    }
                }
                State::Body(Body::Chunked(chunks)) => match chunks.pass(bytes) {
                    Passed::All => return,
                    Passed::End(end) => {
                        bytes = &bytes[end..];
                        self.state = State::Head(Vec::new());
                    }
                    Passed::Broken => self.state = State::Broken,
                },
                State::Body(Body::UntilClose | Body::Tunnel | Body::Broken) | State::Broken => return,
                State::Lost => {
                    if head::looks_like(bytes) != Claim::Yes {
                        return;
                    }
                    self.state = State::Head(Vec::new());
                }
            }
        }
    }

    /// Passes over `missing` bytes; false when heads may have been among them.
    pub(super) fn skip(&mut self, missing: u64) -> bool {
        match &mut self.state {
            State::Body(Body::Length(left)) if *left >= missing => {
                *left -= missing;
                if *left == 0 {
                    self.state = State::Head(Vec::new());
                }
                return true;
            }
            State::Body(Body::Chunked(chunks)) => {
                if chunks.skip(missing) {
                    return true;
                }
            }
            State::Body(Body::UntilClose | Body::Tunnel) => return true,
            State::Head(kept) => self.cut = head::parse(kept),
            State::Body(Body::Length(_) | Body::Broken) | State::Broken | State::Lost => {}
        }
        self.state = State::Lost;
        false
    }

    /// Nothing follows: a head that was not whole, as far as it goes, and when its last byte came.
    pub(super) fn end(&mut self) -> Option<(Head, Nanos)> {
        let state = std::mem::replace(&mut self.state, State::Lost);
        let head = match (self.cut.take(), state) {
            (Some(cut), _) => Some(cut),
            (None, State::Head(kept)) => head::parse(&kept),
            (None, State::Body(_) | State::Broken | State::Lost) => None,
        };
        head.map(|head| (head, self.last))
    }
}
