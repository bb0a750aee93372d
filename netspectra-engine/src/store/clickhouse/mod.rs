//! The store of a cluster: ClickHouse.
//!
//! **Once.** A block is written table by table, each insert with the block's name as its deduplication token, and its name
//! last, into `blocks`. A block that is written again, whole or because its writer died on the way, changes nothing. Rows of
//! blocks that are not in `blocks` yet are in no answer.
//!
//! **The same answers.** Rows are folded by the code that every store uses. ClickHouse groups roll-ups before, by the
//! dimensions that the question looks at, which changes no sum. No text of a client is in a query: names come from the schema,
//! values are bound.

mod config;
mod error;
mod filter;
mod query;
#[cfg(test)]
mod rolling;
mod rows;
mod schema;
mod states;
#[cfg(test)]
mod tests;
pub mod users;
mod windows;

pub use config::{ClickHouseConfig, ClickHouseConfigError, Credentials};
pub use schema::{Migration, SchemaError};
pub use windows::{Merged, Merging};

use crate::tls;
use clickhouse::insert::Insert;
use clickhouse::{Client, Compression, Row};
use error::port_error;
use hyper_util::client::legacy::Client as Http;
use hyper_util::rt::TokioExecutor;
use netspectra_common::model::{BlockId, TimeRange};
use netspectra_common::ports::{BlockStore, BoxFuture, PortError, Store, StoreBatch, Through};
use netspectra_common::query::{Partial, Plan};
use rows::{AlertRow, BlockRow, FlowRow, LedgerRow, MessageRow, RollupRow, WindowRow};
use std::time::Duration;

/// Time that sending a part of an insert, and its end, may take.
const SEND: Duration = Duration::from_secs(30);
const END: Duration = Duration::from_secs(120);
/// Time after which a connection is not used again: ClickHouse closes them after 3 s.
const IDLE: Duration = Duration::from_secs(2);

/// A database in ClickHouse.
#[derive(Clone)]
pub struct ClickHouseStore {
    client: Client,
    config: ClickHouseConfig,
    /// The log whose blocks are here.
    topic: String,
}

impl ClickHouseStore {
    /// Asks nothing yet: a server that is away is waited for by who asks.
    ///
    /// # Errors
    /// A setting that is not legal, or a file of authorities that cannot be used.
    pub fn new(config: &ClickHouseConfig, topic: &str) -> Result<Self, ClickHouseConfigError> {
        config.validate()?;
        let refused = |why| ClickHouseConfigError {
            key: "ca_file",
            found: format!("{}: {why}", config.ca_file.clone().unwrap_or_default().display()),
            expected: "a file with certificates as PEM",
        };
        let connector = tls::connector(config.ca_file.as_deref()).map_err(refused)?;
        let http = Http::builder(TokioExecutor::new()).pool_idle_timeout(IDLE).build(connector);
        let mut client = Client::with_http_client(http)
            .with_url(&config.url)
            .with_database(&config.database)
            .with_compression(Compression::Lz4)
            // A client that takes what a newer schema has more of.
            .with_setting("input_format_skip_unknown_fields", "1")
            .with_setting("input_format_defaults_for_omitted_fields", "1");
        if let Some(user) = &config.user {
            client = client.with_user(user);
            client = client.with_password(&config.credentials.0);
        }
        Ok(Self { client, config: config.clone(), topic: topic.to_owned() })
    }

    /// Makes what is not there, step by step; returns the steps made. Run by one process at a time.
    ///
    /// # Errors
    /// A server that does not answer or refuses; a schema that is newer than this build.
    pub async fn migrate(&self) -> Result<Vec<Migration>, SchemaError> {
        schema::migrate(&self.client, &self.config).await
    }

    /// Whether the schema is that of this build, or a newer one with which this build may go on.
    ///
    /// # Errors
    /// A server that does not answer; an older schema, with what to do; a newer one that is not for this build.
    pub async fn check(&self) -> Result<(), SchemaError> {
        schema::check(&self.client, &self.config).await
    }

