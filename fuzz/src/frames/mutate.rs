//! Damage: what a broken sender, a bit error or an attacker does to a frame.

use crate::Rng;

/// Where headers are: parsing decides there.
const HEADERS: usize = 120;

/// Values at which parsers change their mind: versions, lengths, protocols, limits.
const BYTES: [u8; 16] = [0, 1, 4, 5, 6, 8, 0x11, 0x2c, 0x33, 0x3c, 0x40, 0x45, 0x4f, 0x60, 0x7f, 0xff];
const WORDS: [u16; 16] =
    [0, 1, 8, 40, 0x05ff, 0x0600, 0x0800, 0x2000, 0x8100, 0x8847, 0x8864, 0x88a8, 0x88e7, 0x86dd, 0x9100, 0xffff];

/// Damages `frame` once; `other` is a frame to take bytes from.
pub fn mutate(rng: &mut Rng, frame: &mut Vec<u8>, other: &[u8]) {
    let at = 12 + rng.below(frame.len().saturating_sub(12).min(HEADERS));
    match rng.below(10) {
        0 | 1 => set(frame, at, &[rng.byte()]),
        2 => {
            let flipped = frame.get(at).map_or(0, |b| b ^ (1 << rng.below(8)));
            set(frame, at, &[flipped]);
        }
        3 | 4 => set(frame, at, &[rng.pick(&BYTES)]),
        5 => set(frame, at, &rng.pick(&WORDS).to_be_bytes()),
        6 => frame.truncate(rng.below(frame.len() + 1)),
        7 => {
            // Bytes taken out, or put in: everything behind them moves.
            let n = 1 + rng.below(8);
            let at = at.min(frame.len());
            if rng.one_in(2) {
                frame.drain(at..(at + n).min(frame.len()));
            } else {
                frame.splice(at..at, (0..n).map(|_| rng.byte()));
            }
        }
        8 => {
            // The head of this frame, the tail of the other one.
            let from = rng.below(other.len() + 1);
            frame.truncate(at);
            frame.extend(other.get(from..).unwrap_or_default());
        }
        _ => {
            // A header repeated: chains become longer than anyone follows.
            let n = rng.pick(&[4, 8, 8, 24]);
            if let Some(part) = frame.get(at..at + n).map(<[u8]>::to_vec) {
                let times = 1 + rng.below(10);
                let more: Vec<u8> = std::iter::repeat_n(part, times).flatten().collect();
                frame.splice(at..at, more);
            }
        }
    }
}

fn set(frame: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = frame.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}
