use netspectra_common::kafka::KafkaConfigError;

/// Why Kafka cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KafkaError {
    /// A setting.
    #[error(transparent)]
    Config(#[from] KafkaConfigError),
    /// The client library refuses.
    #[error("Kafka's client refuses its settings: look at `kafka.properties`")]
    Client(#[source] rdkafka::error::KafkaError),
    /// The brokers do not answer, or refuse.
    #[error("{what}")]
    Broker {
        /// What was asked.
        what: String,
        /// What they said.
        #[source]
        source: rdkafka::error::KafkaError,
    },
    /// A topic is not there.
    #[error("topic `{0}` does not exist: make it with `netspectra admin topics --create`")]
    NoTopic(String),
    /// The client's thread cannot be started.
    #[error("no thread for Kafka's client")]
    Thread(#[source] std::io::Error),
}
