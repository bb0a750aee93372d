//! Why brokers are not reached, in the words of who tried: an admin client does not say.

use netspectra_common::kafka::KafkaConfig;
use rdkafka::ClientContext;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, Producer as _, ProducerContext};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Time for one attempt to connect, and how often there is one.
const ATTEMPT: Duration = Duration::from_millis(500);
const ATTEMPTS: u32 = 4;

#[derive(Clone, Default)]
struct Listening(Arc<Mutex<Option<String>>>);

impl ClientContext for Listening {
    fn log(&self, _: RDKafkaLogLevel, _: &str, _: &str) {}

    fn error(&self, error: KafkaError, reason: &str) {
        // That all brokers are down follows from what was said before.
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::AllBrokersDown) {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| reason.to_owned());
        }
    }
}

impl ProducerContext for Listening {
    type DeliveryOpaque = ();

    fn delivery(&self, _: &rdkafka::producer::DeliveryResult<'_>, (): ()) {}
}

/// Connects once more and listens. `None` when it went well this time, or nothing was said. Cost: blocks for up to two seconds.
pub(super) fn reason(config: &KafkaConfig) -> Option<String> {
    let listening = Listening::default();
    let client = super::client(config, &[]).ok()?;
    let producer = BaseProducer::from_config_and_context(&client, listening.clone()).ok()?;
    for _ in 0..ATTEMPTS {
        if producer.client().fetch_metadata(None, ATTEMPT).is_ok() {
            return None;
        }
        producer.poll(Duration::from_millis(50));
        if let Some(reason) = listening.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Some(reason);
        }
    }
    None
}
