//! Membership in the group: one thread polls the client library and deals messages out to partitions.

use super::context::{Context, Event};
use super::error::KafkaError as SetupError;
use super::partition::{Decode, Queued, TopicPartition};
use crate::partition::{GroupEvent, GroupLog, PartitionLog};
use netspectra_common::kafka::KafkaConfig;
use netspectra_common::model::Nanos;
use netspectra_common::ports::{BoxFuture, PortError};
use rdkafka::Message;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{self, UnboundedReceiver, unbounded_channel};

/// Wait for a message before commands are looked at.
const POLL: Duration = Duration::from_millis(20);
/// Messages of a partition that wait for its task; more stay with the brokers.
const QUEUE: usize = 64;
/// Time for a call to the brokers.
const CALL: Duration = Duration::from_secs(5);
/// How often offsets are committed and the lag is looked up.
const COMMIT: Duration = Duration::from_secs(1);

/// What owners tell the thread.
pub(super) enum Command {
    Open { partition: u32, from: Option<u64>, to: mpsc::Sender<Queued> },
    Close(u32),
    Stored { partition: u32, offset: u64 },
    End,
}

/// How far the group is, by partition.
#[derive(Clone, Debug, Default)]
pub struct MemberStats {
    /// Messages in the log behind the last one that was read.
    pub lag: BTreeMap<u32, u64>,
    /// Times that partitions were shared out anew.
    pub rebalances: u64,
    /// Messages read.
    pub messages: u64,
}

/// A member of the group.
pub struct Member {
    events: UnboundedReceiver<Event>,
    commands: Sender<Command>,
    released: Sender<u32>,
    decode: Decode,
    stats: Arc<Mutex<MemberStats>>,
    thread: Option<JoinHandle<()>>,
}

impl Member {
    /// Joins the group. Brokers that are away are waited for.
    ///
    /// # Errors
    /// Settings that cannot be used.
    pub fn join(config: &KafkaConfig, decode: Decode) -> Result<Self, SetupError> {
        let session = config.session_timeout_ms.to_string();
        let beat = (config.session_timeout_ms / 4).max(250).to_string();
        let mut client = super::client(
            config,
            &[
                ("group.id", &config.group),
                ("partition.assignment.strategy", "cooperative-sticky"),
                ("enable.auto.commit", "false"),
                ("enable.auto.offset.store", "false"),
                ("auto.offset.reset", "earliest"),
                ("session.timeout.ms", &session),
                ("heartbeat.interval.ms", &beat),
                ("max.poll.interval.ms", "300000"),
                ("queued.max.messages.kbytes", "65536"),
                ("fetch.message.max.bytes", "8388608"),
                ("fetch.wait.max.ms", "50"),
                ("enable.partition.eof", "false"),
            ],
        )?;
        let (events_to, events) = unbounded_channel();
        let (released, released_from) = channel();
        let (commands, commands_from) = channel();
        if let Some(instance) = &config.instance {
            client.set("group.instance.id", instance);
        }
        let context = Context::new(events_to, released_from);
        let consumer = BaseConsumer::from_config_and_context(&client, context).map_err(SetupError::Client)?;
        consumer.subscribe(&[&config.topic]).map_err(SetupError::Client)?;
        let stats = Arc::<Mutex<MemberStats>>::default();
        let mut poller = Poller {
            consumer,
            topic: config.topic.clone(),
            commands: commands_from,
            open: HashMap::new(),
            opening: VecDeque::new(),
            stored: BTreeMap::new(),
            stats: stats.clone(),
        };
        let thread = std::thread::Builder::new()
            .name("kafka-member".into())
            .spawn(move || poller.run())
            .map_err(SetupError::Thread)?;
        Ok(Self { events, commands, released, decode, stats, thread: Some(thread) })
    }

    /// How far this member is. The same object goes on being kept up to date.
    pub fn stats(&self) -> Arc<Mutex<MemberStats>> {
        self.stats.clone()
    }
}

