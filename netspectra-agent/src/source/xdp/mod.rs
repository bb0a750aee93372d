//! Live capture by XDP or TC (ingress) and TC (egress).
//!
//! Each CPU counts in tables of its own, in one of two generation slots. [`XdpSource::generation`] lets the programs fill
//! the other slot, waits until no program can still be in the old one, and reads it; [`XdpSource::recycle`] empties it.
//!
//! With an instance's name (see [`XdpConfig::instance`]) maps and hooks are pinned: a process that is killed leaves the
//! counting to go on, and the next one goes on with it (see `pin`, `saved`, `kept`).

mod attach;
mod clsact;
mod default_route;
mod devices;
mod front;
mod generations;
mod hand;
mod handed;
mod interfaces;
mod kept;
mod left;
mod links;
mod loader;
pub(crate) mod netlink;
mod observe;
mod offload;
mod overflow;
mod pin;
mod roster;
mod rules;
mod saved;
mod sizes;
mod survey;
mod sys;
mod table_types;
mod tables;
mod wake;
mod watch;

pub use attach::{AttachMode, Attached, EgressChoice, EgressMode, IngressMode};
pub use default_route::default_route_interface;
pub(crate) use devices::{Counted, Devices};
pub use generations::Step;
pub(crate) use handed::{Ended, Handed};
pub(crate) use interfaces::{are_globs, is_meant, name_matches, present_interfaces};
pub use interfaces::{list_interfaces, match_interfaces};
pub use left::{Left, give_up, instances};
pub use links::{Link, XdpPresent, list_links};
pub use offload::{Offloads, offloads};
pub use pin::instances_folder;
pub use sizes::ProgramSize;
pub use survey::{Survey, survey};
pub use sys::effective_capabilities;
pub(crate) use sys::{read_small_map, small_map};

use super::wall_clock;
use crate::generation::{FlowMerge, Generation, merge_totals};
use crate::hint::Hint;
use crate::loader::Refusal;
use crate::rules::{Rule, RuleError, RulesHandle};
use crate::table::Identity;
use aya::Ebpf;
use aya::maps::{Array, MapData, PerCpuArray, RingBuf};
use aya::programs::{SchedClassifier, Xdp};
use hand::Hand;
use loader::{LOG, Loader, Maps, STATE};
use netspectra_common::abi::{Control, Counter, FlowKey, LossReason, maps};
use netspectra_common::model::{FlowDelta, FlowStats, ManifestHash, Nanos};
use netspectra_common::sketch::OverflowSum;
use rules::RuleMaps;
use saved::{Keeper, Roster, Saved};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use tables::{Pod, Tables};
use wake::Wake;
use watch::Watch;

/// Flow table entries of a CPU at least.
pub const LEAST_FLOWS: u32 = 16_384;
/// CPUs that have as many; beyond, all of them share what these have, because an empty table takes memory, too.
const CPUS_WITH_LEAST: u32 = 32;
/// Flow table entries that a CPU has, however many there are.
const FEWEST_FLOWS: u32 = 2048;
/// Events taken at a drain; the ring holds fewer.
const MAX_EVENTS: usize = 65_536;

/// Name of the XDP ingress program in the object.
const INGRESS: &str = "netspectra_ingress";
/// Name of the TC ingress program in the object.
const TC_INGRESS: &str = "netspectra_tc_ingress";
/// Name of the egress program in the object.
const EGRESS: &str = "netspectra_egress";

/// Name of the constant that chooses the inner identity.
const INNER_IDENTITY: &str = "INNER_IDENTITY";

