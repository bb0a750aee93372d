//! Statements on connections to the engine.

use crate::library::{Chdb, Session};
use crate::request::Statement;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, PoisonError};

/// Statements that run at the same time; more wait.
const SESSIONS: usize = 16;
/// Attempts to open the tables, and the wait between two.
const PATIENCE: u32 = 50;
const WAIT: std::time::Duration = std::time::Duration::from_millis(200);
/// The format of results that the server has, too.
const FORMAT: &str = "TabSeparated";

/// The engine and its idle connections.
pub(crate) struct Engine {
    chdb: &'static Chdb,
    data: PathBuf,
    config: Option<PathBuf>,
    idle: Mutex<Idle>,
    returned: Condvar,
}

#[derive(Default)]
struct Idle {
    sessions: Vec<Session>,
    made: usize,
}

impl Engine {
    /// Opens the tables in `data`, as `config` says.
    pub(crate) fn open(library: &Path, data: &Path, config: Option<&Path>) -> Result<Self> {
        let chdb = Chdb::load(library)?;
        // The first one stays: the engine ends with its last connection. A process that was killed a moment ago may still
        // hold the tables.
        let first = (0..PATIENCE).find_map(|_| {
            let opened = chdb.session(data, config).ok();
            if opened.is_none() {
                std::thread::sleep(WAIT);
            }
            opened
        });
        let first = first.map_or_else(|| chdb.session(data, config), Ok)?;
        let idle = Mutex::new(Idle { sessions: vec![first], made: 1 });
        Ok(Self { chdb, data: data.to_owned(), config: config.map(Path::to_owned), idle, returned: Condvar::new() })
    }

    /// Runs a statement. Settings and database hold for it alone.
    pub(crate) fn run(&self, statement: Statement) -> Result<bytes::Bytes> {
        let mut session = self.borrow()?;
        let result = self.run_on(&mut session, &statement);
        for (name, _) in &statement.settings {
            // One that could not be set cannot be put back either.
            let _ = self.chdb.query(&mut session, &format!("SET {name} = DEFAULT"), FORMAT, &[]);
        }
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).sessions.push(session);
        self.returned.notify_one();
        result
    }

    fn borrow(&self) -> Result<Session> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(session) = idle.sessions.pop() {
                return Ok(session);
            }
            if idle.made < SESSIONS {
                idle.made += 1;
                drop(idle);
                return self.chdb.session(&self.data, self.config.as_deref());
            }
            idle = self.returned.wait(idle).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn run_on(&self, session: &mut Session, statement: &Statement) -> Result<bytes::Bytes> {
        let database = statement.database.as_deref().unwrap_or("default");
        self.chdb.query(session, &format!("USE {}", quoted(database)), FORMAT, &[])?;
        for (name, value) in &statement.settings {
            let value = value.replace('\\', "\\\\").replace('\'', "\\'");
            self.chdb.query(session, &format!("SET {name} = '{value}'"), FORMAT, &[])?;
        }
        match &statement.rows {
            Some(rows) => {
                let upper = statement.sql.to_ascii_uppercase();
                let at = upper.rfind(" FORMAT ").context("an insert names no FORMAT")?;
                let (sql, format) = (statement.sql[..at].trim(), statement.sql[at + 8..].trim());
                self.chdb.insert(session, sql, format, rows)?;
                Ok(bytes::Bytes::new())
            }
            None => {
                let format = statement.format.as_deref().unwrap_or(FORMAT);
                self.chdb.query(session, &statement.sql, format, &statement.parameters).map(Into::into)
            }
        }
    }
}

/// An identifier.
fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('\\', "\\\\").replace('`', "\\`"))
}
