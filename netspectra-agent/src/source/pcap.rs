//! Capture files as a source: the parser and the folding of the kernel programs, over a table in user space.

use super::capture_file::{CaptureError, CaptureFile, Frame, LinkType, ReadAhead};
use super::{Source, SourceError};
use crate::generation::Generation;
use crate::payload::{PayloadStats, Payloads};
use crate::rules::{Rule, RuleError, UserRules};
use crate::table::{FlowTable, Identity};
use netspectra_common::abi::{Direction, Obs};
use netspectra_common::model::{Interface, Nanos};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Length of a generation in capture time. Boundaries are whole seconds, so that windows hold what was in them.
const GENERATION: Duration = Duration::from_secs(1);

/// How files are read.
#[derive(Clone, Debug)]
pub struct PcapConfig {
    /// Whose five-tuple a tunnelled packet is booked to.
    pub identity: Identity,
    /// Flow table entries a generation.
    pub max_flows: usize,
    /// About how many bytes of flows and messages a generation may have; it ends before its second is over, then.
    pub generation_bytes: usize,
}

impl Default for PcapConfig {
    fn default() -> Self {
        Self { identity: Identity::Outer, max_flows: 4_000_000, generation_bytes: usize::MAX }
    }
}

/// What was read of a file.
#[derive(Debug)]
pub struct FileReport {
    /// The file.
    pub path: PathBuf,
    /// Frames read.
    pub frames: u64,
    /// Format, for people.
    pub format: String,
    /// Link types of the file's interfaces, each once.
    pub links: Vec<LinkType>,
    /// Why reading ended before the end of the file, if it did.
    pub error: Option<CaptureError>,
}

struct Input {
    path: PathBuf,
    file: CaptureFile,
    /// The next frame, copied out so that files can be merged by time.
    head: Option<Head>,
    data: Vec<u8>,
    error: Option<CaptureError>,
    /// Observation points by the file's interface number, once it had a frame.
    slots: Vec<Option<u8>>,
}

struct Head {
    ts: Nanos,
    link: u16,
    iface: u32,
    orig_len: u32,
    direction: Option<Direction>,
}

/// Reads capture files, several merged by time, in generations of one second of capture time.
pub struct PcapSource {
    inputs: Vec<Input>,
    table: FlowTable,
    generation_bytes: usize,
    interfaces: Vec<Interface>,
    /// Begin of the generation being filled.
    start: Option<Nanos>,
    /// Earliest and latest time of all frames.
    span: Option<(Nanos, Nanos)>,
    ended: bool,
}

impl PcapSource {
    /// Opens `paths` (`-` is standard input).
    ///
    /// # Errors
    /// The first file that cannot be opened or is no capture file, by name.
    pub fn open(paths: &[PathBuf], config: &PcapConfig) -> Result<Self, CaptureError> {
        let mut inputs = Vec::with_capacity(paths.len());
        for path in paths {
            let file = CaptureFile::open(path)?;
            inputs.push(Input {
                path: path.clone(),
                file,
                head: None,
                data: Vec::new(),
                error: None,
                slots: Vec::new(),
            });
        }
        Ok(Self {
            inputs,
            table: FlowTable::new(config.max_flows, config.identity),
            generation_bytes: config.generation_bytes,
            interfaces: Vec::new(),
            start: None,
            span: None,
            ended: false,
        })
    }

    /// Which packets get a flow record; names of interfaces are those of the files.
    ///
    /// # Errors
    /// Rules that cannot be kept.
    pub fn set_rules(&mut self, rules: &[Rule]) -> Result<(), RuleError> {
        self.table.set_rules(UserRules::new(rules)?);
        Ok(())
    }

    /// Has `payloads` read what packets carry.
    #[must_use]
    pub fn reading_payloads(mut self, payloads: Payloads) -> Self {
        self.table.read_payloads(payloads);
        self
    }