/// What the kernel side is asked for.
#[derive(Clone, Debug)]
pub struct XdpConfig {
    /// Interface names or globs (`eth*`), at least one. A name must exist when the source is opened.
    pub interfaces: Vec<String>,
    /// Where on the ladder to begin.
    pub mode: AttachMode,
    /// Where on the egress ladder to begin.
    pub egress: EgressChoice,
    /// Flow table entries of all CPUs in a generation, of each address family. Each CPU has its share, and at least
    /// [`LEAST_FLOWS`] (of more than 32 CPUs less). A generation ends early when a CPU has used half of its share, so that memory stays bounded and
    /// tables do not become full. Memory follows the flows that are there, beside 64 bytes for each possible one and the places in front
    /// of the tables, which have room for flows of their own: 32 MiB at most.
    pub max_flows: u32,
    /// Whose five-tuple a tunnelled packet is booked to.
    pub identity: Identity,
    /// Which packets get a flow record.
    pub rules: Vec<Rule>,
    /// Whether first bytes of payloads are kept, for dissectors ([`crate::hint::Hint`]).
    pub payloads: bool,
    /// The name under which maps and hooks are pinned, so that they outlive a process that is killed; `None`: everything
    /// ends with the process. One process at a time has a name.
    pub instance: Option<String>,
}

impl Default for XdpConfig {
    fn default() -> Self {
        Self {
            interfaces: Vec::new(),
            mode: AttachMode::Auto,
            egress: EgressChoice::Auto,
            max_flows: 262_144,
            identity: Identity::Outer,
            rules: Vec::new(),
            payloads: true,
            instance: None,
        }
    }
}

/// Why the kernel side failed. The text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum XdpError {
    /// No interface of that name.
    #[error("no interface matches `{pattern}`: this host has {present}; pass one of them with --iface")]
    NoInterface {
        /// What was asked for.
        pattern: String,
        /// What there is.
        present: String,
    },
    /// The kernel refused for lack of privilege.
    #[error(
        "loading eBPF programs needs privilege (`{call}`: {source}): run as root, or with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON"
    )]
    Privilege {
        /// What was tried.
        call: &'static str,
        /// The kernel's word.
        source: std::io::Error,
    },
    /// The kernel has no BTF.
    #[error(
        "the kernel has no BTF (`/sys/kernel/btf/vmlinux` is missing): use a kernel built with CONFIG_DEBUG_INFO_BTF=y; `netspectra doctor` says more"
    )]
    NoBtf,
    /// Another program holds the hook.
    #[error(
        "interface `{iface}` already has an XDP program of somebody else, which is left alone: detach it (`ip link set dev {iface} xdp off`), or leave the interface out"
    )]
    Foreign {
        /// The interface.
        iface: String,
    },
    /// An attach mode was asked for and the interface cannot do it.
    #[error("interface `{iface}` refuses {hook}: {why}")]
    Attach {
        /// The interface.
        iface: String,
        /// Which hook.
        hook: &'static str,
        /// The kernel's word.
        why: String,
    },
    /// The object does not fit the agent.
    #[error("the eBPF object lacks {what}: rebuild the agent and its eBPF object together (`cargo xtask build`)")]
    Object {
        /// Which part.
        what: String,
    },
    /// The verifier or the loader refused.
    #[error("the kernel refused {what}: {why}")]
    Load {
        /// Which part.
        what: String,
        /// Its word.
        why: String,
    },
    /// The rules cannot be kept.
    #[error("the capture rules are not in force")]
    Rules(#[source] RuleError),
    /// The loader's process refused.
    #[error("{}", .0.text)]
    Refused(Refusal),
    /// The loader's process cannot be asked.
    #[error("the process that attaches the programs does not answer: start again, which goes on with what is pinned")]
    LoaderGone(#[source] std::io::Error),
    /// A system call on a map failed.
    #[error("{call} on map `{map}` failed")]
    Map {
        /// The call.
        call: &'static str,
        /// The map.
        map: &'static str,
        /// The kernel's word.
        source: std::io::Error,
    },
    /// Frames are not Ethernet.
    #[error("interface `{iface}` has no Ethernet frames, which the programs read: leave it out")]
    NotEthernet {
        /// The interface.
        iface: String,
    },
    /// Two named interfaces see the same packets.
    #[error("`{iface}` and `{other}` would count packets twice ({why}): name one of them")]
    Overlap {
        /// The one.
        iface: String,
        /// The other.
        other: String,
        /// How.
        why: String,
    },
    /// A netlink request failed.
    #[error("cannot {what} by netlink")]
    Netlink {
        /// What was tried.
        what: &'static str,
        /// The kernel's word.
        source: std::io::Error,
    },
    /// The folder of pinned objects cannot be used.
    #[error("cannot {what} `{path}`, where kernel state is kept")]
    Pin {
        /// What was tried.
        what: &'static str,
        /// The folder or the object.
        path: PathBuf,
        /// The kernel's word.
        source: std::io::Error,
    },
    /// Another process has the instance.
    #[error("another process holds `{path}`: end it first, or use another data folder")]
    Busy {
        /// The folder.
        path: PathBuf,
    },
    /// Another version left the state.
    #[error(
        "`{path}` was left by another version of the agent ({found}; this one has version {abi}), which counts on: start that version and end it by Ctrl-C, which loses nothing, or give up what it counted by `netspectra detach`", abi = netspectra_common::abi::ABI_VERSION
    )]
    Layout {
        /// The folder.
        path: PathBuf,
        /// What is there.
        found: String,
    },
    /// Too many interfaces.
    #[error("{found} interfaces match, expected at most {most}: name fewer with --iface")]
    TooMany {
        /// Matching ones.
        found: usize,
        /// The limit of the key.
        most: usize,
    },
}

