//! How much work the verifier had with each program on each kernel, held against what is on record.

use crate::process::say;
use anyhow::{Context as _, Result, bail};
use std::fmt;
use std::path::Path;

/// The record, relative to the workspace's root.
pub(super) const FILE: &str = "docs/verifier.tsv";
/// Growth that needs nobody's word, percent.
const TOLERANCE: u64 = 5;
/// `BPF_COMPLEXITY_LIMIT_INSNS`: beyond it the kernel refuses.
const KERNEL_LIMIT: u64 = 1_000_000;
const HEADER: &str = "kernel\tprogram\tidentity\tverified_insns\tinsns\tjited_bytes";

/// Major and minor number of a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Series(pub(super) u32, pub(super) u32);

impl Series {
    /// Of a release such as `6.1.0-56-cloud-amd64`.
    ///
    /// # Errors
    /// It does not begin with two numbers.
    pub(super) fn of(release: &str) -> Result<Self> {
        let mut parts = release.split(['.', '-', '+']).map(|n| n.parse().ok());
        match (parts.next().flatten(), parts.next().flatten()) {
            (Some(major), Some(minor)) => Ok(Self(major, minor)),
            _ => bail!("`{release}` is no kernel release: expected `6.1` or longer"),
        }
    }
}

impl fmt::Display for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// One program on one kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) series: Series,
    pub(super) program: String,
    /// Whose five-tuple a tunnelled packet is booked to: the verifier sees other ways through each program.
    pub(super) identity: String,
    /// Instructions that the verifier walked through.
    pub(super) verified: u64,
    /// Instructions in the kernel.
    pub(super) instructions: u64,
    pub(super) jited_bytes: u64,
}

impl Size {
    fn is_about_the_same(&self, other: &Self) -> bool {
        (self.series, &self.program, &self.identity) == (other.series, &other.program, &other.identity)
    }

    fn line(&self) -> String {
        let Self { series, program, identity, verified, instructions, jited_bytes } = self;
        format!("{series}\t{program}\t{identity}\t{verified}\t{instructions}\t{jited_bytes}")
    }

    fn parse(line: &str) -> Option<Self> {
        let [series, program, identity, verified, instructions, jited_bytes] =
            <[&str; 6]>::try_from(line.split('\t').collect::<Vec<_>>()).ok()?;
        Some(Self {
            series: Series::of(series).ok()?,
            program: program.to_owned(),
            identity: identity.to_owned(),
            verified: verified.parse().ok()?,
            instructions: instructions.parse().ok()?,
            jited_bytes: jited_bytes.parse().ok()?,
        })
    }
}

/// Holds `found` against the record at `path`, or puts it there.
///
/// # Errors
/// A program has grown by more than the tolerance and `record` is not set; the record cannot be read or written.
pub(super) fn check(path: &Path, found: &[Size], record: bool) -> Result<()> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => HEADER.to_owned(),
        Err(e) => return Err(e).with_context(|| format!("cannot read `{}`", path.display())),
    };
    let recorded = parse(&text).with_context(|| format!("`{}`", path.display()))?;
    let grown = compare(&recorded, found);
    for line in &grown {
        say(line);
    }
    if record {
        std::fs::write(path, merged(recorded, found)).with_context(|| format!("cannot write `{}`", path.display()))?;
        say(format!("recorded in `{}`", path.display()));
        return Ok(());
    }
    if !grown.is_empty() {
        bail!(
            "{} programs have grown by more than {TOLERANCE} %: make them smaller, or take it with \
             `cargo xtask test-vm --kernel host,6.1,6.12 --record`",
            grown.len()
        );
    }
    Ok(())
}

fn parse(text: &str) -> Result<Vec<Size>> {
    let mut lines = text.lines();
    if lines.next() != Some(HEADER) {
        bail!("expected the first line `{HEADER}`");
    }
    lines.map(|line| Size::parse(line).with_context(|| format!("line `{line}` is not as its header says"))).collect()
}

