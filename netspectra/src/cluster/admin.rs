//! `netspectra admin`: topics, tables and users.

use super::settings::{Needs, load, password};
use crate::cli::cluster::{Admin, AdminArgs, MigrateArgs, TopicsArgs, UsersArgs};
use crate::config::Config;
use crate::{FAILED, Failure, Outcome, output};
use anyhow::{Context, anyhow};
use netspectra_engine::bus::kafka::{TopicPlan, check_topics, create_topics};
use netspectra_engine::store::clickhouse::users::{self, Hashed, Part};
use netspectra_engine::store::clickhouse::{ClickHouseStore, Credentials};
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Time in which all brokers have heard of a topic that was made, and how often they are asked.
const SETTLE: Duration = Duration::from_secs(15);
const AGAIN: Duration = Duration::from_millis(200);

pub(crate) fn main(args: AdminArgs) -> Outcome {
    match args.what {
        Admin::Topics(args) => topics(&args),
        Admin::Migrate(args) => migrate(&args),
        Admin::Users(args) => make_users(&args),
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
        let mut until = Instant::now();
        if args.create {
            for topic in create_topics(&config.kafka, &plan).await? {
                output::error(&format!("netspectra: made topic `{topic}`"));
                until = Instant::now() + SETTLE;
            }
        }
        let differences = loop {
            let differences = check_topics(&config.kafka, &plan).await?;
            if differences.is_empty() || Instant::now() >= until {
                break differences;
            }
            tokio::time::sleep(AGAIN).await;
        };
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
        output::error(&format!("netspectra: database `{}` has a schema for this release", config.clickhouse.database));
        Ok(ExitCode::SUCCESS)
    })
}

fn make_users(args: &UsersArgs) -> Outcome {
    let change = |config: &mut Config| args.tables.apply(config);
    let config = match load(&args.common, Needs { kafka: false, clickhouse: true }, change)? {
        Ok(config) => config,
        Err(status) => return Ok(status),
    };
    let mut statements = Vec::new();
    for part in Part::ALL {
        let file = match part {
            Part::Migrate => &args.migrate_password_file,
            Part::Engine => &args.engine_password_file,
            Part::Api => &args.api_password_file,
        };
        let user = part.user(&config.clickhouse);
        let hashed = file.as_ref().map(|file| hashed(file, &user)).transpose()?;
        statements.extend(users::statements(&config.clickhouse, part, hashed.as_ref()));
    }
    if !args.apply {
        let text: String = statements.iter().map(|statement| format!("{statement};\n")).collect();
        output::print(&text)?;
        return Ok(ExitCode::SUCCESS);
    }
    super::run(async {
        let store = ClickHouseStore::new(&config.clickhouse, &config.kafka.topic)?;
        store.send(&statements).await.context(
            "not all users and roles were made: it takes a user who may make them and has their rights WITH GRANT OPTION",
        )?;
        output::error(&format!("netspectra: roles and users of database `{}` are made", config.clickhouse.database));
        Ok(ExitCode::SUCCESS)
    })
}

/// The password in `file`, with salt of this moment.
fn hashed(file: &Path, user: &str) -> Result<Hashed, Failure> {
    let password = password(file, user)?;
    if password.is_empty() {
        let why = anyhow!("`{}`, the password file of `{user}`, is empty: expected a password", file.display());
        return Err(Failure::misuse(why));
    }
    let mut salt = [0; 16];
    File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut salt)).context("no random numbers for salt")?;
    Ok(Hashed::new(&Credentials(password), salt))
}
