//! The listener, over real sockets on the loopback.

use super::fake::*;
use crate::{ApiError, Deps, Limits, serve};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

struct Served {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<Result<(), ApiError>>,
}

async fn start(deps: Deps) -> Served {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let ended = tokio::spawn(serve(listener, deps, async move {
        stopped.await.unwrap();
    }));
    Served { address, stop, ended }
}

async fn say(stream: &mut TcpStream, path: &str, more: &str) {
    let text = format!("GET {path} HTTP/1.1\r\nhost: test\r\nauthorization: Bearer {TOKEN}\r\n{more}\r\n");
    stream.write_all(text.as_bytes()).await.unwrap();
}

async fn hear(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

/// A store that says when it is asked and answers when it is let.
struct Slow {
    asked: tokio::sync::Semaphore,
    go: tokio::sync::Semaphore,
}

impl netspectra_common::ports::Store for Slow {
    fn append<'a>(
        &'a self,
        _: &'a netspectra_common::ports::StoreBatch,
    ) -> netspectra_common::ports::BoxFuture<'a, Result<(), netspectra_common::ports::PortError>> {
        Box::pin(async { Ok(()) })
    }

    fn query<'a>(
        &'a self,
        _: &'a netspectra_common::query::Plan,
    ) -> netspectra_common::ports::BoxFuture<
        'a,
        Result<netspectra_common::query::Partial, netspectra_common::ports::PortError>,
    > {
        Box::pin(async {
            self.asked.add_permits(1);
            self.go.acquire().await.unwrap().forget();
            Err(netspectra_common::ports::PortError::transient("slow and away"))
        })
    }

    fn last_generation<'a>(
        &'a self,
        _: &'a str,
        _: u64,
    ) -> netspectra_common::ports::BoxFuture<'a, Result<Option<u64>, netspectra_common::ports::PortError>> {
        Box::pin(async { Ok(None) })
    }

    fn extent(
        &self,
    ) -> netspectra_common::ports::BoxFuture<
        '_,
        Result<Option<netspectra_common::model::TimeRange>, netspectra_common::ports::PortError>,
    > {
        Box::pin(async { Ok(None) })
    }
}

fn slow() -> Arc<Slow> {
    Arc::new(Slow { asked: tokio::sync::Semaphore::new(0), go: tokio::sync::Semaphore::new(0) })
}

#[tokio::test]
async fn requests_are_answered_on_one_connection_until_the_client_closes_it() {
    let served = start(deps(Limits::default())).await;
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    say(&mut stream, "/healthz", "").await;
    say(&mut stream, "/api/v1/schema", "connection: close\r\n").await;
    let text = hear(&mut stream).await;
    assert_eq!(text.matches("HTTP/1.1 200 OK").count(), 2, "{text}");
    assert!(text.contains("{\"live\":true}"));
    served.stop.send(()).unwrap();
    served.ended.await.unwrap().unwrap();
    assert!(TcpStream::connect(served.address).await.is_err(), "nothing listens any more");
}

#[tokio::test]
async fn at_shutdown_the_request_in_flight_is_answered_and_no_other_is_taken() {
    let store = slow();
    let served = start(Deps { store: store.clone(), ..deps(Limits::default()) }).await;
    let mut idle = TcpStream::connect(served.address).await.unwrap();
    say(&mut idle, "/healthz", "").await;
    let mut first = [0; 15];
    idle.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200 OK");
    let mut busy = TcpStream::connect(served.address).await.unwrap();
    say(&mut busy, "/api/v1/ledger", "").await;
    store.asked.acquire().await.unwrap().forget();
    served.stop.send(()).unwrap();
    hear(&mut idle).await;
    assert!(TcpStream::connect(served.address).await.is_err(), "nothing listens any more");
    store.go.add_permits(1);
    let text = hear(&mut busy).await;
    assert!(text.starts_with("HTTP/1.1 503") && text.contains("slow and away"), "{text}");
    served.ended.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_request_that_does_not_end_is_cut_off_when_the_drain_time_is_over() {
    let store = slow();
    let limits = Limits { drain: Duration::ZERO, ..Limits::default() };
    let served = start(Deps { store: store.clone(), ..deps(limits) }).await;
    let mut busy = TcpStream::connect(served.address).await.unwrap();
    say(&mut busy, "/api/v1/ledger", "").await;
    store.asked.acquire().await.unwrap().forget();
    served.stop.send(()).unwrap();
    served.ended.await.unwrap().unwrap();
    assert_eq!(hear(&mut busy).await, "", "closed without an answer");
}

#[tokio::test]
async fn a_connection_beyond_the_limit_waits_for_its_turn() {
    let limits = Limits { connections: 1, ..Limits::default() };
    let served = start(deps(limits)).await;
    let mut first = TcpStream::connect(served.address).await.unwrap();
    let mut second = TcpStream::connect(served.address).await.unwrap();
    say(&mut second, "/healthz", "connection: close\r\n").await;
    say(&mut first, "/healthz", "").await;
    let mut begin = [0; 15];
    first.read_exact(&mut begin).await.unwrap();
    let mut early = [0; 1];
    let waiting = second.try_read(&mut early).unwrap_err();
    assert_eq!(waiting.kind(), std::io::ErrorKind::WouldBlock);
    drop(first);
    assert!(hear(&mut second).await.starts_with("HTTP/1.1 200 OK"));
    served.stop.send(()).unwrap();
    served.ended.await.unwrap().unwrap();
}

#[tokio::test]
async fn bytes_that_are_no_request_end_their_connection_only() {
    let served = start(deps(Limits::default())).await;
    let mut garbage = TcpStream::connect(served.address).await.unwrap();
    garbage.write_all(b"\x16\x03\x01\x00\xff\r\n\r\n").await.unwrap();
    hear(&mut garbage).await;
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    say(&mut stream, "/healthz", "connection: close\r\n").await;
    assert!(hear(&mut stream).await.starts_with("HTTP/1.1 200 OK"));
    served.stop.send(()).unwrap();
    served.ended.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_finish_a_head_is_let_go() {
    let served = start(deps(Limits::default())).await;
    for said in ["", "GET /healthz HTTP/1.1\r\nhost:", "GET /healthz HTTP/1.1\r\nhost: test\r\n\r\n"] {
        let begun = tokio::time::Instant::now();
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        stream.write_all(said.as_bytes()).await.unwrap();
        hear(&mut stream).await;
        assert!(begun.elapsed() >= Limits::default().header_timeout, "{said:?} was let go after {:?}", begun.elapsed());
    }
}

#[tokio::test]
async fn limits_with_which_nothing_could_be_answered_are_refused() {
    let limits = Limits { connections: 0, ..Limits::default() };
    let error = start(deps(limits)).await.ended.await.unwrap().unwrap_err();
    assert_eq!(error.to_string(), "API limit `connections` is zero: expected at least 1");
}