impl Drop for Member {
    /// Leaves the group, so that others need not wait for the session to time out.
    fn drop(&mut self) {
        let _ = self.commands.send(Command::End);
        // Nobody will release anything any more.
        self.released = channel().0;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl GroupLog for Member {
    fn event(&mut self) -> BoxFuture<'_, Result<Option<GroupEvent>, PortError>> {
        Box::pin(async { self.events.recv().await.transpose() })
    }

    fn open(&mut self, partition: u32, from: Option<u64>) -> Result<Box<dyn PartitionLog>, PortError> {
        let (to, messages) = mpsc::channel(QUEUE);
        let ended = |_| PortError::permanent("Kafka's client has ended: start the engine again");
        self.commands.send(Command::Open { partition, from, to }).map_err(ended)?;
        Ok(Box::new(TopicPartition::new(partition, messages, self.commands.clone(), self.decode)))
    }

    fn released(&mut self, partition: u32) {
        let _ = self.commands.send(Command::Close(partition));
        let _ = self.released.send(partition);
    }
}

/// A partition that somebody reads.
struct Opened {
    to: mpsc::Sender<Queued>,
    /// Messages below are not wanted.
    next: u64,
    /// Nothing has come yet.
    fresh: bool,
    /// Messages for which there was no room; the partition is paused meanwhile.
    waiting: VecDeque<Queued>,
}

/// A partition that is to be read from a place.
struct Opening {
    partition: u32,
    from: Option<u64>,
    to: mpsc::Sender<Queued>,
}

struct Poller {
    consumer: BaseConsumer<Context>,
    topic: String,
    commands: Receiver<Command>,
    open: HashMap<u32, Opened>,
    opening: VecDeque<Opening>,
    /// Offsets to be committed.
    stored: BTreeMap<u32, u64>,
    stats: Arc<Mutex<MemberStats>>,
}

impl Poller {
    fn run(&mut self) {
        let mut committed = Instant::now();
        loop {
            match self.commands.try_recv() {
                Ok(Command::End) | Err(TryRecvError::Disconnected) => break,
                Ok(command) => {
                    self.obey(command);
                    continue;
                }
                Err(TryRecvError::Empty) => {}
            }
            self.open_next();
            self.hand_over();
            match self.consumer.poll(POLL) {
                Some(Ok(message)) => {
                    let queued = Queued {
                        offset: u64::try_from(message.offset()).unwrap_or(0),
                        written: written(&message),
                        bytes: message.payload().unwrap_or_default().to_vec(),
                    };
                    let partition = partition_of(&message);
                    drop(message);
                    self.deal(partition, queued);
                }
                Some(Err(KafkaError::MessageConsumptionFatal(code))) => {
                    let why = if code == RDKafkaErrorCode::FencedInstanceId {
                        "another engine joined with the same `kafka.instance`"
                    } else {
                        "Kafka ended the membership"
                    };
                    self.consumer.context().fail(PortError::permanent(why).because(code));
                    break;
                }
                // What the brokers say is in the log; the client goes on by itself.
                Some(Err(error)) => tracing::debug!(%error, "poll"),
                None => {}
            }
            for partition in self.consumer.context().take_revoked() {
                self.open.remove(&partition);
                self.opening.retain(|o| o.partition != partition);
                self.stored.remove(&partition);
                self.lock().lag.remove(&partition);
                self.lock().rebalances += 1;
            }
            if committed.elapsed() >= COMMIT {
                self.commit();
                committed = Instant::now();
            }
        }
        self.commit();
        // Leaves the group at once.
        self.consumer.unsubscribe();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, MemberStats> {
        self.stats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Open { partition, from, to } => self.opening.push_back(Opening { partition, from, to }),
            Command::Close(partition) => {
                self.open.remove(&partition);
                self.opening.retain(|o| o.partition != partition);
            }
            Command::Stored { partition, offset } => {
                self.stored.insert(partition, offset);
            }
            Command::End => {}
        }
    }

    /// Seeks one of the partitions that are to be opened; one that is not ready yet is tried again.
    fn open_next(&mut self) {
        let Some(opening) = self.opening.pop_front() else { return };
        let place = opening.from.and_then(|from| i64::try_from(from).ok()).map_or(Offset::Beginning, Offset::Offset);
        let number = i32::try_from(opening.partition).unwrap_or(i32::MAX);
        let sought = self.consumer.seek(&self.topic, number, place, CALL);
        let resumed = sought.and_then(|()| self.consumer.resume(&self.list([opening.partition])));
        match resumed {
            Ok(()) => {
                let Opening { partition, from, to } = opening;
                self.open.insert(
                    partition,
                    Opened { to, next: from.unwrap_or(0), fresh: from.is_some(), waiting: VecDeque::new() },
                );
            }
            Err(error) => {
                tracing::debug!(%error, partition = opening.partition, "the place could not be sought yet");
                // Its owner has gone when nobody listens.
                if !opening.to.is_closed() {
                    self.opening.push_back(opening);
                }
            }
        }
    }

