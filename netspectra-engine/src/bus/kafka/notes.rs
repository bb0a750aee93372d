//! What engines write themselves: messages that cannot be read, into a topic of their own, and ticks.

use super::error::KafkaError;
use crate::partition::{Notes, Poison};
use netspectra_common::kafka::KafkaConfig;
use netspectra_common::ports::{BoxFuture, PortError};
use rdkafka::ClientContext;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::util::Timeout;
use std::time::Duration;

/// Writes to the topic of dead letters the bytes as they were, with `topic`, `partition`, `offset` and `reason` as headers; and
/// ticks into partitions.
pub struct KafkaNotes {
    producer: FutureProducer<Quiet>,
    dead_letters: String,
    tick: Vec<u8>,
}

/// Time that a tick waits for room in the producer's queue.
const IN_QUEUE: Duration = Duration::from_secs(1);

/// The group's own client says what is wrong with the brokers.
struct Quiet;

impl ClientContext for Quiet {
    fn log(&self, level: RDKafkaLogLevel, fac: &str, message: &str) {
        tracing::debug!(?level, fac, message, "librdkafka");
    }

    fn error(&self, error: rdkafka::error::KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "the dead letters");
    }
}

impl KafkaNotes {
    /// Asks no broker yet. `tick` is what is written where nobody else writes.
    ///
    /// # Errors
    /// Settings that cannot be used.
    pub fn new(config: &KafkaConfig, tick: Vec<u8>) -> Result<Self, KafkaError> {
        let client = super::client(
            config,
            &[
                ("enable.idempotence", "true"),
                ("acks", "all"),
                ("message.timeout.ms", "30000"),
                ("message.max.bytes", "16777216"),
            ],
        )?;
        let producer = FutureProducer::from_config_and_context(&client, Quiet).map_err(KafkaError::Client)?;
        Ok(Self { producer, dead_letters: config.dead_letters.clone(), tick })
    }
}

impl Notes for KafkaNotes {
    fn bury<'a>(
        &'a self,
        topic: &'a str,
        partition: u32,
        offset: u64,
        poison: &'a Poison,
    ) -> BoxFuture<'a, Result<(), PortError>> {
        Box::pin(async move {
            let (partition, offset) = (partition.to_string(), offset.to_string());
            let headers =
                [("topic", topic), ("partition", &partition), ("offset", &offset), ("reason", &poison.reason)]
                    .into_iter()
                    .fold(OwnedHeaders::new(), |headers, (key, value)| {
                        headers.insert(Header { key, value: Some(value) })
                    });
            // The same message comes to the same place when it is met again.
            let key = format!("{topic}/{partition}/{offset}");
            let record = FutureRecord::to(&self.dead_letters).key(&key).payload(&poison.bytes).headers(headers);
            match self.producer.send(record, Timeout::Never).await {
                Ok(_) => Ok(()),
                Err((error, _)) => Err(PortError::transient(format!(
                    "topic `{}` does not take a message that cannot be read",
                    self.dead_letters
                ))
                .because(error)),
            }
        })
    }

    fn tick<'a>(&'a self, topic: &'a str, partition: u32) -> BoxFuture<'a, Result<(), PortError>> {
        Box::pin(async move {
            let partition = i32::try_from(partition).unwrap_or(i32::MAX);
            let record = FutureRecord::<(), _>::to(topic).partition(partition).payload(&self.tick);
            match self.producer.send(record, Timeout::After(IN_QUEUE)).await {
                Ok(_) => Ok(()),
                Err((error, _)) => Err(PortError::transient(format!("topic `{topic}` takes no tick")).because(error)),
            }
        })
    }
}
