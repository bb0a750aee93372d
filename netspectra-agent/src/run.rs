//! Drives a live source at a bus: one generation an interval, recycled once the bus has it.

use crate::drain::Drain;
use crate::source::{Source, SourceError};
use netspectra_common::ports::{PortError, Publisher};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
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
    /// The source's descriptor cannot be waited for.
    #[error("cannot wait for the capture programs")]
    Wake(#[source] std::io::Error),
    /// The blocking task was lost.
    #[error("the capture task ended unexpectedly")]
    Task(#[from] tokio::task::JoinError),
}

/// Runs `source` until `stop` turns true, then until its last generation is published.
///
/// A generation ends early when the source asks for it. `detach` is called once before the last generation: a live source detaches there. Under back-pressure no generation
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
    let wake = source.wake().map(watch_fd).transpose().map_err(RunError::Wake)?;
    loop {
        let stopping = tokio::select! {
            _ = tick.tick() => *stop.borrow(),
            () = woken(wake.as_ref()) => *stop.borrow(),
            changed = stop.changed() => changed.is_err() || *stop.borrow(),
        };
        let detach_now = detach.clone();
        let (back, generation, sockets) = tokio::task::spawn_blocking(move || {
            if stopping {
                detach_now(&mut source);
            }
            let generation = source.generation();
            let sockets = source.sockets();
            (source, generation, sockets)
        })
        .await?;
        source = back;
        let Some(generation) = generation? else { return Ok(()) };
        let last = generation.last;
        let messages = drain.cut_with(generation, sockets);
        drain.head().into_iter().for_each(|hash| source.sent(hash));
        bus.publish(messages).await.map_err(RunError::Bus)?;
        source = tokio::task::spawn_blocking(move || source.recycle().map(|()| source)).await??;
        if last {
            return Ok(());
        }
    }
}

fn watch_fd(fd: OwnedFd) -> std::io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an owned descriptor stays the same one, and open, until it is dropped.
    unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }.map_err(|e| e.into_parts().1)
}

/// Returns when `wake` becomes readable; never without one.
async fn woken(wake: Option<&AsyncFd<OwnedFd>>) {
    match wake {
        Some(wake) => match wake.readable().await {
            Ok(mut guard) => guard.clear_ready(),
            // The runtime ends: the interval decides.
            Err(_) => std::future::pending().await,
        },
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::generation::{Generation, empty_totals};
    use netspectra_common::model::{BusMessage, Nanos};
    use netspectra_common::ports::BoxFuture;
    use std::io::Write as _;
    use std::os::unix::net::UnixStream;
    use tokio::sync::mpsc;

    /// Generations of nothing; the other end of `wake` asks for one.
    struct Idle {
        wake: UnixStream,
        detached: bool,
    }

    impl Source for Idle {
        fn generation(&mut self) -> Result<Option<Generation>, SourceError> {
            Ok(Some(Generation {
                start: Nanos(0),
                end: Nanos(1),
                flows: Vec::new(),
                totals: empty_totals(),
                overflow: None,
                hints: Vec::new(),
                observed: Vec::new(),
                interfaces: Vec::new(),
                nics: Vec::new(),
                last: self.detached,
            }))
        }

        fn wake(&self) -> Option<OwnedFd> {
            self.wake.try_clone().ok().map(OwnedFd::from)
        }

        fn recycle(&mut self) -> Result<(), SourceError> {
            Ok(())
        }
    }

    struct Bus(mpsc::UnboundedSender<u64>);

    impl Publisher for Bus {
        fn publish(&self, messages: Vec<BusMessage>) -> BoxFuture<'_, Result<(), PortError>> {
            for m in messages {
                if let BusMessage::Manifest(m) = m {
                    self.0.send(m.id.generation).unwrap();
                }
            }
            Box::pin(async { Ok(()) })
        }
    }

    #[tokio::test]
    async fn a_generation_ends_when_the_source_asks_for_it_and_at_the_end() {
        let (mut asks, wake) = UnixStream::pair().unwrap();
        let (to, mut seen) = mpsc::unbounded_channel();
        let (stop, stopped) = watch::channel(false);
        let source = Idle { wake, detached: false };
        // An interval that does not come.
        let hour = Duration::from_secs(3600);
        let detach = |s: &mut Idle| s.detached = true;
        let running =
            tokio::spawn(run(source, Drain::new("n".into(), 1, 10), Arc::new(Bus(to)), hour, stopped, detach));
        for n in 0..3 {
            asks.write_all(&[1]).unwrap();
            assert_eq!(seen.recv().await, Some(n));
        }
        stop.send(true).unwrap();
        assert_eq!(seen.recv().await, Some(3));
        running.await.unwrap().unwrap();
    }
}
