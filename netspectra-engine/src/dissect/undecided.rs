//! A flow before it is known which dissector it is for.

use netspectra_common::dissect::{Claim, Dissector, Next, PROBE_BYTES, Session, Side, reversed};
use netspectra_common::model::{FlowKey, Nanos, Observation};
use netspectra_common::registry::Registry;
use std::sync::Arc;

/// Datagrams of a flow that may be of no protocol before it is given up.
const DATAGRAMS: u32 = 4;

/// Asks dissectors in their order, and becomes a session of the first that claims the flow.
///
/// A dissector is chosen only when all before it have refused, so that the choice does not depend on how a stream was
/// cut. At most [`PROBE_BYTES`] of each direction are kept until then.
pub(super) struct Undecided {
    dissectors: Arc<Registry<dyn Dissector>>,
    key: FlowKey,
    chosen: Option<Box<dyn Session>>,
    /// First bytes by [`Side`].
    first: [Vec<u8>; 2],
    /// What waits, in the order in which it came: side, length in `first`, time.
    waiting: Vec<(Side, usize, Nanos)>,
    /// Directions that every dissector refused, by [`Side`]: they are not read, whatever the other one turns out to be.
    refused: [bool; 2],
    /// Directions with a gap: where something begins is not known, so each piece is asked about anew.
    lost: [bool; 2],
    /// Bytes that were not kept, by [`Side`].
    dropped: [u64; 2],
    unclaimed: u32,
}

impl Undecided {
    pub(super) fn new(dissectors: Arc<Registry<dyn Dissector>>, key: &FlowKey) -> Self {
        Self {
            dissectors,
            key: *key,
            chosen: None,
            first: [Vec::new(), Vec::new()],
            waiting: Vec::new(),
            refused: [false, false],
            lost: [false, false],
            dropped: [0, 0],
            unclaimed: 0,
        }
    }

    fn key(&self, side: Side) -> FlowKey {
        if side == Side::Forward { self.key } else { reversed(&self.key) }
    }

    /// The answer for all dissectors: that of the first which does not refuse.
    fn ask(&self, side: Side, first: &[u8]) -> (Claim, Option<Box<dyn Session>>) {
        let key = self.key(side);
        for dissector in self.dissectors.iter() {
            match dissector.claims(&key, first) {
                Claim::No => {}
                Claim::NeedMore if first.len() >= PROBE_BYTES => {}
                Claim::NeedMore => return (Claim::NeedMore, None),
                Claim::Yes => return (Claim::Yes, Some(dissector.open(&self.key))),
            }
        }
        (Claim::No, None)
    }

    fn drop_waiting(&mut self, side: Side) {
        let first = std::mem::take(&mut self.first[side as usize]);
        self.dropped[side as usize] += first.len() as u64;
        self.waiting.retain(|(s, _, _)| *s != side);
    }

    /// Hands what waits to the session that was chosen by what `side` said.
    fn replay(&mut self, side: Side, session: &mut dyn Session, say: &mut dyn FnMut(Observation)) -> Next {
        let other = side.other();
        let dropped = self.dropped[other as usize];
        if dropped > 0 && self.lost[other as usize] && session.gap(other, dropped) == Next::Done {
            return Next::Done;
        }
        let first = std::mem::take(&mut self.first);
        let mut done = [0usize; 2];
        for (side, len, at) in std::mem::take(&mut self.waiting) {
            let from = done[side as usize];
            done[side as usize] = from + len;
            let bytes = first[side as usize].get(from..from + len).unwrap_or_default();
            if session.stream(side, bytes, at, say) == Next::Done {
                return Next::Done;
            }
        }
        Next::More
    }
}

impl Session for Undecided {
    fn stream(&mut self, side: Side, bytes: &[u8], at: Nanos, say: &mut dyn FnMut(Observation)) -> Next {
        if self.refused[side as usize] {
            return Next::More;
        }
        if let Some(session) = &mut self.chosen {
            return session.stream(side, bytes, at, say);
        }
        let waiting = self.first[side as usize].len();
        let claim = if waiting == 0 {
            self.ask(side, &bytes[..bytes.len().min(PROBE_BYTES)])
        } else {
            let more = bytes.len().min(PROBE_BYTES.saturating_sub(waiting));
            self.first[side as usize].extend_from_slice(&bytes[..more]);
            let claim = self.ask(side, &self.first[side as usize]);
            self.first[side as usize].truncate(waiting);
            claim
        };
        match claim {
            (Claim::Yes, Some(mut session)) => {
                let next = self.replay(side, &mut *session, say);
                let next = if next == Next::More { session.stream(side, bytes, at, say) } else { next };
                self.chosen = Some(session);
                next
            }
            (Claim::NeedMore, _) => {
                self.first[side as usize].extend_from_slice(bytes);
                self.waiting.push((side, bytes.len(), at));
                Next::More
            }
            (Claim::No | Claim::Yes, _) => {
                self.dropped[side as usize] += bytes.len() as u64;
                self.drop_waiting(side);
                self.refused[side as usize] = !self.lost[side as usize];
                if self.refused == [true, true] { Next::Done } else { Next::More }
            }
        }
    }

    fn gap(&mut self, side: Side, missing: u64) -> Next {
        if let Some(session) = &mut self.chosen {
            self.refused[side as usize] = false;
            return session.gap(side, missing);
        }
        self.drop_waiting(side);
        self.refused[side as usize] = false;
        self.lost[side as usize] = true;
        Next::More
    }

    fn left_out(&mut self, side: Side, missing: u64) -> Next {
        match &mut self.chosen {
            Some(session) => {
                self.refused[side as usize] = false;
                session.left_out(side, missing)
            }
            None => self.gap(side, missing),
        }
    }

    fn datagram(&mut self, side: Side, bytes: &[u8], len: u32, at: Nanos, say: &mut dyn FnMut(Observation)) -> Next {
        if self.chosen.is_none() {
            match self.ask(side, &bytes[..bytes.len().min(PROBE_BYTES)]) {
                (Claim::Yes, Some(session)) => self.chosen = Some(session),
                (Claim::No | Claim::NeedMore | Claim::Yes, _) => {
                    self.unclaimed += 1;
                    return if self.unclaimed >= DATAGRAMS { Next::Done } else { Next::More };
                }
            }
        }
        match &mut self.chosen {
            Some(session) => session.datagram(side, bytes, len, at, say),
            None => Next::More,
        }
    }

    fn end(&mut self, side: Side, say: &mut dyn FnMut(Observation)) {
        if let Some(session) = self.chosen.as_mut().filter(|_| !self.refused[side as usize]) {
            session.end(side, say);
        }
    }
}
