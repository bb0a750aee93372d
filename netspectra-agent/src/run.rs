//! Drives a live source at a bus: one generation an interval, recycled once the bus has it.

use crate::drain::Drain;
use crate::source::{Source, SourceError};
use netspectra_common::ports::{PortError, Publisher};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

/// Why the agent stopped.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The source.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The bus.
    #[error("the bus refused a generation")]
    Bus(#[source] PortError),
    /// The blocking task was lost.
    #[error("the capture task ended unexpectedly")]
    Task(#[from] tokio::task::JoinError),
}

/// Runs `source` until `stop` turns true, then until its last generation is published.
///
/// `detach` is called once before the last generation: a live source detaches there. Under back-pressure no generation
/// is begun: windows get longer, nothing is lost. Reading a generation happens on the blocking pool.
///
/// # Errors
/// The source's or the bus's, when they are permanent.
pub async fn run<S: Source + 'static>(
    mut source: S,
    mut drain: Drain,
    bus: Arc<dyn Publisher>,
    every: Duration,
    mut stop: watch::Receiver<bool>,
    detach: impl Fn(&mut S) + Send + Sync + 'static,
) -> Result<(), RunError> {
    let detach = Arc::new(detach);
    let mut tick = interval(every);
    // After a stall one generation follows at once; a burst of empty ones would say nothing.
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tick.tick().await;
    loop {
        let stopping = tokio::select! {
            _ = tick.tick() => *stop.borrow(),
            changed = stop.changed() => changed.is_err() || *stop.borrow(),
        };
        let detach_now = detach.clone();
        let (back, generation) = tokio::task::spawn_blocking(move || {
            if stopping {
                detach_now(&mut source);
            }
            let generation = source.generation();
            (source, generation)
        })
        .await?;
        source = back;
        let Some(generation) = generation? else { return Ok(()) };
        let last = generation.last;
        bus.publish(drain.cut(generation)).await.map_err(RunError::Bus)?;
        source = tokio::task::spawn_blocking(move || source.recycle().map(|()| source)).await??;
        if last {
            return Ok(());
        }
    }
}
