use netspectra_agent::source::capture_file::CaptureFile;
use netspectra_agent::table::{FlowTable, Identity};
use std::io::Cursor;

/// Frames read of one input: a compressed file can hold very many.
const FRAMES: u64 = 10_000;

/// A capture file: pcap, pcapng or snoop, plain or compressed.
///
/// Reading ends, with an error or without; all that was read is counted.
pub fn capture(data: &[u8]) {
    let Ok(mut file) = CaptureFile::from_reader(Box::new(Cursor::new(data.to_vec())), "input") else { return };
    let mut table = FlowTable::new(64, Identity::Inner);
    let mut frames = 0;
    while frames < FRAMES {
        let Ok(Some(frame)) = file.next_frame() else { break };
        table.count(frame.link.0, frame.data, frame.orig_len, 0, frame.ts.0);
        frames += 1;
    }
    assert_eq!(file.frames_read(), frames);
    assert_eq!(table.drain().1.seen.packets, frames);
}