    async fn write(&self, batch: &StoreBatch) -> Result<(), PortError> {
        let Some(block) = &batch.block else {
            return Err(PortError::permanent("a batch that is no block of a log cannot be stored in ClickHouse"));
        };
        self.insert("flows", block, &batch.flows, |row| FlowRow::of(block, row)).await?;
        self.insert("rollups", block, &batch.rollups, |row| RollupRow::of(block, row)).await?;
        self.insert("windows", block, &batch.windows, |row| WindowRow::of(block, row)).await?;
        self.insert("ledger", block, &batch.ledger, |row| LedgerRow::of(block, row)).await?;
        self.insert("alerts", block, &batch.alerts, |row| AlertRow::of(block, row)).await?;
        self.insert("messages", block, &batch.messages, |row| MessageRow::of(block, row)).await?;
        self.insert("blocks", block, &[()], |()| BlockRow::of(block, batch)).await
    }

    /// Inserts `rows` as one block of ClickHouse, under the block's name.
    async fn insert<'a, S, R>(
        &self,
        table: &'static str,
        block: &BlockId,
        rows: &'a [S],
        row: impl Fn(&'a S) -> R,
    ) -> Result<(), PortError>
    where
        R: Row + for<'r> clickhouse::RowWrite + 'static,
        for<'r> R: Row<Value<'r> = R>,
    {
        if rows.is_empty() {
            return Ok(());
        }
        let failed = |error| port_error(&format!("ClickHouse did not take rows for table `{table}`"), error);
        let token = format!("{}/{}/{}-{}", block.topic, block.partition, block.first, block.last);
        let insert: Insert<R> = self.client.insert(table).await.map_err(failed)?;
        let mut insert = insert
            .with_timeouts(Some(SEND), Some(END))
            .with_setting("insert_deduplicate", "1")
            .with_setting("insert_deduplication_token", token);
        for from in rows {
            insert.write(&row(from)).await.map_err(failed)?;
        }
        insert.end().await.map_err(failed)
    }
}

impl Store for ClickHouseStore {
    fn append<'a>(&'a self, batch: &'a StoreBatch) -> BoxFuture<'a, Result<(), PortError>> {
        Box::pin(self.write(batch))
    }

    fn query<'a>(&'a self, plan: &'a Plan) -> BoxFuture<'a, Result<Partial, PortError>> {
        Box::pin(async move { query::run(self, plan, &self.topic, &Through::new()).await })
    }

    fn last_generation<'a>(&'a self, node: &'a str, epoch: u64) -> BoxFuture<'a, Result<Option<u64>, PortError>> {
        Box::pin(query::last_generation(self, node, epoch))
    }

    fn extent(&self) -> BoxFuture<'_, Result<Option<TimeRange>, PortError>> {
        Box::pin(query::extent(self))
    }
}

impl BlockStore for ClickHouseStore {
    fn stored_through<'a>(&'a self, topic: &'a str, partition: u32) -> BoxFuture<'a, Result<Option<u64>, PortError>> {
        Box::pin(async move { Ok(query::cuts(self, topic).await?.remove(&partition)) })
    }

    fn query_through<'a>(
        &'a self,
        plan: &'a Plan,
        topic: &'a str,
        through: &'a Through,
    ) -> BoxFuture<'a, Result<Partial, PortError>> {
        Box::pin(query::run(self, plan, topic, through))
    }

    fn save_state<'a>(
        &'a self,
        topic: &'a str,
        partition: u32,
        offset: u64,
        state: &'a [u8],
    ) -> BoxFuture<'a, Result<(), PortError>> {
        Box::pin(states::save(self, topic, partition, offset, state))
    }

    fn load_state<'a>(
        &'a self,
        topic: &'a str,
        partition: u32,
    ) -> BoxFuture<'a, Result<Option<(u64, Vec<u8>)>, PortError>> {
        Box::pin(states::load(self, topic, partition))
    }
}
