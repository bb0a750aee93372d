//! Live capture by packet sockets (TPACKET_V3): for hosts that refuse eBPF. Needs CAP_NET_RAW and nothing else.
//!
//! Each interface has sockets in a fanout group, each socket a ring and a thread, each thread a table of its own. A thread is
//! asked for what it counted between two blocks, so a swap of generations loses nothing. At the end the filter of every
//! socket refuses first; then each thread takes exactly what the kernel says it stored.
//!
//! Interfaces that come are watched from the next generation on, by rings of the least size; of those that go the last packets are
//! in the generation in which they went.
//!
//! What differs from the eBPF source: egress is seen after the queueing discipline; headers beyond the first 512 bytes are
//! not seen; what the ring had no room for is counted as `ring_full` in packets, without bytes.

mod block;
mod ring;
mod size;
mod socket;
mod sys;
mod worker;

use super::xdp::{
    Counted as DevicesCounted, Devices, LEAST_FLOWS, XdpError, are_globs, is_meant, match_interfaces,
    present_interfaces,
};
use super::{Source, SourceError, wall_clock};
use crate::generation::{FlowMerge, Generation, empty_totals, merge_totals};
use crate::loader::{self, Channel, Loader, MOST_FDS, Reply, SocketFacts};
use crate::rules::{Rule, RuleError, RulesHandle, UserRules};
use crate::table::{FlowTable, Identity};
use netspectra_common::abi::Obs;
use netspectra_common::model::{Interface, Nanos};
use netspectra_common::sketch::OverflowSum;
use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use worker::{Counted, Request, Tally, Worker};

/// Sockets of one interface at most, unless told.
const MOST_SOCKETS: usize = 4;
/// Sockets of all interfaces that more than one for an interface is for.
const ALL_SOCKETS: usize = 8;
/// Blocks of a ring at least: one is filled while another is read.
const LEAST_BLOCKS: usize = 4;
/// Blocks of a ring at most (4 TiB): the kernel takes 32-bit numbers.
const MOST_BLOCKS: usize = 1 << 24;

/// What is captured, and by how much memory.
#[derive(Clone, Debug)]
pub struct AfPacketConfig {
    /// Interface names or globs (`eth*`), at least one.
    pub interfaces: Vec<String>,
    /// Sockets, each with a thread, for each interface; 0: one for each CPU, at most 4, fewer where more than two interfaces
    /// are watched.
    pub sockets: usize,
    /// Memory of all rings together, bytes. A ring has 1 MiB at least, and one of an interface that comes later has that.
    pub ring_bytes: usize,
    /// Flow table entries of all sockets in a generation, shared out to them; each has [`LEAST_FLOWS`] at least. A generation
    /// ends early when a socket has used half of its share. Memory follows the flows that are there.
    pub max_flows: usize,
    /// Whose five-tuple a tunnelled packet is booked to.
    pub identity: Identity,
    /// Which packets get a flow record.
    pub rules: Vec<Rule>,
    /// Whether first bytes of payloads are kept, for dissectors ([`crate::hint::Hint`]).
    pub payloads: bool,
}

impl Default for AfPacketConfig {
    fn default() -> Self {
        Self {
            interfaces: Vec::new(),
            sockets: 0,
            ring_bytes: 64 << 20,
            max_flows: 262_144,
            identity: Identity::Outer,
            rules: Vec::new(),
            payloads: true,
        }
    }
}

