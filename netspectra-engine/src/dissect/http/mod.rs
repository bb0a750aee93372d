//! HTTP/1.x on any port: the heads of all messages of a connection. Sources: RFC 9110, 9112.
//!
//! Bodies are passed over, not kept, so memory is bounded by the length of a head.

mod body;
mod direction;
mod head;
#[cfg(test)]
mod tests;

use direction::Direction;
use head::{Head, Kind};
use netspectra_common::dissect::{Claim, Dissector, Next, Session, Side};
use netspectra_common::model::{FlowKey, HttpRequest, HttpResponse, Nanos, Observation};
use netspectra_common::wire::proto;
use std::collections::VecDeque;

/// Requests of a connection that wait for their response; beyond it the oldest is forgotten.
const MOST_WAITING: usize = 128;

/// HTTP/1.0 and 1.1 over TCP.
#[derive(Clone, Copy, Debug, Default)]
pub struct Http {
    /// Leave out what is behind `?` in targets: it may hold secrets.
    pub without_query: bool,
}

impl Dissector for Http {
    fn claims(&self, key: &FlowKey, first: &[u8]) -> Claim {
        if key.proto == proto::TCP { head::looks_like(first) } else { Claim::No }
    }

    fn open(&self, _: &FlowKey) -> Box<dyn Session> {
        Box::new(HttpSession {
            directions: Default::default(),
            exchange: Exchange { without_query: self.without_query, ..Exchange::default() },
        })
    }
}

struct HttpSession {
    directions: [Direction; 2],
    exchange: Exchange,
}

/// A request that waits for its response.
#[derive(Debug)]
struct Waiting {
    from: Side,
    method: String,
    host: Option<String>,
    at: Nanos,
}

/// What the two directions must know of each other.
#[derive(Debug, Default)]
struct Exchange {
    without_query: bool,
    waiting: VecDeque<Waiting>,
}

impl Exchange {
    /// Says what a head says; returns what follows it.
    fn head(&mut self, side: Side, head: Head, at: Nanos, say: &mut dyn FnMut(Observation)) -> body::Body {
        match &head.kind {
            Kind::Request { method, target } => {
                let (method, host) = (method.clone(), head.host(method, target));
                if self.waiting.len() >= MOST_WAITING {
                    self.waiting.pop_front();
                }
                self.waiting.push_back(Waiting { from: side, method: method.clone(), host: host.clone(), at });
                let body = head.body_of_request();
                let end = if self.without_query { target.find('?') } else { None };
                say(Observation::HttpRequest(Box::new(HttpRequest {
                    target: target.get(..end.unwrap_or(target.len())).unwrap_or_default().to_owned(),
                    method,
                    host,
                    minor_version: head.minor_version,
                    user_agent: head.user_agent,
                    content_type: head.content_type,
                    content_length: head.content_length.ok().flatten(),
                })));
                body
            }
            Kind::Response { status } => {
                let status = *status;
                let interim = matches!(status, 100 | 102..=199);
                let place = self.waiting.iter().position(|w| w.from == side.other());
                let request = match place {
                    Some(place) if !interim => self.waiting.remove(place),
                    _ => None,
                };
                let body = head.body_of_response(status, request.as_ref().map(|r| r.method.as_str()));
                say(Observation::HttpResponse(Box::new(HttpResponse {
                    status,
                    minor_version: head.minor_version,
                    content_type: head.content_type,
                    content_length: head.content_length.ok().flatten(),
                    latency: request.as_ref().map(|r| at.since(r.at)),
                    host: request.as_ref().and_then(|r| r.host.clone()),
                    method: request.map(|r| r.method),
                })));
                body
            }
        }
    }
}

impl Session for HttpSession {
    fn stream(&mut self, side: Side, bytes: &[u8], at: Nanos, say: &mut dyn FnMut(Observation)) -> Next {
        let exchange = &mut self.exchange;
        self.directions[side as usize].feed(bytes, at, &mut |head| exchange.head(side, head, at, say));
        if self.directions[side as usize].is_tunnel() {
            // After CONNECT or Upgrade both ends speak another protocol.
            return Next::Done;
        }
        Next::More
    }

    fn gap(&mut self, side: Side, missing: u64) -> Next {
        if !self.directions[side as usize].skip(missing) {
            // Messages may have been in the gap: which response is whose is not known any more.
            self.exchange.waiting.clear();
        }
        Next::More
    }

    fn left_out(&mut self, side: Side, missing: u64) -> Next {
        let direction = &mut self.directions[side as usize];
        let in_message = direction.is_in_message();
        if !direction.skip(missing) && !in_message && missing > 0 {
            // A message should have begun there.
            self.exchange.waiting.clear();
        }
        Next::More
    }

    fn end(&mut self, side: Side, say: &mut dyn FnMut(Observation)) {
        if let Some((head, at)) = self.directions[side as usize].end() {
            self.exchange.head(side, head, at, say);
        }
    }
}
