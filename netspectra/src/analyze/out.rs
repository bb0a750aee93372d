//! Where flow records go: standard output or a file.

use crate::output;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

pub(super) enum Out {
    Stdout,
    File(BufWriter<File>),
}

impl Out {
    /// Standard output without a path and for `-`; else the file, which is replaced when it is there.
    pub(super) fn open(path: Option<&Path>) -> io::Result<Self> {
        match path {
            Some(path) if path != Path::new("-") => Ok(Self::File(BufWriter::new(File::create(path)?))),
            _ => Ok(Self::Stdout),
        }
    }
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Stdout => output::write(bytes).map(|()| bytes.len()),
            Self::File(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Stdout => Ok(()),
            Self::File(file) => file.flush(),
        }
    }
}
