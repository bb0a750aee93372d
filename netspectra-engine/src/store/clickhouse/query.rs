//! Plans as queries. Names are the schema's, values are bound: no text of a client is in a query.

use super::ClickHouseStore;
use super::error::port_error;
use super::filter::Condition;
use super::rows::{AlertRow, At, FlowRow, GroupRow, LedgerRow, MessageRow, RowError, time};
use super::windows::{self, Sketches, Wanted};
use clickhouse::query::{Query as Sql, RowCursor as Rows};
use clickhouse::{Row, RowOwned, RowRead};
use netspectra_common::model::{Nanos, Resolution, TimeRange, WindowState};
use netspectra_common::ports::{PortError, Through};
use netspectra_common::query::{Filter, Partial, Plan, Query, RowCursor, Source};
use netspectra_common::schema::Dimension;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// Groups that ClickHouse may hold in memory for one question.
const MOST_GROUPS: &str = "8000000";
/// Dimensions of roll-ups as columns, and what stands for one that was not asked for.
const COLUMNS: [(Dimension, &str, &str); 32] = [
    (Dimension::Node, "node", "''"),
    (Dimension::Iface, "iface", "''"),
    (Dimension::Direction, "direction", "''"),
    (Dimension::SrcIp, "src_ip", NO_MATTER),
    (Dimension::DstIp, "dst_ip", NO_MATTER),
    (Dimension::SrcPort, "src_port", "toUInt16(0)"),
    (Dimension::DstPort, "dst_port", "toUInt16(0)"),
    (Dimension::Proto, "proto", "toUInt8(0)"),
    (Dimension::EtherType, "ether_type", "toUInt16(0)"),
    (Dimension::Vlan, "vlan", "CAST(NULL, 'Nullable(UInt16)')"),
    (Dimension::Tunnel, "tunnel", "''"),
    (Dimension::TunnelId, "tunnel_id", "CAST(NULL, 'Nullable(UInt32)')"),
    (Dimension::SrcCountry, "src_country", "''"),
    (Dimension::DstCountry, "dst_country", "''"),
    (Dimension::SrcAs, "src_as", "CAST(NULL, 'Nullable(UInt32)')"),
    (Dimension::DstAs, "dst_as", "CAST(NULL, 'Nullable(UInt32)')"),
    (Dimension::SrcNetwork, "src_network", "''"),
    (Dimension::DstNetwork, "dst_network", "''"),
    (Dimension::SrcName, "src_name", "''"),
    (Dimension::DstName, "dst_name", "''"),
    (Dimension::SrcPod, "src_pod", "''"),
    (Dimension::DstPod, "dst_pod", "''"),
    (Dimension::SrcNamespace, "src_namespace", "''"),
    (Dimension::DstNamespace, "dst_namespace", "''"),
    (Dimension::SrcWorkload, "src_workload", "''"),
    (Dimension::DstWorkload, "dst_workload", "''"),
    (Dimension::SrcProcess, "src_process", "''"),
    (Dimension::DstProcess, "dst_process", "''"),
    (Dimension::SrcCgroup, "src_cgroup", "''"),
    (Dimension::DstCgroup, "dst_cgroup", "''"),
    (Dimension::Service, "service", "''"),
    (Dimension::Sampling, "sampling", "toUInt32(1)"),
];
/// An address where rows have one: whether there is one tells IP from everything else.
const NO_MATTER: &str = "if(g_non_ip, NULL, toIPv6('::'))";

