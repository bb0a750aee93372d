//! Engines as the API sees them: found by name, asked over HTTP.

use anyhow::{Context, bail};
use netspectra_common::ports::{BoxFuture, LivePartitions, LiveReport, PortError};
use netspectra_common::query::{Plan, encode_plan};
use netspectra_engine::partition::Owners;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::spawn_blocking;

/// Time that an engine has for its answer; then the store answers for its partitions.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Largest report: a million groups of a hundred bytes.
const MAX_REPORT: u64 = 256 << 20;

/// Engines by `host:port`. A name with several addresses (a headless service) stands for an engine at each.
#[derive(Clone, Debug)]
pub(super) struct Engines {
    names: Arc<[String]>,
    token: Arc<str>,
    http: ureq::Agent,
}

impl Engines {
    /// # Errors
    /// A name without a port.
    pub(super) fn new(names: &[String], token: &str) -> anyhow::Result<Self> {
        for name in names {
            let port = name.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
            if !matches!(port, Some(Ok(1..))) {
                bail!("`cluster.engines` has `{name}`: expected `host:port`, such as `netspectra-engine:8471`");
            }
        }
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(TIMEOUT))
            .http_status_as_error(false)
            .max_idle_connections_per_host(4);
        Ok(Self { names: names.into(), token: token.into(), http: config.build().new_agent() })
    }
}

impl Owners for Engines {
    fn list(&self) -> BoxFuture<'_, Vec<Arc<dyn LivePartitions>>> {
        Box::pin(async move {
            let mut found: Vec<SocketAddr> = Vec::new();
            for name in &*self.names {
                match tokio::time::timeout(TIMEOUT, tokio::net::lookup_host(name.as_str())).await {
                    Ok(Ok(addresses)) => found.extend(addresses),
                    Ok(Err(error)) => tracing::warn!(%error, engine = name, "the engine's name is not known"),
                    Err(_) => tracing::warn!(engine = name, "the engine's name was not resolved in time"),
                }
            }
            found.sort_unstable();
            found.dedup();
            let engine = |address| Arc::new(Engine { address, engines: self.clone() }) as Arc<dyn LivePartitions>;
            found.into_iter().map(engine).collect()
        })
    }
}

/// One engine.
struct Engine {
    address: SocketAddr,
    engines: Engines,
}

impl Engine {
    fn ask(&self, plan: &[u8]) -> anyhow::Result<Option<LiveReport>> {
        let url = format!("http://{}{}", self.address, netspectra_api::REPORT_PATH);
        let request = self.engines.http.post(&url).header("Authorization", format!("Bearer {}", self.engines.token));
        let mut response = request.send(plan).with_context(|| format!("`{url}` does not answer"))?;
        let status = response.status().as_u16();
        let body = response.body_mut().with_config().limit(MAX_REPORT);
        match status {
            204 => Ok(None),
            200 => {
                let bytes = body.read_to_vec().with_context(|| format!("the report of `{url}` ended early"))?;
                Ok(Some(LiveReport::decode(&bytes).with_context(|| format!("the report of `{url}`"))?))
            }
            status => bail!("`{url}` answered {status}: {}", body.read_to_string().unwrap_or_default().trim()),
        }
    }
}

impl LivePartitions for Engine {
    fn report<'a>(&'a self, plan: &'a Plan) -> BoxFuture<'a, Result<Option<LiveReport>, PortError>> {
        let body = encode_plan(plan);
        let engine = Self { address: self.address, engines: self.engines.clone() };
        Box::pin(async move {
            let body = body.map_err(|error| PortError::permanent("the plan cannot be sent").because(error))?;
            let asked = spawn_blocking(move || engine.ask(&body)).await;
            let answer = asked.map_err(|error| PortError::transient("an engine could not be asked").because(error))?;
            answer.map_err(|error| PortError::transient(format!("{error:#}")))
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::cluster::testing::serve_partitions;
    use netspectra_common::model::TimeRange;
    use netspectra_common::query::{Filter, Query};
    use netspectra_engine::partition::PartitionSet;

    fn plan() -> Plan {
        Plan { range: TimeRange::ALL, filter: Filter::ALL, query: Query::Ledger }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn engines_are_found_by_name_and_asked_with_the_token() {
        let address = serve_partitions(Arc::new(PartitionSet::new("t".into())), "a-token-of-the-cluster").await;
        let name = format!("localhost:{}", address.port());
        let engines = Engines::new(&[name], "a-token-of-the-cluster").unwrap();
        let mut answers = Vec::new();
        for engine in engines.list().await {
            answers.push(engine.report(&plan()).await);
        }
        // `localhost` may be ::1 as well, where nobody listens.
        assert!(answers.iter().any(|a| matches!(a, Ok(None))), "{answers:?}");
        let stranger = Engines::new(&[address.to_string()], "another-token-of-it").unwrap();
        let error = stranger.list().await[0].report(&plan()).await.unwrap_err().to_string();
        assert!(error.contains("answered 401"), "{error}");
    }

    #[test]
    fn a_name_needs_a_port() {
        let error = Engines::new(&["engine".into()], "t").unwrap_err().to_string();
        assert_eq!(error, "`cluster.engines` has `engine`: expected `host:port`, such as `netspectra-engine:8471`");
        assert!(Engines::new(&["engine:0".into()], "t").is_err());
    }
}
