//! States of engines: the latest of each partition, in parts.

use super::ClickHouseStore;
use super::error::port_error;
use super::rows::StateRow;
use netspectra_common::ports::PortError;

/// Bytes of a part at most.
const PART: usize = 8 << 20;

pub(super) async fn save(
    store: &ClickHouseStore,
    topic: &str,
    partition: u32,
    offset: u64,
    state: &[u8],
) -> Result<(), PortError> {
    let failed = |error| port_error("ClickHouse did not take the state of an engine", error);
    let parts = state.len().div_ceil(PART).max(1) as u32;
    let mut insert = store
        .client
        .insert::<StateRow>("engine_state")
        .await
        .map_err(failed)?
        .with_timeouts(Some(super::SEND), Some(super::END));
    for part in 0..parts {
        let from = part as usize * PART;
        let row = StateRow {
            log_topic: topic.to_owned(),
            log_partition: partition,
            block_first: 0,
            block_last: offset,
            part,
            parts,
            state: serde_bytes::ByteBuf::from(&state[from..state.len().min(from + PART)]),
        };
        insert.write(&row).await.map_err(failed)?;
    }
    insert.end().await.map_err(failed)?;
    forget(store, topic, partition, offset).await
}

/// Deletes what is older than the state before the one at `offset`.
async fn forget(store: &ClickHouseStore, topic: &str, partition: u32, offset: u64) -> Result<(), PortError> {
    let failed = |error| port_error("ClickHouse did not delete old states of an engine", error);
    let before = store
        .client
        .query(
            "SELECT max(block_last) FROM engine_state \
             WHERE log_topic = {topic:String} AND log_partition = {partition:UInt32} AND block_last < {offset:UInt64}",
        )
        .param("topic", topic)
        .param("partition", partition)
        .param("offset", offset)
        .fetch_one::<u64>()
        .await
        .map_err(failed)?;
    if before == 0 {
        return Ok(());
    }
    store
        .client
        .query(
            "ALTER TABLE engine_state DELETE \
             WHERE log_topic = {topic:String} AND log_partition = {partition:UInt32} AND block_last < {before:UInt64}",
        )
        .param("topic", topic)
        .param("partition", partition)
        .param("before", before)
        .execute()
        .await
        .map_err(failed)
}

pub(super) async fn load(
    store: &ClickHouseStore,
    topic: &str,
    partition: u32,
) -> Result<Option<(u64, Vec<u8>)>, PortError> {
    let failed = |error| port_error("ClickHouse does not give the state of an engine", error);
    // A state of which a part is missing was not written to its end.
    let rows = store
        .client
        .query(
            "SELECT ?fields FROM engine_state \
             WHERE log_topic = {topic:String} AND log_partition = {partition:UInt32} AND block_last = ( \
               SELECT max(block_last) FROM ( \
                 SELECT block_last FROM engine_state \
                 WHERE log_topic = {topic:String} AND log_partition = {partition:UInt32} \
                 GROUP BY block_last HAVING uniqExact(part) = max(parts))) \
             ORDER BY part LIMIT 1 BY part",
        )
        .param("topic", topic)
        .param("partition", partition)
        .fetch_all::<StateRow>()
        .await
        .map_err(failed)?;
    let Some(offset) = rows.first().map(|row| row.block_last) else { return Ok(None) };
    Ok(Some((offset, rows.iter().flat_map(|row| row.state.iter().copied()).collect())))
}
