use super::LinkType;
use netspectra_common::model::Nanos;
use std::io::{self, Write};

/// Writes classic pcap with nanosecond timestamps, little-endian: the form that every tool reads.
///
/// Frames of one link type. Nothing is buffered: hand in a `BufWriter` where speed matters.
#[derive(Debug)]
pub struct PcapWriter<W: Write> {
    out: W,
    max_captured: u32,
}

impl<W: Write> PcapWriter<W> {
    /// Writes the file header.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn new(mut out: W, link: LinkType) -> io::Result<Self> {
        let max_captured = link.max_captured();
        let mut header = [0; 24];
        header[0..4].copy_from_slice(&0xa1b2_3c4d_u32.to_le_bytes());
        header[4..6].copy_from_slice(&2_u16.to_le_bytes());
        header[6..8].copy_from_slice(&4_u16.to_le_bytes());
        header[16..20].copy_from_slice(&max_captured.to_le_bytes());
        header[20..24].copy_from_slice(&u32::from(link.0).to_le_bytes());
        out.write_all(&header)?;
        Ok(Self { out, max_captured })
    }

    /// Appends one frame: `data` was captured at `ts` of a frame that had `orig_len` bytes on the wire.
    ///
    /// # Errors
    /// Those of the output; `InvalidInput`, with nothing written, when `data` is longer than a reader would take
    /// (262,144 bytes for nearly all link types) or `ts` is after 2106, where the format's seconds end.
    pub fn write_frame(&mut self, ts: Nanos, orig_len: u32, data: &[u8]) -> io::Result<()> {
        let captured = u32::try_from(data.len()).ok().filter(|&len| len <= self.max_captured).ok_or_else(|| {
            let (len, max) = (data.len(), self.max_captured);
            io::Error::new(io::ErrorKind::InvalidInput, format!("frame has {len} bytes, a pcap file takes {max}"))
        })?;
        let secs = u32::try_from(ts.0 / Nanos::PER_SECOND).map_err(|_| {
            io::Error::new(io::ErrorKind::InvalidInput, "timestamp is after 2106, which a pcap file cannot hold")
        })?;
        let nanos = (ts.0 % Nanos::PER_SECOND) as u32;
        let mut header = [0; 16];
        header[0..4].copy_from_slice(&secs.to_le_bytes());
        header[4..8].copy_from_slice(&nanos.to_le_bytes());
        header[8..12].copy_from_slice(&captured.to_le_bytes());
        header[12..16].copy_from_slice(&orig_len.to_le_bytes());
        self.out.write_all(&header)?;
        self.out.write_all(data)
    }

    /// Flushes, and gives the output back.
    ///
    /// # Errors
    /// Those of the output.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.flush()?;
        Ok(self.out)
    }
}
