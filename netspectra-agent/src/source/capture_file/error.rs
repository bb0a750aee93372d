/// Why a capture file cannot be read (on).
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// Reading failed.
    #[error("reading failed")]
    Io(#[source] std::io::Error),
    /// Decompression failed.
    #[error("the {kind} data is damaged at or after byte {offset} of what it unpacks to")]
    Compression {
        /// gzip or zstd.
        kind: &'static str,
        /// Unpacked bytes read before.
        offset: u64,
        /// The decoder's word.
        #[source]
        source: std::io::Error,
    },
    /// No known format.
    #[error("not a capture file: it begins with {}, expected pcap, pcapng or snoop (plain, gzip or zstd)", hex(found))]
    Unknown {
        /// The first bytes.
        found: Vec<u8>,
    },
    /// The file ends inside a record.
    #[error("truncated: the file ends inside {what} that begins at byte {offset}")]
    Truncated {
        /// Which structure.
        what: &'static str,
        /// Where it begins, unpacked.
        offset: u64,
    },
    /// A structure contradicts itself.
    #[error("damaged: {what} at byte {offset}: found {found}, expected {expected}")]
    Damaged {
        /// Which structure.
        what: &'static str,
        /// Where it begins, unpacked.
        offset: u64,
        /// What was found.
        found: String,
        /// What is legal.
        expected: &'static str,
    },
}

fn hex(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return "nothing (it is empty)".into();
    }
    bytes.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(" ")
}
