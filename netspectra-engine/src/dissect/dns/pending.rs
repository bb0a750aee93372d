//! Queries that wait for their response.

use netspectra_common::dissect::Side;
use netspectra_common::model::{DnsMessage, Nanos};
use std::collections::VecDeque;
use std::time::Duration;

/// Queries of one flow that wait at the same time; beyond it the oldest is forgotten.
const MOST: usize = 64;
/// Time after which a response is not taken for that of an equal query.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug)]
struct Query {
    from: Side,
    id: u16,
    /// In lower case, and the type; `None` when there was no question that could be read.
    question: Option<(String, u16)>,
    at: Nanos,
}

/// The queries of one flow, oldest first. Identifier, question and direction tell which response is whose.
#[derive(Debug, Default)]
pub(super) struct Pending {
    queries: VecDeque<Query>,
}

impl Pending {
    /// Remembers a query, or marks it as repeated; gives a response its latency.
    pub(super) fn relate(&mut self, from: Side, at: Nanos, message: &mut DnsMessage) {
        self.queries.retain(|q| q.at.plus(PATIENCE) >= at);
        let question = message.question.as_ref().map(|q| (q.name.to_ascii_lowercase(), q.qtype));
        let asker = if message.response { from.other() } else { from };
        let place = self.queries.iter().position(|q| {
            // An error response may leave the question out.
            let unnamed = message.response && (question.is_none() || q.question.is_none());
            q.from == asker && q.id == message.id && (unnamed || q.question == question)
        });
        if message.response {
            if let Some(query) = place.and_then(|p| self.queries.remove(p)) {
                message.latency = Some(at.since(query.at));
            }
        } else if place.is_some() {
            message.repeated = true;
        } else {
            if self.queries.len() >= MOST {
                self.queries.pop_front();
            }
            self.queries.push_back(Query { from, id: message.id, question, at });
        }
    }
}
