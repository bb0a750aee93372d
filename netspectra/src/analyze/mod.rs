//! `netspectra analyze`: capture files through the same agent and engine as live traffic.

mod alerts;
mod applications;
mod flat_json;
mod flows;
mod ipfix;
mod memory;
mod out;
mod pipeline;
mod question;
mod report;
mod save;
mod summary;

pub(crate) use memory::parse as parse_memory;

use crate::cli::{AnalyzeArgs, Export, Format, TunnelIdentity};
use crate::config::Config;
use crate::{FAILED, Failure, Outcome, output};
use anyhow::{Context, anyhow};
use indicatif::{ProgressBar, ProgressStyle};
use memory::Bounds;
use netspectra_agent::drain::Drain;
use netspectra_agent::payload::{PayloadStats, Payloads};
use netspectra_agent::source::pcap::{FileReport, PcapConfig, PcapSource};
use netspectra_agent::table::Identity;
use netspectra_common::abi::LossReason;
use netspectra_common::model::Nanos;
use netspectra_common::ports::StoreBatch;
use netspectra_common::query::{Filter, parse_filter};
use netspectra_common::schema::Dimension;
use netspectra_engine::dissect::{self, Dissectors};
use netspectra_engine::enrich::{EnrichConfig, Enrichment, LocalNetwork};
use netspectra_engine::{Engine, EngineConfig, Wanted};
use out::Out;
use pipeline::Step;
use question::Question;
use save::Saving;
use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use summary::Summary;

/// Flows of one chunk on the way from the agent to the engine.
const CHUNK_FLOWS: usize = 65_536;
/// Threads that are taken unasked.
const MOST_BY_DEFAULT: usize = 2;

pub(crate) fn main(args: &AnalyzeArgs) -> Outcome {
    let question = Question::of(args)?;
    let records = records(args);
    let is_report = records.is_none() && question.is_none();
    if is_report && matches!(args.format, Format::Ndjson | Format::Csv) {
        return Err(Failure::misuse(anyhow!(
            "`--format {}` is for rows: add --flows or --by, or take `--format json` for the report",
            if args.format == Format::Csv { "csv" } else { "ndjson" }
        )));
    }
    if is_report && args.filter.is_some() {
        return Err(Failure::misuse(anyhow!("`--filter` chooses rows: add --flows, --export, --by or --time-bucket")));
    }
    let filter = args.filter.as_deref().unwrap_or_default();
    let filter = parse_filter(filter).map_err(|e| Failure::misuse(anyhow!("`--filter`: {}", e.render(filter))))?;
    let saving = args.save.as_deref().map(Saving::new).transpose()?;
    let bounds = Bounds::of(args.memory);
    let config = PcapConfig {
        generation_bytes: bounds.generation,
        identity: match args.tunnel {
            TunnelIdentity::Outer => Identity::Outer,
            TunnelIdentity::Inner => Identity::Inner,
        },
        ..PcapConfig::default()
    };
    let told = args.config.as_deref().map(Config::of_analysis).transpose().map_err(Failure::misuse)?;
    let (rules, mut detect, mut enrich) = told.unwrap_or_default();
    // Alerts are in the report, and in what is saved.
    detect.enabled &= !args.no_detect && (is_report || saving.is_some());
    say_more(&mut enrich, args)?;
    let engine = bounds.engine(EngineConfig {
        idle_timeout: Duration::from_secs(args.idle_timeout),
        active_timeout: Duration::from_secs(args.active_timeout),
        max_flows: usize::try_from(args.max_flows).unwrap_or(usize::MAX),
        enrich: Enrichment::open(&enrich).map_err(Failure::misuse)?,
        detect,
        wanted: wanted(saving.is_some(), records.is_some(), is_report),
        ..EngineConfig::default()
    });
    let mut source = PcapSource::open(&args.files, &config)?;
    source.set_rules(&rules).map_err(Failure::misuse)?;
    if (is_report || saving.is_some()) && !args.no_l7 {
        let dissectors = Dissectors::new(dissect::builtin_with(!args.no_http_queries));
        source = source.reading_payloads(Payloads::new(Arc::new(dissectors), bounds.payloads()));
    } else if wants_names(args, &filter)? {
        let dissectors = Dissectors::new(dissect::names_only());
        source = source.reading_payloads(Payloads::new(Arc::new(dissectors), bounds.payloads()));
    }
    if let Some(kind) = records {
        let path = args.output.as_deref();
        let out = Out::open(path)
            .with_context(|| format!("cannot write `{}`", path.unwrap_or(Path::new("-")).display()))
            .map_err(Failure::misuse)?;
        let mut writer = flows::Writer::new(kind, out, args.unidirectional)?;
        let read = drive(source, args, saving, engine, |batch| writer.write(&batch.flows, &filter))?;
        writer.finish()?;
        return ended(&read);
    }
    if let Some(question) = question {
        let read = drive(source, args, saving, engine, |batch| {
            question.fold(batch);
            Ok(())
        })?;
        question.finish()?;
        return ended(&read);
    }
    let mut summary = Summary::new(usize::from(args.top), !args.no_l7, engine.detect.enabled)?;
    let read = drive(source, args, saving, engine, |batch| summary.fold(batch))?;
    let summary = summary.finish(&read)?;
    let text = if args.format == Format::Json { report::json(&summary)? } else { report::text(&summary) };
    output::print(&text)?;
    ended(&read)
}

