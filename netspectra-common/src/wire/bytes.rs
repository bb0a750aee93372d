/// Highest offset at which a header is read, the same in the kernel (whose verifier wants a bound) and in user space.
pub const MAX_OFFSET: u32 = 0xfff;

/// Bounds-checked access to a frame's captured bytes.
pub trait Bytes {
    /// `at`, for an accessor that must forget where it came from.
    ///
    /// A verifier that follows each path by itself sees one state here instead of one for each way that led to it.
    ///
    /// It may keep the low 13 bits only, so `at` must be at most `2 * MAX_OFFSET + 1`: a header that was read begins at
    /// [`MAX_OFFSET`] at most, and no header of a stated length may be longer than that again.
    #[inline(always)]
    fn rejoin(at: u32) -> u32 {
        debug_assert!(at <= 2 * MAX_OFFSET + 1, "offset {at} is more than the kernel's accessor keeps");
        at
    }

    /// The `N` bytes at offset `at`, when all of them were captured.
    fn array<const N: usize>(&self, at: u32) -> Option<[u8; N]>;

    /// `N` pairs of bytes at the even offset `at`, each as a number in memory order: half as many loads where memory is
    /// read in place.
    fn pairs<const N: usize>(&self, at: u32) -> Option<[u16; N]>;

    /// One byte.
    #[inline(always)]
    fn u8(&self, at: u32) -> Option<u8> {
        self.array::<1>(at).map(|[b]| b)
    }

    /// Two bytes, network order.
    #[inline(always)]
    fn be16(&self, at: u32) -> Option<u16> {
        self.array(at).map(u16::from_be_bytes)
    }

    /// Four bytes, network order.
    #[inline(always)]
    fn be32(&self, at: u32) -> Option<u32> {
        self.array(at).map(u32::from_be_bytes)
    }
}

impl Bytes for [u8] {
    #[inline(always)]
    fn array<const N: usize>(&self, at: u32) -> Option<[u8; N]> {
        if at > MAX_OFFSET {
            return None;
        }
        let rest = self.get(at as usize..)?;
        rest.first_chunk::<N>().copied()
    }

    #[inline(always)]
    fn pairs<const N: usize>(&self, at: u32) -> Option<[u16; N]> {
        if at > MAX_OFFSET {
            return None;
        }
        let (pairs, _) = self.get(at as usize..)?.as_chunks::<2>();
        Some(pairs.first_chunk::<N>()?.map(u16::from_ne_bytes))
    }
}

impl<B: Bytes + ?Sized> Bytes for &B {
    #[inline(always)]
    fn rejoin(at: u32) -> u32 {
        B::rejoin(at)
    }

    #[inline(always)]
    fn array<const N: usize>(&self, at: u32) -> Option<[u8; N]> {
        (**self).array(at)
    }

    #[inline(always)]
    fn pairs<const N: usize>(&self, at: u32) -> Option<[u16; N]> {
        (**self).pairs(at)
    }
}