    /// Has files read in blocks that other threads may read ahead, by what is returned. Not pipes.
    pub fn read_ahead(&mut self) -> Vec<Arc<ReadAhead>> {
        self.inputs.iter_mut().filter_map(|input| input.file.read_ahead()).collect()
    }

    /// What happened to payloads, when they are read.
    pub fn payload_stats(&self) -> Option<PayloadStats> {
        self.table.payload_stats()
    }

    /// Bytes read of all files and, where all sizes are known, their sum.
    pub fn progress(&self) -> (u64, Option<u64>) {
        let read = self.inputs.iter().map(|i| i.file.bytes_read()).sum();
        let total = self.inputs.iter().map(|i| i.file.total_bytes()).sum();
        (read, total)
    }

    /// Times of the earliest and the latest frame counted so far.
    pub fn span(&self) -> Option<(Nanos, Nanos)> {
        self.span
    }

    /// Frames read so far.
    pub fn frames(&self) -> u64 {
        self.inputs.iter().map(|i| i.file.frames_read()).sum()
    }

    /// What was read of each file.
    pub fn reports(self) -> Vec<FileReport> {
        self.inputs
            .into_iter()
            .map(|i| FileReport {
                frames: i.file.frames_read(),
                format: i.file.format(),
                links: link_types(&i.file),
                path: i.path,
                error: i.error,
            })
            .collect()
    }

    /// The one file: no merging, no copy. Returns the begin of the next generation, `None` at the end of the input.
    fn fill_from_one(&mut self) -> Option<Nanos> {
        let input = self.inputs.first_mut()?;
        if let Some(ts) = input.head.as_ref().map(|h| h.ts) {
            widen(&mut self.span, ts);
            count_head(input, &mut self.table, &mut self.interfaces);
        }
        let mut end = self.start.map(end_of);
        // The observation point of the frame before is nearly always that of the next.
        let mut last = None;
        loop {
            match input.file.next_frame() {
                Ok(Some(frame)) => {
                    let over =
                        *end.get_or_insert_with(|| end_of(*self.start.get_or_insert(frame.ts.floor(GENERATION))));
                    if frame.ts >= over || self.table.collected_bytes() >= self.generation_bytes {
                        let start = self.start.unwrap_or(frame.ts);
                        input.head = Some(keep(&frame, &mut input.data));
                        return Some(next_start(start, frame.ts, over));
                    }
                    widen(&mut self.span, frame.ts);
                    let seen_by = (frame.iface, frame.direction);
                    let obs = match last {
                        Some((before, obs)) if before == seen_by => obs,
                        _ => {
                            let obs = observation_point(
                                &mut self.table,
                                &mut input.slots,
                                &mut self.interfaces,
                                &input.path,
                                frame.iface,
                                frame.direction,
                            );
                            last = Some((seen_by, obs));
                            obs
                        }
                    };
                    self.table.count(frame.link.0, frame.data, frame.orig_len, obs, frame.ts.0);
                }
                Ok(None) => return None,
                Err(e) => {
                    input.error = Some(e);
                    return None;
                }
            }
        }
    }

    /// Several files, always the earliest frame.
    fn fill_merged(&mut self) -> Option<Nanos> {
        let mut end = None;
        loop {
            for input in &mut self.inputs {
                if input.head.is_none() && input.error.is_none() {
                    match input.file.next_frame() {
                        Ok(Some(frame)) => input.head = Some(keep(&frame, &mut input.data)),
                        Ok(None) => {}
                        Err(e) => input.error = Some(e),
                    }
                }
            }
            let earliest = self
                .inputs
                .iter_mut()
                .enumerate()
                .filter_map(|(n, i)| i.head.as_ref().map(|h| h.ts).map(|ts| (ts, n, i)))
                .min_by_key(|(ts, n, _)| (*ts, *n));
            let (ts, _, input) = earliest?;
            let start = *self.start.get_or_insert(ts.floor(GENERATION));
            let over = *end.get_or_insert_with(|| end_of(start));
            if ts >= over || self.table.collected_bytes() >= self.generation_bytes {
                return Some(next_start(start, ts, over));
            }
            widen(&mut self.span, ts);
            count_head(input, &mut self.table, &mut self.interfaces);
        }
    }
}

