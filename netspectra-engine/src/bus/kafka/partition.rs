//! One partition, as its task reads it.

use super::member::Command;
use crate::partition::{Delivered, PartitionLog, Poison};
use netspectra_common::model::{LogEntry, Nanos};
use netspectra_common::ports::{BoxFuture, PortError};
use std::sync::mpsc::Sender;
use tokio::sync::mpsc::Receiver;
use tokio::task::spawn_blocking;

/// Messages that are read at once.
const AT_ONCE: usize = 64;

/// Reads a message, or says why it cannot be read.
pub type Decode = fn(&[u8]) -> Result<LogEntry, String>;

/// A message as the brokers have it.
pub(super) struct Queued {
    pub(super) offset: u64,
    pub(super) written: Nanos,
    pub(super) bytes: Vec<u8>,
}

/// A partition of the topic.
pub(super) struct TopicPartition {
    partition: u32,
    messages: Receiver<Queued>,
    commands: Sender<Command>,
    decode: Decode,
}

impl TopicPartition {
    pub(super) fn new(partition: u32, messages: Receiver<Queued>, commands: Sender<Command>, decode: Decode) -> Self {
        Self { partition, messages, commands, decode }
    }
}

impl PartitionLog for TopicPartition {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Vec<Delivered>>, PortError>> {
        Box::pin(async {
            let mut raw = Vec::with_capacity(AT_ONCE);
            if self.messages.recv_many(&mut raw, AT_ONCE).await == 0 {
                return Ok(None);
            }
            let decode = self.decode;
            let read = move |Queued { offset, written, bytes }: Queued| Delivered {
                offset,
                written,
                message: decode(&bytes).map_err(|reason| Poison { reason, bytes }),
            };
            spawn_blocking(move || Some(raw.into_iter().map(read).collect()))
                .await
                .map_err(|error| PortError::permanent("messages could not be read").because(error))
        })
    }

    fn stored(&mut self, offset: u64) {
        // A member that has left commits nothing, and nothing depends on it.
        let _ = self.commands.send(Command::Stored { partition: self.partition, offset });
    }
}