/// Whether DNS answers are read for the names of addresses alone.
fn wants_names(args: &AnalyzeArgs, filter: &Filter) -> Result<bool, Failure> {
    const NAMES: [Dimension; 2] = [Dimension::SrcName, Dimension::DstName];
    let by = args.by.as_deref().unwrap_or_default();
    let asked =
        filter.looks_at(&NAMES) || by.split(',').any(|word| NAMES.iter().any(|name| name.name() == word.trim()));
    if asked && args.no_l7 {
        return Err(Failure::misuse(anyhow!(
            "`--no-l7` reads no DNS answers, which `src_name` and `dst_name` are from: leave it out"
        )));
    }
    Ok(asked || args.names)
}

/// What the command line says of addresses, beside the configuration file.
fn say_more(enrich: &mut EnrichConfig, args: &AnalyzeArgs) -> Result<(), Failure> {
    let files = [
        (&mut enrich.country_file, &args.country_file),
        (&mut enrich.as_file, &args.as_file),
        (&mut enrich.services_file, &args.services_file),
    ];
    for (told, file) in files {
        if file.is_some() {
            told.clone_from(file);
        }
    }
    // Who is at an address now is not who was there when the packets were: a list of that time is a file.
    if enrich.kubernetes.as_ref().is_some_and(|kubernetes| kubernetes.pods_file.is_none()) {
        enrich.kubernetes = None;
    }
    for text in &args.network {
        let Some((name, blocks)) = text.split_once('=') else {
            return Err(Failure::misuse(anyhow!(
                "`--network {text}`: expected a name, `=`, and address blocks separated by commas, such as `office=10.0.0.0/8`"
            )));
        };
        let cidrs = blocks.split(',').map(|block| block.trim().to_owned()).collect();
        enrich.networks.push(LocalNetwork { name: name.trim().to_owned(), cidrs });
    }
    Ok(())
}

/// What of the engine's batches is looked at: what is saved has everything, a question may need any of it, the report has no
/// roll-ups, and records are records.
fn wanted(saved: bool, records: bool, report: bool) -> Wanted {
    match (saved, records, report) {
        (true, _, _) => Wanted::Everything,
        (false, true, _) => Wanted::Records,
        (false, false, true) => Wanted::NoRollups,
        (false, false, false) => Wanted::Everything,
    }
}

/// How flow records are wanted; `None` when they are not.
fn records(args: &AnalyzeArgs) -> Option<flows::Kind> {
    match args.export {
        Some(Export::Ipfix) => Some(flows::Kind::Ipfix),
        Some(Export::Parquet) => Some(flows::Kind::Parquet),
        Some(Export::Csv) => Some(flows::Kind::Text(Format::Csv)),
        Some(Export::Ndjson) => Some(flows::Kind::Text(Format::Ndjson)),
        None => args.flows.then_some(flows::Kind::Text(args.format)),
    }
}

