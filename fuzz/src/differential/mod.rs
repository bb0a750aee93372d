//! The loaded kernel program against user space: the same frames through both, whole tables compared.
//!
//! Frames go through in batches, a generation each. The sides remember first fragments from batch to batch; before the
//! kernel's table of them could forget one, both sides are made anew (an *epoch*). When tables differ, the epoch's frames
//! are halved until the one frame is found behind which they do.

mod bisect;
mod counted;
mod side;

pub use counted::Counted;
pub use side::{Kernel, Side, User};

use crate::frames::Frames;
use anyhow::{Context as _, Result};
use netspectra_common::flow::FragmentKey;
use netspectra_common::wire::{Fragment, Packet, innermost, parse_ethernet};
use std::collections::HashSet;
use std::time::{Duration, Instant};
use zerocopy::IntoBytes as _;

/// Frames of one generation.
const BATCH: u64 = 50_000;
/// Frames of an epoch at most: what is kept for the search is about 100 bytes each.
const EPOCH: u64 = 1_000_000;
/// First fragments of an epoch at most. The kernel's table has 16,384 places, of which each CPU may hold some back.
const FIRST_FRAGMENTS: usize = 8_000;
/// Half the time for which the kernel remembers a first fragment; user space stands still at one instant here.
const EPOCH_TIME: Duration = Duration::from_secs(30);

/// Makes a side that has counted nothing.
pub type Make<'a> = dyn Fn() -> Result<Box<dyn Side>> + 'a;

/// What was compared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Frames that went through both sides.
    pub frames: u64,
    /// Generations whose tables were compared.
    pub generations: u64,
    /// Flows in them, summed over generations.
    pub flows: u64,
    /// Frames under a reason instead of in a flow.
    pub without_flow: u64,
    /// Later fragments without a first one.
    pub orphan_fragments: u64,
}

/// The sides disagree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Which frame of the run it is, from 0.
    pub number: u64,
    /// The frame behind which they disagree.
    pub frame: Vec<u8>,
    /// Frames before it, back to the beginning of the epoch: a fragment's outcome depends on them.
    pub before: u64,
    /// Where the tables differ: one line each.
    pub rows: Vec<String>,
}

/// Sends `count` of `frames` through both sides. `progress` is told the number of frames compared so far.
///
/// # Errors
/// A side cannot be made, or cannot count.
pub fn run(
    frames: &mut Frames<'_>,
    count: u64,
    kernel: &Make<'_>,
    user: &Make<'_>,
    progress: &mut dyn FnMut(u64),
) -> Result<(Summary, Option<Difference>)> {
    let mut summary = Summary::default();
    let mut epoch = Epoch::new(kernel, user)?;
    while summary.frames < count {
        if epoch.is_over() {
            epoch = Epoch::new(kernel, user)?;
        }
        let n = BATCH.min(count - summary.frames);
        for _ in 0..n {
            epoch.count(frames.next_frame())?;
        }
        let (a, b) = epoch.take()?;
        summary.frames += n;
        summary.generations += 1;
        summary.flows += b.flows() as u64;
        summary.without_flow += b.without_flow();
        summary.orphan_fragments += b.orphan_fragments();
        if a != b {
            let difference = bisect::find(&epoch.frames, summary.frames, kernel, user)?;
            return Ok((summary, Some(difference)));
        }
        a.check_ledger().context("both sides agree, but what they counted does not add up")?;
        progress(summary.frames);
    }
    Ok((summary, None))
}

/// Both sides since they were made, and what they were given.
struct Epoch {
    kernel: Box<dyn Side>,
    user: Box<dyn Side>,
    frames: Vec<Vec<u8>>,
    fragments: HashSet<Vec<u8>>,
    began: Instant,
}

impl Epoch {
    fn new(kernel: &Make<'_>, user: &Make<'_>) -> Result<Self> {
        Ok(Self {
            kernel: kernel()?,
            user: user()?,
            frames: Vec::new(),
            fragments: HashSet::new(),
            began: Instant::now(),
        })
    }

    fn is_over(&self) -> bool {
        self.frames.len() as u64 >= EPOCH
            || self.fragments.len() >= FIRST_FRAGMENTS
            || self.began.elapsed() > EPOCH_TIME
    }

    fn count(&mut self, frame: Vec<u8>) -> Result<()> {
        self.kernel.count(&frame)?;
        self.user.count(&frame)?;
        self.note_fragment(&frame);
        self.frames.push(frame);
        Ok(())
    }

    fn take(&mut self) -> Result<(Counted, Counted)> {
        Ok((self.kernel.take()?, self.user.take()?))
    }

    fn note_fragment(&mut self, frame: &[u8]) {
        let mut packet = Packet::default();
        let len = frame.len() as u32;
        if parse_ethernet(&frame, len, &mut packet).is_err() {
            return;
        }
        self.note(&packet);
        // Where the inside of tunnels counts it is the inner packet's fragments that are remembered.
        innermost(&frame, len, &mut packet);
        self.note(&packet);
    }

    fn note(&mut self, packet: &Packet) {
        if let Fragment::First(id) = packet.fragment {
            self.fragments.insert(FragmentKey::of(&packet.key, id).as_bytes().to_vec());
        }
    }
}

#[cfg(test)]
mod tests;
