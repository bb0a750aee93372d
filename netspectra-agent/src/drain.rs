//! From a generation to bus messages. Plain functions: no clock, no socket.

use crate::generation::Generation;
use crate::payload::Payloads;
use netspectra_common::abi::Family;
use netspectra_common::model::{
    BusMessage, Chunk, ChunkId, Counter, FlowDelta, GenerationId, Ledger, Manifest, ManifestHash, SizeHistogram,
    SocketSeen,
};
use std::sync::Arc;

/// Names generations, cuts them into chunks, and chains their manifests.
pub struct Drain {
    node: Arc<str>,
    epoch: u64,
    next: u64,
    previous: Option<ManifestHash>,
    chunk_flows: usize,
    payloads: Option<Payloads>,
}

impl Drain {
    /// `epoch` distinguishes this run of the agent from others (its start, Unix nanoseconds); `chunk_flows` is the
    /// largest number of flows in a message.
    pub fn new(node: Arc<str>, epoch: u64, chunk_flows: usize) -> Self {
        Self { node, epoch, next: 0, previous: None, chunk_flows: chunk_flows.max(1), payloads: None }
    }

    /// The same, with `next` as the number of the next generation, and `previous` as the hash of the manifest before it: the
    /// run goes on where it was.
    #[must_use]
    pub fn from_generation(self, next: u64, previous: Option<ManifestHash>) -> Self {
        Self { next, previous, ..self }
    }

    /// Has `payloads` read the hints of generations from now on; without it they are left aside.
    #[must_use]
    pub fn reading_hints(self, payloads: Payloads) -> Self {
        Self { payloads: Some(payloads), ..self }
    }

    /// The hash of the manifest that was cut last, which the next one will carry.
    pub fn head(&self) -> Option<ManifestHash> {
        self.previous
    }

    /// The chunks of `generation`, then its manifest.
    pub fn cut(&mut self, generation: Generation) -> Vec<BusMessage> {
        self.cut_with(generation, Vec::new())
    }

    /// As [`Drain::cut`], with sockets of the host that became known.
    pub fn cut_with(&mut self, mut generation: Generation, sockets: Vec<SocketSeen>) -> Vec<BusMessage> {
        self.read_hints(&mut generation);
        let id = GenerationId { node: self.node.clone(), epoch: self.epoch, generation: self.next };
        self.next += 1;
        let ledger = ledger(&generation);
        let mut messages = Vec::with_capacity(generation.flows.len() / self.chunk_flows + 2);
        let mut chunk = |n: usize, deltas| {
            let id = ChunkId { generation: id.clone(), chunk: n as u32 };
            messages.push(BusMessage::Chunk(Arc::new(Chunk { id, deltas })));
        };
        match generation.flows.len() {
            0 => {}
            one if one <= self.chunk_flows => chunk(0, generation.flows),
            _ => {
                generation.flows.chunks(self.chunk_flows).enumerate().for_each(|(n, deltas)| chunk(n, deltas.to_vec()))
            }
        }
        let chunks = messages.len() as u32;
        if !generation.observed.is_empty() {
            messages.push(BusMessage::Observed { of: id.clone(), said: Arc::new(generation.observed) });
        }
        if !sockets.is_empty() {
            messages.push(BusMessage::Sockets { of: id.clone(), seen: Arc::new(sockets) });
        }
        let manifest = Manifest {
            id,
            chunks,
            start: generation.start,
            end: generation.end,
            ledger,
            sizes: SizeHistogram::from_bins(&generation.totals.sizes),
            interfaces: generation.interfaces,
            nics: generation.nics,
            previous: self.previous,
            last: generation.last,
        };
        self.previous = Some(manifest.hash());
        messages.push(BusMessage::Manifest(Arc::new(manifest)));
        messages
    }

    /// Adds what dissectors say of the first bytes of payloads. What there is no room for counts as lost events.
    fn read_hints(&mut self, generation: &mut Generation) {
        let Some(payloads) = &mut self.payloads else { return };
        let dropped = payloads.stats().dropped_messages;
        for hint in std::mem::take(&mut generation.hints) {
            payloads.hint(&hint);
        }
        if generation.last {
            payloads.finish();
        }
        generation.totals.events_lost += payloads.stats().dropped_messages - dropped;
        generation.observed.append(&mut payloads.drain());
    }
}

