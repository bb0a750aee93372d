//! The two sides: the loaded program by `BPF_PROG_TEST_RUN`, and the table of user space.

use super::Counted;
use anyhow::{Context as _, Result};
use netspectra_agent::source::Source as _;
use netspectra_agent::source::xdp::{ProgramSize, TestRunner, XdpConfig, XdpSource};
use netspectra_agent::table::{FlowTable, Identity};
use netspectra_common::abi::{Direction, Obs};
use netspectra_common::wire::link::ETHERNET;

/// Room for every flow of a generation on one CPU: a batch's frames fit.
const FLOWS: u32 = 131_072;

/// Keeps the calling thread on the processor that it is on.
///
/// Test runs count on the processor that makes them, and what is told from the order of a flow's packets (TCP) is told on
/// each by itself: on two of them a flow would be two halves.
fn stay_on_this_cpu() -> Result<()> {
    // SAFETY: the call has no preconditions.
    let cpu = usize::try_from(unsafe { libc::sched_getcpu() }).context("sched_getcpu")?;
    // SAFETY: all zeros is the empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: `set` is a live set and the macro's function checks `cpu` against its size.
    unsafe { libc::CPU_SET(cpu, &mut set) };
    // SAFETY: `set` is a live set of the stated size; 0 is the calling thread.
    let rc = unsafe { libc::sched_setaffinity(0, size_of_val(&set), &raw const set) };
    if rc == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()).context("sched_setaffinity") }
}

/// Something that counts frames.
pub trait Side {
    /// Counts one frame.
    ///
    /// # Errors
    /// The kernel's.
    fn count(&mut self, frame: &[u8]) -> Result<()>;

    /// What was counted since the last call; first fragments stay remembered.
    ///
    /// # Errors
    /// The kernel's.
    fn take(&mut self) -> Result<Counted>;
}

/// The loaded ingress program.
pub struct Kernel {
    source: XdpSource,
    runner: TestRunner,
}

impl Kernel {
    /// Loads `object`; attaches to nothing. The calling thread stays on one processor from now on. `identity` says whose five-tuple a tunnelled packet is booked to.
    ///
    /// # Errors
    /// The loader's.
    pub fn load(object: &[u8], identity: Identity) -> Result<Self> {
        stay_on_this_cpu()?;
        let mut source = XdpSource::load(object, &XdpConfig { max_flows: FLOWS, identity, ..XdpConfig::default() })?;
        let runner = source.test_runner()?;
        Ok(Self { source, runner })
    }

    /// The loaded programs.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn program_sizes(&self) -> Result<Vec<ProgramSize>> {
        Ok(self.source.program_sizes()?)
    }
}

impl Side for Kernel {
    fn count(&mut self, frame: &[u8]) -> Result<()> {
        self.runner.run(frame, 1).with_context(|| format!("a test run with a frame of {} bytes", frame.len()))?;
        Ok(())
    }

    fn take(&mut self) -> Result<Counted> {
        let generation = self.source.generation()?.context("the source has ended")?;
        self.source.recycle()?;
        Ok(Counted::new(&generation.flows, &generation.totals))
    }
}

/// The table that capture files are counted with.
pub struct User {
    table: FlowTable,
}

impl User {
    /// `identity` as in [`Kernel::load`].
    pub fn new(identity: Identity) -> Self {
        Self { table: FlowTable::new(FLOWS as usize, identity) }
    }
}

impl Side for User {
    fn count(&mut self, frame: &[u8]) -> Result<()> {
        // What the program makes of an interface that it was not told of.
        let obs = Obs::new(u8::MAX, Direction::Ingress).0;
        self.table.count(ETHERNET, frame, frame.len() as u32, obs, 1);
        Ok(())
    }

    fn take(&mut self) -> Result<Counted> {
        let (flows, totals) = self.table.drain();
        Ok(Counted::new(&flows, &totals))
    }
}
