//! Every fuzz target with its generated inputs and the same damage to them in every run: a short, blind run. `cargo xtask
//! fuzz` searches.
#![allow(clippy::unwrap_used, reason = "tests")]

use netspectra_fuzz::{Rng, frames, seeds, targets};

/// Inputs for each target. A store is opened and synced for each input of its log.
fn rounds(name: &str) -> usize {
    if name == "log" { 100 } else { 4_000 }
}

#[test]
fn what_must_hold_holds_for_damaged_inputs_of_every_target() {
    for target in targets::ALL {
        let inputs = seeds::generated(target.name).unwrap();
        assert!(!inputs.is_empty(), "target `{}` has nothing to begin with", target.name);
        inputs.iter().for_each(|input| (target.feed)(input));
        let mut rng = Rng::new(1);
        for round in 0..rounds(target.name) {
            let mut input = inputs.get(round % inputs.len()).cloned().unwrap_or_default();
            let other = inputs.get(rng.below(inputs.len())).cloned().unwrap_or_default();
            for _ in 0..1 + rng.below(4) {
                frames::mutate(&mut rng, &mut input, &other);
            }
            (target.feed)(&input);
        }
    }
}
