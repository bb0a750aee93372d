//! What the guest says on its console.

use super::sizes::{Series, Size};
use anyhow::{Context as _, Result, bail};
use serde_json::Value;

/// Beginning of the guest's lines; a JSON object follows.
const PREFIX: &str = "netspectra-vm: ";

/// The guest's lines.
#[derive(Debug)]
pub(super) struct Outcome {
    lines: Vec<Value>,
}

/// Finds the guest's lines in `console`, which may hold the kernel's between them.
///
/// # Errors
/// The guest says that a check failed, or does not say that all of them passed.
pub(super) fn read(console: &str) -> Result<Outcome> {
    let lines: Vec<Value> = console
        .lines()
        .filter_map(|line| line.split_once(PREFIX))
        .map(|(_, json)| {
            serde_json::from_str(json.trim()).with_context(|| format!("the guest's line `{json}` is no JSON"))
        })
        .collect::<Result<_>>()?;
    match lines.last().map(|last| (last["ok"].as_bool(), last["error"].as_str())) {
        Some((Some(true), _)) => Ok(Outcome { lines }),
        Some((_, Some(error))) => bail!("{error}"),
        _ => bail!("the guest's program did not say how it ended"),
    }
}

impl Outcome {
    /// Lines for people.
    pub(super) fn shown(&self, release: &str) -> Vec<String> {
        self.lines.iter().filter(|l| l["ok"].is_null()).map(|line| format!("Linux {release}: {line}")).collect()
    }

    /// The hooks that were used are the best that a kernel of `series` has: TCX came with 6.6.
    ///
    /// # Errors
    /// Others were used.
    pub(super) fn require_hooks(&self, series: Series) -> Result<()> {
        let egress = if series >= Series(6, 6) { "tcx" } else { "clsact" };
        let found: Vec<(&str, &str)> = self
            .lines
            .iter()
            .filter_map(|line| line["attached"].as_array())
            .flatten()
            .map(|a| (a["ingress"].as_str().unwrap_or_default(), a["egress"].as_str().unwrap_or_default()))
            .collect();
        for expected in [("native-xdp", egress), ("generic-xdp", "clsact")] {
            if !found.contains(&expected) {
                bail!("expected ingress and egress at {expected:?}, found {found:?}");
            }
        }
        Ok(())
    }

    /// The loaded programs.
    pub(super) fn sizes(&self, series: &Series) -> Vec<Size> {
        let number = |value: &Value| value.as_u64().unwrap_or(0);
        let programs = self.lines.iter().filter_map(|line| Some((line, line["program"].as_str()?)));
        programs
            .map(|(line, program)| Size {
                series: *series,
                program: program.to_owned(),
                identity: line["identity"].as_str().unwrap_or_default().to_owned(),
                verified: number(&line["verified"]),
                instructions: number(&line["instructions"]),
                jited_bytes: number(&line["jited_bytes"]),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    const CONSOLE: &str = "\
SeaBIOS
[    1.0] netspectra-vm: {\"program\":\"p\",\"identity\":\"outer\",\"verified\":9,\"instructions\":3,\"jited_bytes\":2}\r
netspectra-vm: {\"attached\":[{\"iface\":\"ns0\",\"ingress\":\"native-xdp\",\"egress\":\"tcx\"}]}
netspectra-vm: {\"attached\":[{\"iface\":\"ns0\",\"ingress\":\"generic-xdp\",\"egress\":\"clsact\"}]}
";

    #[test]
    fn a_guest_that_says_nothing_or_no_has_failed() {
        let error = |text: &str| read(text).unwrap_err().to_string();
        assert_eq!(error(""), "the guest's program did not say how it ended");
        assert_eq!(error(CONSOLE), "the guest's program did not say how it ended");
        assert_eq!(error("netspectra-vm: {\"ok\":false,\"error\":\"oh no\"}"), "oh no");
        assert!(error("netspectra-vm: {\"ok\"").contains("is no JSON"));
    }

    #[test]
    fn the_hooks_must_be_the_best_of_the_kernel() {
        let outcome = read(&format!("{CONSOLE}netspectra-vm: {{\"ok\":true,\"error\":null}}")).unwrap();
        assert!(outcome.require_hooks(Series(6, 12)).is_ok());
        assert!(outcome.require_hooks(Series(6, 1)).unwrap_err().to_string().contains("clsact"));
        let sizes = outcome.sizes(&Series(6, 12));
        assert_eq!((sizes.len(), sizes.first().unwrap().verified), (1, 9));
    }
}
