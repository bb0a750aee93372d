//! Writers for the forms of capture file that the product itself does not write.

use crate::source::capture_file::window::Order;

/// Bytes in a chosen order.
pub(super) struct Out {
    pub(super) bytes: Vec<u8>,
    pub(super) order: Order,
}

impl Out {
    pub(super) fn new(order: Order) -> Self {
        Self { bytes: Vec::new(), order }
    }

    pub(super) fn u16(&mut self, value: u16) -> &mut Self {
        let bytes = if self.order == Order::Big { value.to_be_bytes() } else { value.to_le_bytes() };
        self.raw(&bytes)
    }

    pub(super) fn u32(&mut self, value: u32) -> &mut Self {
        let bytes = if self.order == Order::Big { value.to_be_bytes() } else { value.to_le_bytes() };
        self.raw(&bytes)
    }

    pub(super) fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// `bytes` and zeros up to a multiple of four.
    pub(super) fn padded(&mut self, bytes: &[u8]) -> &mut Self {
        self.raw(bytes).raw(&vec![0; bytes.len().next_multiple_of(4) - bytes.len()])
    }
}

/// A pcap file header.
pub(super) fn pcap_header(order: Order, magic: u32, version: (u16, u16), network: u32) -> Out {
    let mut out = Out::new(order);
    out.u32(magic).u16(version.0).u16(version.1).u32(0).u32(0).u32(65_535).u32(network);
    out
}

impl Out {
    /// A pcap record; `extra` stands between the header's 16 usual bytes and the frame.
    pub(super) fn record(&mut self, ts: (u32, u32), orig_len: u32, extra: &[u8], data: &[u8]) -> &mut Self {
        self.u32(ts.0).u32(ts.1).u32(data.len() as u32).u32(orig_len).raw(extra).raw(data)
    }

    /// A pcapng block around `body`, which is padded.
    pub(super) fn block(&mut self, kind: u32, body: &[u8]) -> &mut Self {
        let len = body.len().next_multiple_of(4) as u32 + 12;
        self.u32(kind).u32(len).padded(body).u32(len)
    }

    /// A section header block.
    pub(super) fn section(&mut self) -> &mut Self {
        let mut body = Self::new(self.order);
        body.u32(0x1a2b_3c4d).u16(1).u16(0).raw(&[0xff; 8]);
        self.block(0x0a0d_0d0a, &body.bytes)
    }

    /// An interface description block.
    pub(super) fn interface(&mut self, link: u16, snaplen: u32, options: &[(u16, &[u8])]) -> &mut Self {
        let mut body = Self::new(self.order);
        body.u16(link).u16(0).u32(snaplen).options(options);
        self.block(1, &body.bytes)
    }

    /// An enhanced packet block of an untruncated frame.
    pub(super) fn packet(&mut self, interface: u32, ticks: u64, data: &[u8], options: &[(u16, &[u8])]) -> &mut Self {
        let len = data.len() as u32;
        let mut body = Self::new(self.order);
        body.u32(interface).u32((ticks >> 32) as u32).u32(ticks as u32).u32(len).u32(len).padded(data).options(options);
        self.block(6, &body.bytes)
    }

    fn options(&mut self, options: &[(u16, &[u8])]) -> &mut Self {
        for (code, value) in options {
            self.u16(*code).u16(value.len() as u16).padded(value);
        }
        if !options.is_empty() {
            self.u32(0);
        }
        self
    }
}

/// A snoop file header.
pub(super) fn snoop_header(version: u32, datalink: u32) -> Out {
    let mut out = Out::new(Order::Big);
    out.raw(b"snoop\0\0\0").u32(version).u32(datalink);
    out
}

impl Out {
    /// A snoop record with `padding` bytes after the frame.
    pub(super) fn snoop(&mut self, ts: (u32, u32), orig_len: u32, data: &[u8], padding: u32) -> &mut Self {
        let len = data.len() as u32;
        self.u32(orig_len).u32(len).u32(24 + len + padding).u32(0).u32(ts.0).u32(ts.1);
        self.raw(data).raw(&vec![0; padding as usize])
    }
}

/// A small file of each format, with three frames each.
pub(super) fn samples() -> Vec<(&'static str, Vec<u8>)> {
    let frames: [&[u8]; 3] = [b"first frame", b"", b"the third and last frame"];
    let mut samples = Vec::new();
    for order in [Order::Little, Order::Big] {
        let mut pcap = pcap_header(order, 0xa1b2_c3d4, (2, 4), 1);
        let mut modified = pcap_header(order, 0xa1b2_cd34, (2, 4), 1);
        let mut ng = Out::new(order);
        ng.section().interface(1, 0, &[(2, b"eth0"), (9, &[9])]);
        for (i, data) in frames.into_iter().enumerate() {
            let ts = (1_700_000_000 + i as u32, 5);
            pcap.record(ts, data.len() as u32, &[], data);
            modified.record(ts, data.len() as u32, &[0; 8], data);
            ng.packet(0, i as u64, data, &[(2, &[1, 0, 0, 0])]);
            ng.block(5, &[0; 12]);
        }
        samples.extend([("pcap", pcap.bytes), ("modified pcap", modified.bytes), ("pcapng", ng.bytes)]);
    }
    let mut snoop = snoop_header(2, 4);
    for (i, data) in frames.into_iter().enumerate() {
        snoop.snoop((1_700_000_000 + i as u32, 5), data.len() as u32, data, 3);
    }
    samples.push(("snoop", snoop.bytes));
    samples
}
