//! Finds the frame behind which two sides disagree.

use super::{Counted, Difference, Make};
use anyhow::{Result, bail};

/// Halves `frames`, of which `end` is the number in the run behind the last one.
///
/// # Errors
/// A side fails, or the sides agree when asked again: then a count depends on more than the frames.
pub(super) fn find(frames: &[Vec<u8>], end: u64, kernel: &Make<'_>, user: &Make<'_>) -> Result<Difference> {
    let differ = |n: usize| -> Result<Option<(Counted, Counted)>> {
        let (mut a, mut b) = (kernel()?, user()?);
        for frame in frames.iter().take(n) {
            a.count(frame)?;
            b.count(frame)?;
        }
        let both = (a.take()?, b.take()?);
        Ok((both.0 != both.1).then_some(both))
    };
    // Invariant: the sides agree on the first `agree` frames and not on the first `disagree`.
    let (mut agree, mut disagree) = (0, frames.len());
    let Some(mut tables) = differ(disagree)? else {
        bail!(
            "the tables differed after frame {end}, and agree when the last {disagree} frames are sent again: \
             a count depends on more than the frames (time, CPU, an evicted fragment)"
        );
    };
    while disagree - agree > 1 {
        let middle = agree + (disagree - agree) / 2;
        match differ(middle)? {
            Some(found) => (disagree, tables) = (middle, found),
            None => agree = middle,
        }
    }
    Ok(Difference {
        number: end - (frames.len() - agree) as u64,
        frame: frames.get(agree).cloned().unwrap_or_default(),
        before: agree as u64,
        rows: tables.0.differences(&tables.1),
    })
}