/// Why packet sockets failed. The text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum AfPacketError {
    /// No such interface, or too many.
    #[error(transparent)]
    Interfaces(#[from] XdpError),
    /// The kernel refused for lack of privilege.
    #[error("packet sockets need privilege (`socket`: {source}): run as root, or with CAP_NET_RAW")]
    Privilege {
        /// The kernel's word.
        source: io::Error,
    },
    /// No memory for a ring.
    #[error(
        "the kernel has no {kib} KiB for a capture ring of interface `{iface}` ({source}): lower `capture.ring_mib`"
    )]
    Ring {
        /// The interface.
        iface: String,
        /// Size of the ring.
        kib: usize,
        /// The kernel's word.
        source: io::Error,
    },
    /// An option was refused.
    #[error(
        "a packet socket on interface `{iface}` refuses {option} ({source}): expected Linux 5.15 or newer with CONFIG_PACKET"
    )]
    Option {
        /// The interface.
        iface: String,
        /// Which option.
        option: &'static str,
        /// The kernel's word.
        source: io::Error,
    },
    /// The rules cannot be kept.
    #[error("the capture rules are not in force")]
    Rules(#[source] RuleError),
    /// An interface that has come and cannot be watched.
    #[error("{why}")]
    Refused {
        /// What the loader's process said.
        why: String,
    },
    /// No thread or descriptor.
    #[error(
        "a thread to capture on interface `{iface}` cannot be started ({source}): raise the limits of processes and open files"
    )]
    Thread {
        /// The interface.
        iface: String,
        /// The kernel's word.
        source: io::Error,
    },
    /// A thread ended.
    #[error("capture on interface `{iface}` ended: {why}")]
    Ended {
        /// The interface.
        iface: String,
        /// What is known.
        why: String,
    },
}

/// Who opens sockets on interfaces that come.
pub(crate) enum Opener {
    /// This process.
    Here,
    /// The loader's.
    There(Arc<Loader>),
}

/// A thread, and how it is asked.
struct Handle {
    iface: Arc<str>,
    ifindex: u32,
    socket: Arc<OwnedFd>,
    event: Arc<OwnedFd>,
    requests: Option<SyncSender<Request>>,
    answers: Receiver<io::Result<Counted>>,
    thread: Option<JoinHandle<()>>,
}

impl Handle {
    /// Lets nothing more through.
    fn refuse(&self) {
        if let Err(error) = sys::set_filter(self.socket.as_raw_fd(), 0) {
            tracing::error!(iface = %self.iface, %error, "a packet socket does not stop");
        }
    }

    fn ask(&self, request: Request) -> Result<(), AfPacketError> {
        let sent = self.requests.as_ref().is_some_and(|to| to.try_send(request).is_ok());
        sys::wake(&self.event);
        if sent { Ok(()) } else { Err(self.ended("its thread does not answer".into())) }
    }

    fn answer(&self) -> Result<Counted, AfPacketError> {
        match self.answers.recv() {
            Ok(Ok(counted)) => Ok(counted),
            Ok(Err(e)) => Err(self.ended(e.to_string())),
            Err(_) => Err(self.ended("its thread is gone".into())),
        }
    }

    fn ended(&self, why: String) -> AfPacketError {
        AfPacketError::Ended { iface: self.iface.to_string(), why }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // Without a sender the thread ends.
        self.requests = None;
        sys::wake(&self.event);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!(iface = %self.iface, "a capture thread panicked");
        }
    }
}

/// Packet sockets on interfaces. Dropping it closes them and ends their threads.
pub struct AfPacketSource {
    handles: Vec<Handle>,
    /// Says that a table is filling.
    filling: Arc<OwnedFd>,
    interfaces: Vec<Interface>,
    config: AfPacketConfig,
    opener: Opener,
    /// Interfaces that came and could not be watched: nobody wants to read that every second.
    refused: BTreeSet<u32>,
    devices: Option<Devices>,
    /// Where devices stood when the generation began.
    base: DevicesCounted,
    started: Nanos,
    detached: bool,
    ended: bool,
    new_rules: RulesHandle,
}

impl AfPacketSource {
    /// Opens sockets on every interface of `config` and begins to count.
    ///
    /// # Errors
    /// Each names the thing and the remedy; nothing stays open then.
    pub fn open(config: &AfPacketConfig) -> Result<Self, AfPacketError> {
        Self::of(PacketSockets::open(config)?, config, Opener::Here)
    }

