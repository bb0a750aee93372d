//! The partitions of a group member: taken over and given back as the group says.

use super::live::PartitionSet;
use super::task::{AfterBlock, Notes, PartitionError, PartitionLog, Setting, Task};
use crate::engine::EngineConfig;
use netspectra_common::ports::{BlockStore, BoxFuture, PortError};
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// What happens to a member of the group.
#[derive(Debug)]
pub enum GroupEvent {
    /// The partition is ours from now on.
    Assigned(u32),
    /// The partition is not ours any more, or will not be in a moment: the group waits for [`GroupLog::released`].
    Revoked(u32),
}

/// Membership in a group of consumers.
pub trait GroupLog: Send {
    /// The next event; `None` when the membership has ended.
    fn event(&mut self) -> BoxFuture<'_, Result<Option<GroupEvent>, PortError>>;

    /// Opens a partition that is ours at `from`, or at the first message that is there.
    fn open(&mut self, partition: u32, from: Option<u64>) -> Result<Box<dyn PartitionLog>, PortError>;

    /// Nothing is done with the partition any more.
    fn released(&mut self, partition: u32);
}

/// A partition that is ours.
struct Running {
    stop: watch::Sender<bool>,
    /// Once it has been taken over.
    task: Option<JoinHandle<()>>,
}

impl Running {
    async fn end(self) {
        // Who no longer listens has ended already.
        let _ = self.stop.send(true);
        if let Some(task) = self.task {
            let _ = task.await;
        }
    }
}

/// Runs the partitions that `log` says are ours, each by a task of its own, until the membership ends or `stop` turns true.
///
/// # Errors
/// The first partition that fails for good ends the whole: a supervisor starts the process again, or another member takes
/// over.
pub async fn run_group(
    mut log: Box<dyn GroupLog>,
    config: EngineConfig,
    store: Arc<dyn BlockStore>,
    notes: Arc<dyn Notes>,
    set: PartitionSet,
    after: Arc<dyn AfterBlock>,
    mut stop: watch::Receiver<bool>,
) -> Result<(), PartitionError> {
    let setting = Setting { config, store, notes, set, after };
    let mut running: HashMap<u32, Running> = HashMap::new();
    let mut taking = JoinSet::new();
    let (failed_to, mut failed) = tokio::sync::mpsc::channel::<PartitionError>(1);
    let result = loop {
        tokio::select! {
            event = log.event() => match event {
                Ok(Some(GroupEvent::Assigned(partition))) => {
                    let (stop_to, mut stopped) = watch::channel(false);
                    let setting = setting.clone();
                    // Reading what the store has takes a moment: the other partitions go on meanwhile.
                    taking.spawn(async move {
                        let task = Task::take_over(setting, partition, &mut stopped).await;
                        (partition, task, stopped)
                    });
                    running.insert(partition, Running { stop: stop_to, task: None });
                }
                Ok(Some(GroupEvent::Revoked(partition))) => {
                    if let Some(running) = running.remove(&partition) {
                        running.end().await;
                    }
                    tracing::info!(partition, "gave the partition back");
                    log.released(partition);
                }
                Ok(None) => break Ok(()),
                Err(source) => break Err(PartitionError::Member { source }),
            },
            Some(taken) = taking.join_next() => {
                let Ok((partition, task, mut stopped)) = taken else { break Err(PartitionError::Fault { partition: u32::MAX }) };
                match (task, running.get_mut(&partition)) {
                    (Ok(Some(task)), Some(running)) if !*stopped.borrow() => {
                        let mut opened = match log.open(partition, task.resume()) {
                            Ok(opened) => opened,
                            Err(source) => break Err(PartitionError::Log { partition, source }),
                        };
                        let failed_to = failed_to.clone();
                        running.task = Some(tokio::spawn(async move {
                            if let Err(error) = task.run(&mut *opened, &mut stopped).await {
                                let _ = failed_to.try_send(error);
                            }
                        }));
                    }
                    (Err(error), _) => break Err(error),
                    // Given back before it was ours.
                    (Ok(_), _) => {}
                }
            }
            Some(error) = failed.recv() => break Err(error),
            () = ended(&mut stop) => break Ok(()),
        }
    };
    for (partition, running) in running {
        running.end().await;
        log.released(partition);
    }
    result
}

/// Returns when `stop` turns true, or can turn no more.
pub(super) async fn ended(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}
