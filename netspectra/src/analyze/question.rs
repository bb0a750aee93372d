//! One question to a capture, answered by the API itself: what it says of a store with the same flows, in the same words.
//!
//! The question is put twice. The first time nothing is known, and what the API would ask the store is written down; then the
//! capture is read once, and the answers to that are folded on the way, in bounded memory; the second time the API gets them.

use crate::cli::{AnalyzeArgs, Format};
use crate::client;
use crate::run::SystemClock;
use crate::run::health::Alive;
use crate::{Failure, output};
use anyhow::{Context, anyhow};
use netspectra_api::{Auth, Deps, Limits};
use netspectra_common::model::TimeRange;
use netspectra_common::ports::{BoxFuture, PortError, Store, StoreBatch};
use netspectra_common::query::{Partial, Plan};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// What the API asked for, and what was folded for it.
#[derive(Default)]
struct Asked(Mutex<Vec<(Plan, Partial)>>);

/// A question and the answer in the making.
pub(super) struct Question {
    url: String,
    format: Format,
    asked: Arc<Asked>,
    runtime: tokio::runtime::Runtime,
}

impl Question {
    /// The question that the arguments put; `None` when they want the report.
    ///
    /// # Errors
    /// What the API refuses, in its words.
    pub(super) fn of(args: &AnalyzeArgs) -> Result<Option<Self>, Failure> {
        if args.by.is_none() && args.time_bucket.is_none() {
            return Ok(None);
        }
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("from", "all").append_pair("to", "all");
        let name = match &args.time_bucket {
            Some(step) => {
                query.append_pair("step", step);
                "series"
            }
            None => {
                query.append_pair("limit", &args.top.to_string()).append_pair("exact", "true");
                query.append_pair("metric", args.metric.as_deref().unwrap_or("bytes"));
                "top"
            }
        };
        if let Some(by) = &args.by {
            query.append_pair("by", by);
        }
        if let Some(filter) = &args.filter {
            query.append_pair("filter", filter);
        }
        match args.format {
            Format::Csv => drop(query.append_pair("format", "csv")),
            Format::Ndjson => drop(query.append_pair("format", "ndjson")),
            Format::Table | Format::Json => {}
        }
        let url = format!("/api/v1/{name}?{}", query.finish());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
        let question = Self { url, format: args.format, asked: Arc::default(), runtime };
        question.ask()?;
        Ok(Some(question))
    }

    /// Takes in what a batch has for the answer.
    pub(super) fn fold(&self, batch: &StoreBatch) {
        let mut asked = self.asked.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (plan, partial) in asked.iter_mut() {
            batch.fold(plan, partial);
        }
    }

    /// Prints the answer.
    ///
    /// # Errors
    /// More groups than memory is given to, or the output is closed.
    pub(super) fn finish(&self) -> Result<(), Failure> {
        let body = self.ask()?;
        let text = match self.format {
            Format::Table => client::table(&serde_json::from_str(&body).context("the answer is not JSON")?),
            Format::Json => {
                let value: serde_json::Value = serde_json::from_str(&body).context("the answer is not JSON")?;
                serde_json::to_string_pretty(&value)? + "\n"
            }
            Format::Csv | Format::Ndjson => body,
        };
        Ok(output::print(&text)?)
    }

    fn ask(&self) -> Result<String, Failure> {
        let deps = Deps {
            store: self.asked.clone(),
            live: None,
            board: None,
            clock: Arc::new(SystemClock),
            auth: Auth::open(),
            health: Arc::new(Alive { name: "capture", detail: "read" }),
            metrics: Default::default(),
            limits: Limits { timeout: Duration::from_secs(3600), ..Limits::default() },
        };
        let answered = self.runtime.block_on(netspectra_api::ask(deps, &self.url))?;
        if answered.is_ok() {
            return Ok(answered.body);
        }
        let is_misuse = answered.is_misuse();
        let problem = anyhow!(client::problem(&answered.body).unwrap_or(answered.body));
        Err(if is_misuse { Failure::misuse(problem) } else { problem.into() })
    }
}

impl Store for Asked {
    /// Refuses: nothing is kept.
    fn append<'a>(&'a self, _: &'a StoreBatch) -> BoxFuture<'a, Result<(), PortError>> {
        Box::pin(async { Err(PortError::permanent("answers cannot be written to")) })
    }

    fn query<'a>(&'a self, plan: &'a Plan) -> BoxFuture<'a, Result<Partial, PortError>> {
        Box::pin(async move {
            let mut asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((_, partial)) = asked.iter().find(|(known, _)| known == plan) {
                return Ok(partial.clone());
            }
            let nothing = Partial::new(plan).map_err(|e| PortError::permanent("a plan is not legal").because(e))?;
            asked.push((plan.clone(), nothing.clone()));
            Ok(nothing)
        })
    }

    fn last_generation<'a>(&'a self, _: &'a str, _: u64) -> BoxFuture<'a, Result<Option<u64>, PortError>> {
        Box::pin(async { Ok(None) })
    }

    fn extent(&self) -> BoxFuture<'_, Result<Option<TimeRange>, PortError>> {
        Box::pin(async { Ok(None) })
    }
}
