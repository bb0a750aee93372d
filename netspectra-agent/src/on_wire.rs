//! What a captured frame amounts to on the wire: one frame, or the segments of a segmentation-offload super-packet.

use netspectra_common::flow::Weight;

/// A captured frame as it goes over the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OnWire {
    /// L2 length of what was captured, bytes: a super-packet's is its length in memory.
    pub len: u32,
    /// Packets and L2 bytes on the wire.
    pub weight: Weight,
    /// L2 length of each segment but the last, bytes; `len` for one frame.
    pub segment_len: u32,
}

impl OnWire {
    /// One frame of `len` bytes.
    #[inline]
    pub const fn frame(len: u32) -> Self {
        Self { len, weight: Weight::frame(len), segment_len: len }
    }

    /// A super-packet of `len` bytes, `headers` of which each segment has in front of at most `payload` bytes. Without any
    /// payload, or with `payload` 0, it is one frame.
    pub fn segments(len: u32, headers: u32, payload: u32) -> Self {
        let all = len.saturating_sub(headers);
        if payload == 0 || all <= payload {
            return Self::frame(len);
        }
        let packets = all.div_ceil(payload);
        let bytes = u64::from(all) + u64::from(packets) * u64::from(headers);
        Self {
            len,
            weight: Weight { packets: u64::from(packets), bytes },
            segment_len: headers.saturating_add(payload),
        }
    }

    /// The lengths on the wire, with the number of packets of each: all segments but the last, and the last.
    #[inline]
    pub fn lengths(&self) -> [(u32, u64); 2] {
        let others = self.weight.packets.saturating_sub(1);
        let last = self.weight.bytes.saturating_sub(others * u64::from(self.segment_len));
        [(self.segment_len, others), (u32::try_from(last).unwrap_or(u32::MAX), 1)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_repeat_the_headers_and_the_last_one_is_shorter() {
        let size = OnWire::segments(66 + 3000, 66, 1448);
        assert_eq!(size.weight, Weight { packets: 3, bytes: 3000 + 3 * 66 });
        assert_eq!(size.lengths(), [(1514, 2), (66 + 104, 1)]);
        let even = OnWire::segments(54 + 2920, 54, 1460);
        assert_eq!(even.lengths(), [(1514, 1), (1514, 1)]);
    }

    #[test]
    fn what_fits_one_segment_is_one_frame() {
        for size in [OnWire::segments(100, 54, 1460), OnWire::segments(54, 54, 1460), OnWire::segments(9000, 54, 0)] {
            assert_eq!(size, OnWire::frame(size.len));
            assert_eq!(size.lengths(), [(size.len, 0), (size.len, 1)]);
        }
        assert_eq!(OnWire::segments(10, 54, 5), OnWire::frame(10), "headers longer than the packet");
    }
}
