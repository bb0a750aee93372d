use super::frame::MAX_PAYLOAD;
use crate::store::embedded::dataset::Dataset;
use crate::store::embedded::error::StoreError;
use crate::store::embedded::rows::{self, DecodeError, Record};
use arrow::buffer::Buffer;
use arrow::error::ArrowError;
use arrow::ipc::MetadataVersion;
use arrow::ipc::reader::StreamDecoder;
use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};
use netspectra_common::model::{Alert, AppMessage, FlowRecord, LedgerEntry, Rollup, WindowState};
use netspectra_common::ports::StoreBatch;
use std::panic::{AssertUnwindSafe, catch_unwind};

const KIND_SCHEMAS: u8 = 0;
const KIND_BATCH: u8 = 1;
/// Rows of a section at most: keeps the offsets of large columns inside 31 bits.
const SECTION_ROWS: usize = 65_536;

/// Why a payload is not a batch.
#[derive(Debug, thiserror::Error)]
pub(super) enum PayloadError {
    #[error("kind {0} is not known")]
    Kind(u8),
    #[error("dataset {0} is not known")]
    Dataset(u8),
    #[error("a section ends early")]
    Truncated,
    #[error("the decoder gave up")]
    Panicked,
    #[error(transparent)]
    Rows(#[from] DecodeError),
    #[error(transparent)]
    Arrow(#[from] ArrowError),
}

/// Writes batches as payloads. Schemas go into the file once, not into every frame: they are most of a small batch.
pub(in crate::store::embedded) struct Encoder {
    writers: [StreamWriter<Vec<u8>>; Dataset::ALL.len()],
}

impl Encoder {
    /// An encoder and the payload of a file's first frame.
    pub(in crate::store::embedded) fn new() -> Result<(Self, Vec<u8>), StoreError> {
        let mut payload = vec![KIND_SCHEMAS];
        let mut writer = |dataset: Dataset| {
            let mut w = open(dataset).map_err(|e| encode_error(dataset, &e))?;
            section(&mut payload, dataset, &std::mem::take(w.get_mut()));
            Ok::<_, StoreError>(w)
        };
        let writers = [
            writer(Dataset::Flows)?,
            writer(Dataset::Rollups)?,
            writer(Dataset::Windows)?,
            writer(Dataset::Ledger)?,
            writer(Dataset::Alerts)?,
            writer(Dataset::Messages)?,
        ];
        Ok((Self { writers }, payload))
    }

    /// `batch` as one payload.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`] beyond 1 GiB.
    pub(in crate::store::embedded) fn encode(&mut self, batch: &StoreBatch) -> Result<Vec<u8>, StoreError> {
        let mut payload = vec![KIND_BATCH];
        self.rows::<FlowRecord>(batch, &mut payload)?;
        self.rows::<Rollup>(batch, &mut payload)?;
        self.rows::<WindowState>(batch, &mut payload)?;
        self.rows::<LedgerEntry>(batch, &mut payload)?;
        self.rows::<Alert>(batch, &mut payload)?;
        self.rows::<AppMessage>(batch, &mut payload)?;
        Ok(payload)
    }

    fn rows<R: Record>(&mut self, batch: &StoreBatch, payload: &mut Vec<u8>) -> Result<(), StoreError> {
        let writer = &mut self.writers[usize::from(R::DATASET.tag())];
        for rows in R::of(batch).chunks(SECTION_ROWS.min(R::ROW_GROUP)) {
            let rows: Vec<&R> = rows.iter().collect();
            let written = R::encode(&rows).and_then(|columns| writer.write(&columns));
            let message = std::mem::take(writer.get_mut());
            written.map_err(|e| encode_error(R::DATASET, &e))?;
            let found = payload.len() + message.len();
            if found + 5 > MAX_PAYLOAD {
                return Err(StoreError::TooLarge { found, limit: MAX_PAYLOAD });
            }
            section(payload, R::DATASET, &message);
        }
        Ok(())
    }
}

fn open(dataset: Dataset) -> Result<StreamWriter<Vec<u8>>, ArrowError> {
    // Eight bytes of alignment instead of 64: most batches are small.
    let options = IpcWriteOptions::try_new(8, false, MetadataVersion::V5)?;
    StreamWriter::try_new_with_options(Vec::new(), rows::schema(dataset)?.as_ref(), options)
}

fn encode_error(dataset: Dataset, error: &ArrowError) -> StoreError {
    StoreError::Encode { dataset: dataset.name(), reason: error.to_string() }
}

fn section(payload: &mut Vec<u8>, dataset: Dataset, bytes: &[u8]) {
    payload.push(dataset.tag());
    payload.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    payload.extend_from_slice(bytes);
}

/// Reads the payloads of one file, in order.
pub(super) struct Decoder {
    streams: [Vec<u8>; Dataset::ALL.len()],
}

impl Decoder {
    /// Knows the schemas of this build, in case those of the file are damaged.
    pub(super) fn new() -> Result<Self, StoreError> {
        let mut streams: [Vec<u8>; Dataset::ALL.len()] = Default::default();
        for (stream, dataset) in streams.iter_mut().zip(Dataset::ALL) {
            *stream = std::mem::take(open(dataset).map_err(|e| encode_error(dataset, &e))?.get_mut());
        }
        Ok(Self { streams })
    }

    /// Reads a payload whose checksum is right; `None` when it holds schemas.
    ///
    /// The checksum says that the bytes are those that were written, not that a friend wrote them: a decoder that
    /// panics on them costs the frame only.
    pub(super) fn decode(&mut self, payload: Vec<u8>) -> Result<Option<StoreBatch>, PayloadError> {
        catch_unwind(AssertUnwindSafe(|| self.decode_payload(payload))).unwrap_or(Err(PayloadError::Panicked))
    }

    fn decode_payload(&mut self, payload: Vec<u8>) -> Result<Option<StoreBatch>, PayloadError> {
        let payload = Buffer::from_vec(payload);
        let kind = *payload.first().ok_or(PayloadError::Truncated)?;
        let mut batch = StoreBatch::default();
        let mut rest = payload.slice(1);
        while !rest.is_empty() {
            let header: [u8; 5] = *rest.as_slice().first_chunk().ok_or(PayloadError::Truncated)?;
            let dataset = Dataset::from_tag(header[0]).ok_or(PayloadError::Dataset(header[0]))?;
            let len = u32::from_le_bytes([header[1], header[2], header[3], header[4]]) as usize;
            rest.advance(5);
            if rest.len() < len {
                return Err(PayloadError::Truncated);
            }
            let body = rest.slice_with_length(0, len);
            rest.advance(len);
            match kind {
                KIND_SCHEMAS => self.streams[usize::from(dataset.tag())] = body.as_slice().to_vec(),
                KIND_BATCH => rows::with_record!(dataset, R => self.rows::<R>(body, &mut batch))?,
                other => return Err(PayloadError::Kind(other)),
            }
        }
        Ok((kind != KIND_SCHEMAS).then_some(batch))
    }

    fn rows<R: Record>(&self, body: Buffer, batch: &mut StoreBatch) -> Result<(), PayloadError> {
        // A decoder per section: one that failed would take the rest of the file with it.
        let mut stream = StreamDecoder::new();
        let mut decoder = R::Decoder::default();
        let mut schema = Buffer::from(self.streams[usize::from(R::DATASET.tag())].as_slice());
        let mut body = body;
        while !schema.is_empty() {
            stream.decode(&mut schema)?;
        }
        while !body.is_empty() {
            if let Some(columns) = stream.decode(&mut body)? {
                R::decode(&mut decoder, &columns, &mut |row| R::of_mut(batch).push(row))?;
            }
        }
        stream.finish()?;
        Ok(())
    }
}