impl XdpError {
    /// Whether the caller has something to change first.
    pub fn is_misuse(&self) -> bool {
        match self {
            Self::Load { .. }
            | Self::Map { .. }
            | Self::Object { .. }
            | Self::Pin { .. }
            | Self::LoaderGone(_)
            | Self::Netlink { .. } => false,
            Self::NoInterface { .. }
            | Self::Privilege { .. }
            | Self::NoBtf
            | Self::Foreign { .. }
            | Self::Attach { .. }
            | Self::Busy { .. }
            | Self::Layout { .. }
            | Self::NotEthernet { .. }
            | Self::Overlap { .. }
            | Self::Rules(_)
            | Self::TooMany { .. } => true,
            Self::Refused(refusal) => refusal.is_misuse,
        }
    }

    /// Whether it is the kernel that refuses eBPF, and not one interface or one program.
    pub fn refuses_ebpf(&self) -> bool {
        match self {
            Self::Privilege { .. } | Self::NoBtf | Self::Load { .. } | Self::Map { .. } => true,
            Self::NoInterface { .. }
            | Self::Foreign { .. }
            | Self::Attach { .. }
            | Self::Object { .. }
            | Self::Pin { .. }
            | Self::Busy { .. }
            | Self::Layout { .. }
            | Self::NotEthernet { .. }
            | Self::Overlap { .. }
            | Self::Netlink { .. }
            | Self::Rules(_)
            | Self::LoaderGone(_)
            | Self::TooMany { .. } => false,
            Self::Refused(refusal) => refusal.is_kernel,
        }
    }

    /// Whether no other interface needs to be tried.
    fn ends_the_start(&self) -> bool {
        matches!(self, Self::Privilege { .. } | Self::LoaderGone(_))
            || matches!(self, Self::Refused(refusal) if refusal.is_kernel)
    }

    /// The same for another process.
    pub(crate) fn refusal(&self) -> Refusal {
        let text = netspectra_common::report::chain(self);
        Refusal { is_kernel: self.refuses_ebpf(), ..Refusal::new(text, self.is_misuse()) }
    }
}