/// Answers `plan` from the blocks of `topic` up to `through`; of partitions that are not in it from all that are whole.
pub(super) async fn run(
    store: &ClickHouseStore,
    plan: &Plan,
    topic: &str,
    through: &Through,
) -> Result<Partial, PortError> {
    // A block that is being written has rows, and no name yet.
    let mut cuts: BTreeMap<u32, u64> = cuts(store, topic).await?;
    for (partition, until) in through {
        match until {
            Some(until) => cuts.insert(*partition, *until),
            None => cuts.remove(partition),
        };
    }
    let asked = Asked { blocks: Blocks { store, topic, cuts }, plan };
    let mut partial = asked.empty()?;
    if asked.blocks.cuts.is_empty() {
        return Ok(partial);
    }
    match (plan.source(), &plan.query) {
        (Source::Flows, Query::Flows { limit, after }) => {
            let list = List {
                table: "flows",
                at: "last_seen",
                id: "flow_id",
                since: "first_seen",
                begin: "first_seen",
                limit: *limit,
                after: *after,
            };
            let fold = |partial: &mut Partial, row: FlowRow| {
                partial.fold_flow(plan, &row.record()?);
                Ok(())
            };
            return asked.list(&list, fold).await;
        }
        (Source::Alerts, Query::Alerts { limit, after }) => {
            let list = List::told("alerts", "first_seen", *limit, *after);
            let fold = |partial: &mut Partial, row: AlertRow| {
                partial.fold_alert(plan, &row.alert()?);
                Ok(())
            };
            return asked.list(&list, fold).await;
        }
        (Source::Messages, Query::Messages { limit, after }) => {
            let list = List::told("messages", "at", *limit, *after);
            let fold = |partial: &mut Partial, row: MessageRow| {
                partial.fold_message(plan, &row.message()?);
                Ok(())
            };
            return asked.list(&list, fold).await;
        }
        (Source::Flows, _) => asked.ended_flows(&mut partial).await?,
        (Source::Rollups, _) => asked.rollups(&mut partial).await?,
        (Source::Windows(resolution), _) => {
            let wanted = Wanted { resolution, range: plan.range, sketches: Sketches::of(plan) };
            let fold = |window: &WindowState, of: TimeRange| partial.fold_windows(plan, window, of);
            windows::read(&asked.blocks, &wanted, fold).await?;
        }
        (Source::Ledger, _) => asked.ledger(&mut partial).await?,
        // No other question is answered from these.
        (Source::Alerts | Source::Messages, _) => {}
    }
    Ok(partial)
}

/// Rows that a list is asked for beyond those of its page.
const BESIDE: usize = 16;

/// A page of rows of a table.
struct List {
    table: &'static str,
    /// The columns of a row's position.
    at: &'static str,
    id: &'static str,
    since: &'static str,
    /// The column before which a row is not in the range.
    begin: &'static str,
    limit: usize,
    after: Option<RowCursor>,
}

impl List {
    /// Of a table whose rows are of one instant.
    fn told(table: &'static str, since: &'static str, limit: usize, after: Option<RowCursor>) -> Self {
        Self { table, at: "at", id: "id", since, begin: "at", limit, after }
    }
}

/// Offset of the last message of the last whole block, by partition.
pub(super) async fn cuts(store: &ClickHouseStore, topic: &str) -> Result<BTreeMap<u32, u64>, PortError> {
    let rows = store
        .client
        .query(
            "SELECT log_partition, max(block_last) FROM blocks WHERE log_topic = {topic:String} GROUP BY log_partition",
        )
        .param("topic", topic)
        .fetch_all::<(u32, u64)>()
        .await
        .map_err(|error| port_error("ClickHouse does not say which blocks it has", error))?;
    Ok(rows.into_iter().collect())
}

pub(super) async fn last_generation(store: &ClickHouseStore, node: &str, epoch: u64) -> Result<Option<u64>, PortError> {
    let found = store
        .client
        .query(
            "SELECT max(generation), count() FROM ledger \
             WHERE log_topic = {topic:String} AND node = {node:String} AND epoch = {epoch:UInt64}",
        )
        .param("topic", &store.topic)
        .param("node", node)
        .param("epoch", epoch)
        .fetch_one::<(u64, u64)>()
        .await
        .map_err(failed)?;
    Ok((found.1 > 0).then_some(found.0))
}

#[derive(Deserialize, Row)]
struct Span {
    from: i64,
    to: i64,
    rows: u64,
}

pub(super) async fn extent(store: &ClickHouseStore) -> Result<Option<TimeRange>, PortError> {
    let mut hull: Option<TimeRange> = None;
    for (table, from, to) in [
        ("flows", "min(first_seen)", "max(last_seen)"),
        ("windows", "min(start)", "max(addSeconds(start, resolution_seconds))"),
        ("ledger", "min(start)", "max(end)"),
        ("alerts", "min(at)", "max(at)"),
        ("messages", "min(at)", "max(at)"),
    ] {
        let sql = format!(
            "SELECT {from} AS from, {to} AS to, count() AS rows FROM {table} WHERE log_topic = {{topic:String}}"
        );
        let span =
            store.client.query_raw(&sql).param("topic", &store.topic).fetch_one::<Span>().await.map_err(failed)?;
        if span.rows > 0 {
            let from = super::rows::nanos(span.from);
            let to =
                Nanos(super::rows::nanos(span.to).0.saturating_add(u64::from(!matches!(table, "windows" | "ledger"))));
            let found = TimeRange { from, to: to.max(from) };
            hull = Some(hull.map_or(found, |h| TimeRange { from: h.from.min(found.from), to: h.to.max(found.to) }));
        }
    }
    Ok(hull)
}

