//! Plans as queries. Names are the schema's, values are bound: no text of a client is in a query.

use super::ClickHouseStore;
use super::error::port_error;
use super::rows::{FlowRow, GroupRow, LedgerRow, RowError, WindowRow, time};
use clickhouse::query::{Query as Sql, RowCursor};
use clickhouse::{Row, RowOwned, RowRead};
use netspectra_common::model::{Nanos, Resolution, TimeRange};
use netspectra_common::ports::{PortError, Through};
use netspectra_common::query::{Filter, Partial, Plan, Query, Source};
use netspectra_common::schema::Dimension;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// Groups that ClickHouse may hold in memory for one question.
const MOST_GROUPS: &str = "8000000";
/// Sketches of windows, by what they answer.
const SETS: [&str; 6] = ["src_ips", "dst_ips", "ips", "dst_ports", "pairs", "flows"];
const TOPS: [&str; 5] = ["top_src_bytes", "top_dst_bytes", "top_src_packets", "top_dst_packets", "top_dst_port_bytes"];
const QUANTILES: [&str; 5] = ["packet_size", "flow_duration", "server_rtt", "client_rtt", "dns_latency"];
/// Dimensions of roll-ups as columns, and what stands for one that was not asked for. Where a row has addresses the stand-in
/// has one too: whether there is one tells IP from everything else.
const COLUMNS: [(Dimension, &str, &str); 11] = [
    (Dimension::Node, "node", "''"),
    (Dimension::Iface, "iface", "''"),
    (Dimension::Direction, "direction", "''"),
    (Dimension::SrcIp, "src_ip", "if(isNull(src_ip), NULL, toIPv6('::'))"),
    (Dimension::DstIp, "dst_ip", "if(isNull(dst_ip), NULL, toIPv6('::'))"),
    (Dimension::SrcPort, "src_port", "toUInt16(0)"),
    (Dimension::DstPort, "dst_port", "toUInt16(0)"),
    (Dimension::EtherType, "ether_type", "toUInt16(0)"),
    (Dimension::Vlan, "vlan", "CAST(NULL, 'Nullable(UInt16)')"),
    (Dimension::Tunnel, "tunnel", "''"),
    (Dimension::TunnelId, "tunnel_id", "CAST(NULL, 'Nullable(UInt32)')"),
];

/// Answers `plan` from the blocks of `topic` up to `through`; of partitions that are not in it from all that are whole.
pub(super) async fn run(
    store: &ClickHouseStore,
    plan: &Plan,
    topic: &str,
    through: &Through,
) -> Result<Partial, PortError> {
    let mut partial =
        Partial::new(plan).map_err(|error| PortError::permanent("the plan is not legal").because(error))?;
    // A block that is being written has rows, and no name yet.
    let mut cuts: BTreeMap<u32, u64> = cuts(store, topic).await?;
    for (partition, until) in through {
        match until {
            Some(until) => cuts.insert(*partition, *until),
            None => cuts.remove(partition),
        };
    }
    if cuts.is_empty() {
        return Ok(partial);
    }
    let asked = Asked { store, topic, cuts, plan };
    match plan.source() {
        Source::Flows => asked.flows(&mut partial).await?,
        Source::Rollups => asked.rollups(&mut partial).await?,
        Source::Windows(resolution) => asked.windows(&mut partial, resolution).await?,
        Source::Ledger => asked.ledger(&mut partial).await?,
    }
    Ok(partial)
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
    ] {
        let sql = format!(
            "SELECT {from} AS from, {to} AS to, count() AS rows FROM {table} WHERE log_topic = {{topic:String}}"
        );
        let span =
            store.client.query_raw(&sql).param("topic", &store.topic).fetch_one::<Span>().await.map_err(failed)?;
        if span.rows > 0 {
            let from = super::rows::nanos(span.from);
            let to = Nanos(super::rows::nanos(span.to).0.saturating_add(u64::from(table == "flows")));
            let found = TimeRange { from, to: to.max(from) };
            hull = Some(hull.map_or(found, |h| TimeRange { from: h.from.min(found.from), to: h.to.max(found.to) }));
        }
    }
    Ok(hull)
}

