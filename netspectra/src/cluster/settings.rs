//! What the parts are told: defaults, then the file, then the command line.

use crate::cli::cluster::{Common, Log, Tables};
use crate::config::Config;
use crate::run::token;
use crate::{Failure, output};
use anyhow::Context;
use netspectra_common::kafka::Password;
use netspectra_engine::redis_board::{BoardConfig, LiveBoard};
use netspectra_engine::store::clickhouse::Credentials;
use std::path::Path;
use std::process::ExitCode;

/// Which servers a part needs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Needs {
    pub(super) kafka: bool,
    pub(super) clickhouse: bool,
}

/// The configuration in force, with passwords read and checked; `Err` with a status where that was all that was asked for.
pub(super) fn load(
    common: &Common,
    needs: Needs,
    change: impl FnOnce(&mut Config),
) -> Result<Result<Config, ExitCode>, Failure> {
    let mut config = match &common.config {
        Some(path) => Config::read(path).map_err(Failure::misuse)?,
        None => Config::default(),
    };
    change(&mut config);
    config.validate().map_err(Failure::misuse)?;
    if common.dump {
        output::print(&toml::to_string(&config).context("the configuration cannot be written")?)?;
        return Ok(Err(ExitCode::SUCCESS));
    }
    if needs.kafka {
        if let Some(sasl) = &mut config.kafka.sasl {
            sasl.password = Password(password(&sasl.password_file, "kafka.sasl")?);
        }
        config.kafka.validate().map_err(Failure::misuse)?;
    }
    if needs.clickhouse {
        if let Some(file) = &config.clickhouse.password_file {
            config.clickhouse.credentials = Credentials(password(file, "clickhouse")?);
        }
        config.clickhouse.validate().map_err(Failure::misuse)?;
    }
    if common.check {
        output::error("netspectra: the configuration is good");
        return Ok(Err(ExitCode::SUCCESS));
    }
    Ok(Ok(config))
}

pub(super) fn password(file: &Path, section: &str) -> Result<String, Failure> {
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("cannot read `{}`, the password file of `{section}`", file.display()))
        .map_err(Failure::misuse)?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// The live board of the topic, where the configuration names its Redis. Connects when it is used.
pub(super) fn live_board(config: &Config) -> Result<Option<LiveBoard>, Failure> {
    let (prefix, ca_file) = (config.kafka.topic.clone(), config.cluster.redis_ca_file.clone());
    let board =
        |url: &String| LiveBoard::new(BoardConfig { url: url.clone(), ca_file, prefix, ..BoardConfig::default() });
    config.cluster.redis.as_ref().map(board).transpose().map_err(Failure::misuse)
}

/// The token that engines and APIs share.
pub(super) fn cluster_token(config: &Config) -> Result<String, Failure> {
    let file = config.cluster.token_file.clone().unwrap_or_else(|| config.store.data_dir.join("cluster-token"));
    if let Some(folder) = file.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder)
            .with_context(|| {
                format!("cannot make the folder of `{}`: name another with --cluster-token-file", file.display())
            })
            .map_err(Failure::misuse)?;
    }
    token::load_or_make(&file).map_err(Failure::misuse)
}

impl Log {
    /// What was said wins.
    pub(super) fn apply(&self, config: &mut Config) {
        set(&mut config.kafka.brokers, &self.kafka);
        set(&mut config.kafka.topic, &self.topic);
    }
}

impl Tables {
    /// What was said wins.
    pub(super) fn apply(&self, config: &mut Config) {
        set(&mut config.clickhouse.url, &self.clickhouse);
        set(&mut config.clickhouse.database, &self.database);
        if self.clickhouse_user.is_some() {
            config.clickhouse.user.clone_from(&self.clickhouse_user);
            // The file's password is of the file's user.
            config.clickhouse.password_file = None;
        }
        if self.clickhouse_password_file.is_some() {
            config.clickhouse.password_file.clone_from(&self.clickhouse_password_file);
        }
    }
}

/// Takes over what was said on the command line.
pub(super) fn set<T: Clone>(to: &mut T, said: &Option<T>) {
    if let Some(said) = said {
        to.clone_from(said);
    }
}
