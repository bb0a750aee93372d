//! The servers, and how one sees that each answers.

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io::{Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

/// For one connection, one write and one read of a probe.
const PROBE_LIMIT: Duration = Duration::from_secs(2);
/// An answer longer than this is none of a server of ours.
const LONGEST_ANSWER: usize = 1 << 16;

/// A server of the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Service {
    /// The bus.
    Kafka,
    /// The store.
    Clickhouse,
    /// The live state.
    Redis,
    /// Time series.
    Prometheus,
}

impl Service {
    /// In the order in which they are started.
    pub(super) const ALL: [Self; 4] = [Self::Redis, Self::Prometheus, Self::Clickhouse, Self::Kafka];

    /// As on the command line and in the names of files.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Kafka => "kafka",
            Self::Clickhouse => "clickhouse",
            Self::Redis => "redis",
            Self::Prometheus => "prometheus",
        }
    }

    /// Names a server that runs already, and tells tests where it is.
    pub(super) fn variable(self) -> &'static str {
        match self {
            Self::Kafka => "NETSPECTRA_KAFKA",
            Self::Clickhouse => "NETSPECTRA_CLICKHOUSE",
            Self::Redis => "NETSPECTRA_REDIS",
            Self::Prometheus => "NETSPECTRA_PROMETHEUS",
        }
    }

    /// What its variable holds for a server without password at this port of this host.
    pub(super) fn url(self, port: u16) -> String {
        match self {
            Self::Kafka => format!("127.0.0.1:{port}"),
            Self::Clickhouse | Self::Prometheus => format!("http://127.0.0.1:{port}"),
            Self::Redis => format!("redis://127.0.0.1:{port}"),
        }
    }

    /// The port that is meant where a URL has none.
    fn default_port(self, scheme: &str) -> u16 {
        match self {
            Self::Kafka => 9092,
            Self::Clickhouse if scheme == "https" => 8443,
            Self::Clickhouse => 8123,
            Self::Redis => 6379,
            Self::Prometheus if scheme == "https" => 443,
            Self::Prometheus => 9090,
        }
    }

    /// How long it may take until it answers, on a slow and busy machine.
    pub(super) fn patience(self) -> Duration {
        Duration::from_secs(match self {
            Self::Kafka => 120,
            Self::Clickhouse => 60,
            Self::Redis => 20,
            Self::Prometheus => 60,
        })
    }

    /// `host:port` of the first server that `url` names.
    ///
    /// # Errors
    /// There is no host, or its port is no number.
    pub(super) fn address(self, url: &str) -> Result<String> {
        let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
        let authority = rest.split(['/', '?', ',']).next().unwrap_or_default();
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        let after_host = host.rsplit_once(']').map_or(host, |(_, after)| after);
        let wrong = || format!("`{}` is `{url}`, expected `{}`", self.variable(), self.url(self.default_port(scheme)));
        match after_host.rsplit_once(':') {
            _ if host.is_empty() => bail!("{}", wrong()),
            None => Ok(format!("{host}:{}", self.default_port(scheme))),
            Some((_, port)) => {
                port.parse::<u16>().with_context(wrong)?;
                Ok(host.to_owned())
            }
        }
    }

    /// Whether the server at `url` answers. One that speaks TLS or wants a password is only connected to: what it is
    /// asked later, it is asked with those.
    ///
    /// # Errors
    /// Says what it did instead.
    pub(super) fn probe(self, url: &str) -> Result<()> {
        let address = self.address(url)?;
        if self.is_plain(url) {
            let answer = exchange(&address, &self.question(), |answer| self.is_whole(answer))?;
            self.judge(&answer)
        } else {
            connect(&address).map(drop)
        }
    }

    fn is_plain(self, url: &str) -> bool {
        match self {
            Self::Kafka => true,
            Self::Clickhouse | Self::Prometheus => url.starts_with("http://"),
            Self::Redis => url.starts_with("redis://") && !url.contains('@'),
        }
    }

    fn question(self) -> Vec<u8> {
        match self {
            // Metadata, version 0, of all topics: length, key, version, correlation, client `-`, no topics.
            Self::Kafka => [&17u32.to_be_bytes()[..], &[0, 3, 0, 0, 0, 0, 0, 7, 0, 3], b"nsp", &[0; 4]].concat(),
            Self::Clickhouse => b"GET /ping HTTP/1.0\r\nConnection: close\r\n\r\n".to_vec(),
            Self::Redis => b"PING\r\n".to_vec(),
            Self::Prometheus => b"GET /-/ready HTTP/1.0\r\nConnection: close\r\n\r\n".to_vec(),
        }
    }

    /// Whether the server has said all that there is to say.
    fn is_whole(self, answer: &[u8]) -> bool {
        match self {
            Self::Kafka => answer
                .first_chunk::<4>()
                .is_some_and(|length| answer.len() >= 4 + usize::try_from(u32::from_be_bytes(*length)).unwrap_or(0)),
            // The end of the connection is the end of the answer.
            Self::Clickhouse | Self::Prometheus => false,
            Self::Redis => answer.ends_with(b"\r\n"),
        }
    }

    fn judge(self, answer: &[u8]) -> Result<()> {
        let good = match self {
            // Behind the length: correlation, then the number of brokers that take part. One that still starts has 0.
            Self::Kafka => {
                answer.get(4..8) == Some(&[0, 0, 0, 7]) && answer.get(8..12).is_some_and(|count| count != [0; 4])
            }
            Self::Clickhouse | Self::Prometheus => answer.starts_with(b"HTTP/1.") && answer.get(9..12) == Some(b"200"),
            Self::Redis => answer.starts_with(b"+PONG"),
        };
        if !good {
            let start = &answer[..answer.len().min(60)];
            bail!("it answers `{}`, which is not what {self} says when it is ready", start.escape_ascii());
        }
        Ok(())
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kafka => "Kafka",
            Self::Clickhouse => "ClickHouse",
            Self::Redis => "Redis",
            Self::Prometheus => "Prometheus",
        })
    }
}