    /// Begins to count on sockets that are open, which needs no privilege.
    ///
    /// # Errors
    /// Each names the thing and the remedy; nothing stays open then.
    pub(crate) fn of(opened: PacketSockets, config: &AfPacketConfig, opener: Opener) -> Result<Self, AfPacketError> {
        let filling =
            sys::event().map_err(|source| AfPacketError::Thread { iface: config.interfaces.join(","), source })?;
        let mut source = Self {
            handles: Vec::new(),
            filling: Arc::new(filling),
            interfaces: Vec::new(),
            config: config.clone(),
            opener,
            refused: BTreeSet::new(),
            devices: Devices::open(),
            base: DevicesCounted::new(),
            started: Nanos::default(),
            detached: false,
            ended: false,
            new_rules: RulesHandle::default(),
        };
        source.started = wall_clock();
        source.watch(opened)?;
        Ok(source)
    }

    /// Begins to count on sockets that are open. On failure those of this call are closed.
    fn watch(&mut self, opened: PacketSockets) -> Result<(), AfPacketError> {
        let (interfaces, threads) = (self.interfaces.len(), self.handles.len());
        let begun = self.begin(opened);
        if begun.is_err() {
            self.interfaces.truncate(interfaces);
            self.handles.truncate(threads);
        }
        begun
    }

    fn begin(&mut self, opened: PacketSockets) -> Result<(), AfPacketError> {
        let mut sockets = Vec::new();
        for bound in opened.0 {
            let (iface, ifindex) = (bound.iface.clone(), bound.ifindex);
            if self.interfaces.last().is_none_or(|last| last.ifindex != ifindex) {
                let slot = free_slot(&self.interfaces);
                self.interfaces.push(Interface { slot, ifindex, name: iface.clone() });
            }
            let slot = self.interfaces.last().map_or(0, |last| last.slot);
            sockets.push((iface, ifindex, slot, bound.map()?));
        }
        let threads = self.handles.len() + sockets.len();
        let flows = (self.config.max_flows / threads.max(1)).max(LEAST_FLOWS as usize);
        if let Some(devices) = &mut self.devices {
            devices.begin(&mut self.base, &self.interfaces);
        }
        for (iface, ifindex, slot, socket) in sockets {
            socket.begin().map_err(|source| AfPacketError::Option {
                iface: iface.to_string(),
                option: "SO_ATTACH_FILTER",
                source,
            })?;
            let mut table = FlowTable::new(flows, self.config.identity);
            if self.config.payloads {
                table.keep_hints();
            }
            table.set_rules(user_rules(&self.config.rules, &self.interfaces).map_err(AfPacketError::Rules)?);
            let handle = start((iface, ifindex), slot, socket, table, flows / 2, self.filling.clone())?;
            self.handles.push(handle);
        }
        Ok(())
    }

    /// The interfaces that are there and meant; `None` where the kernel does not say.
    fn present(&self) -> Option<Vec<(u32, String)>> {
        let found = present_interfaces(&self.config.interfaces);
        found.inspect_err(|error| tracing::warn!(%error, "interfaces that come and go are not seen")).ok()
    }

    /// Lets go of interfaces that are not among `present`, whose threads have finished, and watches those that have come.
    fn follow(&mut self, present: &[(u32, String)]) {
        for gone in self.interfaces.extract_if(.., |i| !present.iter().any(|(index, _)| *index == i.ifindex)) {
            tracing::info!(iface = %gone.name, "let go: the interface is gone, or another one is watched in its place");
            self.base.remove(&gone.ifindex);
        }
        self.handles.retain(|handle| present.iter().any(|(index, _)| *index == handle.ifindex));
        self.refused.retain(|refused| present.iter().any(|(index, _)| index == refused));
        for (index, name) in present {
            if let Some(known) = self.interfaces.iter_mut().find(|i| i.ifindex == *index) {
                if *known.name != **name {
                    tracing::info!(from = %known.name, to = name, "an interface was renamed");
                    known.name = name.as_str().into();
                }
                continue;
            }
            if self.refused.contains(index) {
                continue;
            }
            match self.open_one(name, *index).and_then(|opened| self.watch(opened)) {
                Ok(()) => tracing::info!(iface = name, ingress = "af-packet", egress = "af-packet", "watching"),
                Err(error) => {
                    let error = netspectra_common::report::chain(&error);
                    tracing::warn!(iface = name, error, "an interface is not watched");
                    self.refused.insert(*index);
                }
            }
        }
    }

