//! Each part does its work with its own rights alone, as ClickHouse itself enforces them: by users where the server has users
//! (`NETSPECTRA_CLICKHOUSE`), else by a server of this test's own for each part, whose only user has the part's rights
//! (`NETSPECTRA_CHDB`, `NETSPECTRA_CHDB_LIBRARY`; `cargo xtask cluster up`). Not proven without a real server: passwords, and that
//! the rights of a role reach its users.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests; what is not tried is said")]

use super::super::schema::all_statements;
use super::super::tests::{block, embedded, plans, text};
use super::super::windows::tests as windows;
use super::super::{Merged, Merging};
use super::*;
use netspectra_common::ports::{BlockStore as _, Store as _, StoreBatch};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// Until a server answers.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where the parts find their tables.
enum Servers {
    /// The library with the tables in a folder, started anew for each part.
    Own { program: String, library: String, data: tempfile::TempDir },
    /// One with users.
    Shared { url: String },
}

/// A part's store, and its server as long as it is asked.
struct Started {
    store: ClickHouseStore,
    child: Option<Child>,
}

impl Drop for Started {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn config(url: String, database: &str) -> ClickHouseConfig {
    ClickHouseConfig {
        url,
        database: database.to_owned(),
        retention_days: 10_000,
        window_retention_days: 10_000,
        ..ClickHouseConfig::default()
    }
}

/// A server's settings and its one user, who has `rights`.
fn settings(folder: &Path, rights: &[String], readonly: bool) -> PathBuf {
    // The library asks for the first one where a server does not: when a statement goes to another database than the one before.
    let use_default = "SHOW DATABASES ON default.*".to_owned();
    let grants: String =
        [&use_default].into_iter().chain(rights).map(|right| format!("<query>GRANT {right}</query>")).collect();
    let readonly = if readonly { "<readonly>2</readonly>" } else { "" };
    let users = folder.join("users.xml");
    let user = format!(
        "<clickhouse><profiles><default>{readonly}</default></profiles><quotas><default/></quotas><users><default><password/>\
         <networks><ip>::/0</ip></networks><profile>default</profile><quota>default</quota><grants>{grants}</grants></default>\
         </users></clickhouse>"
    );
    std::fs::write(&users, user).unwrap();
    let file = folder.join("config.xml");
    let users = users.display();
    let directories = format!("<user_directories><users_xml><path>{users}</path></users_xml></user_directories>");
    std::fs::write(&file, format!("<clickhouse>{directories}</clickhouse>")).unwrap();
    file
}

impl Servers {
    fn find() -> Self {
        match (std::env::var("NETSPECTRA_CHDB"), std::env::var("NETSPECTRA_CHDB_LIBRARY")) {
            (Ok(program), Ok(library)) => Self::Own { program, library, data: tempfile::tempdir().unwrap() },
            _ => Self::Shared {
                url: std::env::var("NETSPECTRA_CLICKHOUSE")
                    .expect("`NETSPECTRA_CHDB` or `NETSPECTRA_CLICKHOUSE` is set: see `cargo xtask cluster up`"),
            },
        }
    }

