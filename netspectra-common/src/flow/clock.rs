/// The clock of a table: nanoseconds.
pub trait Clock {
    /// Whether [`coarse`](Self::coarse) runs behind [`exact`](Self::exact), so that it may be before a first packet.
    const COARSE_IS_EARLY: bool;

    /// Now.
    fn exact(&self) -> u64;

    /// Now or up to one tick before, when that is cheaper.
    fn coarse(&self) -> u64;
}

/// The time of a captured packet.
#[derive(Clone, Copy, Debug)]
pub struct At(pub u64);

impl Clock for At {
    const COARSE_IS_EARLY: bool = false;

    #[inline(always)]
    fn exact(&self) -> u64 {
        self.0
    }

    #[inline(always)]
    fn coarse(&self) -> u64 {
        self.0
    }
}
