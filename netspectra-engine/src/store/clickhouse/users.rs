//! Who may do what: a role for each part, with the rights that its statements need, table by table, and users that have it.

#[cfg(test)]
mod tests;

use super::ClickHouseStore;
use super::config::{ClickHouseConfig, Credentials};
use super::schema::{SchemaError, VIEWS, on_cluster};
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;

/// A part of a cluster, as ClickHouse sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// `netspectra admin migrate`: makes tables, columns and views. Reads no row but the schema's version.
    Migrate,
    /// `netspectra engine`: writes rows, reads which blocks there are, states, and windows that it merges.
    Engine,
    /// `netspectra api`: reads. Its settings make ClickHouse refuse everything else, whatever else the user is granted.
    Api,
}

/// Tables that engines write.
const WRITTEN: [&str; 9] =
    ["flows", "rollups", "windows", "ledger", "alerts", "messages", "blocks", "engine_state", "merged_windows"];
/// Tables that engines read.
const READ_BACK: [&str; 5] = ["schema_migrations", "blocks", "engine_state", "windows", "merged_windows"];
/// Tables that APIs read.
const ASKED: [&str; 9] =
    ["schema_migrations", "blocks", "flows", "rollups", "windows", "merged_windows", "ledger", "alerts", "messages"];

impl Part {
    /// In the order in which they are told.
    pub const ALL: [Self; 3] = [Self::Migrate, Self::Engine, Self::Api];

    /// The user's name, where the configuration's database is `netspectra`: what is made for another database has its name.
    pub fn user(self, config: &ClickHouseConfig) -> String {
        let part = match self {
            Self::Migrate => "migrate",
            Self::Engine => "engine",
            Self::Api => "api",
        };
        format!("{}_{part}", config.database)
    }

    /// The role's name.
    pub fn role(self, config: &ClickHouseConfig) -> String {
        let part = match self {
            Self::Migrate => "migrator",
            Self::Engine => "writer",
            Self::Api => "reader",
        };
        format!("{}_{part}", config.database)
    }

    /// The rights, as `GRANT` has them before `TO`.
    pub fn rights(self, config: &ClickHouseConfig) -> Vec<String> {
        let database = &config.database;
        let of = |verb: &'static str, table: &str| format!("{verb} ON {database}.{table}");
        match self {
            Self::Migrate => {
                let mut rights = vec![
                    format!("CREATE DATABASE, CREATE TABLE, CREATE VIEW, ALTER ADD COLUMN ON {database}.*"),
                    of("SELECT, INSERT", "schema_migrations"),
                    // Who makes a view must be allowed to read what it shows.
                    of("SELECT", "messages"),
                ];
                // `ON CLUSTER` is a right of its own.
                rights.extend(config.cluster.iter().map(|_| "CLUSTER ON *.*".to_owned()));
                rights
            }
            Self::Engine => {
                let written = WRITTEN.iter().map(|table| of("INSERT", table));
                let read = READ_BACK.iter().map(|table| of("SELECT", table));
                written.chain(read).chain([of("ALTER DELETE", "engine_state")]).collect()
            }
            // The views show what `messages` has, and nothing else.
            Self::Api => {
                ASKED.into_iter().chain(VIEWS.map(|(view, _)| view)).map(|table| of("SELECT", table)).collect()
            }
        }
    }

    /// Settings that the user has, as `SETTINGS` of `ALTER USER` has them; empty where there are none.
    const fn settings(self) -> &'static str {
        match self {
            Self::Migrate | Self::Engine => "",
            // Reading, and settings of a question such as its limits; not this one.
            Self::Api => " SETTINGS readonly = 2",
        }
    }
}

/// The password of a user, as far as ClickHouse keeps it: salted and hashed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hashed {
    hash: String,
    salt: String,
}

