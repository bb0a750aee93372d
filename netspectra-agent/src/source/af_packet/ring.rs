//! The memory that the kernel writes frames to: a TPACKET_V3 ring of blocks.

use super::block::{STATUS_AT, STATUS_USER};
use crate::source::shared::Shared;
use std::io;
use std::os::fd::RawFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

/// Bytes of a block: a multiple of the page, and much more than a frame's header bytes.
pub(super) const BLOCK: usize = 256 << 10;

/// A mapped ring.
#[derive(Debug)]
pub(super) struct Ring {
    memory: Shared,
    blocks: usize,
    /// The block that is filled or read next.
    next: usize,
}

impl Ring {
    /// Maps the ring of `blocks` blocks that was set up on `socket`.
    ///
    /// # Errors
    /// The kernel's.
    pub(super) fn map(socket: RawFd, blocks: usize) -> io::Result<Self> {
        Ok(Self { memory: Shared::map(socket, blocks * BLOCK)?, blocks, next: 0 })
    }

    /// The next block, when the kernel has handed it over. Blocks come in the order of the ring.
    pub(super) fn next_block(&mut self) -> Option<Block<'_>> {
        let is_ours = self.status().load(Ordering::Acquire) & STATUS_USER != 0;
        // Not made when it is not ours: dropping it releases the block.
        if is_ours { Some(Block { ring: self }) } else { None }
    }

    /// Where the block starts that is filled or read next.
    fn block(&self) -> NonNull<u8> {
        // SAFETY: `next` is below `blocks`, so the block lies inside the mapping.
        unsafe { self.memory.start().add(self.next * BLOCK) }
    }

    /// Whose that block is.
    fn status(&self) -> &AtomicU32 {
        // SAFETY: the offset is inside the block.
        let at = unsafe { self.block().add(STATUS_AT) };
        // SAFETY: an aligned word inside the mapping, which lives as long as `self`; both sides access it as a whole.
        unsafe { AtomicU32::from_ptr(at.as_ptr().cast()) }
    }
}

/// The ring's next block, which is ours to read until this is dropped; then the kernel fills it again.
pub(super) struct Block<'a> {
    ring: &'a mut Ring,
}

impl Block<'_> {
    /// What the kernel wrote.
    pub(super) fn bytes(&self) -> &[u8] {
        // SAFETY: `next_block` saw the status that makes the block ours: the kernel does not write to it until the status
        // changes, which `drop` does, and the slice cannot outlive this value.
        unsafe { std::slice::from_raw_parts(self.ring.block().as_ptr(), BLOCK) }
    }
}

impl Drop for Block<'_> {
    fn drop(&mut self) {
        self.ring.status().store(0, Ordering::Release);
        self.ring.next = (self.ring.next + 1) % self.ring.blocks;
    }
}
