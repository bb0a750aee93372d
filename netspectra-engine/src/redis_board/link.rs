//! The exchanges with Redis, over a connection that is made when it is needed and thrown away when it failed.
//!
//! All keys of a board share a hash tag, `{prefix}`: in a cluster they are on one node, and change together.

use super::BoardConfig;
use super::url::{BoardUrlError, Target, authorities, target};
use netspectra_common::ports::PortError;
use redis::aio::MultiplexedConnection;
use redis::cluster::{ClusterClient, ClusterClientBuilder};
use redis::cluster_async::ClusterConnection;
use redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, FromRedisValue, IntoConnectionInfo as _, Pipeline, RedisResult,
    TlsCertificates, TlsMode,
};
use std::fmt;
use tokio::sync::Mutex;
use tokio::time::timeout;

pub(super) struct Link {
    config: BoardConfig,
    door: Door,
    open: Mutex<Option<Open>>,
}

/// How one comes to a connection.
enum Door {
    Server(Box<Client>),
    Cluster(Box<ClusterClient>),
    /// Asks the sentinels each time, because the master may be another one then.
    Sentinel(Box<Mutex<SentinelClient>>),
}

/// A connection. Clones share the socket.
#[derive(Clone)]
enum Open {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl fmt::Debug for Link {
    /// Without the URL, which may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("prefix", &self.config.prefix).finish_non_exhaustive()
    }
}

/// Sentinels, and the master that they name: user, password and TLS are the same for all of them.
fn sentinel(urls: &[String], service: &str, trusted: Option<TlsCertificates>) -> RedisResult<SentinelClient> {
    let all = urls.iter().map(|url| url.as_str().into_connection_info()).collect::<RedisResult<Vec<_>>>()?;
    let addresses = all.iter().map(|info| info.addr().clone());
    let mut builder = SentinelClientBuilder::new(addresses, service, SentinelServerType::Master)?;
    if let Some(first) = all.first() {
        let settings = first.redis_settings();
        if let Some(user) = settings.username() {
            builder = builder.set_client_to_sentinel_username(user).set_client_to_redis_username(user);
        }
        if let Some(password) = settings.password() {
            builder = builder.set_client_to_sentinel_password(password).set_client_to_redis_password(password);
        }
        if matches!(first.addr(), ConnectionAddr::TcpTls { .. }) {
            builder = builder.set_client_to_redis_tls_mode(TlsMode::Secure);
        }
    }
    if let Some(trusted) = trusted {
        builder =
            builder.set_client_to_sentinel_certificates(trusted.clone()).set_client_to_redis_certificates(trusted);
    }
    builder.build()
}

impl Link {
    pub(super) fn new(config: BoardConfig) -> Result<Self, BoardUrlError> {
        let trusted = authorities(&config.url, config.ca_file.as_deref())?;
        let door = match target(&config.url)? {
            Target::Server(url) => match trusted {
                Some(trusted) => Client::build_with_tls(url, trusted),
                None => Client::open(url),
            }
            .map(|client| Door::Server(Box::new(client))),
            Target::Cluster(nodes) => {
                let builder = ClusterClientBuilder::new(nodes)
                    .connection_timeout(config.timeout)
                    .response_timeout(config.timeout)
                    .retries(1);
                let builder = trusted.into_iter().fold(builder, ClusterClientBuilder::certs);
                builder.build().map(|client| Door::Cluster(Box::new(client)))
            }
            Target::Sentinel(sentinels, service) => {
                sentinel(&sentinels, &service, trusted).map(|client| Door::Sentinel(Box::new(Mutex::new(client))))
            }
        };
        Ok(Self { door: door.map_err(BoardUrlError::Refused)?, config, open: Mutex::new(None) })
    }

    /// Puts the state of a partition on the board, for the time to live.
    ///
    /// # Errors
    /// Redis does not answer in time, or refuses; all are transient.
    pub(super) async fn publish(&self, partition: u32, state: &[u8]) -> Result<(), PortError> {
        let seconds = self.config.time_to_live.as_secs().max(1);
        let list = self.list();
        let mut commands = redis::pipe();
        commands.atomic();
        commands.cmd("SADD").arg(&list).arg(partition).ignore();
        commands.cmd("EXPIRE").arg(&list).arg(seconds).ignore();
        commands.cmd("SET").arg(self.key(partition)).arg(state).arg("EX").arg(seconds).ignore();
        self.exchange(&commands).await
    }

    /// The states of all partitions.
    ///
    /// # Errors
    /// As [`Link::publish`].
    pub(super) async fn read(&self) -> Result<Vec<Vec<u8>>, PortError> {
        let mut list = redis::pipe();
        list.cmd("SMEMBERS").arg(self.list());
        let (partitions,): (Vec<u32>,) = self.exchange(&list).await?;
        if partitions.is_empty() {
            return Ok(Vec::new());
        }
        let mut states = redis::pipe();
        states.cmd("MGET");
        for partition in partitions {
            states.arg(self.key(partition));
        }
        let (states,): (Vec<Option<Vec<u8>>>,) = self.exchange(&states).await?;
        Ok(states.into_iter().flatten().collect())
    }

    fn list(&self) -> String {
        format!("{{{}}}:live:partitions", self.config.prefix)
    }

    fn key(&self, partition: u32) -> String {
        format!("{{{}}}:live:partition:{partition}", self.config.prefix)
    }

    /// One exchange, with connecting no longer than twice the configured time.
    async fn exchange<T: FromRedisValue>(&self, commands: &Pipeline) -> Result<T, PortError> {
        let failed = |error| PortError::transient("the live board in Redis does not answer as expected").because(error);
        let late = |_| PortError::transient(format!("Redis gave no answer within {:?}", self.config.timeout));
        let mut open = self.open.lock().await;
        let connection = match &*open {
            Some(connection) => connection.clone(),
            None => {
                let made = timeout(self.config.timeout, self.connect()).await.map_err(late)?.map_err(failed)?;
                open.insert(made).clone()
            }
        };
        drop(open);
        let answer = match timeout(self.config.timeout, connection.send(commands)).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => failed(error),
            Err(elapsed) => late(elapsed),
        };
        // Whatever it was: the next exchange begins with a new connection.
        *self.open.lock().await = None;
        Err(answer)
    }

    async fn connect(&self) -> RedisResult<Open> {
        let settings = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.config.timeout))
            .set_response_timeout(Some(self.config.timeout));
        match &self.door {
            Door::Server(client) => client.get_multiplexed_async_connection_with_config(&settings).await.map(Open::One),
            Door::Cluster(client) => client.get_async_connection().await.map(Open::Cluster),
            Door::Sentinel(client) => {
                client.lock().await.get_async_connection_with_config(&settings).await.map(Open::One)
            }
        }
    }
}

impl Open {
    async fn send<T: FromRedisValue>(self, commands: &Pipeline) -> RedisResult<T> {
        match self {
            Self::One(mut connection) => commands.query_async(&mut connection).await,
            Self::Cluster(mut connection) => commands.query_async(&mut connection).await,
        }
    }
}
