//! Ethernet frames: built layer by layer, then damaged.

mod build;
mod mutate;
mod seeds;
mod tunnel;

pub use build::frame;
pub use mutate::mutate;
#[cfg(feature = "targets")]
pub(crate) use seeds::files;
pub use seeds::from_captures;

use crate::Rng;

/// The shortest frame that the kernel takes in a test run: an Ethernet header.
pub const SHORTEST: usize = 14;
/// The longest: a page less the head- and tailroom that the kernel wants.
pub const LONGEST: usize = 3400;

/// Makes frames: the same ones for the same seed and the same captures.
#[derive(Clone, Debug)]
pub struct Frames<'a> {
    rng: Rng,
    captured: &'a [Vec<u8>],
    last: Vec<u8>,
}

impl<'a> Frames<'a> {
    /// `captured` are frames to damage beside the built ones; may be empty.
    pub fn new(seed: u64, captured: &'a [Vec<u8>]) -> Self {
        Self { rng: Rng::new(seed), captured, last: Vec::new() }
    }

    /// The next frame, [`SHORTEST`] to [`LONGEST`] bytes.
    pub fn next_frame(&mut self) -> Vec<u8> {
        let rng = &mut self.rng;
        let captured = !self.captured.is_empty() && rng.one_in(3);
        let mut frame = if captured {
            self.captured.get(rng.below(self.captured.len())).cloned().unwrap_or_default()
        } else {
            frame(rng)
        };
        // A third stays as it is, so that deep paths are reached at all.
        for _ in 0..rng.below(4).saturating_sub(usize::from(!captured)) {
            mutate(rng, &mut frame, &self.last);
        }
        frame.truncate(LONGEST);
        if frame.len() < SHORTEST {
            frame.resize(SHORTEST, 0);
        }
        self.last.clone_from(&frame);
        frame
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use netspectra_common::abi::{Family, LossReason};
    use netspectra_common::wire::{Fragment, Packet, Tunnel, innermost, parse_ethernet};
    use std::collections::BTreeSet;

    #[test]
    fn a_seed_names_its_frames() {
        let make = |seed| {
            let mut frames = Frames::new(seed, &[]);
            (0..100).map(|_| frames.next_frame()).collect::<Vec<_>>()
        };
        assert_eq!(make(7), make(7));
        assert_ne!(make(7), make(8));
    }

    #[test]
    fn frames_reach_every_outcome_of_the_parser() {
        let mut frames = Frames::new(1, &[]);
        let mut reached = BTreeSet::new();
        for _ in 0..50_000 {
            let frame = frames.next_frame();
            assert!((SHORTEST..=LONGEST).contains(&frame.len()));
            let mut packet = Packet::default();
            reached.insert(match parse_ethernet(&frame.as_slice(), frame.len() as u32, &mut packet) {
                Err(reason) => reason.name(),
                Ok(()) if packet.key.family == Family::NonIp as u8 => "not IP",
                Ok(()) if packet.key.inner_vlan != 0 => "two tags",
                Ok(()) => match packet.fragment {
                    Fragment::First(_) => "first fragment",
                    Fragment::Later(_) => "later fragment",
                    Fragment::No if packet.key.src_port != 0 => "ports",
                    Fragment::No => "no ports",
                },
            });
        }
        for reason in [LossReason::TruncatedLink, LossReason::TruncatedIp, LossReason::MalformedIp, LossReason::TooDeep]
        {
            assert!(reached.contains(reason.name()), "{} is not reached: {reached:?}", reason.name());
        }
        for outcome in ["not IP", "two tags", "first fragment", "later fragment", "ports", "no ports"] {
            assert!(reached.contains(outcome), "{outcome} is not reached: {reached:?}");
        }
    }

    #[test]
    fn frames_reach_every_tunnel() {
        let mut frames = Frames::new(1, &[]);
        let mut missing: BTreeSet<&str> = Tunnel::ALL.into_iter().map(Tunnel::name).collect();
        for _ in 0..50_000 {
            let (frame, mut packet) = (frames.next_frame(), Packet::default());
            let bytes = frame.as_slice();
            if parse_ethernet(&bytes, bytes.len() as u32, &mut packet).is_ok() {
                innermost(&bytes, bytes.len() as u32, &mut packet);
                if let Some(tunnel) = Tunnel::from_raw(packet.key.tunnel) {
                    missing.remove(tunnel.name());
                }
            }
        }
        assert_eq!(missing, BTreeSet::new());
    }
}