/// Programs and maps in the kernel, attached to interfaces. Dropping it detaches.
pub struct XdpSource {
    tables: Tables,
    control: Array<MapData, Pod<Control>>,
    no_table: PerCpuArray<MapData, Pod<Counter>>,
    log: Option<RingBuf<MapData>>,
    events: RingBuf<MapData>,
    /// Says that a CPU's tables are filling.
    filling: RingBuf<MapData>,
    /// Whether programs send first bytes of payloads: not in test runs.
    emit: u32,
    watch: Option<Watch>,
    wake: Option<Wake>,
    rule_maps: RuleMaps,
    /// 0: no rules in force, else the number of their set plus one.
    rules: u32,
    new_rules: RulesHandle,
    /// The rules in force, which name interfaces.
    rules_asked: Vec<Rule>,
    /// Which generation is where; what is pinned is the same.
    saved: Box<Saved>,
    keeper: Keeper,
    /// What a process before this one left is gone on with.
    adopted: bool,
    /// How the counters of devices are asked for; `None` where nothing is attached to.
    devices: Option<Devices>,
    /// Of the manifest of the generation that was handed out.
    sent: Option<ManifestHash>,
    /// A frame of the frozen generation found no table.
    lacking: bool,
    /// The frozen generation was handed out by this process.
    returned: bool,
    ended: bool,
    on_step: Option<Box<dyn FnMut(Step) + Send>>,
    /// Those that nothing has taken yet.
    maps: Maps,
    hand: Hand,
}

impl XdpSource {
    /// Loads `object`, makes the tables, and attaches to every interface of `config`.
    ///
    /// # Errors
    /// Each names the thing and the remedy; nothing stays attached then.
    pub fn open(object: &[u8], config: &XdpConfig) -> Result<Self, XdpError> {
        let (loader, maps) = Loader::load(object, config)?;
        Self::of(maps, Hand::Here(Box::new(loader)), u32::from(config.payloads))?.begin(config)
    }

    /// Attaches to every interface of `config`.
    fn begin(mut self, config: &XdpConfig) -> Result<Self, XdpError> {
        let source = &mut self;
        // Slots that a generation not yet read may have used keep their meaning in it.
        let left = source.saved.interfaces.interfaces();
        let watch = Watch::plan(&mut source.maps, config, left)?;
        source.saved.interfaces = Roster::of(&watch.slots());
        source.devices = Devices::open();
        source.begin_devices();
        source.keeper.save(&source.saved)?;
        source.wake = Wake::new(source.filling.as_fd(), watch.notices())
            .inspect_err(|e| tracing::warn!(error = %e, "generations cannot end early"))
            .ok();
        source.watch = Some(watch);
        // With the interfaces that conditions may name.
        source.apply_rules(&config.rules)?;
        if let Some(watch) = &mut source.watch {
            watch.begin(&mut source.hand)?;
        }
        source.hand.keep()?;
        source.step(Step::Attached);
        Ok(self)
    }

    /// Loads the programs and makes the tables, or takes over those that the instance left, without attaching to
    /// anything; by itself for tests by `BPF_PROG_TEST_RUN`.
    ///
    /// # Errors
    /// As for [`XdpSource::open`].
    pub fn load(object: &[u8], config: &XdpConfig) -> Result<Self, XdpError> {
        let (loader, maps) = Loader::load(object, config)?;
        let mut source = Self::of(maps, Hand::Here(Box::new(loader)), 0)?;
        source.apply_rules(&config.rules)?;
        source.hand.keep()?;
        Ok(source)
    }

    /// The source of `maps`, which `hand` made. `emit` is [`XdpSource::emit`].
    fn of(mut maps: Maps, hand: Hand, emit: u32) -> Result<Self, XdpError> {
        let control: Array<_, Pod<Control>> = maps.take(maps::CONTROL)?;
        let log = if maps.has(LOG) { maps.take(LOG).ok() } else { None };
        let (keeper, saved) = if maps.has(STATE) {
            Keeper::read(maps.data(STATE)?, Path::new(STATE))?
        } else {
            (Keeper::default(), Box::new(Saved::new(wall_clock().0, sys::possible_cpus())))
        };
        let tables = Tables::take(&mut maps, saved.cpus)?;
        // Those in force stay so until others are written.
        let word = control.get(&0, 0).map_err(|e| load_error("map `CONTROL`", &e))?.0.slot;
        let mut source = Self {
            tables,
            control,
            no_table: maps.take(maps::NO_TABLE)?,
            log,
            events: maps.take(maps::EVENTS)?,
            filling: maps.take(maps::FILLING)?,
            emit,
            watch: None,
            wake: None,
            rule_maps: RuleMaps::new(&mut maps)?,
            rules: if maps.adopted { word >> Control::SLOT_BITS } else { 0 },
            new_rules: RulesHandle::default(),
            rules_asked: Vec::new(),
            saved,
            keeper,
            adopted: maps.adopted,
            devices: None,
            sent: None,
            lacking: false,
            returned: false,
            ended: false,
            on_step: None,
            maps,
            hand,
        };
        source.set_slot()?;
        source.step(Step::Begun);
        Ok(source)
    }

