//! The log in Kafka, as engines read it: a member of a group of consumers, its partitions, and the dead letters.

mod context;
mod error;
mod member;
mod notes;
mod partition;
mod reason;
mod topics;

pub use error::KafkaError;
pub use member::{Member, MemberStats};
pub use notes::KafkaNotes;
pub use partition::Decode;
pub use topics::{TopicDifference, TopicPlan, check_topics, create_topics};

use netspectra_common::kafka::KafkaConfig;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};

/// A client's settings: `ours`, then those of the configuration.
fn client(config: &KafkaConfig, ours: &[(&str, &str)]) -> Result<ClientConfig, KafkaError> {
    let mut client = ClientConfig::new();
    for (name, value) in ours {
        client.set(*name, *value);
    }
    for (name, value) in config.client_properties()? {
        client.set(name, value);
    }
    client.set_log_level(RDKafkaLogLevel::Warning);
    Ok(client)
}