/// The end of a generation's second.
fn end_of(start: Nanos) -> Nanos {
    start.floor(GENERATION).plus(GENERATION)
}

/// Where the generation begins that the frame of time `at` is the first one of: the one that began at `start` is over, or has
/// enough.
fn next_start(start: Nanos, at: Nanos, over: Nanos) -> Nanos {
    // A frame that comes late does not turn time back.
    if at >= over { at.floor(GENERATION) } else { at.max(start) }
}

fn link_types(file: &CaptureFile) -> Vec<LinkType> {
    let mut links: Vec<LinkType> = file.interfaces().iter().map(|i| i.link).collect();
    links.sort_unstable();
    links.dedup();
    links
}

fn widen(span: &mut Option<(Nanos, Nanos)>, ts: Nanos) {
    let (first, last) = span.get_or_insert((ts, ts));
    *first = ts.min(*first);
    *last = ts.max(*last);
}

impl Source for PcapSource {
    fn generation(&mut self) -> Result<Option<Generation>, SourceError> {
        if self.ended {
            return Ok(None);
        }
        let next = if self.inputs.len() == 1 { self.fill_from_one() } else { self.fill_merged() };
        let start = self.start.unwrap_or_default();
        self.start = next;
        self.ended = next.is_none();
        let observed = self.table.drain_observed(self.ended);
        let (flows, totals) = self.table.drain();
        let overflow = self.table.drain_overflow();
        Ok(Some(Generation {
            start,
            end: end_of(start),
            flows,
            totals,
            overflow,
            hints: Vec::new(),
            observed,
            interfaces: self.interfaces.clone(),
            nics: Vec::new(),
            last: self.ended,
        }))
    }

    fn recycle(&mut self) -> Result<(), SourceError> {
        Ok(())
    }
}

fn keep(frame: &Frame<'_>, data: &mut Vec<u8>) -> Head {
    data.clear();
    data.extend_from_slice(frame.data);
    Head { ts: frame.ts, link: frame.link.0, iface: frame.iface, orig_len: frame.orig_len, direction: frame.direction }
}

fn count_head(input: &mut Input, table: &mut FlowTable, interfaces: &mut Vec<Interface>) {
    if let Some(h) = input.head.take() {
        let obs = observation_point(table, &mut input.slots, interfaces, &input.path, h.iface, h.direction);
        table.count(h.link, &input.data, h.orig_len, obs, h.ts.0);
    }
}

/// The observation point of interface `iface` of the file at `path`. Slots are given in the order of first frames; when
/// they are used up the rest share the last one.
fn observation_point(
    table: &mut FlowTable,
    slots: &mut Vec<Option<u8>>,
    interfaces: &mut Vec<Interface>,
    path: &Path,
    iface: u32,
    direction: Option<Direction>,
) -> u8 {
    let known = slots.get(iface as usize).copied().flatten();
    let slot = known.unwrap_or_else(|| {
        let slot = first_frame(table, interfaces, path, iface);
        if slots.len() <= iface as usize {
            slots.resize(iface as usize + 1, None);
        }
        slots[iface as usize] = Some(slot);
        slot
    });
    Obs::new(slot, direction.unwrap_or(Direction::Ingress)).0
}

/// Gives interface `iface` of the file at `path` a slot.
fn first_frame(table: &mut FlowTable, interfaces: &mut Vec<Interface>, path: &Path, iface: u32) -> u8 {
    let slot = interfaces.len().min(usize::from(Obs::MAX_IFACE)) as u8;
    if usize::from(slot) == interfaces.len() {
        let file = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
        let name = if iface == 0 { file.into_owned() } else { format!("{file}#{iface}") };
        interfaces.push(Interface { slot, ifindex: 0, name: Arc::from(name) });
        if let Some(rules) = table.rules_mut() {
            rules.set_interfaces(interfaces);
        }
    }
    slot
}