fn failed(error: clickhouse::error::Error) -> PortError {
    port_error("ClickHouse did not answer", error)
}

fn strange(error: RowError) -> PortError {
    PortError::permanent("ClickHouse has a row that is none of ours").because(error)
}

struct Asked<'a> {
    store: &'a ClickHouseStore,
    topic: &'a str,
    cuts: BTreeMap<u32, u64>,
    plan: &'a Plan,
}

/// Rows of the blocks asked for: no partition that is not named, and none behind its cut.
const BLOCKS: &str = "log_topic = {topic:String} \
    AND block_last < transform(log_partition, {partitions:Array(UInt32)}, {cuts:Array(UInt64)}, toUInt64(0))";

impl Asked<'_> {
    fn query(&self, sql: &str) -> Sql {
        let partitions: Vec<u32> = self.cuts.keys().copied().collect();
        let cuts: Vec<u64> = self.cuts.values().map(|last| last.saturating_add(1)).collect();
        self.store.client.query_raw(sql).param("topic", self.topic).param("partitions", partitions).param("cuts", cuts)
    }

    /// The range with `slack` on both sides, because folding decides.
    fn range(&self, slack: std::time::Duration) -> (i64, i64) {
        let TimeRange { from, to } = self.plan.range;
        (time(from.minus(slack)), time(to.plus(slack)))
    }

    async fn flows(&self, partial: &mut Partial) -> Result<(), PortError> {
        let fields = fields::<FlowRow>();
        let (from, mut to) = self.range(std::time::Duration::ZERO);
        let page = matches!(self.plan.query, Query::Flows { .. });
        if let Query::Flows { after: Some(after), .. } = &self.plan.query {
            to = to.min(time(Nanos(after.last_seen.0.saturating_add(1))));
        }
        // A record that overlaps the range may end behind it; a page wants the latest first.
        let (time, order) = match page {
            true => (
                "last_seen >= fromUnixTimestamp64Nano({from:Int64}) AND first_seen <= fromUnixTimestamp64Nano({to:Int64})",
                "ORDER BY last_seen DESC, flow_id DESC",
            ),
            false => (
                "last_seen >= fromUnixTimestamp64Nano({from:Int64}) AND last_seen <= fromUnixTimestamp64Nano({to:Int64})",
                "",
            ),
        };
        let sql = format!("SELECT {fields} FROM flows WHERE {BLOCKS} AND {time} {order}");
        let mut rows = self.query(&sql).param("from", from).param("to", to).fetch::<FlowRow>().map_err(failed)?;
        while let Some(row) = rows.next().await.map_err(failed)? {
            let record = row.record().map_err(strange)?;
            if page && partial.page_floor().is_some_and(|floor| record.last_seen < floor) {
                break;
            }
            partial.fold_flow(self.plan, &record);
        }
        Ok(())
    }

    async fn rollups(&self, partial: &mut Partial) -> Result<(), PortError> {
        let mut wanted: BTreeSet<Dimension> = BTreeSet::new();
        let mut bucket = String::new();
        match &self.plan.query {
            Query::Top { by, .. } => wanted.extend(by),
            Query::Cardinality { of } => wanted.extend(of),
            Query::Series { step, by } => {
                wanted.extend(by);
                // Points of a series begin at multiples of its step, as here.
                bucket = format!(", intDiv(toUnixTimestamp64Nano(window), {}) AS bucket", step.as_nanos().max(1));
            }
            Query::Flows { .. } | Query::Quantiles { .. } | Query::Ledger => {}
        }
        dimensions(&self.plan.filter, &mut wanted);
        let column = |(dimension, name, other): &(Dimension, &str, &str)| match wanted.contains(dimension) {
            true => format!("{name} AS g_{name}"),
            false => format!("{other} AS g_{name}"),
        };
        let selected: Vec<String> = COLUMNS.iter().map(column).collect();
        let keys: Vec<String> = COLUMNS.iter().map(|(_, name, _)| format!("g_{name}")).collect();
        let grouped = if bucket.is_empty() { "" } else { ", bucket" };
        let outer = fields::<GroupRow>();
        let (from, to) = self.range(Resolution::S10.duration());
        let names = COLUMNS.map(|(_, name, _)| format!("g_{name} AS {name}")).join(", ");
        let sql = format!(
            "SELECT {outer} FROM (SELECT first, last, {names}, g_proto AS proto, g_packets AS packets, g_bytes AS bytes, g_new_flows AS new_flows FROM (\
               SELECT min(window) AS first, max(window) AS last, {columns}, proto AS g_proto{bucket}, \
                 sum(packets) AS g_packets, sum(bytes) AS g_bytes, sum(new_flows) AS g_new_flows \
               FROM rollups WHERE {BLOCKS} \
                 AND window > fromUnixTimestamp64Nano({{from:Int64}}) AND window < fromUnixTimestamp64Nano({{to:Int64}}) \
               GROUP BY {keys}, g_proto{grouped}))",
            columns = selected.join(", "),
            keys = keys.join(", "),
        );
        // Only windows that share an instant with the range: sums cannot be taken apart afterwards.
        let first = from.max(time(self.plan.range.from.minus(Resolution::S10.duration())));
        let last = to.min(time(self.plan.range.to));
        let query = self
            .query(&sql)
            .param("from", if self.plan.range.from == TimeRange::ALL.from { -1 } else { first })
            .param("to", last)
            .with_setting("max_rows_to_group_by", MOST_GROUPS)
            .with_setting("group_by_overflow_mode", "throw");
        let mut rows = query.fetch::<GroupRow>().map_err(failed)?;
        while let Some(row) = rows.next().await.map_err(failed)? {
            for rollup in row.rollups().map_err(strange)? {
                partial.fold_rollup(self.plan, &rollup);
            }
        }
        Ok(())
    }

    async fn windows(&self, partial: &mut Partial, resolution: Resolution) -> Result<(), PortError> {
        let wanted: &[&str] = match &self.plan.query {
            Query::Cardinality { .. } => &SETS,
            Query::Top { .. } => &TOPS,
            Query::Quantiles { .. } => &QUANTILES,
            Query::Series { .. } | Query::Flows { .. } | Query::Ledger => &[],
        };
        let sketches = SETS.iter().chain(&TOPS).chain(&QUANTILES);
        let columns: Vec<String> = WindowRow::COLUMN_NAMES
            .iter()
            .map(|name| match sketches.clone().any(|s| s == name) && !wanted.contains(name) {
                true => format!("'' AS {name}"),
                false => (*name).to_owned(),
            })
            .collect();
        let (from, to) = self.range(resolution.duration());
        // Merging sketches in one order gives the same bytes each time.
        let sql = format!(
            "SELECT {} FROM windows WHERE {BLOCKS} AND resolution_seconds = {{resolution:UInt32}} \
               AND start >= fromUnixTimestamp64Nano({{from:Int64}}) AND start <= fromUnixTimestamp64Nano({{to:Int64}}) \
             ORDER BY start, node, log_partition, block_last",
            columns.join(", ")
        );
        let query = self.query(&sql).param("from", from).param("to", to).param("resolution", resolution.secs());
        let mut rows: RowCursor<WindowRow> = query.fetch().map_err(failed)?;
        while let Some(row) = rows.next().await.map_err(failed)? {
            partial.fold_window(self.plan, &row.window().map_err(strange)?);
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
        let query = self.query(&sql).param("from", from).param("to", to);
        let mut rows: RowCursor<LedgerRow> = query.fetch().map_err(failed)?;
        while let Some(row) = rows.next().await.map_err(failed)? {
            partial.fold_ledger(self.plan, &row.entry().map_err(strange)?);
        }
        Ok(())
    }
}

/// The columns of a row, as a list.
fn fields<R: Row + RowOwned + RowRead>() -> String {
    R::COLUMN_NAMES.join(", ")
}

/// Dimensions that a filter looks at.
fn dimensions(filter: &Filter, to: &mut BTreeSet<Dimension>) {
    match filter {
        Filter::And(parts) | Filter::Or(parts) => parts.iter().for_each(|part| dimensions(part, to)),
        Filter::Not(inner) => dimensions(inner, to),
        Filter::Is(predicate) => to.extend(&predicate.any_of),
    }
}
