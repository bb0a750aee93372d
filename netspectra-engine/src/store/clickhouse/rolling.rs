//! A migration while older engines go on writing: what they write has the defaults of columns that they do not know, and nobody
//! has to stop. Needs a real server in `NETSPECTRA_CLICKHOUSE` (`cargo xtask cluster up`).
#![allow(clippy::unwrap_used, reason = "tests")]

use super::rows::old::{OldFlow, OldRollup};
use super::schema::migrate_through;
use super::tests::{block, drop_database, embedded, plans, text, unmade};
use super::*;
use netspectra_common::query::Query;

/// A block whose rows say nothing that a release with schema 3 could not say, and that has nothing but flows and roll-ups.
fn old_block(number: u64) -> StoreBatch {
    let mut all = block(0, number);
    for row in &mut all.flows {
        (row.src_place, row.dst_place, row.service) = Default::default();
        row.sampling = 1;
    }
    for row in &mut all.rollups {
        (row.src_place, row.dst_place, row.service) = Default::default();
        row.sampling = 1;
    }
    StoreBatch { flows: all.flows, rollups: all.rollups, block: all.block, ..StoreBatch::default() }
}

/// Writes a block as a release with schema 3 did.
async fn append_old(writer: &ClickHouseStore, batch: &StoreBatch) {
    let block = batch.block.as_ref().unwrap();
    writer.insert("flows", block, &batch.flows, |row| OldFlow::from(FlowRow::of(block, row))).await.unwrap();
    writer.insert("rollups", block, &batch.rollups, |row| OldRollup::from(RollupRow::of(block, row))).await.unwrap();
    writer.insert("blocks", block, &[()], |()| BlockRow::of(block, batch)).await.unwrap();
}

#[tokio::test]
async fn older_engines_write_on_while_and_after_the_schema_moves_on() {
    let store = unmade("rolling");
    let versions = |made: Vec<Migration>| made.iter().map(|step| step.version).collect::<Vec<_>>();
    assert_eq!(versions(migrate_through(&store.client, &store.config, 3).await.unwrap()), [1, 2, 3]);
    assert!(matches!(store.check().await, Err(SchemaError::Old { found: 3, .. })));
    let blocks: Vec<StoreBatch> = (0..4).map(old_block).collect();
    let running = ClickHouseStore::new(&store.config, "flows").unwrap();
    append_old(&running, &blocks[0]).await;
    assert_eq!(versions(store.migrate().await.unwrap()), [4, 5, 6]);
    store.check().await.unwrap();
    // It knows the columns of before; one that starts now is told the new ones and has nothing for them.
    append_old(&running, &blocks[1]).await;
    append_old(&ClickHouseStore::new(&store.config, "flows").unwrap(), &blocks[2]).await;
    store.append(&blocks[3]).await.unwrap();

    let folder = tempfile::tempdir().unwrap();
    let other = embedded(folder.path(), &blocks).await;
    let mut asked = 0;
    for plan in plans().into_iter().step_by(4) {
        // Of these rows; an older release's answers are the same as far as it has the questions.
        if !matches!(
            plan.query,
            Query::Flows { .. } | Query::Top { .. } | Query::Series { .. } | Query::Cardinality { .. }
        ) {
            continue;
        }
        let (found, expected) = (store.query(&plan).await.unwrap(), other.query(&plan).await.unwrap());
        assert_eq!(text(&plan, found), text(&plan, expected), "{plan:?}");
        asked += 1;
    }
    assert!(asked > 100, "{asked}");
    drop_database(&store).await;
}

#[tokio::test]
async fn a_newer_schema_is_for_builds_that_it_names() {
    let store = unmade("newer");
    store.migrate().await.unwrap();
    let run = |sql: &'static str| store.client.query_raw(sql).execute();
    run("INSERT INTO schema_migrations (version, what, oldest) SELECT 7, 'one more column', 1").await.unwrap();
    store.check().await.unwrap();
    assert_eq!(store.migrate().await.unwrap(), []);
    run("INSERT INTO schema_migrations (version, what, oldest) SELECT 8, 'without a column that was there', 8")
        .await
        .unwrap();
    let error = store.check().await.unwrap_err().to_string();
    assert!(error.contains("has schema 8, newer than this build's 6"), "{error}");
    assert!(store.migrate().await.is_err());
    drop_database(&store).await;
}
