//! What the sketches' tests share: a seeded generator and damage to bytes.
use super::SketchError;

/// SplitMix64: each seed is one fixed stream, so a failing seed fails again.
pub(super) struct Rng(u64);
impl Rng {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d)
    }
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    /// Uniform in `0..bound`; `bound` is far below 2^64, so the bias is nil for tests.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
    /// Uniform in `0.0..1.0`.
    pub(super) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
    /// A rank in `0..n` whose frequency falls roughly as 1/rank.
    pub(super) fn skewed(&mut self, n: u64) -> u64 {
        ((n as f64).powf(self.unit()) as u64).saturating_sub(1).min(n - 1)
    }
}

/// Streams per coverage test: what a debug build can do in seconds, and ten times that in release.
pub(super) const STREAMS: u64 = if cfg!(debug_assertions) { 1_000 } else { 10_000 };

/// Damages `bytes` in many seeded ways and hands each version to `decode`, which must return the canonical bytes of
/// what it read, or an error. Every truncation must be an error; whatever is accepted must encode to itself.
pub(super) fn damaged_bytes_are_refused_or_canonical(
    bytes: &[u8],
    rounds: u64,
    decode: impl Fn(&[u8]) -> Result<Vec<u8>, SketchError>,
) {
    assert_eq!(decode(bytes).as_deref(), Ok(bytes), "undamaged");
    let step = (bytes.len() / 200).max(1);
    for len in (0..bytes.len()).step_by(step) {
        assert!(decode(&bytes[..len]).is_err(), "cut to {len} of {} was accepted", bytes.len());
    }
    for seed in 0..rounds {
        let mut rng = Rng::new(seed);
        let mut damaged = bytes.to_vec();
        for _ in 0..=rng.below(3) {
            let at = rng.below(damaged.len() as u64) as usize;
            match rng.below(4) {
                0 => damaged[at] = rng.next() as u8,
                1 => damaged[at] ^= 1 << rng.below(8),
                2 => damaged.insert(at, rng.next() as u8),
                _ => damaged[at] = if rng.below(2) == 0 { 0xff } else { 0 },
            }
        }
        if let Ok(again) = decode(&damaged) {
            assert_eq!(again, damaged, "seed {seed}: accepted bytes must be canonical");
        }
    }
}
