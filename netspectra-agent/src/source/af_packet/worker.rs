//! The thread of one socket: takes blocks off the ring and counts their frames in a table of its own.

use super::block::{self, Frame};
use super::size;
use super::socket::{Link, RETIRE_MS, Socket};
use super::sys;
use crate::hint::Hint;
use crate::rules::UserRules;
use crate::table::FlowTable;
use netspectra_common::abi::{Direction, GenTotals, LossReason, Obs, Overflow};
use netspectra_common::model::FlowDelta;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError};

/// Blocks after which the kernel's counters, which are 32 bits wide, are read even if nobody asks.
const STATISTICS_EVERY: u32 = 1024;
/// Waits of [`RETIRE_MS`] without a block after which one that should come is given up: five seconds.
const PATIENCE: u32 = 500;

/// What the source asks its threads for.
#[derive(Debug)]
pub(super) enum Request {
    /// The generation so far; then these rules hold, if there are others.
    Swap(Option<NewRules>),
    /// The rest: nothing comes any more. The thread ends with it.
    Finish,
}

/// Rules in place of those before; `None` for no rules.
pub(super) type NewRules = Option<UserRules>;

/// What a thread counted since it was last asked.
#[derive(Debug)]
pub(super) struct Counted {
    pub(super) flows: Vec<FlowDelta>,
    pub(super) totals: Box<GenTotals>,
    /// Packets that found no room in the table.
    pub(super) overflow: Option<Box<Overflow>>,
    pub(super) hints: Vec<Hint>,
    /// Super-packets whose headers could not be read: counted as one packet each.
    pub(super) inexact: u64,
}

/// The thread's state.
pub(super) struct Worker {
    pub(super) iface: Arc<str>,
    pub(super) socket: Socket,
    pub(super) slot: u8,
    pub(super) table: FlowTable,
    pub(super) requests: Receiver<Request>,
    pub(super) answers: SyncSender<io::Result<Counted>>,
    pub(super) event: Arc<OwnedFd>,
    /// Woken when the table has [`Worker::early`] keys.
    pub(super) filling: Arc<OwnedFd>,
    /// Keys at which the generation should end.
    pub(super) early: usize,
    pub(super) tally: Tally,
}

/// What became of the frames that passed the filter.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Put into the ring, as the kernel says.
    stored: u64,
    /// Taken off the ring.
    taken: u64,
    inexact: u64,
    blocks: u32,
    /// [`Worker::filling`] was woken in this generation.
    said: bool,
    /// Room for a frame and its tag.
    room: Vec<u8>,
}

impl Worker {
    /// Runs until it is asked to finish or nobody can ask any more.
    pub(super) fn run(mut self) {
        // The socket is open: reading it needs none.
        if let Err(error) = crate::privilege::keep_only(0) {
            tracing::warn!(iface = %self.iface, %error, "a capture thread keeps its privileges");
        }
        loop {
            match self.requests.try_recv() {
                Ok(request) => {
                    let last = matches!(request, Request::Finish);
                    let answer = self.answer(request);
                    let ends = answer.is_err() || last;
                    if self.answers.send(answer).is_err() || ends {
                        return;
                    }
                }
                Err(TryRecvError::Disconnected) => return,
                Err(TryRecvError::Empty) => {}
            }
            let next = match self.take_block() {
                Ok(true) => Ok(()),
                Ok(false) => self.wait(-1),
                Err(e) => Err(e),
            };
            if let Err(e) = next {
                // Whoever asks next hears of it.
                let _ = self.answers.send(Err(e));
                return;
            }
        }
    }

    fn answer(&mut self, request: Request) -> io::Result<Counted> {
        if matches!(request, Request::Finish) {
            self.take_the_rest()?;
        }
        self.read_statistics()?;
        let (flows, totals) = self.table.drain();
        let (overflow, hints) = (self.table.take_overflow(), self.table.drain_hints());
        if let Request::Swap(Some(rules)) = request {
            self.table.set_rules(rules);
        }
        self.tally.said = false;
        Ok(Counted { flows, totals, overflow, hints, inexact: std::mem::take(&mut self.tally.inexact) })
    }

    /// Takes what the kernel stored and has not handed over yet. The filter lets nothing through any more.
    fn take_the_rest(&mut self) -> io::Result<()> {
        let mut idle = 0;
        loop {
            while self.take_block()? {
                idle = 0;
            }
            self.read_statistics()?;
            if self.tally.taken >= self.tally.stored {
                return Ok(());
            }
            if idle == PATIENCE {
                let missing = self.tally.stored - self.tally.taken;
                tracing::error!(iface = %self.iface, packets = missing, "the kernel did not hand over what it stored");
                self.table.count_unknown(LossReason::RingFull, missing);
                return Ok(());
            }
            idle += 1;
            self.wait(RETIRE_MS as i32)?;
        }
    }

    /// Counts the frames of the next block; `false` when the kernel has none for us.
    fn take_block(&mut self) -> io::Result<bool> {
        let Some(block) = self.socket.ring.next_block() else { return Ok(false) };
        let announced = u64::from(block::announced(block.bytes()));
        let mut read = 0;
        for frame in block::frames(block.bytes()) {
            count(&mut self.table, &mut self.tally, self.socket.link, self.slot, &frame);
            read += 1;
        }
        drop(block);
        self.tally.taken += announced;
        if read < announced {
            tracing::error!(iface = %self.iface, announced, read, "a block of the ring contradicts itself");
            self.table.count_unknown(LossReason::RingFull, announced - read);
        }
        if !self.tally.said && self.table.keys() >= self.early {
            self.tally.said = true;
            sys::wake(&self.filling);
        }
        self.tally.blocks += 1;
        if self.tally.blocks >= STATISTICS_EVERY {
            self.read_statistics()?;
        }
        Ok(true)
    }

    /// Books what the kernel dropped since the last call.
    fn read_statistics(&mut self) -> io::Result<()> {
        let (packets, drops) = sys::statistics(self.socket.fd.as_raw_fd())?;
        self.tally.blocks = 0;
        self.tally.stored += u64::from(packets.saturating_sub(drops));
        if drops > 0 {
            self.table.count_unknown(LossReason::RingFull, drops.into());
        }
        Ok(())
    }

    fn wait(&self, limit_ms: i32) -> io::Result<()> {
        let fd = self.socket.fd.as_raw_fd();
        if sys::wait(fd, &self.event, limit_ms)? {
            // Reading the error clears it. The socket is served again when the interface is up.
            let error = io::Error::from_raw_os_error(sys::number_option(fd, libc::SOL_SOCKET, libc::SO_ERROR)? as i32);
            if error.raw_os_error() != Some(libc::ENETDOWN) {
                return Err(error);
            }
            tracing::info!(iface = %self.iface, "the interface is down");
        }
        Ok(())
    }
}

/// Counts one frame.
fn count(table: &mut FlowTable, tally: &mut Tally, link: Link, slot: u8, frame: &Frame<'_>) {
    let skip = if link.raw { frame.link_len } else { 0 };
    let (size, exact) = size::on_wire(frame, link.kind, skip);
    tally.inexact += u64::from(!exact);
    let data = frame.data.get(skip as usize..).unwrap_or_default();
    let direction = if frame.outgoing { Direction::Egress } else { Direction::Ingress };
    let obs = Obs::new(slot, direction).0;
    match frame.vlan {
        Some(tag) => {
            let data = size::with_tag(data, tag, &mut tally.room);
            table.count_on_wire(link.kind, data, &size, obs, frame.at);
        }
        None => table.count_on_wire(link.kind, data, &size, obs, frame.at),
    }
}
