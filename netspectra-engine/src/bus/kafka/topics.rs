//! The topics: made, and held against what is expected.

use super::error::KafkaError;
use super::reason::reason;
use netspectra_common::kafka::{KafkaConfig, MAX_MESSAGE_BYTES};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::types::RDKafkaErrorCode;
use std::fmt;
use std::time::Duration;

/// Time for a call.
const CALL: Duration = Duration::from_secs(15);

/// How the topics are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicPlan {
    /// Partitions of the topic of flows: as many engines can work side by side.
    pub partitions: u32,
    /// Brokers that have each message.
    pub replication: u16,
    /// How long messages are kept: the longest outage of all engines that loses nothing.
    pub retention: Duration,
}

impl Default for TopicPlan {
    /// 16 partitions, three replicas, two days.
    fn default() -> Self {
        Self { partitions: 16, replication: 3, retention: Duration::from_secs(48 * 3600) }
    }
}

/// A topic that is not as planned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TopicDifference {
    /// It is not there.
    Missing {
        /// Its name.
        topic: String,
    },
    /// Another number of partitions. More can be had; with fewer, or after more, nodes go to other partitions.
    Partitions {
        /// Its name.
        topic: String,
        /// How many there are.
        found: usize,
        /// How many were planned.
        planned: u32,
    },
    /// Brokers are away, or behind: the topic has fewer copies than it is made for.
    Behind {
        /// Its name.
        topic: String,
        /// How many partitions have fewer copies.
        partitions: usize,
    },
    /// A setting is another one, or too small.
    Setting {
        /// Its name.
        topic: String,
        /// The setting.
        name: &'static str,
        /// What it is.
        found: String,
        /// What it should be.
        planned: String,
    },
}

impl fmt::Display for TopicDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { topic } => write!(f, "topic `{topic}` does not exist: make it with --create"),
            Self::Partitions { topic, found, planned } => write!(
                f,
                "topic `{topic}` has {found} partitions, expected {planned}: say so with --partitions {found}, or add some \
                 while no agent runs"
            ),
            Self::Behind { topic, partitions } => write!(
                f,
                "topic `{topic}` has {partitions} partitions with fewer copies in sync than replicas: see that all brokers run"
            ),
            Self::Setting { topic, name, found, planned } => write!(
                f,
                "topic `{topic}` has `{name}` {found}, expected {planned}: change it with \
                 `kafka-configs.sh --alter --entity-type topics --entity-name {topic} --add-config {name}={planned}`"
            ),
        }
    }
}

fn admin(config: &KafkaConfig) -> Result<AdminClient<DefaultClientContext>, KafkaError> {
    super::client(config, &[])?.create().map_err(KafkaError::Client)
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(CALL)).operation_timeout(Some(CALL))
}

/// What was asked in vain, and what the brokers say of it.
fn refused(config: &KafkaConfig, what: &str) -> impl FnOnce(rdkafka::error::KafkaError) -> KafkaError {
    move |source| {
        let what = match reason(config) {
            Some(reason) => format!("{what}: {reason}"),
            None => what.to_owned(),
        };
        KafkaError::Broker { what, source }
    }
}

/// Brokers say when a message came, so that nodes' clocks do not matter.
const TIMES: (&str, &str) = ("message.timestamp.type", "LogAppendTime");

/// Settings of a topic as planned, each of whose partitions is on so many brokers.
///
/// All but one of them must have a message before it counts as written: any one broker may be lost then with all it has, and while one
/// is away agents go on.
fn settings(plan: &TopicPlan, replicas: u64) -> [(&'static str, u64); 3] {
    let bytes = (MAX_MESSAGE_BYTES + 128 * 1024) as u64;
    let in_sync = replicas.saturating_sub(1).max(1);
    [
        ("retention.ms", plan.retention.as_millis() as u64),
        ("max.message.bytes", bytes),
        ("min.insync.replicas", in_sync),
    ]
}

/// Makes the topics that are not there; returns the names of those made.
///
/// # Errors
/// Brokers that do not answer or refuse, by topic.
pub async fn create_topics(config: &KafkaConfig, plan: &TopicPlan) -> Result<Vec<String>, KafkaError> {
    let admin = admin(config)?;
    let settings = settings(plan, plan.replication.into()).map(|(name, value)| (name, value.to_string()));
    let mut made = Vec::new();
    for (name, partitions) in [(&config.topic, plan.partitions), (&config.dead_letters, 1)] {
        let replication = TopicReplication::Fixed(i32::from(plan.replication));
        let mut topic = NewTopic::new(name, i32::try_from(partitions).unwrap_or(i32::MAX), replication);
        for (name, value) in &settings {
            topic = topic.set(name, value);
        }
        topic = topic.set(TIMES.0, TIMES.1);
        let what = format!("topic `{name}` cannot be made on `{}`", config.brokers);
        let results = admin.create_topics([&topic], &options()).await.map_err(refused(config, &what))?;
        for result in results {
            match result {
                Ok(name) => made.push(name),
                Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((_, code)) => return Err(refused(config, &what)(rdkafka::error::KafkaError::AdminOp(code))),
            }
        }
    }
    Ok(made)
}

/// What is not as planned. More than planned is as good.
///
/// # Errors
/// Brokers that do not answer.
pub async fn check_topics(config: &KafkaConfig, plan: &TopicPlan) -> Result<Vec<TopicDifference>, KafkaError> {
    let admin = admin(config)?;
    let mut found = Vec::new();
    for (topic, partitions) in [(&config.topic, plan.partitions), (&config.dead_letters, 1)] {
        let what = format!("`{}` does not answer for topic `{topic}`", config.brokers);
        // Of all topics: brokers may make one that is asked for by its name.
        let metadata = admin.inner().fetch_metadata(None, CALL).map_err(refused(config, &what))?;
        let Some(there) = metadata.topics().iter().find(|t| t.name() == topic && t.error().is_none()) else {
            found.push(TopicDifference::Missing { topic: topic.clone() });
            continue;
        };
        let count = there.partitions().len();
        let replicas = there.partitions().iter().map(|p| p.replicas().len()).min().unwrap_or(0) as u64;
        let behind = there.partitions().iter().filter(|p| p.isr().len() < p.replicas().len()).count();
        if behind > 0 {
            found.push(TopicDifference::Behind { topic: topic.clone(), partitions: behind });
        }
        if topic == &config.topic && count != partitions as usize {
            found.push(TopicDifference::Partitions { topic: topic.clone(), found: count, planned: partitions });
        }
        let described = admin.describe_configs([&ResourceSpecifier::Topic(topic)], &options()).await;
        for resource in described.map_err(refused(config, &what))?.into_iter().flatten() {
            let times = resource.get(TIMES.0).and_then(|entry| entry.value.clone()).unwrap_or_default();
            if times != TIMES.1 {
                let (topic, planned) = (topic.clone(), TIMES.1.to_owned());
                found.push(TopicDifference::Setting { topic, name: TIMES.0, found: times, planned });
            }
            for (name, planned) in settings(plan, replicas) {
                let value = resource.get(name).and_then(|entry| entry.value.clone()).unwrap_or_default();
                // -1 is without limit.
                if value.parse::<i64>().is_ok_and(|v| v >= 0 && (v as u64) < planned) {
                    let planned = planned.to_string();
                    found.push(TopicDifference::Setting { topic: topic.clone(), name, found: value, planned });
                }
            }
        }
    }
    Ok(found)
}
