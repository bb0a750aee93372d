//! How much of everything there may be at once, so that an analysis stays within `--memory`.
//!
//! What is kept is known by its size; what is there whatever is asked for was measured. What a bound holds back is reported
//! early, never lost: flows by `lack_of_resources`, windows in parts that add up, generations shorter than a second.

use netspectra_agent::payload::PayloadLimits;
use netspectra_agent::table::MESSAGE_BYTES;
use netspectra_common::model::{FlowRecord, Rollup};
use netspectra_engine::EngineConfig;

/// The program, sketches of open windows, sessions of dissectors, the report's lists, a Parquet row group.
const BASE: u64 = 192 << 20;
/// What the engine keeps of a flow, with its places in the table's lists.
const FLOW: u64 = 320;
/// What it keeps of a roll-up row.
const ROW: u64 = 110;
/// Generations on their way at the same time: 16 wait between two threads, the others are being read, counted and dropped.
const ON_THE_WAY: u64 = 20;
/// Least that can be asked for.
pub(super) const LEAST: u64 = 256 << 20;

/// Bounds that follow from an amount of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    /// Flows watched at the same time.
    pub(super) flows: usize,
    /// Rows of open windows.
    pub(super) rows: usize,
    /// Bytes of a generation's flows and messages.
    pub(super) generation: usize,
}

impl Bounds {
    /// Those of `bytes`, at least [`LEAST`].
    pub(super) fn of(bytes: u64) -> Self {
        let free = bytes.max(LEAST) - BASE;
        let share = |percent: u64| free / 100 * percent;
        Self {
            // All of them may end in one second, and are records then.
            flows: (share(60) / (FLOW + size_of::<FlowRecord>() as u64)) as usize,
            // A window is written at once.
            rows: (share(22) / (ROW + size_of::<Rollup>() as u64)) as usize,
            generation: (share(18) / ON_THE_WAY) as usize,
        }
    }

    /// `engine` within these bounds.
    pub(super) fn engine(&self, engine: EngineConfig) -> EngineConfig {
        EngineConfig {
            max_flows: engine.max_flows.min(self.flows),
            max_rollup_rows: engine.max_rollup_rows.min(self.rows),
            ..engine
        }
    }

    /// Limits of payloads within these bounds.
    pub(super) fn payloads(&self) -> PayloadLimits {
        let limits = PayloadLimits::default();
        // A generation ends before it has more, but for what one packet says.
        PayloadLimits { observed: limits.observed.max(self.generation / MESSAGE_BYTES + 65_536), ..limits }
    }
}

/// Bytes of an amount such as `512MiB`, `2GiB` or `1073741824`.
///
/// # Errors
/// What is none, or too little, in words.
pub(crate) fn parse(text: &str) -> Result<u64, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let shift = match unit.trim().to_ascii_lowercase().as_str() {
        "" => Some(0),
        "k" | "kib" => Some(10),
        "m" | "mib" => Some(20),
        "g" | "gib" => Some(30),
        "t" | "tib" => Some(40),
        _ => None,
    };
    let bytes = number.parse::<u64>().ok().zip(shift).and_then(|(number, shift)| number.checked_mul(1 << shift));
    match bytes {
        Some(bytes) if bytes >= LEAST => Ok(bytes),
        Some(_) | None => Err(format!("expected at least {} MiB, such as `512MiB` or `2GiB`", LEAST >> 20)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_have_units_of_1024_and_a_least() {
        assert_eq!(parse("1GiB"), Ok(1 << 30));
        assert_eq!(parse("512m"), Ok(512 << 20));
        assert_eq!(parse("268435456"), Ok(LEAST));
        for wrong in ["", "1", "255MiB", "1.5GiB", "1GB", "-1GiB", "99999999999TiB", "GiB"] {
            assert_eq!(parse(wrong), Err("expected at least 256 MiB, such as `512MiB` or `2GiB`".into()), "{wrong}");
        }
    }

    #[test]
    fn what_is_bounded_fits_into_what_was_asked_for() {
        for bytes in [LEAST, 1 << 30, 64 << 30] {
            let Bounds { flows, rows, generation } = Bounds::of(bytes);
            let record = FLOW + size_of::<FlowRecord>() as u64;
            let row = ROW + size_of::<Rollup>() as u64;
            let all = BASE + flows as u64 * record + rows as u64 * row + generation as u64 * ON_THE_WAY;
            assert!(all <= bytes && all > bytes / 100 * 98, "{all} of {bytes}");
        }
        let engine = Bounds::of(LEAST).engine(EngineConfig { max_flows: 7, ..EngineConfig::default() });
        assert_eq!((engine.max_flows, engine.max_rollup_rows), (7, Bounds::of(LEAST).rows));
    }
}
