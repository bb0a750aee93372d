//! A receiver of remote write that does what a test tells it to.

use prost::Message;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// For anything on a busy machine.
const LIMIT: Duration = Duration::from_secs(30);

// The definitions of the specification, once more: a test that read by those of the sender would not see their faults.
#[derive(Clone, PartialEq, Message)]
struct WriteRequest {
    #[prost(message, repeated, tag = "1")]
    timeseries: Vec<TimeSeries>,
}
#[derive(Clone, PartialEq, Message)]
struct TimeSeries {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample>,
}
#[derive(Clone, PartialEq, Message)]
struct Label {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}
#[derive(Clone, PartialEq, Message)]
struct Sample {
    #[prost(double, tag = "1")]
    value: f64,
    #[prost(int64, tag = "2")]
    timestamp: i64,
}

/// Series as text, time in milliseconds, value.
pub(crate) type Read = (String, i64, f64);

/// What happens to one request.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// It is taken, and the answer is 204.
    Take,
    /// It is not taken; status, further headers, text.
    Refuse(u16, &'static str, &'static str),
    /// It is taken, and the connection is cut before an answer.
    LoseAnswer,
    /// It is not taken, and the connection is cut before an answer.
    Cut,
    /// It is not taken, and there is never an answer.
    Silence,
    /// It is refused with 400 when it has a series of this node, else taken.
    RefuseNode(&'static str),
}

/// One request that came.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    pub(crate) samples: Vec<Read>,
    pub(crate) was_taken: bool,
    pub(crate) at: Instant,
}

/// Listens on loopback, at a port of its own.
#[derive(Clone)]
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    script: Arc<Mutex<VecDeque<Act>>>,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Receiver {
    /// Does what `script` says, one act a request, then takes everything.
    pub(crate) async fn start(script: impl IntoIterator<Item = Act>) -> Self {
        Self::with_tls(script, None).await
    }

    pub(crate) async fn with_tls(script: impl IntoIterator<Item = Act>, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let script = Arc::new(Mutex::new(script.into_iter().collect()));
        let receiver = Self { address, script, seen: Arc::default() };
        let accepting = receiver.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (receiver, tls) = (accepting.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => receiver.serve(stream).await,
                        // Who does not trust us goes away.
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => receiver.serve(stream).await,
                            Err(_) => None,
                        },
                    }
                });
            }
        });
        receiver
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/api/v1/write", self.address)
    }

    /// Requests so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// Samples that were taken, in their order, as often as they came.
    pub(crate) fn taken(&self) -> Vec<Read> {
        self.seen().into_iter().filter(|seen| seen.was_taken).flat_map(|seen| seen.samples).collect()
    }

    /// Waits until `is_so`.
    pub(crate) async fn until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let started = Instant::now();
        while !is_so(self) {
            assert!(started.elapsed() < LIMIT, "not within {LIMIT:?}: {what}: {} requests", self.seen().len());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Requests of one connection; `None` at its end.
    async fn serve(&self, mut stream: impl AsyncRead + AsyncWrite + Unpin) -> Option<()> {
        loop {
            let (head, body) = request(&mut stream).await?;
            let samples = read(&body);
            let act = self.script.lock().unwrap().pop_front().unwrap_or(Act::Take);
            let refused = matches!(&act, Act::RefuseNode(node)
                if samples.iter().any(|(series, ..)| series.contains(&format!("node={node},"))));
            let was_taken = matches!(act, Act::Take | Act::LoseAnswer | Act::RefuseNode(_)) && !refused;
            self.seen.lock().unwrap().push(Seen { head, body, samples, was_taken, at: Instant::now() });
            let (status, headers, text) = match act {
                Act::Refuse(status, headers, text) => (status, headers, text),
                Act::RefuseNode(_) if refused => (400, "", "out of order sample"),
                Act::Take | Act::RefuseNode(_) => (204, "", ""),
                Act::LoseAnswer | Act::Cut => return None,
                Act::Silence => std::future::pending().await,
            };
            let answer = format!("HTTP/1.1 {status} X\r\n{headers}Content-Length: {}\r\n\r\n{text}", text.len());
            stream.write_all(answer.as_bytes()).await.ok()?;
        }
    }
}

async fn request(stream: &mut (impl AsyncRead + Unpin)) -> Option<(String, Vec<u8>)> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap().parse().unwrap();
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some((head, body))
}

fn read(body: &[u8]) -> Vec<Read> {
    let message = snap::raw::Decoder::new().decompress_vec(body).unwrap();
    let mut all = Vec::new();
    for series in WriteRequest::decode(&*message).unwrap().timeseries {
        let labels: String = series.labels.iter().map(|l| format!("{}={},", l.name, l.value)).collect();
        all.extend(series.samples.iter().map(|s| (labels.clone(), s.timestamp, s.value)));
    }
    all
}
