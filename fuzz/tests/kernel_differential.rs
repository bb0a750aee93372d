//! The loaded program and user space count the same: a short run of `cargo xtask fuzz differential`, and what longer ones
//! found.
//!
//! Needs root and the eBPF object. Does not prove: attaching, egress, frames longer than a page.
#![allow(clippy::unwrap_used, reason = "tests")]

use netspectra_agent::table::Identity;
use netspectra_fuzz::differential::{self, Kernel, Side as _, User};
use netspectra_fuzz::frames::Frames;

fn object() -> Vec<u8> {
    let path = std::env::var("NETSPECTRA_BPF_OBJECT")
        .expect("NETSPECTRA_BPF_OBJECT names the eBPF object: `cargo xtask test` builds it and sets this");
    std::fs::read(&path).unwrap_or_else(|e| panic!("`{path}`: {e}"))
}

fn no_difference(identity: Identity) {
    let object = object();
    let (summary, difference) = differential::run(
        &mut Frames::new(1, &[]),
        100_000,
        &|| Ok(Box::new(Kernel::load(&object, identity)?)),
        &|| Ok(Box::new(User::new(identity))),
        &mut |_| (),
    )
    .unwrap();
    assert_eq!(difference, None);
    assert_eq!(summary.frames, 100_000);
    assert!(summary.flows > 10_000 && summary.without_flow > 1000 && summary.orphan_fragments > 1000, "{summary:?}");
}

#[test]
fn frames_of_every_kind_count_the_same_by_their_outer_identity() {
    no_difference(Identity::Outer);
}

#[test]
fn frames_of_every_kind_count_the_same_by_their_inner_identity() {
    no_difference(Identity::Inner);
}

/// The kernel keeps 13 bits of an offset: 16,384 bytes of identity led it back to the middle of the frame.
#[test]
fn an_ayiya_identity_of_any_length_leads_to_the_same_place() {
    let object = object();
    let (mut kernel, mut user) = (Kernel::load(&object, Identity::Inner).unwrap(), User::new(Identity::Inner));
    for exponent in 0..=15u8 {
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
        frame.extend([0x45, 0, 0, 200, 0, 1, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        frame.extend([0x13, 0x88, 0x13, 0xd0, 0, 180, 0, 0]);
        frame.extend([exponent << 4 | 1, 0x52, 0x11, 41, 0, 0, 0, 0]);
        frame.resize(200, 0x60);
        kernel.count(&frame).unwrap();
        user.count(&frame).unwrap();
    }
    let (kernel, user) = (kernel.take().unwrap(), user.take().unwrap());
    assert_eq!(kernel.differences(&user), Vec::<String>::new());
}