/// What was read.
pub(crate) struct Read {
    files: Vec<FileReport>,
    elapsed: Duration,
    span: Option<(Nanos, Nanos)>,
    /// Frames whose link type has no parser.
    unsupported: u64,
    /// What happened to payloads, when they were read.
    payloads: Option<PayloadStats>,
}

/// Reads all input through the engine and hands each batch that it closes to `each`, on this thread.
fn drive(
    source: PcapSource,
    args: &AnalyzeArgs,
    saving: Option<Saving>,
    engine: EngineConfig,
    mut fold: impl FnMut(&StoreBatch) -> anyhow::Result<()>,
) -> anyhow::Result<Read> {
    let started = std::time::Instant::now();
    let progress = progress_bar(&source, args.no_progress);
    let drain = Drain::new("capture".into(), 0, CHUNK_FLOWS);
    let engine = Engine::new(engine);
    let mut unsupported = 0;
    let mut each = |batch: &StoreBatch| {
        for entry in &batch.ledger {
            unsupported += entry.ledger.reasons[LossReason::UnsupportedLink].packets;
        }
        if let Some(saving) = &saving {
            saving.append(batch)?;
        }
        fold(batch)
    };
    let source = std::thread::scope(|scope| {
        for step in pipeline::batches(scope, threads(args), (source, drain), engine)? {
            match step? {
                Step::Generation(generation) => {
                    generation.is.iter().try_for_each(&mut each)?;
                    if let Some(bar) = &progress {
                        bar.set_position(generation.bytes_read);
                        bar.set_message(format!("{} frames", output::grouped(generation.frames)));
                    }
                }
                Step::End(source) => return Ok(source),
            }
        }
        Err(anyhow!("the thread that reads the capture ended early"))
    })?;
    if let Some(saving) = saving {
        saving.finish()?;
    }
    if let Some(bar) = &progress {
        bar.finish_and_clear();
    }
    let span = source.span();
    let payloads = source.payload_stats();
    Ok(Read { files: source.reports(), elapsed: started.elapsed(), span, unsupported, payloads })
}

/// How many threads share the work.
fn threads(args: &AnalyzeArgs) -> u16 {
    let cores = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    args.threads.unwrap_or_else(|| cores().min(MOST_BY_DEFAULT) as u16)
}

fn progress_bar(source: &PcapSource, off: bool) -> Option<ProgressBar> {
    if off || !std::io::stderr().is_terminal() {
        return None;
    }
    let (bar, template) = match source.progress() {
        (_, Some(total)) => (ProgressBar::new(total), "{bar:30} {bytes}/{total_bytes} {bytes_per_sec} ETA {eta} {msg}"),
        (_, None) => (ProgressBar::no_length(), "{spinner} {bytes} {bytes_per_sec} {msg}"),
    };
    bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
    Some(bar)
}

/// Says which files were damaged, and whether there were frames that nobody could parse.
fn ended(read: &Read) -> Outcome {
    let mut code = ExitCode::SUCCESS;
    for file in &read.files {
        if let Some(e) = &file.error {
            output::error(&format!("netspectra: {}; these are reported", with_cause(e)));
            code = ExitCode::from(FAILED);
        }
    }
    if read.unsupported > 0 {
        let links = |f: &FileReport| f.links.iter().map(|l| l.0.to_string()).collect::<Vec<_>>().join(", ");
        let formats: Vec<String> =
            read.files.iter().map(|f| format!("`{}`: link type {}", f.path.display(), links(f))).collect();
        output::error(&format!(
            "netspectra: {} frames are of a link type that has no parser; they are counted under `unsupported_link`, not in \
             flows ({})",
            output::grouped(read.unsupported),
            formats.join("; ")
        ));
        code = ExitCode::from(FAILED);
    }
    Ok(code)
}

/// The error and what caused it.
fn with_cause(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}
