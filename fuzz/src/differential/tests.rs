//! That a difference is found and named; that there is none between kernel and user space is for the program to show.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use netspectra_agent::table::Identity;

/// User space with a fault: a frame that has `0xff` at offset 13 is not counted.
struct Faulty(User);

const FAULT: (usize, u8) = (13, 0xff);

impl Side for Faulty {
    fn count(&mut self, frame: &[u8]) -> Result<()> {
        if frame.get(FAULT.0) == Some(&FAULT.1) { Ok(()) } else { self.0.count(frame) }
    }

    fn take(&mut self) -> Result<Counted> {
        self.0.take()
    }
}

fn good() -> Result<Box<dyn Side>> {
    Ok(Box::new(User::new(Identity::Outer)))
}

fn faulty() -> Result<Box<dyn Side>> {
    Ok(Box::new(Faulty(User::new(Identity::Outer))))
}

#[test]
fn equal_sides_have_no_difference_and_all_frames_are_compared() {
    let (mut frames, mut told) = (Frames::new(3, &[]), Vec::new());
    let (summary, difference) = run(&mut frames, BATCH + 1, &good, &good, &mut |n| told.push(n)).unwrap();
    assert_eq!(difference, None);
    assert_eq!((summary.frames, summary.generations), (BATCH + 1, 2));
    assert_eq!(told, [BATCH, BATCH + 1]);
    assert!(summary.flows > 1000 && summary.without_flow > 1000 && summary.orphan_fragments > 10, "{summary:?}");
}

#[test]
fn the_first_frame_that_counts_differently_is_named() {
    let mut same = Frames::new(5, &[]);
    let expected = (0u64..).find(|_| same.next_frame().get(FAULT.0) == Some(&FAULT.1)).unwrap();
    let (_, difference) = run(&mut Frames::new(5, &[]), 20_000, &good, &faulty, &mut |_| ()).unwrap();
    let difference = difference.unwrap();
    assert_eq!((difference.number, difference.before), (expected, expected));
    assert_eq!(difference.frame.get(FAULT.0), Some(&FAULT.1));
    assert!(difference.rows.first().unwrap().starts_with("seen: kernel Counter"), "{:?}", difference.rows);
}