pub(super) fn failed(error: clickhouse::error::Error) -> PortError {
    port_error("ClickHouse did not answer", error)
}

pub(super) fn strange(error: RowError) -> PortError {
    PortError::permanent("ClickHouse has a row that is none of ours").because(error)
}

/// The blocks of a log that are asked: of each partition those that end at or before its cut.
pub(super) struct Blocks<'a> {
    pub(super) store: &'a ClickHouseStore,
    pub(super) topic: &'a str,
    pub(super) cuts: BTreeMap<u32, u64>,
}

impl Blocks<'_> {
    /// `sql`, which may name [`BLOCKS`].
    pub(super) fn query(&self, sql: &str) -> Sql {
        let partitions: Vec<u32> = self.cuts.keys().copied().collect();
        let cuts: Vec<u64> = self.cuts.values().map(|last| last.saturating_add(1)).collect();
        self.store.client.query_raw(sql).param("topic", self.topic).param("partitions", partitions).param("cuts", cuts)
    }
}

struct Asked<'a> {
    blocks: Blocks<'a>,
    plan: &'a Plan,
}

/// Rows of the blocks asked for: no partition that is not named, and none behind its cut.
pub(super) const BLOCKS: &str = "log_topic = {topic:String} \
    AND block_last < transform(log_partition, {partitions:Array(UInt32)}, {cuts:Array(UInt64)}, toUInt64(0))";

