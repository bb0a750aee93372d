//! The log in Kafka, as agents write it.
//!
//! One topic, keyed by node: what a node says stays in order, in one partition. Generations go one after the other, each
//! acknowledged by all replicas before the next begins and before the kernel's tables are used again, so what was not
//! acknowledged is still in the kernel. A producer that is told to give up for good is replaced and the generation sent
//! again: engines know its messages by their names.

use netspectra_common::kafka::{Compression, KafkaConfig, KafkaConfigError, MAX_MESSAGE_BYTES};
use netspectra_common::model::BusMessage;
use netspectra_common::ports::{BoxFuture, PortError, Publisher};
use netspectra_common::report::Sparing;
use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Messages in the producer at most; one more waits.
const QUEUED_MESSAGES: usize = 10_000;
/// KiB in the producer at most.
const QUEUED_KIB: usize = 256 * 1024;
/// Wait before a generation is sent again.
const AGAIN: Duration = Duration::from_secs(1);

/// Why there is no producer.
#[derive(Debug, thiserror::Error)]
pub enum KafkaSetupError {
    /// The settings.
    #[error(transparent)]
    Config(#[from] KafkaConfigError),
    /// The client library.
    #[error("Kafka's client refuses the settings: look at `kafka.properties`")]
    Client(#[source] KafkaError),
}

/// Counters of a publisher.
#[derive(Debug, Default)]
pub struct PublisherStats {
    /// Messages that all replicas have.
    pub delivered_messages: AtomicU64,
    /// Bytes of these, before compression.
    pub delivered_bytes: AtomicU64,
    /// Generations sent again, whole.
    pub resent_generations: AtomicU64,
    /// Errors of connections and brokers.
    pub errors: AtomicU64,
    /// Milliseconds that publishing has waited for acknowledgements.
    pub waited_ms: AtomicU64,
}

type Connected = FutureProducer<Context>;

/// Writes generations to Kafka. See [`Publisher`].
pub struct KafkaPublisher {
    config: ClientConfig,
    topic: String,
    encode: fn(&BusMessage) -> Vec<u8>,
    producer: Mutex<Connected>,
    stats: Arc<PublisherStats>,
}

impl KafkaPublisher {
    /// A publisher of messages in the bytes of `encode`. Asks no broker: one that is away is waited for.
    ///
    /// # Errors
    /// Settings that cannot be used.
    pub fn new(config: &KafkaConfig, encode: fn(&BusMessage) -> Vec<u8>) -> Result<Self, KafkaSetupError> {
        let mut client = ClientConfig::new();
        let compression = match config.compression {
            Compression::None => "none",
            Compression::Lz4 => "lz4",
            Compression::Zstd => "zstd",
        };
        for (name, value) in [
            // Acknowledged by all replicas, in order, once.
            ("enable.idempotence", "true".to_owned()),
            ("acks", "all".to_owned()),
            // An outage is waited for, however long: what waits is bounded by one generation.
            ("message.timeout.ms", "0".to_owned()),
            ("linger.ms", "2".to_owned()),
            // A topic that brokers make by themselves has other settings than ours.
            ("allow.auto.create.topics", "false".to_owned()),
            ("compression.type", compression.to_owned()),
            // What Java's clients do: another client finds a node's partition too.
            ("partitioner", "murmur2_random".to_owned()),
            ("message.max.bytes", (MAX_MESSAGE_BYTES + 64 * 1024).to_string()),
            ("queue.buffering.max.messages", QUEUED_MESSAGES.to_string()),
            ("queue.buffering.max.kbytes", QUEUED_KIB.to_string()),
        ] {
            client.set(name, value);
        }
        for (name, value) in config.client_properties()? {
            client.set(name, value);
        }
        client.set_log_level(RDKafkaLogLevel::Warning);
        let stats = Arc::<PublisherStats>::default();
        let producer = Mutex::new(connect(&client, &stats).map_err(KafkaSetupError::Client)?);
        Ok(Self { config: client, topic: config.topic.clone(), encode, producer, stats })
    }

    /// Counters.
    pub fn stats(&self) -> Arc<PublisherStats> {
        self.stats.clone()
    }

    async fn send(&self, messages: &[(String, Vec<u8>)]) -> Result<(), KafkaError> {
        let producer = self.producer.lock().unwrap_or_else(PoisonError::into_inner).clone();
        // A bus of more than is in the queue waits in `send`; order is that of the calls.
        let mut waiting = Vec::with_capacity(messages.len());
        for (key, payload) in messages {
            waiting.push(enqueue(&producer, &self.topic, key, payload).await?);
        }
        for delivery in waiting {
            match delivery.await {
                Ok(Ok(_)) => {}
                Ok(Err((error, _))) => return Err(error),
                Err(_) => return Err(KafkaError::Canceled),
            }
        }
        Ok(())
    }

    async fn publish_all(&self, messages: Vec<BusMessage>) -> Result<(), PortError> {
        let encoded: Vec<(String, Vec<u8>)> =
            messages.iter().map(|m| (m.node().to_string(), (self.encode)(m))).collect();
        drop(messages);
        if let Some((_, large)) = encoded.iter().find(|(_, bytes)| bytes.len() > MAX_MESSAGE_BYTES) {
            let found = large.len();
            return Err(PortError::permanent(format!(
                "a message has {found} bytes, expected at most {MAX_MESSAGE_BYTES}: take smaller chunks"
            )));
        }
        let began = Instant::now();
        let result = self.until_delivered(&encoded).await;
        self.stats.waited_ms.fetch_add(began.elapsed().as_millis() as u64, Ordering::Relaxed);
        result?;
        let bytes: usize = encoded.iter().map(|(_, bytes)| bytes.len()).sum();
        self.stats.delivered_messages.fetch_add(encoded.len() as u64, Ordering::Relaxed);
        self.stats.delivered_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        Ok(())
    }

    async fn until_delivered(&self, encoded: &[(String, Vec<u8>)]) -> Result<(), PortError> {
        loop {
            let Err(error) = self.send(encoded).await else { return Ok(()) };
            if error.rdkafka_error_code() == Some(RDKafkaErrorCode::MessageSizeTooLarge) {
                return Err(PortError::permanent(format!(
                    "topic `{}` refuses messages of {MAX_MESSAGE_BYTES} bytes: raise its `max.message.bytes` (see `netspectra admin topics`)",
                    self.topic
                ))
                .because(error));
            }
            self.stats.resent_generations.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(%error, topic = self.topic, "Kafka refused a generation: it is sent again");
            tokio::time::sleep(AGAIN).await;
            // What is left of the refused one must not come behind the new one.
            let fresh = connect(&self.config, &self.stats)
                .map_err(|e| PortError::permanent("Kafka's client refuses its settings").because(e))?;
            let old = std::mem::replace(&mut *self.producer.lock().unwrap_or_else(PoisonError::into_inner), fresh);
            old.purge(rdkafka::producer::PurgeConfig::default().queue().inflight());
        }
    }
}

impl Publisher for KafkaPublisher {
    fn publish(&self, messages: Vec<BusMessage>) -> BoxFuture<'_, Result<(), PortError>> {
        Box::pin(self.publish_all(messages))
    }
}

/// Puts a message into the producer's queue; waits while that is full.
async fn enqueue(
    producer: &Connected,
    topic: &str,
    key: &str,
    payload: &[u8],
) -> Result<rdkafka::producer::DeliveryFuture, KafkaError> {
    let mut record = FutureRecord::to(topic).key(key).payload(payload);
    loop {
        match producer.send_result(record) {
            Ok(delivery) => return Ok(delivery),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                record = back;
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            Err((error, _)) => return Err(error),
        }
    }
}

fn connect(config: &ClientConfig, stats: &Arc<PublisherStats>) -> Result<Connected, KafkaError> {
    FutureProducer::from_config_and_context(config, Context { stats: stats.clone(), warnings: Sparing::default() })
}

/// Hears what the client says of brokers.
struct Context {
    stats: Arc<PublisherStats>,
    warnings: Sparing,
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, fac: &str, message: &str) {
        tracing::debug!(?level, fac, message, "librdkafka");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.stats.errors.fetch_add(1, Ordering::Relaxed);
        if self.warnings.is_due(Instant::now()) {
            tracing::warn!(%error, reason, "Kafka is not reached: waiting, and counting on");
        }
    }
}
