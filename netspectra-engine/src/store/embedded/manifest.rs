use super::dataset::Dataset;
use super::disk;
use super::error::StoreError;
use super::generations::Generations;
use netspectra_common::model::Nanos;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Name of the file.
pub(super) const NAME: &str = "MANIFEST";
const VERSION: u32 = 1;
const TITLE: &str = "netspectra-manifest";

/// Which segments are live, and which logs they have made superfluous.
///
/// The file is a line `netspectra-manifest <version> <CRC-32 of the rest, hexadecimal>` and JSON. It is replaced as a
/// whole: what it says is what is stored, whatever other files a crash left behind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Manifest {
    /// Logs with a lower number are in segments.
    pub(super) log_floor: u64,
    /// The number of the next segment; never used twice.
    pub(super) next_segment: u64,
    /// The live segments.
    pub(super) segments: Vec<SegmentMeta>,
    /// Which generations were sealed; they stay noted when retention forgets their rows.
    #[serde(default)]
    pub(super) generations: Generations,
}

/// What is known of a segment without opening it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SegmentMeta {
    /// Its name in the directory.
    pub(super) file: String,
    /// What its rows are.
    pub(super) dataset: Dataset,
    /// How many.
    pub(super) rows: u64,
    /// Length of the file.
    pub(super) bytes: u64,
    /// First instant covered.
    pub(super) from: Nanos,
    /// First instant after.
    pub(super) to: Nanos,
    /// How often it was merged.
    pub(super) level: u32,
}

impl SegmentMeta {
    /// The name of segment `number`: dataset, number, and the time it covers in Unix milliseconds.
    pub(super) fn file_name(dataset: Dataset, number: u64, from: Nanos, to: Nanos) -> String {
        let ms = |at: Nanos| at.0 / 1_000_000;
        format!("{}-{number:010}-{}-{}{SUFFIX}", dataset.name(), ms(from), ms(to))
    }
}

const SUFFIX: &str = ".parquet";

/// Whether `name` is what a segment is called.
pub(super) fn is_segment(name: &str) -> bool {
    name.ends_with(SUFFIX)
        && Dataset::ALL.iter().any(|d| name.strip_prefix(d.name()).is_some_and(|rest| rest.starts_with('-')))
        && !name.contains('/')
}

impl Manifest {
    /// Reads the manifest of `dir`; `None` when there is none.
    pub(super) fn load(dir: &Path) -> Result<Option<Self>, StoreError> {
        let path = dir.join(NAME);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(StoreError::io(dir, "read", &path, source)),
        };
        let bad = |reason: String| StoreError::Manifest { path: path.clone(), reason };
        let text = std::str::from_utf8(&bytes).map_err(|_| bad("is not text".into()))?;
        let (head, body) = text.split_once('\n').ok_or_else(|| bad("has no first line".into()))?;
        let mut words = head.split(' ');
        if words.next() != Some(TITLE) {
            return Err(bad(format!("does not begin with `{TITLE}`")));
        }
        let version = words.next().and_then(|w| w.parse().ok()).ok_or_else(|| bad("states no version".into()))?;
        if version != VERSION {
            return Err(StoreError::Version { path, found: version, expected: VERSION });
        }
        let found = crc32fast::hash(body.as_bytes());
        if words.next().and_then(|w| u32::from_str_radix(w, 16).ok()) != Some(found) {
            return Err(bad(format!("does not have the checksum it states, expected {found:08x}")));
        }
        let manifest: Self = serde_json::from_str(body).map_err(|e| bad(format!("is not what it should be: {e}")))?;
        match manifest.segments.iter().find(|s| !is_segment(&s.file)) {
            Some(other) => Err(bad(format!("lists `{}`, which is no name of a segment", other.file))),
            None => Ok(Some(manifest)),
        }
    }

    /// Replaces the manifest of `dir`; `false` when that may not survive a power failure, see [`disk::replace`].
    pub(super) fn save(&self, dir: &Path) -> Result<bool, StoreError> {
        let body = serde_json::to_string_pretty(self)
            .map_err(|e| StoreError::Encode { dataset: "manifest", reason: e.to_string() })?;
        let text = format!("{TITLE} {VERSION} {:08x}\n{body}", crc32fast::hash(body.as_bytes()));
        disk::replace(dir, NAME, text.as_bytes())
    }
}
