//! `netspectra admin`: topics and tables.

use super::settings::{Needs, load};
use crate::cli::cluster::{Admin, AdminArgs, MigrateArgs, TopicsArgs};
use crate::config::Config;
use crate::{FAILED, Outcome, output};
use netspectra_engine::bus::kafka::{TopicPlan, check_topics, create_topics};
use netspectra_engine::store::clickhouse::ClickHouseStore;
use std::process::ExitCode;
use std::time::Duration;

pub(crate) fn main(args: AdminArgs) -> Outcome {
    match args.what {
        Admin::Topics(args) => topics(&args),
        Admin::Migrate(args) => migrate(&args),
    }
}

fn topics(args: &TopicsArgs) -> Outcome {
    let change = |config: &mut Config| args.log.apply(config);
    let config = match load(&args.common, Needs { kafka: true, clickhouse: false }, change)? {
        Ok(config) => config,
        Err(status) => return Ok(status),
    };
    let plan = TopicPlan {
        partitions: args.partitions,
        replication: args.replication,
        retention: Duration::from_secs(u64::from(args.retention_hours) * 3600),
    };
    super::run(async {
        if args.create {
            for topic in create_topics(&config.kafka, &plan).await? {
                output::error(&format!("netspectra: made topic `{topic}`"));
            }
        }
        let differences = check_topics(&config.kafka, &plan).await?;
        for difference in &differences {
            output::error(&format!("netspectra: {difference}"));
        }
        if differences.is_empty() {
            output::error("netspectra: the topics are as planned");
            return Ok(ExitCode::SUCCESS);
        }
        Ok(ExitCode::from(FAILED))
    })
}

fn migrate(args: &MigrateArgs) -> Outcome {
    let change = |config: &mut Config| args.tables.apply(config);
    let config = match load(&args.common, Needs { kafka: false, clickhouse: true }, change)? {
        Ok(config) => config,
        Err(status) => return Ok(status),
    };
    super::run(async {
        let store = ClickHouseStore::new(&config.clickhouse, &config.kafka.topic)?;
        if !args.only_check {
            for step in store.migrate().await? {
                output::error(&format!("netspectra: schema {}: {}", step.version, step.what));
            }
        }
        store.check().await?;
        output::error(&format!("netspectra: database `{}` has this release's schema", config.clickhouse.database));
        Ok(ExitCode::SUCCESS)
    })
}