    /// Sockets on an interface that has come.
    fn open_one(&self, name: &str, ifindex: u32) -> Result<PacketSockets, AfPacketError> {
        let count = match self.config.sockets {
            0 => default_sockets(self.interfaces.len() + 1),
            n => n,
        };
        let loader = match &self.opener {
            Opener::Here => return self.config.open_one(name, ifindex, count, LEAST_BLOCKS),
            Opener::There(loader) => loader,
        };
        let request = loader::Request::Sockets { iface: name.to_owned(), ifindex, count, blocks: LEAST_BLOCKS };
        let gone = |error: io::Error| AfPacketError::Refused { why: error.to_string() };
        let mut answer = loader.ask(&request).map_err(gone)?;
        let mut all = Vec::new();
        loop {
            match answer {
                (Reply::Sockets { sockets, more, .. }, fds) => {
                    all.extend(sockets.into_iter().zip(fds));
                    if !more {
                        return Ok(PacketSockets::received(all));
                    }
                    answer = loader.next().map_err(gone)?;
                }
                (Reply::Refused(refusal), _) => return Err(AfPacketError::Refused { why: refusal.text }),
                (other, _) => return Err(AfPacketError::Refused { why: format!("the loader answered {other:?}") }),
            }
        }
    }

    /// The observed interfaces, and how many threads read each.
    pub fn sockets(&self) -> Vec<(Arc<str>, usize)> {
        let of = |i: &Interface| self.handles.iter().filter(|h| h.iface == i.name).count();
        self.interfaces.iter().map(|i| (i.name.clone(), of(i))).collect()
    }

    /// A handle by which the rules are changed while the source runs.
    pub fn rules_handle(&self) -> RulesHandle {
        self.new_rules.clone()
    }

    /// Lets nothing more through; the next generation is the last, and has everything that was let through before.
    pub fn detach(&mut self) {
        if self.detached {
            return;
        }
        self.detached = true;
        self.handles.iter().for_each(Handle::refuse);
        wait_for_receivers();
    }

    fn collect(&mut self) -> Result<Generation, AfPacketError> {
        // What filled until now is in the generation that ends here.
        sys::reset(&self.filling);
        let new_rules = self.new_rules.take().filter(|rules| match crate::rules::validate(rules) {
            Ok(()) => true,
            Err(error) => {
                tracing::error!(%error, "the capture rules stay as they were");
                false
            }
        });
        let present = if self.detached { None } else { self.present() };
        let is_gone = |handle: &Handle| {
            present.as_ref().is_some_and(|all| !all.iter().any(|(index, _)| *index == handle.ifindex))
        };
        // One that is there, and not to be watched any more, still receives.
        if self.handles.iter().filter(|handle| is_gone(handle)).inspect(|handle| handle.refuse()).count() > 0 {
            wait_for_receivers();
        }
        // All first, so that the threads work at the same time.
        for handle in &self.handles {
            handle.ask(if self.detached || is_gone(handle) {
                Request::Finish
            } else {
                let rules = new_rules.as_deref().map(|rules| user_rules(rules, &self.interfaces));
                Request::Swap(rules.transpose().map_err(AfPacketError::Rules)?)
            })?;
        }
        let mut merged = FlowMerge::default();
        let mut totals = empty_totals();
        let mut overflow: Option<OverflowSum> = None;
        let mut hints = Vec::new();
        for handle in &self.handles {
            let counted = match handle.answer() {
                Err(error) if is_gone(handle) => {
                    tracing::error!(%error, "the last packets of an interface that is gone are not known");
                    continue;
                }
                counted => counted?,
            };
            merge_totals(&mut totals, &counted.totals);
            if let Some(table) = &counted.overflow {
                overflow.get_or_insert_with(OverflowSum::default).add(table);
            }
            hints.extend(counted.hints);
            counted.flows.into_iter().for_each(|flow| merged.add(flow));
            if counted.inexact > 0 {
                tracing::warn!(
                    iface = %handle.iface, packets = counted.inexact,
                    "headers of segmentation-offload packets could not be read: each is counted as one packet"
                );
            }
        }
        if let Some(rules) = new_rules {
            tracing::info!(rules = rules.len(), "other capture rules are in force");
            self.config.rules = rules;
        }
        if self.detached {
            self.handles.clear();
            self.ended = true;
        }
        let start = self.started;
        let end = wall_clock().max(start);
        self.started = end;
        let interfaces = self.interfaces.clone();
        let devices = self.devices.as_mut();
        let nics = devices.map_or_else(Vec::new, |d| d.turn(&mut self.base, &interfaces));
        if let Some(present) = present {
            self.follow(&present);
        }
        Ok(Generation {
            start,
            end,
            flows: merged.finish(),
            totals,
            overflow: overflow.map(OverflowSum::finish),
            hints,
            observed: Vec::new(),
            interfaces,
            nics,
            last: self.ended,
        })
    }
}

