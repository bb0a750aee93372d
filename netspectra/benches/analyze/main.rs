//! `netspectra analyze` beside other programs and a bare walk over the same file, in the same run; then what the engine and the
//! sketches take by themselves.
//!
//! The capture is made here: a fixed mix of flows and frame sizes, or the file that `NETSPECTRA_BENCH_CAPTURE` names. Of the
//! other programs those are measured that are installed: nfpcapd and softflowd. What counts is user and system time of the
//! whole process, because other work shares the machine; rounds are in turn.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark")]

mod capture;
mod cores;
mod walk;

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

const ROUNDS: usize = 5;

/// Who walks over the file in this program, started once more.
const WALK: &str = "--walk-over";

/// User and system seconds of children that ended.
fn children_cpu() -> f64 {
    // SAFETY: all bits 0 are a legal `rusage`, which has numbers only.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: `usage` is valid for writing for the duration of the call.
    let failed = unsafe { libc::getrusage(libc::RUSAGE_CHILDREN, &raw mut usage) };
    assert_eq!(failed, 0, "getrusage failed");
    let seconds = |t: libc::timeval| t.tv_sec as f64 + t.tv_usec as f64 / 1e6;
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}

/// A program that is measured: seconds of processor and by the clock, one pair a round.
struct Subject {
    name: &'static str,
    command: Box<dyn Fn() -> Command>,
    measured: Vec<(f64, f64)>,
}

impl Subject {
    fn new(name: &'static str, command: impl Fn() -> Command + 'static) -> Self {
        Self { name, command: Box::new(command), measured: Vec::new() }
    }

    fn run(&mut self) {
        let (cpu, clock) = (children_cpu(), Instant::now());
        let mut command = (self.command)();
        let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
        assert!(status.success(), "{}: {status}", self.name);
        self.measured.push((children_cpu() - cpu, clock.elapsed().as_secs_f64()));
    }

    fn cpu(&self) -> f64 {
        median(self.measured.iter().map(|(cpu, _)| *cpu).collect())
    }

    fn clock(&self) -> f64 {
        median(self.measured.iter().map(|(_, clock)| *clock).collect())
    }
}

fn median(mut seconds: Vec<f64>) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}

fn is_installed(program: &str) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&paths).any(|folder| folder.join(program).is_file())
}

fn analyze(name: &'static str, args: &'static [&'static str], path: &Path) -> Subject {
    let path = path.to_owned();
    Subject::new(name, move || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_netspectra"));
        command.arg("analyze").args(args).arg(&path);
        command
    })
}

/// The other programs that are installed.
fn peers(path: &Path, folder: &Path) -> Vec<Subject> {
    let mut peers = Vec::new();
    let (file, out) = (path.to_owned(), folder.join("nfpcapd"));
    if is_installed("nfpcapd") {
        std::fs::create_dir_all(&out).unwrap();
        peers.push(Subject::new("nfpcapd, flow files", move || {
            let mut command = Command::new("nfpcapd");
            command.arg("-r").arg(&file).arg("-w").arg(&out);
            command
        }));
    }
    let file = path.to_owned();
    if is_installed("softflowd") {
        peers.push(Subject::new("softflowd, NetFlow v9 to a closed port", move || {
            let mut command = Command::new("softflowd");
            command.arg("-r").arg(&file).args(["-v", "9", "-m", "1000000", "-n", "127.0.0.1:9"]);
            command
        }));
    }
    peers
}

fn main() {
    let args: Vec<_> = std::env::args_os().collect();
    if let Some(at) = args.iter().position(|arg| arg == OsStr::new(WALK)) {
        return walk::main(Path::new(&args[at + 1]));
    }
    let dir = tempfile::tempdir().unwrap();
    let path = capture::at(dir.path());
    let (bytes, frames) = capture::size(&path);
    let walked = path.clone();
    let mut subjects = peers(&path, dir.path());
    let beside = subjects.len();
    subjects.extend([
        Subject::new("mapped walk with a table of five-tuples", move || {
            let mut command = Command::new(std::env::current_exe().unwrap());
            command.arg(WALK).arg(&walked);
            command
        }),
        analyze(
            "analyze --flows, NDJSON, without payloads",
            &["--flows", "--format", "ndjson", "--no-l7", "--threads", "1"],
            &path,
        ),
        analyze("the same, two threads", &["--flows", "--format", "ndjson", "--no-l7", "--threads", "2"], &path),
        analyze("analyze, all sketches", &["--format", "json", "--no-l7", "--no-detect", "--threads", "1"], &path),
        analyze("analyze, payloads and detectors as well", &["--format", "json", "--threads", "1"], &path),
        analyze("the same, two threads", &["--format", "json", "--threads", "2"], &path),
    ]);
    for _ in 0..ROUNDS {
        subjects.iter_mut().for_each(Subject::run);
    }
    let fastest = subjects[..beside].iter().map(Subject::cpu).min_by(f64::total_cmp);
    let walk = subjects[beside].cpu();
    println!("`{}`: {frames} frames, {bytes} bytes, medians of {ROUNDS} rounds in turn", path.display());
    println!(
        "| what                                      | CPU s | by the clock | ns/frame | fastest peer / it | it / walk |"
    );
    println!(
        "|-------------------------------------------|------:|-------------:|---------:|------------------:|----------:|"
    );
    for subject in &subjects {
        let (cpu, clock) = (subject.cpu(), subject.clock());
        let faster = fastest.map_or("-".into(), |peer| format!("{:.2}", peer / cpu));
        println!(
            "| {:<41} | {cpu:>5.3} | {clock:>12.3} | {:>8.0} | {faster:>17} | {:>9.2} |",
            subject.name,
            cpu / frames as f64 * 1e9,
            cpu / walk
        );
    }
    if beside == 0 {
        println!("neither nfpcapd nor softflowd is installed: no row to compare with (Debian: nfdump, softflowd)");
    }
    cores::main();
}