/// A line for each program of `found` that is larger than recorded. A kernel that is not on record has nothing to grow
/// from, but must not come near the kernel's limit.
fn compare(recorded: &[Size], found: &[Size]) -> Vec<String> {
    let mut lines = Vec::new();
    for size in found {
        let Some(before) = recorded.iter().find(|r| r.is_about_the_same(size)) else {
            say(format!("not on record: {}", size.line().replace('\t', " ")));
            if size.verified > KERNEL_LIMIT / 10 * 9 {
                lines.push(format!(
                    "{} on {}: {} verified of at most {KERNEL_LIMIT}",
                    size.program, size.series, size.verified
                ));
            }
            continue;
        };
        for (what, before, now) in [
            ("verified instructions", before.verified, size.verified),
            ("instructions", before.instructions, size.instructions),
        ] {
            if now * 100 > before * (100 + TOLERANCE) {
                lines.push(format!(
                    "GROWN: {} ({} identity) on Linux {}: {now} {what}, on record {before}",
                    size.program, size.identity, size.series
                ));
            }
        }
    }
    lines
}

/// The record with `found` in it: what is about the same kernel is replaced as a whole.
fn merged(mut recorded: Vec<Size>, found: &[Size]) -> String {
    recorded.retain(|r| found.iter().all(|f| f.series != r.series));
    recorded.extend(found.iter().cloned());
    recorded.sort_by(|a, b| (a.series, &a.program, &a.identity).cmp(&(b.series, &b.program, &b.identity)));
    let lines = recorded.iter().map(Size::line);
    std::iter::once(HEADER.to_owned()).chain(lines).map(|line| line + "\n").collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn size(series: Series, program: &str, verified: u64) -> Size {
        Size {
            series,
            program: program.into(),
            identity: "outer".into(),
            verified,
            instructions: 100,
            jited_bytes: 500,
        }
    }

    #[test]
    fn growth_beyond_the_tolerance_is_an_error_until_it_is_recorded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("verifier.tsv");
        let old = size(Series(6, 1), "a", 1000);
        check(&path, std::slice::from_ref(&old), true).unwrap();
        check(&path, &[size(Series(6, 1), "a", 1050)], false).unwrap();
        let grown = [size(Series(6, 1), "a", 1051)];
        assert!(check(&path, &grown, false).unwrap_err().to_string().contains("--record"));
        check(&path, &grown, true).unwrap();
        check(&path, &grown, false).unwrap();
        let more = Size { instructions: 106, ..old };
        assert!(check(&path, &[more], false).is_err(), "the other count");
    }

    #[test]
    fn a_record_is_replaced_by_kernel() {
        let (a, b, c) = (size(Series(6, 1), "a", 1), size(Series(6, 1), "b", 2), size(Series(6, 12), "a", 3));
        let text = merged(vec![a, b, c.clone()], &[size(Series(6, 1), "a", 9)]);
        assert_eq!(parse(&text).unwrap(), [size(Series(6, 1), "a", 9), c]);
    }

    #[test]
    fn what_is_not_on_record_must_not_be_near_the_limit() {
        assert!(compare(&[], &[size(Series(6, 1), "a", 900_000)]).is_empty());
        assert_eq!(compare(&[], &[size(Series(6, 1), "a", 900_001)]).len(), 1);
    }

    #[test]
    fn a_damaged_record_is_named() {
        assert!(parse("x").is_err());
        assert!(parse(&format!("{HEADER}\n6.1\ta\touter\tmany\t1\t1")).unwrap_err().to_string().contains("many"));
    }

    #[test]
    fn releases_have_a_series() {
        assert_eq!(Series::of("6.12.117+deb12-cloud-amd64").unwrap(), Series(6, 12));
        assert_eq!(Series::of("6.18").unwrap(), Series(6, 18));
        assert!(Series::of("linux").is_err());
        assert!(Series(6, 6) > Series(6, 1) && Series(6, 12) > Series(6, 6), "numbers, not text");
    }
}