    /// Where and how the programs are attached.
    pub fn attached(&self) -> Vec<Attached> {
        self.watch.as_ref().map(Watch::attached).unwrap_or_default()
    }

    /// Attaches the XDP program to an interface in native mode and takes it off again at once: whether the driver has it.
    /// Many drivers reset their queues for it, which interrupts traffic for a moment.
    ///
    /// # Errors
    /// The driver's or the kernel's refusal.
    pub fn probe_native(&mut self, link: &Link) -> Result<(), XdpError> {
        attach::probe_native(program(self.hand.bpf()?, INGRESS)?, link)
    }

    /// The loaded ingress program, for `BPF_PROG_TEST_RUN`.
    ///
    /// # Errors
    /// When the object lacks it.
    pub fn ingress_program(&mut self) -> Result<&mut Xdp, XdpError> {
        program(self.hand.bpf()?, INGRESS)
    }

    /// A handle that runs the ingress program on given frames, also while this source is in use.
    ///
    /// # Errors
    /// When the object lacks the program or the process has no descriptors left.
    pub fn test_runner(&mut self) -> Result<TestRunner, XdpError> {
        let program = self.ingress_program()?;
        let fd = program.fd().and_then(|fd| fd.try_clone().map_err(Into::into));
        fd.map(|fd| TestRunner { fd }).map_err(|e| load_error("a test run", &e))
    }

    /// The same for the egress program.
    ///
    /// # Errors
    /// As for [`XdpSource::test_runner`].
    pub fn egress_test_runner(&mut self) -> Result<TestRunner, XdpError> {
        let program: &mut SchedClassifier = program(self.hand.bpf()?, EGRESS)?;
        let fd = program.fd().and_then(|fd| fd.try_clone().map_err(Into::into));
        fd.map(|fd| TestRunner { fd }).map_err(|e| load_error("a test run", &e))
    }

    /// Detaches; the next generation is the last. When it is recycled nothing is pinned any more.
    pub fn detach(&mut self) {
        self.watch = None;
        self.hand.detach();
        self.ended = true;
        self.step(Step::Detached);
    }

    /// Whether a CPU's tables are filling, since this was asked or a generation ended.
    pub fn is_filling(&mut self) -> bool {
        let mut is = false;
        while self.filling.next().is_some() {
            is = true;
        }
        is
    }

    /// Tells the programs which slot to fill.
    fn set_slot(&mut self) -> Result<(), XdpError> {
        let slot = Control::word(self.saved.slot, self.rules);
        let early = self.tables.early(self.saved.slot);
        let rows = self.tables.rows();
        let control = Control { slot, cpus: self.saved.cpus, events: self.emit, early, rows };
        self.control
            .set(0, Pod(control), 0)
            .map_err(|e| XdpError::Load { what: "map `CONTROL`".into(), why: e.to_string() })
    }

    /// A handle by which the rules are changed while the source runs.
    pub fn rules_handle(&self) -> RulesHandle {
        self.new_rules.clone()
    }

    /// Puts `rules` in force in place of all before. No packet meets a part of them: they are written to the set that is
    /// not in use, and one word switches.
    ///
    /// # Errors
    /// What is wrong with the rules, or the kernel's; the rules before stay in force.
    pub fn apply_rules(&mut self, rules: &[Rule]) -> Result<(), XdpError> {
        self.write_rules(rules)?;
        self.rules_asked = rules.to_vec();
        Ok(())
    }