impl Source for AfPacketSource {
    fn generation(&mut self) -> Result<Option<Generation>, SourceError> {
        if self.ended {
            return Ok(None);
        }
        Ok(Some(self.collect()?))
    }

    fn wake(&self) -> Option<OwnedFd> {
        let wake = self.filling.try_clone();
        wake.inspect_err(|error| tracing::warn!(%error, "generations cannot end early")).ok()
    }

    fn recycle(&mut self) -> Result<(), SourceError> {
        Ok(())
    }
}

impl AfPacketError {
    /// Whether the caller has something to change first.
    pub fn is_misuse(&self) -> bool {
        match self {
            Self::Interfaces(e) => e.is_misuse(),
            Self::Privilege { .. } | Self::Ring { .. } | Self::Rules(_) | Self::Thread { .. } => true,
            Self::Option { .. } | Self::Ended { .. } | Self::Refused { .. } => false,
        }
    }
}

impl AfPacketConfig {
    /// Sockets on one interface that is meant.
    ///
    /// # Errors
    /// It is none of those; each names the thing and the remedy.
    pub(crate) fn open_one(
        &self,
        iface: &str,
        ifindex: u32,
        count: usize,
        blocks: usize,
    ) -> Result<PacketSockets, AfPacketError> {
        if !is_meant(&self.interfaces, iface, ifindex) {
            let why = format!("interface `{iface}` is none that the configuration names: no socket is opened on it");
            return Err(AfPacketError::Refused { why });
        }
        let (count, blocks) = (count.clamp(1, MOST_SOCKETS), blocks.clamp(LEAST_BLOCKS, MOST_BLOCKS));
        socket::open(iface, ifindex, count, blocks).map(PacketSockets)
    }
}

/// Waits until nobody is in the middle of a frame that passed a filter before.
fn wait_for_receivers() {
    if let Err(error) = sys::wait_for_receivers() {
        tracing::debug!(%error, "no wait for frames that are being received");
    }
}

/// The lowest slot that no interface has.
fn free_slot(interfaces: &[Interface]) -> u8 {
    (0..=Obs::MAX_IFACE).find(|slot| !interfaces.iter().any(|i| i.slot == *slot)).unwrap_or(Obs::MAX_IFACE)
}

/// Sockets that are bound, those of an interface one after the other. They let nothing through yet.
#[derive(Debug)]
pub(crate) struct PacketSockets(Vec<socket::Bound>);

