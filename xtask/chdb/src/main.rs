//! ClickHouse's engine as a library (chDB) behind the part of ClickHouse's HTTP interface that a client needs: queries with
//! parameters and settings, inserts with compressed blocks, `/ping`. For tests, and for trying out, where no server can be
//! had. It has one user, whose rights a file may bound, no quotas, and listens where it is told to.

mod engine;
mod library;
mod request;

use anyhow::{Context, Result};
use bytes::Bytes;
use clap::Parser;
use engine::Engine;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::net::TcpListener;

/// Bytes of the largest request.
const MAX_BODY: usize = 1 << 30;

/// Serve ClickHouse's engine over HTTP.
#[derive(Debug, Parser)]
#[command(
    name = "netspectra-chdb",
    after_help = "Example:\n  netspectra-chdb --lib libchdb.so --data /tmp/data --listen 127.0.0.1:18123"
)]
struct Args {
    /// The library: `libchdb.so` of the npm package `@chdb/lib-linux-x64-gnu`.
    #[arg(long)]
    lib: PathBuf,
    /// Where tables are. One process at a time.
    #[arg(long)]
    data: PathBuf,
    /// A configuration as ClickHouse's server has it. Of its users there is `default`, whose rights it may bound.
    #[arg(long)]
    config: Option<PathBuf>,
    /// Address and port.
    #[arg(long)]
    listen: SocketAddr,
}

fn main() -> Result<()> {
    let args = Args::parse();
    std::fs::create_dir_all(&args.data).with_context(|| format!("cannot make `{}`", args.data.display()))?;
    let engine = Arc::new(Engine::open(&args.lib, &args.data, args.config.as_deref())?);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no runtime")?;
    runtime.block_on(serve(args.listen, engine))
}

async fn serve(listen: SocketAddr, engine: Arc<Engine>) -> Result<()> {
    let listener = TcpListener::bind(listen).await.with_context(|| format!("cannot listen on `{listen}`"))?;
    loop {
        let (stream, _) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                eprint(&format!("accept: {error}"));
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                continue;
            }
        };
        let engine = engine.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(engine.clone(), request));
            // A client that goes away early is its own affair.
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(engine: Arc<Engine>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    if head.method == Method::GET && matches!(head.uri.path(), "/ping" | "/") && head.uri.query().is_none() {
        return Ok(reply(StatusCode::OK, "Ok.\n".into()));
    }
    let body = match Limited::new(body, MAX_BODY).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => return Ok(reply(StatusCode::BAD_REQUEST, format!("the body cannot be read: {error}").into())),
    };
    let content_type = head.headers.get(hyper::header::CONTENT_TYPE).and_then(|v| v.to_str().ok());
    let statement = match request::read(head.uri.query().unwrap_or_default(), content_type, body) {
        Ok(statement) => statement,
        Err(error) => return Ok(reply(StatusCode::BAD_REQUEST, format!("{error:#}").into())),
    };
    let done = tokio::task::spawn_blocking(move || engine.run(statement)).await;
    Ok(match done {
        Ok(Ok(bytes)) => reply(StatusCode::OK, bytes),
        Ok(Err(error)) => {
            let text = format!("{error:#}");
            let code = text.split("Code: ").nth(1).and_then(|rest| rest.split('.').next()).unwrap_or("1002").to_owned();
            let mut response = reply(StatusCode::INTERNAL_SERVER_ERROR, text.into());
            if let Ok(code) = code.parse() {
                response.headers_mut().insert("x-clickhouse-exception-code", code);
            }
            response
        }
        Err(error) => reply(StatusCode::INTERNAL_SERVER_ERROR, format!("Code: 1002. {error}").into()),
    })
}

fn reply(status: StatusCode, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response
}

/// Standard error is this tool's log.
#[allow(clippy::print_stderr, reason = "the log of a development tool")]
fn eprint(line: &str) {
    eprintln!("netspectra-chdb: {line}");
}
