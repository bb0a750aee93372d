//! A process whose tables are pinned is killed under traffic, again and again: what it counted is there, once.

use super::say;
use super::traffic::Burst;
use anyhow::{Context as _, Result, bail};
use netspectra_agent::drain::Drain;
use netspectra_agent::source::Source as _;
use netspectra_agent::source::xdp::{XdpConfig, XdpSource, give_up};
use netspectra_common::abi::{Counter, Direction, Obs};
use netspectra_common::model::BusMessage;
use netspectra_common::wire::proto;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const INSTANCE: &str = "vm-kill";
const KILLS: u64 = 6;
const DATAGRAMS: u64 = 400;
const PORT: u16 = 4100;
/// Longest time to wait for the last packets.
const LIMIT: Duration = Duration::from_secs(30);

/// A generation that was read: what of the traffic is in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Read {
    epoch: u64,
    number: u64,
    packets: u64,
    bytes: u64,
    /// Seen, and neither in a flow nor under a reason.
    residual: i128,
}

/// Generations by epoch and number: one that comes again must be the same.
#[derive(Default)]
struct Kept {
    all: BTreeMap<(u64, u64), Read>,
    again: u64,
}

impl Kept {
    fn add(&mut self, read: Read) -> Result<()> {
        if read.residual != 0 {
            bail!("generation {} of {} has a residual of {}", read.number, read.epoch, read.residual);
        }
        match self.all.get(&(read.epoch, read.number)) {
            Some(old) if *old == read => self.again += 1,
            Some(old) => bail!("a generation came again as {read:?}, and was {old:?}"),
            None => drop(self.all.insert((read.epoch, read.number), read)),
        }
        Ok(())
    }

    fn sum(&self) -> Counter {
        self.all.values().fold(Counter::default(), |sum, r| Counter::new(sum.packets + r.packets, sum.bytes + r.bytes))
    }
}

fn open(object: &[u8], interface: &str) -> Result<XdpSource> {
    let config = XdpConfig {
        interfaces: vec![interface.to_owned()],
        instance: Some(INSTANCE.to_owned()),
        max_flows: 4096,
        ..XdpConfig::default()
    };
    XdpSource::open(object, &config).context("cannot open the source")
}

/// The next generation.
fn read(source: &mut XdpSource) -> Result<Read> {
    let (epoch, number) = (source.epoch(), source.next_generation());
    let mut drain = Drain::new("vm".into(), epoch, 1000).from_generation(number, source.previous());
    let generation = source.generation()?.context("the source has ended")?;
    let (mut sent, mut residual) = (Counter::default(), i128::from(generation.totals.seen.packets));
    for flow in &generation.flows {
        residual -= i128::from(flow.stats.packets);
        let is_egress = Obs(flow.key.obs).direction() == Direction::Egress;
        if flow.key.proto == proto::UDP && flow.key.dst_port == PORT && is_egress {
            sent.add(Counter::new(flow.stats.packets, flow.stats.bytes));
        }
    }
    residual -= generation.totals.reasons.iter().map(|r| i128::from(r.packets)).sum::<i128>();
    if let Some(BusMessage::Manifest(manifest)) = drain.cut(generation).pop() {
        source.sent(manifest.hash());
    }
    Ok(Read { epoch, number, packets: sent.packets, bytes: sent.bytes, residual })
}

/// The process that is killed: tells each generation before it gives it back.
///
/// # Errors
/// The source's; it does not end by itself.
pub(super) fn hold(object: &[u8], interface: &str) -> Result<()> {
    let mut source = open(object, interface)?;
    println!("ready");
    loop {
        let generation = read(&mut source)?;
        println!("{}", serde_json::to_string(&generation)?);
        std::io::stdout().flush()?;
        source.recycle()?;
    }
}

fn victim(object: &Path, interface: &str) -> Result<(Child, BufReader<std::process::ChildStdout>)> {
    let mut child = Command::new("/proc/self/exe")
        .arg("--hold")
        .arg(object)
        .arg(interface)
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start the process that is killed")?;
    let mut lines = BufReader::new(child.stdout.take().context("no output")?);
    let mut line = String::new();
    lines.read_line(&mut line)?;
    if line.trim() != "ready" {
        bail!("the process that is killed said `{}`", line.trim());
    }
    Ok((child, lines))
}

/// Kills, and compares with what was sent.
///
/// # Errors
/// A packet is missing, or there twice.
pub(super) fn check(path: &Path, object: &[u8], interface: &str) -> Result<Value> {
    let burst = Burst::on_the_link(PORT, DATAGRAMS);
    let mut kept = Kept::default();
    let mut bursts = 0;
    for kill in 0..KILLS {
        let (mut child, lines) = victim(path, interface)?;
        let reader = std::thread::spawn(move || -> Vec<String> { lines.lines().map_while(Result::ok).collect() });
        burst.send(0)?;
        // Somewhere in a generation, another place each time.
        std::thread::sleep(Duration::from_millis(7 * kill));
        burst.send(0)?;
        child.kill()?;
        child.wait()?;
        // Nobody is there: the kernel counts on.
        burst.send(0)?;
        bursts += 3;
        for line in reader.join().unwrap_or_default() {
            // The last one may have been cut off by the kill: then nobody was told of it.
            if let Ok(read) = serde_json::from_str(&line) {
                kept.add(read)?;
            }
        }
    }
    let (packets, bytes) = burst.expected();
    let expected = Counter::new(packets * bursts, bytes * bursts);
    let mut source = open(object, interface)?;
    let began = Instant::now();
    while kept.sum().packets < expected.packets && began.elapsed() < LIMIT {
        kept.add(read(&mut source)?)?;
        source.recycle()?;
    }
    source.detach();
    kept.add(read(&mut source)?)?;
    source.recycle()?;
    drop(source);
    // There may be nothing left.
    if let Err(error) = give_up(INSTANCE) {
        say(&json!({ "left": error.to_string() }));
    }
    if kept.sum() != expected {
        bail!("{KILLS} kills: counted {:?}, sent {expected:?}", kept.sum());
    }
    Ok(json!({ "kills": KILLS, "packets": expected.packets, "generations": kept.all.len(), "came_again": kept.again }))
}