    async fn as_part(&self, part: Part, database: &str) -> Started {
        match self {
            Self::Own { program, library, data } => {
                let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
                let mut config = config(format!("http://127.0.0.1:{port}"), database);
                let settings = settings(data.path(), &part.rights(&config), !part.settings().is_empty());
                let mut command = Command::new(program);
                command.args(["--lib", library, "--listen", &format!("127.0.0.1:{port}"), "--data"]);
                let child = command.arg(data.path().join("tables")).arg("--config").arg(settings).spawn().unwrap();
                config.url = format!("http://127.0.0.1:{port}");
                let started = Started { store: ClickHouseStore::new(&config, "flows").unwrap(), child: Some(child) };
                let until = Instant::now() + PATIENCE;
                // The database is not there yet.
                let client = started.store.client.clone().with_database("default");
                while let Err(error) = client.query("SELECT toUInt8(1)").fetch_one::<u8>().await {
                    assert!(Instant::now() < until, "the server does not answer: {error}");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                started
            }
            Self::Shared { url } => {
                let config = config(url.clone(), database);
                let password = Credentials(format!("of {part:?}"));
                let admin = ClickHouseStore::new(&config, "flows").unwrap();
                let hashed = Hashed::new(&password, [part as u8; 16]);
                admin.send(&statements(&config, part, Some(&hashed))).await.unwrap();
                let config =
                    ClickHouseConfig { user: Some(part.user(&config)), credentials: password, ..config.clone() };
                Started { store: ClickHouseStore::new(&config, "flows").unwrap(), child: None }
            }
        }
    }

    /// Takes away what a server keeps that is not the test's.
    async fn clean(&self, database: &str) {
        let Self::Shared { url } = self else { return };
        let config = config(url.clone(), database);
        let admin = ClickHouseStore::new(&config, "flows").unwrap();
        let mut all = vec![format!("DROP DATABASE {database}")];
        for part in Part::ALL {
            all.extend([format!("DROP USER {}", part.user(&config)), format!("DROP ROLE {}", part.role(&config))]);
        }
        admin.send(&all).await.unwrap();
    }
}

async fn refused(store: &ClickHouseStore, sql: &str) {
    let error = store.client.query_raw(sql).execute().await.expect_err(sql).to_string();
    // ACCESS_DENIED, READONLY
    assert!(error.contains("Code: 497") || error.contains("Code: 164"), "{sql}: {error}");
}

#[tokio::test]
async fn every_part_does_its_work_with_its_own_rights_and_nothing_else() {
    let servers = Servers::find();
    let database = format!("rights_{}", std::process::id());
    let migrate = servers.as_part(Part::Migrate, &database).await;
    assert_eq!(migrate.store.migrate().await.unwrap().len(), 6);
    migrate.store.check().await.unwrap();
    // Twice does no harm, and takes no other rights.
    assert_eq!(migrate.store.migrate().await.unwrap(), []);
    for sql in ["SELECT count() FROM flows", "INSERT INTO blocks (log_topic) SELECT 'x'", "DROP TABLE flows"] {
        refused(&migrate.store, sql).await;
    }
    drop(migrate);

    let engine = servers.as_part(Part::Engine, &database).await;
    engine.store.check().await.unwrap();
    let mut all: Vec<StoreBatch> = windows::blocks(0..130);
    all.extend((0..12).map(|n| block((n % 3) as u32, 20 + n / 3)));
    for block in &all {
        engine.store.append(block).await.unwrap();
        engine.store.append(block).await.unwrap();
    }
    assert_eq!(engine.store.stored_through("flows", 2).await.unwrap(), Some(239));
    for offset in [10, 20, 30, 40] {
        engine.store.save_state("flows", 1, offset, b"state").await.unwrap();
    }
    assert_eq!(engine.store.load_state("flows", 1).await.unwrap(), Some((40, b"state".to_vec())));
    assert_ne!(Merging::new().pass(&engine.store, windows::NOW).await.unwrap(), Merged::default());
    for sql in [
        "SELECT count() FROM messages",
        "ALTER TABLE flows DELETE WHERE 1",
        "DROP TABLE flows",
        "TRUNCATE TABLE engine_state",
        "CREATE TABLE more (a UInt8) ENGINE = Memory",
        "INSERT INTO schema_migrations (version, what) SELECT 99, 'x'",
    ] {
        refused(&engine.store, sql).await;
    }
    drop(engine);

    let api = servers.as_part(Part::Api, &database).await;
    api.store.check().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let other = embedded(folder.path(), &all).await;
    // Every kind of question, with every filter.
    let all_plans = [plans(), windows::plans()].concat();
    for plan in all_plans.iter().step_by(4) {
        let (found, expected) = (api.store.query(plan).await.unwrap(), other.query(plan).await.unwrap());
        assert_eq!(text(plan, found), text(plan, expected), "{plan:?}");
    }
    assert_eq!(api.store.extent().await.unwrap(), other.extent().await.unwrap());
    for (view, _) in VIEWS {
        let _: u64 = api.store.client.query_raw(&format!("SELECT count() FROM {view}")).fetch_one().await.unwrap();
    }
    for sql in [
        "SELECT count() FROM engine_state",
        "INSERT INTO blocks (log_topic) SELECT 'x'",
        "ALTER TABLE engine_state DELETE WHERE 1",
        "DROP TABLE flows",
        "CREATE TEMPORARY TABLE t (a UInt8)",
        "SET readonly = 0",
    ] {
        refused(&api.store, sql).await;
    }
    drop(api);
    servers.clean(&database).await;
}

#[tokio::test]
async fn clickhouse_reads_every_statement_for_one_server_and_for_a_cluster() {
    let url =
        std::env::var("NETSPECTRA_CLICKHOUSE").expect("`NETSPECTRA_CLICKHOUSE` is set: see `cargo xtask cluster up`");
    let one = ClickHouseConfig { url, ..ClickHouseConfig::default() };
    let many = ClickHouseConfig { cluster: Some("main".into()), ..one.clone() };
    let client = ClickHouseStore::new(&one, "flows").unwrap().client.with_database("default");
    let hashed = Hashed::new(&Credentials("p".into()), [7; 16]);
    let mut read = 0;
    for config in [&one, &many] {
        let of_users = Part::ALL.into_iter().flat_map(|part| statements(config, part, Some(&hashed)));
        for statement in all_statements(config).into_iter().chain(of_users) {
            let tree = client.query_raw(&format!("EXPLAIN AST {statement}")).fetch_all::<String>().await;
            let tree = tree.unwrap_or_else(|error| panic!("{statement}: {error}"));
            // Not as the text of another kind of query.
            let kind = match statement.split_whitespace().take(2).collect::<Vec<_>>()[..] {
                [_, "USER"] => "CreateUserQuery",
                ["CREATE", "ROLE"] => "CreateRoleQuery",
                ["CREATE", _] => "CreateQuery",
                ["ALTER", _] => "AlterQuery",
                _ => "GrantQuery",
            };
            assert!(tree[0].starts_with(kind), "{statement}: {tree:?}");
            assert_eq!(statement.contains(" ON CLUSTER main"), config.cluster.is_some(), "{statement}");
            read += 1;
        }
    }
    assert!(read > 80, "{read}");
    let nonsense = client.query_raw("EXPLAIN AST GRANT EVERYTHING ON a.b TO c").fetch_all::<String>().await;
    assert!(nonsense.unwrap_err().to_string().contains("SYNTAX_ERROR"));
}