    fn write_rules(&mut self, rules: &[Rule]) -> Result<(), XdpError> {
        let before = self.rules;
        self.rules = if rules.is_empty() {
            0
        } else {
            let compiled = rules::compile(rules, &self.watch.as_ref().map(Watch::seated).unwrap_or_default())?;
            let number = u32::from(before == 1);
            self.rule_maps.write(number, &compiled)?;
            number + 1
        };
        if self.rules == before {
            return Ok(());
        }
        if let Err(e) = self.set_slot() {
            self.rules = before;
            return Err(e);
        }
        // The set before may be written again once no program can still read it.
        self.tables.wait_for_programs(self.saved.slot)
    }

    /// Takes the hints that are there. Bounded by the ring; `offset` turns their clock into Unix time.
    fn drain_events(&mut self, offset: u64) -> Vec<Hint> {
        let mut hints = Vec::new();
        while let Some(record) = self.events.next() {
            match Hint::of_record(&record, offset) {
                Some(hint) => hints.push(hint),
                // The ABI version is checked at load time, so there is no such record.
                None => tracing::error!(bytes = record.len(), "the kernel programs sent an event of an unknown kind"),
            }
            if hints.len() >= MAX_EVENTS {
                break;
            }
        }
        hints
    }

    /// Frames that met no table, since the maps were made.
    fn missed(&self) -> Result<Counter, XdpError> {
        let per_cpu = self
            .no_table
            .get(&0, 0)
            .map_err(|e| XdpError::Load { what: "map `NO_TABLE`".into(), why: e.to_string() })?;
        let mut sum = Counter::default();
        for c in per_cpu.iter() {
            sum.add(c.0);
        }
        Ok(sum)
    }

    /// Kernel-side log records carry a fault of the agent; their number is what matters here.
    fn drain_log(&mut self) {
        let Some(log) = &mut self.log else { return };
        let mut records = 0u64;
        while log.next().is_some() {
            records += 1;
        }
        if records > 0 {
            tracing::error!(records, "the kernel programs reported frames without a counting table");
        }
    }

    /// Follows interfaces that come and go, and rules that change. What slots mean is written before a hook uses it.
    fn follow(&mut self) -> Result<(), XdpError> {
        if let Some(rules) = self.new_rules.take() {
            match self.apply_rules(&rules) {
                Ok(()) => tracing::info!(rules = rules.len(), "other capture rules are in force"),
                Err(error) => tracing::error!(%error, "the capture rules stay as they were"),
            }
        }
        let Some(watch) = &mut self.watch else { return Ok(()) };
        if self.hand.is_gone() {
            return Err(XdpError::LoaderGone(std::io::ErrorKind::BrokenPipe.into()));
        }
        watch.turn(&mut self.hand);
        self.saved.interfaces = Roster::of(&watch.slots());
        if let Some(wake) = &mut self.wake {
            wake.rearm(watch.notices());
        }
        let changed = watch.has_changed();
        self.begin_devices();
        self.keeper.save(&self.saved)?;
        if changed {
            let rules = std::mem::take(&mut self.rules_asked);
            if let Err(error) = self.write_rules(&rules) {
                tracing::error!(%error, "the capture rules do not know the interfaces that have come");
            }
            self.rules_asked = rules;
        }
        if let Some(watch) = &mut self.watch {
            watch.attach_pending(&mut self.hand);
        }
        Ok(())
    }

