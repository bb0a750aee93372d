use super::Dissectors;
use netspectra_common::dissect::{Next, Opener, Recent, Session, Side, flow_of};
use netspectra_common::model::{FlowKey, Observed, PayloadSeen};

/// Sessions of datagram flows of which the bus brings first bytes.
pub struct Prefixes {
    dissectors: Dissectors,
    /// The session (`None` when nothing on the flow is of interest), and whether the first datagram went the flow's own way.
    flows: Recent<FlowKey, (Option<Box<dyn Session>>, bool)>,
}

impl Prefixes {
    /// Nothing seen yet; of at most `flows` flows is anything remembered.
    pub fn new(dissectors: Dissectors, flows: usize) -> Self {
        Self { dissectors, flows: Recent::new(flows) }
    }

    /// Adds what `seen` says to `out`. Cost: one hash look-up, and the dissector's.
    pub fn dissect(&mut self, seen: &PayloadSeen, out: &mut Vec<Observed>) {
        let (flow, own) = flow_of(&seen.key);
        if self.flows.use_mut(&flow).is_none() {
            self.flows.insert(flow, (self.dissectors.open(&seen.key), own));
        }
        let Some((slot, forward_is_own)) = self.flows.use_mut(&flow) else { return };
        let Some(session) = slot else { return };
        let side = if own == *forward_is_own { Side::Forward } else { Side::Reverse };
        let mut say = |what| out.push(Observed { at: seen.at, key: seen.key, what });
        if session.datagram(side, &seen.prefix, seen.len, seen.at, &mut say) == Next::Done {
            *slot = None;
        }
    }
}

impl std::fmt::Debug for Prefixes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prefixes").field("flows", &self.flows.len()).finish_non_exhaustive()
    }
}