    fn deal(&mut self, partition: u32, queued: Queued) {
        self.lock().messages += 1;
        let list = self.list([partition]);
        // Messages of a partition that nobody reads are read again when somebody does.
        let Some(opened) = self.open.get(&partition) else { return };
        let opened_at = opened.next;
        if queued.offset < opened_at {
            return;
        }
        if opened.fresh && queued.offset > opened.next && self.is_there(partition, opened_at) {
            // Fetched before the place was sought.
            self.reopen(partition);
            return;
        }
        let Some(opened) = self.open.get_mut(&partition) else { return };
        opened.fresh = false;
        opened.next = queued.offset + 1;
        if !opened.waiting.is_empty() {
            opened.waiting.push_back(queued);
            return;
        }
        match opened.to.try_send(queued) {
            Ok(()) => {}
            Err(TrySendError::Full(queued)) => {
                opened.waiting.push_back(queued);
                if let Err(error) = self.consumer.pause(&list) {
                    tracing::warn!(%error, partition, "the partition could not be held back");
                }
            }
            Err(TrySendError::Closed(_)) => {
                self.open.remove(&partition);
            }
        }
    }

    /// Whether the brokers still have the message at `offset`.
    fn is_there(&self, partition: u32, offset: u64) -> bool {
        let number = i32::try_from(partition).unwrap_or(i32::MAX);
        match self.consumer.client().fetch_watermarks(&self.topic, number, CALL) {
            Ok((low, _)) if u64::try_from(low).is_ok_and(|low| low <= offset) => true,
            Ok((low, _)) => {
                tracing::error!(
                    partition,
                    wanted = offset,
                    first = low,
                    "the brokers have deleted messages that were not read: raise the topic's retention"
                );
                false
            }
            Err(_) => true,
        }
    }

    /// Seeks the place of a partition once more.
    fn reopen(&mut self, partition: u32) {
        if let Some(Opened { to, next, .. }) = self.open.remove(&partition) {
            self.opening.push_back(Opening { partition, from: Some(next), to });
        }
    }

    /// Gives partitions what waits for them, and reads on where nothing waits any more.
    fn hand_over(&mut self) {
        let mut ready = Vec::new();
        for (partition, opened) in self.open.iter_mut().filter(|(_, o)| !o.waiting.is_empty()) {
            while let Some(queued) = opened.waiting.pop_front() {
                match opened.to.try_send(queued) {
                    Ok(()) => {}
                    Err(TrySendError::Full(queued)) => {
                        opened.waiting.push_front(queued);
                        break;
                    }
                    Err(TrySendError::Closed(_)) => opened.waiting.clear(),
                }
            }
            if opened.waiting.is_empty() {
                ready.push(*partition);
            }
        }
        if !ready.is_empty()
            && let Err(error) = self.consumer.resume(&self.list(ready))
        {
            tracing::warn!(%error, "partitions could not be read on");
        }
    }

    /// Says how far the store is, for those who watch the group, and looks up how far the log is.
    fn commit(&mut self) {
        let mut list = TopicPartitionList::new();
        for (partition, offset) in std::mem::take(&mut self.stored) {
            let (Ok(number), Ok(next)) = (i32::try_from(partition), i64::try_from(offset + 1)) else { continue };
            if let Err(error) = list.add_partition_offset(&self.topic, number, Offset::Offset(next)) {
                tracing::debug!(%error, "commit");
            }
        }
        if list.count() > 0
            && let Err(error) = self.consumer.commit(&list, CommitMode::Async)
        {
            tracing::debug!(%error, "commit");
        }
        let position = self.open.iter().map(|(partition, opened)| (*partition, opened.next)).collect::<Vec<_>>();
        for (partition, next) in position {
            let number = i32::try_from(partition).unwrap_or(i32::MAX);
            // What the client heard with its last fetch: asks nobody.
            if let Ok((_, high)) =
                self.consumer.client().fetch_watermarks(&self.topic, number, Duration::from_millis(200))
            {
                let lag = u64::try_from(high).unwrap_or(0).saturating_sub(next);
                self.lock().lag.insert(partition, lag);
            }
        }
    }

    fn list(&self, partitions: impl IntoIterator<Item = u32>) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        for partition in partitions {
            list.add_partition(&self.topic, i32::try_from(partition).unwrap_or(i32::MAX));
        }
        list
    }
}

fn partition_of(message: &BorrowedMessage<'_>) -> u32 {
    u32::try_from(message.partition()).unwrap_or(0)
}

/// When the brokers took a message.
fn written(message: &BorrowedMessage<'_>) -> Nanos {
    let millis = message.timestamp().to_millis().and_then(|millis| u64::try_from(millis).ok());
    Nanos(millis.unwrap_or(0).saturating_mul(1_000_000))
}