    /// What the ended generation counted. The same again, but for hints, however often it is read.
    fn read(&mut self) -> Result<Generation, XdpError> {
        let slot = self.ended_slot();
        let Saved { cpus, ended, .. } = *self.saved;
        let offset = ended.offset;
        let mut totals = crate::generation::empty_totals();
        let mut overflow: Option<OverflowSum> = None;
        for cpu in 0..cpus {
            let counted = self.tables.totals(slot, cpu)?;
            merge_totals(&mut totals, &counted);
            if let Some(table) = self.tables.overflow(slot, cpu, &counted)? {
                overflow.get_or_insert_with(OverflowSum::default).add(&table);
            }
        }
        // The sum of the CPUs' entries, at most that many keys.
        let mut flows = FlowMerge::with_capacity(usize::try_from(totals.entries).unwrap_or(usize::MAX));
        for cpu in 0..cpus {
            self.tables.flows(slot, cpu, &mut |key: FlowKey, mut stats: FlowStats| {
                stats.first_seen = stats.first_seen.wrapping_add(offset);
                stats.last_seen = stats.last_seen.wrapping_add(offset);
                let sampling = stats.take_sampling();
                flows.add(FlowDelta { key, stats, sampling });
            })?;
        }
        totals.seen.add(ended.missed);
        totals.reasons[LossReason::NoTable as usize].add(ended.missed);
        self.lacking = !totals.reasons[LossReason::NoTable as usize].is_zero();
        self.drain_log();
        let hints = self.drain_events(offset);
        // A process that goes on with the end of the one before it has more to come.
        let last = self.ended && ended.last != 0;
        let interfaces = ended.interfaces.interfaces();
        Ok(Generation {
            start: Nanos(ended.start),
            end: Nanos(ended.end),
            flows: flows.finish(),
            totals,
            overflow: overflow.map(OverflowSum::finish),
            hints,
            observed: Vec::new(),
            nics: ended.devices.deltas(&interfaces),
            interfaces,
            last,
        })
    }
}

/// Runs a program by `BPF_PROG_TEST_RUN`.
#[derive(Debug)]
pub struct TestRunner {
    fd: aya::programs::ProgramFd,
}

impl TestRunner {
    /// Runs the program `repeat` times on `frame`; returns the mean time of a run, nanoseconds.
    ///
    /// # Errors
    /// The kernel's: a frame below 14 bytes or longer than a page is `EINVAL`.
    pub fn run(&self, frame: &[u8], repeat: u32) -> std::io::Result<u32> {
        use std::os::fd::AsFd;
        sys::test_run(self.fd.as_fd(), frame, repeat)
    }

    /// The program, to be called by another one.
    pub fn fd(&self) -> &aya::programs::ProgramFd {
        &self.fd
    }
}

fn program<'a, P>(bpf: &'a mut Ebpf, name: &str) -> Result<&'a mut P, XdpError>
where
    &'a mut P: TryFrom<&'a mut aya::programs::Program>,
{
    bpf.program_mut(name)
        .and_then(|p| p.try_into().ok())
        .ok_or_else(|| XdpError::Object { what: format!("program `{name}`") })
}

/// Flow table entries that each of `cpus` CPUs has at least.
fn least_flows(cpus: u32) -> u32 {
    let least = LEAST_FLOWS * CPUS_WITH_LEAST / cpus.max(CPUS_WITH_LEAST);
    least.max(FEWEST_FLOWS)
}

/// Turns an error of the loader into ours: lack of privilege has its own remedy.
fn load_error(what: &str, e: &(dyn std::error::Error + 'static)) -> XdpError {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(e);
    let mut text = e.to_string();
    while let Some(c) = cause {
        if let Some(io) = c.downcast_ref::<std::io::Error>()
            && matches!(io.raw_os_error(), Some(libc::EPERM | libc::EACCES))
            && !sys::has_bpf_privilege()
        {
            return XdpError::Privilege {
                call: "bpf",
                source: std::io::Error::from_raw_os_error(io.raw_os_error().unwrap_or(libc::EPERM)),
            };
        }
        cause = c.source();
        if let Some(c) = cause {
            let more = c.to_string();
            if !text.contains(&more) {
                text = format!("{text}: {more}");
            }
        }
    }
    XdpError::Load { what: what.into(), why: text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_cpus_share_the_least_of_flows() {
        let of = |cpus| least_flows(cpus);
        assert_eq!([1, 2, 32].map(of), [LEAST_FLOWS; 3]);
        assert_eq!([33, 64, 256, 4096].map(of), [15_887, 8192, FEWEST_FLOWS, FEWEST_FLOWS]);
    }
}