/// Where every frame of `generation` went: what was seen is the source's own count, what was booked is added up from
/// the flows, so that a residual shows.
fn ledger(generation: &Generation) -> Ledger {
    let t = &generation.totals;
    let mut ledger = Ledger {
        seen: t.seen,
        reasons: t.reasons.into(),
        orphan_fragments: t.orphan_fragments,
        events_lost: t.events_lost,
        overflow: generation.overflow.clone().map(Box::new),
        ..Ledger::default()
    };
    for FlowDelta { key, stats, .. } in &generation.flows {
        let counter = Counter::new(stats.packets, stats.bytes);
        if key.family == Family::NonIp as u8 { ledger.non_ip.add(counter) } else { ledger.flows.add(counter) }
    }
    ledger
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::table::{FlowTable, Identity};
    use netspectra_common::model::Nanos;

    /// An Ethernet frame with an IPv4 UDP packet from port `port`.
    fn udp_frame(port: u16) -> Vec<u8> {
        let mut f = vec![0u8; 12];
        f.extend([0x08, 0x00, 0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        f.extend(port.to_be_bytes());
        f.extend([0, 53, 0, 8, 0, 0]);
        f
    }

    fn generation(flows: u16) -> Generation {
        let mut table = FlowTable::new(1000, Identity::Outer);
        for port in 0..flows {
            table.count(1, &udp_frame(port), 42, 0, 5);
        }
        table.count(1, &[0; 14], 60, 0, 5);
        table.count(1, &[0; 5], 60, 0, 5);
        let (flows, totals) = table.drain();
        Generation {
            start: Nanos(0),
            end: Nanos(10),
            flows,
            totals,
            overflow: table.drain_overflow(),
            hints: Vec::new(),
            observed: Vec::new(),
            interfaces: Vec::new(),
            nics: Vec::new(),
            last: false,
        }
    }

    #[test]
    fn chunks_hold_every_flow_once_and_the_manifest_counts_them() {
        let mut drain = Drain::new("n".into(), 7, 4);
        let messages = drain.cut(generation(10));
        let mut ports = Vec::new();
        for (n, m) in messages.iter().enumerate() {
            match m {
                BusMessage::Chunk(c) => {
                    assert_eq!(c.id.chunk as usize, n);
                    ports.extend(c.deltas.iter().filter(|d| d.key.family == 4).map(|d| d.key.src_port));
                }
                BusMessage::Manifest(m) => {
                    assert_eq!(m.chunks, 3);
                    assert_eq!(m.id.generation, 0);
                    assert_eq!(m.ledger.seen, Counter::new(12, 10 * 42 + 120));
                    assert_eq!(m.ledger.flows, Counter::new(10, 420));
                    assert_eq!(m.ledger.non_ip, Counter::new(1, 60));
                    assert_eq!(m.ledger.residual(), (0, 0));
                }
                BusMessage::Payload { .. } | BusMessage::Observed { .. } | BusMessage::Sockets { .. } => {
                    unreachable!("no events here")
                }
            }
        }
        assert_eq!(ports, (0..10).collect::<Vec<_>>());
    }

    #[test]
    fn a_manifest_carries_the_hash_of_the_one_before_it_also_when_the_run_goes_on() {
        let manifest = |drain: &mut Drain| match drain.cut(generation(3)).pop() {
            Some(BusMessage::Manifest(m)) => m,
            other => panic!("a manifest, not {other:?}"),
        };
        let mut drain = Drain::new("n".into(), 7, 4);
        let (first, second) = (manifest(&mut drain), manifest(&mut drain));
        assert_eq!((first.previous, second.previous), (None, Some(first.hash())));
        assert_eq!(drain.head(), Some(second.hash()));
        let mut other = Drain::new("n".into(), 7, 4).from_generation(1, Some(first.hash()));
        assert_eq!(manifest(&mut other).hash(), second.hash(), "sent again it is the same");
    }

    #[test]
    fn a_full_table_keeps_the_totals_under_its_reason() {
        let mut table = FlowTable::new(3, Identity::Outer);
        for port in 0..10 {
            table.count(1, &udp_frame(port), 42, 0, 5);
        }
        let (flows, totals) = table.drain();
        assert_eq!(flows.len(), 3);
        assert_eq!(totals.seen.packets, 10);
        assert_eq!(totals.reasons[netspectra_common::abi::LossReason::TableFull as usize], Counter::new(7, 294));
    }
}
