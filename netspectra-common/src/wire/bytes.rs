/// Highest offset at which a header is read, the same in the kernel (whose verifier wants a bound) and in user space.
pub const MAX_OFFSET: u32 = 0xfff;

/// What the usual frame, Ethernet with IPv4 and ports, is known by: its bytes 12 to 38 without the checksum, in the pieces in
/// which they are compared and kept.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    /// EtherType, version and header length, type of service, total length, identification.
    pub link: [u8; 8],
    /// Flags and fragment offset, time to live, protocol.
    pub middle: [u8; 4],
    /// Source address.
    pub src: [u8; 4],
    /// Destination address.
    pub dst: [u8; 4],
    /// Both ports.
    pub ports: [u8; 4],
}

impl Head {
    /// Offset of its first byte.
    pub const BEGIN: usize = 12;
    /// Offset after its last byte.
    pub const END: usize = 38;
}

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

    /// The [`Head`] of a frame, when all of it was captured.
    #[inline(always)]
    fn head(&self) -> Option<Head> {
        let h = self.array::<{ Head::END - Head::BEGIN }>(Head::BEGIN as u32)?;
        Some(Head {
            link: [h[0], h[1], h[2], h[3], h[4], h[5], h[6], h[7]],
            middle: [h[8], h[9], h[10], h[11]],
            src: [h[14], h[15], h[16], h[17]],
            dst: [h[18], h[19], h[20], h[21]],
            ports: [h[22], h[23], h[24], h[25]],
        })
    }

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
    fn head(&self) -> Option<Head> {
        (**self).head()
    }
}
