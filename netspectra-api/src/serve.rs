//! The listener: bounded connections, bounded patience, and an orderly end.

use crate::app::router;
use crate::deps::{Deps, Limits};
use axum::Router;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use std::future::Future;
use std::io::{
    self,
    ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted},
};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// Bytes of the longest request head; a filter has 8 Ki characters at most, each of which may be escaped.
const MAX_HEAD_BYTES: usize = 64 * 1024;
/// Rest after an accept that failed for want of descriptors or memory, which a tight loop would not give back.
const ACCEPT_REST: Duration = Duration::from_millis(500);

/// Why the API could not be served.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// A limit with which nothing could be answered.
    #[error("API limit `{name}` is zero: expected at least {least}")]
    Limit {
        /// Name of the field of [`Limits`].
        name: &'static str,
        /// The least legal value.
        least: &'static str,
    },
    /// The listener has no address: it is not a listening socket.
    #[error("the API's listener is not usable")]
    Listener(#[source] io::Error),
}

/// Serves HTTP/1.1 on `listener` until `shutdown` resolves, then stops accepting and gives requests in flight
/// [`Limits::drain`] to end.
///
/// A connection that fails ends alone. While [`Limits::connections`] are open, further ones wait in the backlog.
/// Dropping the future closes the listener; connections then end with the runtime.
///
/// # Errors
/// [`ApiError`] before the first connection is taken, never after.
pub async fn serve(
    listener: TcpListener,
    deps: Deps,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), ApiError> {
    let limits = deps.limits.clone();
    serve_router(listener, router(deps), &limits, shutdown).await
}

/// Serves `router` as [`serve`] does.
pub(crate) async fn serve_router(
    listener: TcpListener,
    router: Router,
    limits: &Limits,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), ApiError> {
    check(limits)?;
    let address = listener.local_addr().map_err(ApiError::Listener)?;
    tracing::info!(%address, "api listens");
    let service = TowerToHyperService::new(router);
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(limits.header_timeout).max_buf_size(MAX_HEAD_BYTES);
    let room = Arc::new(Semaphore::new(limits.connections.min(Semaphore::MAX_PERMITS)));
    let graceful = GracefulShutdown::new();
    let mut connections = tokio::task::JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = async {
            // The semaphore is never closed, so the permit is only missing in theory; without one, nothing is accepted.
            let permit = room.clone().acquire_owned().await.ok()?;
            Some((accept(&listener).await, permit))
        };
        tokio::select! {
            () = &mut shutdown => break,
            Some((stream, permit)) = accepted => {
                let connection = graceful.watch(http.serve_connection(TokioIo::new(stream), service.clone()));
                connections.spawn(async move {
                    if let Err(error) = connection.await {
                        tracing::debug!(%error, "connection ended early");
                    }
                    drop(permit);
                });
            }
            Some(ended) = connections.join_next() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "a connection's task failed");
                }
            }
        }
    }
    drop(listener);
    let open = connections.len();
    tracing::info!(open, "api stops accepting");
    if tokio::time::timeout(limits.drain, graceful.shutdown()).await.is_err() {
        tracing::warn!(drain_seconds = limits.drain.as_secs_f64(), "connections were cut off at shutdown");
    }
    // What has not ended by now is aborted and awaited, so that nothing outlives this call.
    connections.shutdown().await;
    Ok(())
}

async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // Answers are written whole; waiting to fill a segment would only delay their end.
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "TCP_NODELAY could not be set");
                }
                return stream;
            }
            // The client was gone before it was accepted.
            Err(error) if matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted) => {}
            Err(error) => {
                tracing::error!(%error, "accept failed");
                tokio::time::sleep(ACCEPT_REST).await;
            }
        }
    }
}

fn check(limits: &Limits) -> Result<(), ApiError> {
    let refuse = |name, least| Err(ApiError::Limit { name, least });
    match limits {
        l if l.timeout.is_zero() => refuse("timeout", "1 ns"),
        l if l.header_timeout.is_zero() => refuse("header_timeout", "1 ns"),
        l if l.concurrent_requests == 0 => refuse("concurrent_requests", "1"),
        l if l.connections == 0 => refuse("connections", "1"),
        l if l.series_points == 0 => refuse("series_points", "1"),
        _ => Ok(()),
    }
}