impl Hashed {
    /// `salt` is 16 bytes that nobody has used before.
    pub fn new(password: &Credentials, salt: [u8; 16]) -> Self {
        let salt = hex(&salt);
        let hash = Sha256::new().chain_update(password.0.as_bytes()).chain_update(salt.as_bytes()).finalize();
        Self { hash: hex(&hash), salt }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The statements that give `part` its role, and a user with it where there is a password. May be run again: rights are
/// replaced by those of this release, and the password by this one.
pub fn statements(config: &ClickHouseConfig, part: Part, password: Option<&Hashed>) -> Vec<String> {
    let (role, user, cluster) = (part.role(config), part.user(config), on_cluster(config));
    let rights = part.rights(config).join(", ");
    let mut all = vec![
        format!("CREATE ROLE IF NOT EXISTS {role}{cluster}"),
        format!("GRANT{cluster} {rights} TO {role} WITH REPLACE OPTION"),
    ];
    if let Some(Hashed { hash, salt }) = password {
        let identified = format!("IDENTIFIED WITH sha256_hash BY '{hash}' SALT '{salt}'");
        all.push(format!("CREATE USER IF NOT EXISTS {user}{cluster} {identified}"));
        all.push(format!("ALTER USER {user}{cluster} {identified}{}", part.settings()));
        all.push(format!("GRANT{cluster} {role} TO {user}"));
    }
    all
}

impl ClickHouseStore {
    /// Sends what [`statements`] gives, as a user who may give rights.
    ///
    /// # Errors
    /// The server does not answer, or refuses; what was sent until then stays, and may be sent again.
    pub async fn send(&self, statements: &[String]) -> Result<(), SchemaError> {
        // The database need not be there yet.
        let client = self.client.clone().with_database("default");
        for statement in statements {
            let what: Vec<&str> =
                statement.split_whitespace().take_while(|word| *word != "IDENTIFIED").take(8).collect();
            client.query_raw(statement).execute().await.map_err(|source| SchemaError::Server {
                url: self.config.url.clone(),
                what: format!("`{} …`", what.join(" ")),
                source,
            })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod texts {
    use super::*;

    #[test]
    fn a_password_is_shown_as_its_hash_alone() {
        let config = ClickHouseConfig { cluster: Some("main".into()), ..ClickHouseConfig::default() };
        let hashed = Hashed::new(&Credentials("pass".into()), [0xab; 16]);
        // As another program finds it (Python's hashlib, of `pass` and 16 times `ab`).
        assert_eq!(hashed.hash, "590478f6f27b2fbf2ff4fd1316fbc8d6dde4f4f5796ca651fafdbabb21d73c60");
        let all = statements(&config, Part::Api, Some(&hashed));
        assert_eq!(all.len(), 5);
        assert_eq!(all[0], "CREATE ROLE IF NOT EXISTS netspectra_reader ON CLUSTER main");
        assert!(
            all[1].starts_with("GRANT ON CLUSTER main SELECT ON netspectra.schema_migrations, SELECT ON"),
            "{}",
            all[1]
        );
        assert!(all[1].ends_with("SELECT ON netspectra.tls TO netspectra_reader WITH REPLACE OPTION"), "{}", all[1]);
        assert!(all[3].ends_with("SALT 'abababababababababababababababab' SETTINGS readonly = 2"), "{}", all[3]);
        assert_eq!(all[4], "GRANT ON CLUSTER main netspectra_reader TO netspectra_api");
        assert!(all.iter().all(|statement| !statement.contains("pass'")), "{all:?}");
    }

    #[test]
    fn apis_read_and_nobody_but_the_migration_makes_tables() {
        let config = ClickHouseConfig::default();
        assert!(Part::Api.rights(&config).iter().all(|right| right.starts_with("SELECT ON netspectra.")));
        for right in Part::Engine.rights(&config) {
            let (verb, table) = right.split_once(" ON netspectra.").unwrap_or_default();
            assert!(
                matches!(verb, "SELECT" | "INSERT") || (verb, table) == ("ALTER DELETE", "engine_state"),
                "{right}"
            );
        }
    }
}
