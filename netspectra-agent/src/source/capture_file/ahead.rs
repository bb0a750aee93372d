//! Reading ahead: whoever has nothing else to do reads the next block of a file while another thread is at the one before.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Room before what was read, for the part of a record that the block before ended with.
pub(super) const HEAD: usize = 64 * 1024;
/// Bytes read at a time.
const BLOCK: usize = 512 * 1024;
/// Blocks that wait to be taken.
const WAITING: usize = 8;

/// What was read at a time: behind the room, up to `end`.
pub(super) struct Block {
    pub(super) bytes: Vec<u8>,
    pub(super) end: usize,
}

/// A file that several threads may read, one at a time, and one takes the blocks of, in order.
pub struct ReadAhead {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// `None` while a thread reads, and after the end.
    reader: Option<Box<dyn Read + Send>>,
    waiting: VecDeque<Block>,
    spare: Vec<Vec<u8>>,
    ended: bool,
    /// Comes after the blocks that wait.
    failed: Option<io::Error>,
}

impl ReadAhead {
    pub(super) fn new(reader: Box<dyn Read + Send>) -> Self {
        let state =
            State { reader: Some(reader), waiting: VecDeque::new(), spare: Vec::new(), ended: false, failed: None };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Reads a block if there is room for it and no other thread is at it. Returns whether it did.
    pub fn help(&self) -> bool {
        let state = self.lock();
        if state.waiting.len() >= WAITING {
            return false;
        }
        self.read(state).is_ok()
    }

    /// The next block; `None` at the end. Reads it, or waits for the thread that does.
    ///
    /// # Errors
    /// Reading failed; once.
    pub(super) fn next(&self) -> io::Result<Option<Block>> {
        let mut state = self.lock();
        loop {
            if let Some(block) = state.waiting.pop_front() {
                return Ok(Some(block));
            }
            if let Some(e) = state.failed.take() {
                return Err(e);
            }
            if state.ended {
                return Ok(None);
            }
            state = match self.read(state) {
                Ok(()) => self.lock(),
                Err(state) => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// Takes back a buffer that is not needed any more.
    pub(super) fn give_back(&self, buffer: Vec<u8>) {
        if buffer.len() == HEAD + BLOCK {
            self.lock().spare.push(buffer);
        }
    }

    /// Reads a block, without the lock.
    ///
    /// # Errors
    /// Another thread is at it, or there is nothing more: nothing was done.
    fn read<'a>(&'a self, mut state: MutexGuard<'a, State>) -> Result<(), MutexGuard<'a, State>> {
        let Some(mut reader) = state.reader.take() else { return Err(state) };
        let spare = state.spare.pop();
        drop(state);
        let mut bytes = spare.unwrap_or_else(|| vec![0; HEAD + BLOCK]);
        let reading = Reading(self);
        let read = loop {
            match reader.read(&mut bytes[HEAD..]) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        drop(reading);
        let mut state = self.lock();
        match read {
            Ok(0) => state.ended = true,
            Ok(n) => {
                // A reader that claims more than it was given room for is broken; the bound keeps that harmless.
                let end = (HEAD + n).min(bytes.len());
                state.waiting.push_back(Block { bytes, end });
                state.reader = Some(reader);
            }
            Err(e) => {
                state.ended = true;
                state.failed = Some(e);
            }
        }
        drop(state);
        self.changed.notify_all();
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A thread that reads: when it panics there is nothing more, so that nobody waits for it.
struct Reading<'a>(&'a ReadAhead);

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.lock().ended = true;
            self.0.changed.notify_all();
        }
    }
}
