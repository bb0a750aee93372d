//! Time series of one process, where the configuration has a receiver of remote write and the build has the sender.

use super::metrics::Writer;
use crate::Failure;
use crate::config::Config;
use netspectra_common::ports::Store;
use netspectra_engine::store::embedded::EmbeddedStore;
use std::fmt;
use std::sync::Arc;

#[cfg(feature = "cluster")]
pub(crate) use sender::Series;

#[cfg(not(feature = "cluster"))]
pub(crate) use none::Series;

#[cfg(feature = "cluster")]
mod sender {
    use super::*;
    use netspectra_common::model::TimeRange;
    use netspectra_common::ports::{BoxFuture, PortError, StoreBatch};
    use netspectra_common::query::{Partial, Plan};
    use netspectra_engine::remote_write::RemoteWrite;

    /// The sender, where there is one.
    #[derive(Clone)]
    pub(crate) struct Series(Option<RemoteWrite>);

    impl Series {
        pub(crate) fn start(config: &Config) -> Result<Self, Failure> {
            RemoteWrite::start(&config.remote_write).map(Self).map_err(Failure::misuse)
        }

        /// `store`, of which the sender gets each batch once it is written.
        pub(crate) fn beside(&self, store: Arc<EmbeddedStore>) -> Arc<dyn Store> {
            match &self.0 {
                Some(remote) => Arc::new(Heard { store, remote: remote.clone() }),
                None => store,
            }
        }

        /// Sends what waits, within its bound.
        pub(crate) async fn close(&self) {
            if let Some(remote) = &self.0 {
                remote.close().await;
            }
        }

        pub(crate) fn encode(&self, out: &mut Writer<'_, '_>) -> fmt::Result {
            self.0.as_ref().map_or(Ok(()), |remote| out.remote_write(&remote.stats()))
        }
    }

    /// A store whose batches are offered to the sender when they are written.
    struct Heard {
        store: Arc<EmbeddedStore>,
        remote: RemoteWrite,
    }

    impl Store for Heard {
        fn append<'a>(&'a self, batch: &'a StoreBatch) -> BoxFuture<'a, Result<(), PortError>> {
            Box::pin(async move {
                self.store.append(batch).await?;
                self.remote.offer(batch);
                Ok(())
            })
        }

        fn query<'a>(&'a self, plan: &'a Plan) -> BoxFuture<'a, Result<Partial, PortError>> {
            self.store.query(plan)
        }

        fn last_generation<'a>(&'a self, node: &'a str, epoch: u64) -> BoxFuture<'a, Result<Option<u64>, PortError>> {
            self.store.last_generation(node, epoch)
        }

        fn extent(&self) -> BoxFuture<'_, Result<Option<TimeRange>, PortError>> {
            self.store.extent()
        }
    }
}

#[cfg(not(feature = "cluster"))]
mod none {
    use super::*;

    /// No sender.
    #[derive(Clone)]
    pub(crate) struct Series;

    impl Series {
        pub(crate) fn start(_: &Config) -> Result<Self, Failure> {
            Ok(Self)
        }

        pub(crate) fn beside(&self, store: Arc<EmbeddedStore>) -> Arc<dyn Store> {
            store
        }

        pub(crate) async fn close(&self) {}

        pub(crate) fn encode(&self, _: &mut Writer<'_, '_>) -> fmt::Result {
            Ok(())
        }
    }
}