fn connect(address: &str) -> Result<TcpStream> {
    let mut last = None;
    for socket in address.to_socket_addrs().with_context(|| format!("`{address}` is not the address of a host"))? {
        match TcpStream::connect_timeout(&socket, PROBE_LIMIT) {
            Ok(stream) => {
                stream.set_read_timeout(Some(PROBE_LIMIT))?;
                stream.set_write_timeout(Some(PROBE_LIMIT))?;
                return Ok(stream);
            }
            Err(error) => last = Some(error),
        }
    }
    let error = last.with_context(|| format!("`{address}` has no address"))?;
    Err(error).with_context(|| format!("cannot connect to `{address}`"))
}

fn exchange(address: &str, question: &[u8], is_whole: impl Fn(&[u8]) -> bool) -> Result<Vec<u8>> {
    let mut stream = connect(address)?;
    stream.write_all(question).with_context(|| format!("`{address}` takes no question"))?;
    let (mut answer, mut part) = (Vec::new(), [0; 4096]);
    while !is_whole(&answer) && answer.len() < LONGEST_ANSWER {
        match stream.read(&mut part).with_context(|| format!("`{address}` gives no answer"))? {
            0 => break,
            read => answer.extend_from_slice(&part[..read]),
        }
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn urls_name_a_host_and_a_port() {
        for (service, url, address) in [
            (Service::Kafka, "k1:9093,k2:9093", "k1:9093"),
            (Service::Kafka, "k1", "k1:9092"),
            (Service::Clickhouse, "http://ch:8000/?x=1", "ch:8000"),
            (Service::Clickhouse, "https://ch", "ch:8443"),
            (Service::Clickhouse, "http://[::1]:8123", "[::1]:8123"),
            (Service::Clickhouse, "http://[::1]", "[::1]:8123"),
            (Service::Redis, "rediss://user:p:w@r/0", "r:6379"),
            (Service::Redis, "redis://r:7000/0", "r:7000"),
            (Service::Prometheus, "http://p/prefix", "p:9090"),
            (Service::Prometheus, "https://p", "p:443"),
        ] {
            assert_eq!(service.address(url).unwrap(), address, "{url}");
        }
        let error = Service::Redis.address("redis://r:x").unwrap_err().to_string();
        assert_eq!(error, "`NETSPECTRA_REDIS` is `redis://r:x`, expected `redis://127.0.0.1:6379`");
        assert!(Service::Clickhouse.address("http://").is_err());
    }

    #[test]
    fn only_a_server_that_is_ready_passes() {
        let kafka = |brokers: u8| [0, 0, 0, 8, 0, 0, 0, 7, 0, 0, 0, brokers];
        assert!(Service::Kafka.judge(&kafka(1)).is_ok());
        assert!(Service::Kafka.judge(&kafka(0)).is_err(), "no broker takes part yet");
        assert!(Service::Kafka.judge(&[]).is_err());
        assert!(Service::Clickhouse.judge(b"HTTP/1.0 200 OK\r\n\r\nOk.\n").is_ok());
        assert!(Service::Clickhouse.judge(b"HTTP/1.0 503 x\r\n\r\n").is_err());
        assert!(Service::Redis.judge(b"+PONG\r\n").is_ok());
        assert!(Service::Prometheus.judge(b"HTTP/1.0 200 OK\r\n\r\nPrometheus Server is Ready.\n").is_ok());
        assert!(Service::Prometheus.judge(b"HTTP/1.0 503 Service Unavailable\r\n\r\n").is_err());
        let loading = Service::Redis.judge(b"-LOADING Redis is loading\r\n").unwrap_err().to_string();
        assert!(loading.starts_with("it answers `-LOADING"), "{loading}");
    }

    #[test]
    fn the_question_to_kafka_has_the_length_that_it_says() {
        let question = Service::Kafka.question();
        assert_eq!(question.len(), 4 + usize::from(question[3]));
    }

    #[test]
    fn a_probe_asks_over_tcp_and_reads_a_whole_answer() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = Service::Redis.url(listener.local_addr().unwrap().port());
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut question = [0; 6];
            stream.read_exact(&mut question).unwrap();
            // In two pieces: an answer is not a read.
            stream.write_all(b"+PO").unwrap();
            stream.write_all(b"NG\r\n").unwrap();
            question
        });
        Service::Redis.probe(&url).unwrap();
        assert_eq!(&server.join().unwrap(), b"PING\r\n");
        assert!(Service::Redis.probe(&url).unwrap_err().to_string().starts_with("cannot connect to `127.0.0.1:"));
    }
}
