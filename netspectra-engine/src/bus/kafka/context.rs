//! What the client library tells of its membership.

use crate::partition::GroupEvent;
use netspectra_common::ports::PortError;
use netspectra_common::report::Sparing;
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::TopicPartitionList;
use std::collections::HashSet;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::UnboundedSender;

/// Time that the owner of a revoked partition has to let go of it. Less than the group waits; whoever takes longer writes
/// what the next owner writes too.
const LET_GO: Duration = Duration::from_secs(10);

/// What the member is told.
pub(super) type Event = Result<GroupEvent, PortError>;

/// Hears of rebalances, in the thread that polls.
pub(super) struct Context {
    /// At most one event for each partition and rebalance.
    events: UnboundedSender<Event>,
    released: Mutex<Receiver<u32>>,
    /// Revoked since the thread looked last: what is queued of them goes.
    revoked: Mutex<Vec<u32>>,
    warnings: Sparing,
}

impl Context {
    pub(super) fn new(events: UnboundedSender<Event>, released: Receiver<u32>) -> Self {
        Self { events, released: Mutex::new(released), revoked: Mutex::default(), warnings: Sparing::default() }
    }

    /// Says that nothing will come any more, and why.
    pub(super) fn fail(&self, error: PortError) {
        let _ = self.events.send(Err(error));
    }

    /// Partitions revoked since this was asked last.
    pub(super) fn take_revoked(&self) -> Vec<u32> {
        std::mem::take(&mut *self.revoked.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Tells the owner, and waits until it has let go.
    fn revoke(&self, list: &TopicPartitionList) {
        let mut waiting: HashSet<u32> = partitions(list).collect();
        self.revoked.lock().unwrap_or_else(PoisonError::into_inner).extend(&waiting);
        waiting.retain(|partition| self.events.send(Ok(GroupEvent::Revoked(*partition))).is_ok());
        let released = self.released.lock().unwrap_or_else(PoisonError::into_inner);
        let until = Instant::now() + LET_GO;
        while !waiting.is_empty() {
            match released.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(partition) => {
                    waiting.remove(&partition);
                }
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {
                    tracing::warn!(partitions = ?waiting, "partitions go to others while they are still being written here");
                    return;
                }
            }
        }
    }
}

fn partitions(list: &TopicPartitionList) -> impl Iterator<Item = u32> + '_ {
    list.elements().into_iter().filter_map(|element| u32::try_from(element.partition()).ok())
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, fac: &str, message: &str) {
        tracing::debug!(?level, fac, message, "librdkafka");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if self.warnings.is_due(Instant::now()) {
            tracing::warn!(%error, reason, "Kafka is not reached: waiting");
        }
    }
}

impl ConsumerContext for Context {
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Revoke(list) => self.revoke(list),
            Rebalance::Assign(_) => {}
            Rebalance::Error(error) => tracing::warn!(%error, "the group could not share out its partitions"),
        }
    }

    fn post_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let Rebalance::Assign(list) = rebalance else { return };
        // Nothing is read before the owner has said from where.
        if let Err(error) = consumer.pause(list) {
            tracing::warn!(%error, "partitions could not be held back");
        }
        for partition in partitions(list) {
            let _ = self.events.send(Ok(GroupEvent::Assigned(partition)));
        }
    }
}
