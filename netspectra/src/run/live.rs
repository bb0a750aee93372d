//! The live view on a terminal: throughput and top talkers of the last seconds.

use super::SystemClock;
use crate::output;
use netspectra_common::model::TimeRange;
use netspectra_common::ports::{Clock, Store};
use netspectra_common::query::{Answer, Filter, Metric, Plan, Query, answer};
use netspectra_common::schema::Dimension;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

const EVERY: Duration = Duration::from_secs(1);
/// Seconds that the bars show.
const HISTORY: u64 = 60;
const ROWS: usize = 12;
const BARS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Redraws until `stop`.
pub(super) async fn show(
    store: Arc<dyn Store>,
    clock: Arc<SystemClock>,
    address: SocketAddr,
    token: String,
    mut stop: watch::Receiver<bool>,
) {
    loop {
        tokio::select! {
            _ = tokio::time::sleep(EVERY) => {}
            _ = stop.changed() => return,
        }
        let text = match frame(&*store, &clock).await {
            Ok(text) => text,
            Err(e) => format!("no answer: {}\n", output::chain(&e)),
        };
        let screen = format!(
            "\x1b[H\x1b[2Jnetspectra  http://{address}  token {token}\n\n{text}\nCtrl-C ends it, detaches and writes what is open.\n"
        );
        if output::print(&screen).is_err() {
            return;
        }
    }
}

async fn frame(store: &dyn Store, clock: &SystemClock) -> anyhow::Result<String> {
    let now = clock.now();
    let recent = TimeRange { from: now.minus(Duration::from_secs(HISTORY)), to: now };
    let ask = async |query: Query| -> anyhow::Result<Answer> {
        let plan = Plan { range: recent, filter: Filter::ALL, query };
        Ok(answer(&plan, store.query(&plan).await?)?)
    };
    let mut text = String::new();
    if let Answer::Series(series) = ask(Query::Series { step: EVERY, by: Vec::new() }).await? {
        let mut seconds = vec![(0u64, 0u64); HISTORY as usize];
        for p in &series.points {
            let at = p.start.since(recent.from).as_secs() as usize;
            if let Some(second) = seconds.get_mut(at) {
                *second = (p.packets, p.bytes);
            }
        }
        // The second that is running is not whole.
        let (packets, bytes) = seconds.iter().rev().nth(1).copied().unwrap_or_default();
        let most = seconds.iter().map(|s| s.1).max().unwrap_or(0).max(1);
        let bars: String = seconds.iter().map(|(_, b)| BARS[(b * 8 / most) as usize]).collect();
        let _ = writeln!(
            text,
            "{:>14}  {packets:>10} packets/s   last {HISTORY} s\n{bars}\n",
            output::bit_rate(bytes as f64 * 8.0)
        );
    }
    let by = vec![Dimension::SrcIp];
    if let Answer::Top(top) = ask(Query::Top { by, metric: Metric::Bytes, limit: ROWS, exact: false }).await? {
        let _ = writeln!(text, "{:<44} {:>14} {:>8}", "top senders", "bytes", "share");
        for row in top.items {
            let share = row.value.estimate * 100.0 / top.total.max(1) as f64;
            let _ = writeln!(
                text,
                "{:<44} {:>14} {share:>6.1} %",
                row.key.join("/"),
                output::bytes(row.value.estimate as u64)
            );
        }
    }
    if let Answer::Cardinality(c) = ask(Query::Cardinality { of: vec![Dimension::SrcIp] }).await? {
        let _ = writeln!(text, "\nsenders: {:.0} ({:.0} to {:.0})", c.value.estimate, c.value.low, c.value.high);
    }
    if let Answer::Ledger(l) = ask(Query::Ledger).await? {
        let (packets, bytes) = l.ledger.residual();
        let _ = writeln!(
            text,
            "ledger:  {} packets seen, {packets} packets and {bytes} bytes unaccounted",
            l.ledger.seen.packets
        );
    }
    Ok(text)
}