impl PacketSockets {
    /// Opens sockets on every interface of `config`.
    ///
    /// # Errors
    /// Each names the thing and the remedy; nothing stays open then.
    pub(crate) fn open(config: &AfPacketConfig) -> Result<Self, AfPacketError> {
        let found = match match_interfaces(&config.interfaces) {
            Err(XdpError::NoInterface { .. }) if are_globs(&config.interfaces) => Vec::new(),
            found => found?,
        };
        let per_interface = match config.sockets {
            0 => default_sockets(found.len()),
            n => n,
        };
        let rings = found.len().saturating_mul(per_interface).max(1);
        let blocks = (config.ring_bytes / ring::BLOCK / rings).clamp(LEAST_BLOCKS, MOST_BLOCKS);
        let mut all = Vec::new();
        for (ifindex, name) in &found {
            all.extend(socket::open(name, *ifindex, per_interface, blocks)?);
        }
        Ok(Self(all))
    }

    /// Those that another process opened.
    pub(crate) fn received(sockets: Vec<(SocketFacts, OwnedFd)>) -> Self {
        Self(sockets.into_iter().map(|(facts, fd)| socket::Bound::received(facts, fd)).collect())
    }

    /// Hands them to another process; `refusal` says why not eBPF.
    ///
    /// # Errors
    /// The channel's.
    pub(crate) fn hand_over(&self, channel: &Channel, refusal: Option<String>) -> io::Result<()> {
        // One message also where there is none, of a glob that matches nothing yet.
        let (first, rest) = self.0.split_at(self.0.len().min(MOST_FDS));
        let mut parts = std::iter::once(first).chain(rest.chunks(MOST_FDS)).peekable();
        while let Some(part) = parts.next() {
            let sockets = part.iter().map(socket::Bound::facts).collect();
            let fds: Vec<_> = part.iter().map(|bound| bound.fd.as_fd()).collect();
            let more = parts.peek().is_some();
            channel.send(&Reply::Sockets { sockets, refusal: refusal.clone(), more }, &fds)?;
        }
        Ok(())
    }
}

/// Whether this process may open packet sockets.
///
/// # Errors
/// [`AfPacketError::Privilege`] when it may not.
pub fn is_permitted() -> Result<(), AfPacketError> {
    sys::packet_socket().map(drop).map_err(|source| AfPacketError::Privilege { source })
}

/// Sockets for each of `interfaces` interfaces.
fn default_sockets(interfaces: usize) -> usize {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    cpus.min(MOST_SOCKETS).min(ALL_SOCKETS / interfaces.max(1)).max(1)
}

/// The rules as a table asks them, for these interfaces.
fn user_rules(rules: &[Rule], interfaces: &[Interface]) -> Result<Option<UserRules>, RuleError> {
    let mut user = UserRules::new(rules)?;
    if let Some(user) = &mut user {
        user.set_interfaces(interfaces);
    }
    Ok(user)
}

/// Starts the thread of a socket.
fn start(
    (iface, ifindex): (Arc<str>, u32),
    slot: u8,
    socket: socket::Socket,
    table: FlowTable,
    early: usize,
    filling: Arc<OwnedFd>,
) -> Result<Handle, AfPacketError> {
    let failed = |source| AfPacketError::Thread { iface: iface.to_string(), source };
    let event = Arc::new(sys::event().map_err(failed)?);
    let (requests, inbox) = sync_channel(1);
    // Room for an answer and for the error of a thread that was not asked.
    let (outbox, answers) = sync_channel(2);
    let fd = socket.fd.clone();
    let worker = Worker {
        iface: iface.clone(),
        socket,
        slot,
        table,
        requests: inbox,
        answers: outbox,
        event: event.clone(),
        filling,
        early,
        tally: Tally::default(),
    };
    let builder = std::thread::Builder::new().name(format!("capture-{slot}"));
    let thread = builder.spawn(move || worker.run()).map_err(failed)?;
    Ok(Handle { iface, ifindex, socket: fd, event, requests: Some(requests), answers, thread: Some(thread) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_socket_for_every_interface_whatever_their_number() {
        assert!((1..=MOST_SOCKETS).contains(&default_sockets(1)));
        assert_eq!(default_sockets(127), 1);
        assert_eq!(default_sockets(0), default_sockets(1));
    }
}
