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

/// Keeps this thread on the first processor that it may use.
///
/// Test runs count on the processor that makes them, and what is told from the order of a flow's packets (TCP) is told on
/// each by itself: on two of them a flow would be two halves.
///
/// # Errors
/// The kernel's.
fn stay_on_one_cpu() -> Result<()> {
    // SAFETY: a CPU set of zeros is a valid, empty set.
    let mut allowed: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    let mut one = allowed;
    // SAFETY: the call writes to a live set of the stated size.
    let rc = unsafe { libc::sched_getaffinity(0, size_of_val(&allowed), &raw mut allowed) };
    if rc != 0 {
        return Err(std::io::Error::last_os_error()).context("sched_getaffinity");
    }
    // SAFETY: the numbers are below the set's size.
    let first = (0..libc::CPU_SETSIZE as usize).find(|cpu| unsafe { libc::CPU_ISSET(*cpu, &allowed) });
    // SAFETY: as above.
    unsafe { libc::CPU_SET(first.unwrap_or(0), &mut one) };
    // SAFETY: the set is alive and its size is stated.
    let rc = unsafe { libc::sched_setaffinity(0, size_of_val(&one), &raw const one) };
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
        stay_on_one_cpu()?;
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
        // Hints for the dissector, on which no count depends.
        self.table.drain_dns();
        let (flows, totals) = self.table.drain();
        Ok(Counted::new(&flows, &totals))
    }
}
