use super::{Counter, Manifest};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::fmt;

/// Begins the bytes that are hashed: purpose and version. Raised with every change of what is hashed, together with the
/// layout of what agents keep over a kill.
const DOMAIN: &[u8] = b"netspectra manifest 1";

/// The SHA-256 of a manifest, which the next manifest of the run carries.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ManifestHash(pub [u8; 32]);

impl fmt::Debug for ManifestHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Manifest {
    /// The hash of everything that the manifest says but [`Manifest::last`], which a generation that is sent again after a
    /// kill does not repeat. With [`Manifest::previous`] in it, it stands for all manifests of the run so far.
    ///
    /// What is hashed is a form of its own, independent of how a bus writes messages: integers little-endian, in the order
    /// of the code below; texts and lists after their length. Cost: one pass over some KiB, once a
    /// generation.
    pub fn hash(&self) -> ManifestHash {
        let Self { id, chunks, start, end, ledger, sizes, interfaces, nics, previous, last: _ } = self;
        let mut to = Form(Sha256::new_with_prefix(DOMAIN));
        to.bytes(id.node.as_bytes());
        to.numbers(&[id.epoch, id.generation, u64::from(*chunks), start.0, end.0]);
        to.counters(&[ledger.seen, ledger.flows, ledger.non_ip]);
        let reasons = ledger.reasons.told();
        to.number(reasons.len() as u64);
        to.counters(&reasons);
        to.numbers(&[ledger.orphan_fragments, ledger.events_lost]);
        to.optional(ledger.overflow.as_ref().map(|o| o.to_bytes()).as_deref());
        to.number(sizes.0.len() as u64);
        for (bin, frames) in &sizes.0 {
            to.numbers(&[u64::from(*bin), *frames]);
        }
        to.number(interfaces.len() as u64);
        for interface in interfaces {
            to.numbers(&[u64::from(interface.slot), u64::from(interface.ifindex)]);
            to.bytes(interface.name.as_bytes());
        }
        to.number(nics.len() as u64);
        for nic in nics {
            to.number(nic.ifindex.into());
            to.bytes(nic.iface.as_bytes());
            to.numbers(&nic.gained.to_array());
            to.number(nic.reset.into());
        }
        to.optional(previous.as_ref().map(|hash| hash.0.as_slice()));
        ManifestHash(to.0.finalize().into())
    }
}

/// Writes into the hash so that different contents are different bytes.
struct Form(Sha256);

impl Form {
    fn number(&mut self, n: u64) {
        self.0.update(n.to_le_bytes());
    }

    fn numbers(&mut self, numbers: &[u64]) {
        numbers.iter().for_each(|n| self.number(*n));
    }

    fn counters(&mut self, counters: &[Counter]) {
        counters.iter().for_each(|c| self.numbers(&[c.packets, c.bytes]));
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.update(bytes);
    }

    fn optional(&mut self, bytes: Option<&[u8]>) {
        self.number(bytes.is_some().into());
        self.bytes(bytes.unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::LossReason;
    use crate::model::{GenerationId, Interface, Ledger, Nanos, NicCounters, NicDelta, SizeHistogram};
    use crate::sketch::OverflowSummary;

    fn manifest() -> Manifest {
        Manifest {
            id: GenerationId { node: "n1".into(), epoch: 7, generation: 3 },
            chunks: 2,
            start: Nanos(1_000),
            end: Nanos(2_000),
            ledger: Ledger { seen: Counter::new(5, 500), flows: Counter::new(5, 500), ..Ledger::default() },
            sizes: SizeHistogram(vec![(100, 5)]),
            interfaces: vec![Interface { slot: 0, ifindex: 2, name: "eth0".into() }],
            nics: vec![NicDelta { ifindex: 2, iface: "eth0".into(), gained: NicCounters::default(), reset: false }],
            previous: Some(ManifestHash([9; 32])),
            last: false,
        }
    }

    #[test]
    fn the_hash_of_a_known_manifest_stays_what_it_is() {
        // As another program finds it for the same bytes (Python's hashlib). Agents of two versions that hash otherwise would
        // break each other's chains: see `DOMAIN`.
        let expected = "9bb503482a005a9ec02eb6bad75a0f4fe58fed61a09b4e0d8b673cb6c8b01d8d";
        assert_eq!(format!("{:?}", manifest().hash()), expected);
    }

    #[test]
    #[ignore = "measures"]
    #[allow(clippy::print_stdout, reason = "what it is for")]
    fn what_a_hash_costs() {
        let sizes = SizeHistogram((60..1560).map(|n| (n, 100)).collect());
        for (name, manifest) in [("small", manifest()), ("1,500 frame sizes", Manifest { sizes, ..manifest() })] {
            let mut took: Vec<_> = (0..201)
                .map(|_| {
                    let begin = std::time::Instant::now();
                    std::hint::black_box(manifest.hash());
                    begin.elapsed()
                })
                .collect();
            took.sort();
            println!("{name}: median {:?}", took[100]);
        }
    }

    #[test]
    fn whatever_a_manifest_says_is_in_its_hash_but_that_it_is_the_last() {
        let of = |change: fn(&mut Manifest)| {
            let mut m = manifest();
            change(&mut m);
            m.hash()
        };
        let same = manifest().hash();
        assert_eq!(of(|m| m.last = true), same);
        let changed = [
            of(|m| m.id.node = "n2".into()),
            of(|m| m.id.epoch += 1),
            of(|m| m.id.generation += 1),
            of(|m| m.chunks += 1),
            of(|m| m.start.0 += 1),
            of(|m| m.end.0 += 1),
            of(|m| m.ledger.seen.packets += 1),
            of(|m| m.ledger.flows.bytes += 1),
            of(|m| m.ledger.non_ip.packets += 1),
            of(|m| m.ledger.reasons[LossReason::TruncatedIp].bytes += 1),
            of(|m| m.ledger.orphan_fragments += 1),
            of(|m| m.ledger.events_lost += 1),
            of(|m| m.ledger.overflow = Some(Box::new(OverflowSummary::default()))),
            of(|m| m.sizes.0[0].0 += 1),
            of(|m| m.sizes.0[0].1 += 1),
            of(|m| m.sizes.0.clear()),
            of(|m| m.interfaces[0].slot += 1),
            of(|m| m.interfaces[0].ifindex += 1),
            of(|m| m.interfaces[0].name = "eth1".into()),
            of(|m| m.interfaces.clear()),
            of(|m| m.nics[0].ifindex += 1),
            of(|m| m.nics[0].iface = "eth1".into()),
            of(|m| m.nics[0].gained.rx_no_buffer += 1),
            of(|m| m.nics[0].reset = true),
            of(|m| m.nics.clear()),
            of(|m| m.previous = Some(ManifestHash([8; 32]))),
            of(|m| m.previous = None),
        ];
        for (at, hash) in changed.iter().enumerate() {
            assert!(*hash != same && !changed[..at].contains(hash), "change {at}");
        }
    }
}