impl Asked<'_> {
    fn empty(&self) -> Result<Partial, PortError> {
        Partial::new(self.plan).map_err(|error| PortError::permanent("the plan is not legal").because(error))
    }

    /// The range with `slack` on both sides, because folding decides.
    fn range(&self, slack: std::time::Duration) -> (i64, i64) {
        let TimeRange { from, to } = self.plan.range;
        (time(from.minus(slack)), time(to.plus(slack)))
    }

    /// The rows of a list, newest first. Asks for a few more than the page takes, and again for more where many share one
    /// position.
    async fn list<R, F>(&self, list: &List, fold: F) -> Result<Partial, PortError>
    where
        R: Row + RowOwned + RowRead + At,
        F: Fn(&mut Partial, R) -> Result<(), RowError>,
    {
        let (at, id, since) = (list.at, list.id, list.since);
        let TimeRange { from, to } = self.plan.range;
        let mut after = String::new();
        if list.after.is_some() {
            let time = |name| format!("fromUnixTimestamp64Nano({{{name}:Int64}})");
            let (last, first) = (time("after_at"), time("after_since"));
            after = format!(" AND {at} <= {last} AND ({at}, {id}, {since}) < ({last}, {{after_id:UInt64}}, {first})");
        }
        let filter = Condition::of(&self.plan.filter);
        let (fields, table, begin) = (fields::<R>(), list.table, list.begin);
        let condition = filter.text();
        let mut most = list.limit + BESIDE;
        loop {
            let sql = format!(
                "SELECT {fields} FROM {table} WHERE {BLOCKS} AND {at} >= fromUnixTimestamp64Nano({{from:Int64}}) \
                   AND {begin} <= fromUnixTimestamp64Nano({{until:Int64}}){after}{condition} \
                 ORDER BY {at} DESC, {id} DESC LIMIT {most}"
            );
            let mut query = self.blocks.query(&sql).param("from", time(from));
            query = query.param("until", time(Nanos(to.0.saturating_sub(1))));
            if let Some(after) = list.after {
                query = query.param("after_at", time(after.at)).param("after_id", after.id);
                query = query.param("after_since", time(after.since));
            }
            let mut partial = self.empty()?;
            let mut rows = filter.bind(query).fetch::<R>().map_err(failed)?;
            let (mut count, mut oldest) = (0, Nanos(u64::MAX));
            while let Some(row) = rows.next().await.map_err(failed)? {
                (count, oldest) = (count + 1, row.at());
                fold(&mut partial, row).map_err(strange)?;
            }
            // Rows behind the last one are not newer than it: once that is behind the page, so are they.
            if count < most || partial.page_floor().is_some_and(|floor| oldest < floor) {
                return Ok(partial);
            }
            most = most.saturating_mul(16);
        }
    }

    /// Every record that may have ended in the range, for quantiles.
    async fn ended_flows(&self, partial: &mut Partial) -> Result<(), PortError> {
        let fields = fields::<FlowRow>();
        let (from, to) = self.range(std::time::Duration::ZERO);
        let filter = Condition::of(&self.plan.filter);
        let sql = format!(
            "SELECT {fields} FROM flows WHERE {BLOCKS} AND last_seen >= fromUnixTimestamp64Nano({{from:Int64}}) \
               AND last_seen <= fromUnixTimestamp64Nano({{to:Int64}}){}",
            filter.text()
        );
        let query = filter.bind(self.blocks.query(&sql).param("from", from).param("to", to));
        let mut rows = query.fetch::<FlowRow>().map_err(failed)?;
        while let Some(row) = rows.next().await.map_err(failed)? {
            partial.fold_flow(self.plan, &row.record().map_err(strange)?);
        }
        Ok(())
    }

    async fn rollups(&self, partial: &mut Partial) -> Result<(), PortError> {
        let mut wanted: BTreeSet<Dimension> = self.plan.dimensions().iter().copied().collect();
        let mut bucket = String::new();
        if let Query::Series { step, .. } = &self.plan.query {
            // Points of a series begin at multiples of its step, as here.
            bucket = format!(", intDiv(toUnixTimestamp64Nano(window), {}) AS bucket", step.as_nanos().max(1));
        }
        // A port is that of its protocol.
        if wanted.iter().any(|d| matches!(d, Dimension::SrcPort | Dimension::DstPort)) {
            wanted.insert(Dimension::Proto);
        }
        // Few and narrow keys: a group costs their width.
        let keys: Vec<&str> = COLUMNS.iter().filter(|(d, ..)| wanted.contains(d)).map(|(_, name, _)| *name).collect();
        let selected: String = keys.iter().map(|name| format!(", {name} AS g_{name}")).collect();
        let grouped: String = keys.iter().map(|name| format!(", g_{name}")).collect();
        let by_bucket = if bucket.is_empty() { "" } else { ", bucket" };
        let named = COLUMNS.map(|(_, name, other)| match keys.contains(&name) {
            true => format!("g_{name} AS {name}"),
            false => format!("{other} AS {name}"),
        });
        let filter = Condition::of(&self.plan.filter);
        let (from, to) = self.range(Resolution::S10.duration());
        let sql = format!(
            "SELECT {outer} FROM (SELECT first, last, {named}, g_packets AS packets, g_bytes AS bytes, g_new_flows AS new_flows FROM (\
               SELECT min(window) AS first, max(window) AS last, isNull(src_ip) AS g_non_ip{selected}{bucket}, \
                 sum(packets) AS g_packets, sum(bytes) AS g_bytes, sum(new_flows) AS g_new_flows \
               FROM rollups WHERE {BLOCKS} \
                 AND window > fromUnixTimestamp64Nano({{from:Int64}}) AND window < fromUnixTimestamp64Nano({{to:Int64}}){condition} \
               GROUP BY g_non_ip{grouped}{by_bucket}))",
            outer = fields::<GroupRow>(),
            named = named.join(", "),
            condition = filter.text(),
        );
        // Only windows that share an instant with the range: sums cannot be taken apart afterwards.
        let first = from.max(time(self.plan.range.from.minus(Resolution::S10.duration())));
        let last = to.min(time(self.plan.range.to));
        let query = self
            .blocks
            .query(&sql)
            .param("from", if self.plan.range.from == TimeRange::ALL.from { -1 } else { first })
            .param("to", last)
            .with_setting("max_rows_to_group_by", MOST_GROUPS)
            .with_setting("group_by_overflow_mode", "throw");
        let mut rows = filter.bind(query).fetch::<GroupRow>().map_err(failed)?;
        // What the filter looked at is not in the groups any more.
        let filtered = Plan { filter: Filter::ALL, ..self.plan.clone() };
        while let Some(row) = rows.next().await.map_err(failed)? {
            for rollup in row.rollups().map_err(strange)? {
                partial.fold_rollup(&filtered, &rollup);
            }
        }
        Ok(())
    }

    async fn ledger(&self, partial: &mut Partial) -> Result<(), PortError> {
        let fields = fields::<LedgerRow>();
        let (from, to) = self.range(std::time::Duration::from_secs(1));
        let sql = format!(
            "SELECT {fields} FROM ledger WHERE {BLOCKS} \
               AND end >= fromUnixTimestamp64Nano({{from:Int64}}) AND start <= fromUnixTimestamp64Nano({{to:Int64}})"
        );
        let query = self.blocks.query(&sql).param("from", from).param("to", to);
        let mut rows: Rows<LedgerRow> = query.fetch().map_err(failed)?;
        while let Some(row) = rows.next().await.map_err(failed)? {
            partial.fold_ledger(self.plan, &row.entry().map_err(strange)?);
        }
        Ok(())
    }
}

/// The columns of a row, as a list.
pub(super) fn fields<R: Row + RowOwned + RowRead>() -> String {
    R::COLUMN_NAMES.join(", ")
}
