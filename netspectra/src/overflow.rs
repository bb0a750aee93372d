//! What is known of packets without room in a flow table, for people.

use crate::output::grouped;
use netspectra_common::query::keys::proto_text;
use netspectra_common::sketch::{Estimate, OverflowSummary};

/// Source prefixes shown.
const PREFIXES: usize = 10;

/// One line for each direction and protocol, one for the sources, one for each heavy prefix.
pub(crate) fn lines(overflow: &OverflowSummary) -> Vec<String> {
    let report = overflow.report(PREFIXES);
    let mut lines = Vec::new();
    for p in &report.protocols {
        let name = p.proto.map_or_else(|| "not IP".into(), proto_text);
        let (packets, bytes) = (grouped(p.packets), grouped(p.bytes));
        lines.push(format!("{} {name}: {packets} packets, {bytes} bytes", p.direction));
    }
    lines.push(format!("distinct sources: {}", with_bounds(&report.sources)));
    for p in &report.prefixes {
        lines.push(format!("from {}: {} packets, {} bytes", p.prefix, with_bounds(&p.packets), with_bounds(&p.bytes)));
    }
    let most = report.unlisted_at_most;
    lines.push(format!(
        "from any other prefix: at most {} packets, {} bytes",
        grouped(most.packets),
        grouped(most.bytes)
    ));
    lines
}

/// `12,345`, or `~12,345 (12,000 to 12,700)` where it is an estimate.
pub(crate) fn with_bounds(e: &Estimate) -> String {
    let whole = |x: f64| grouped(x.max(0.0).round() as u64);
    if e.low == e.high {
        whole(e.estimate)
    } else {
        format!("~{} ({} to {})", whole(e.estimate), whole(e.low), whole(e.high))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use netspectra_common::abi::{Counter, FlowKey, Overflow};
    use netspectra_common::sketch::OverflowSum;

    #[test]
    fn every_line_says_of_what_how_many() {
        let mut table = Box::new(Overflow::EMPTY);
        let mut key = FlowKey { family: 4, proto: 17, ..FlowKey::default() };
        key.src[..4].copy_from_slice(&[198, 51, 100, 7]);
        netspectra_common::flow::spill(&mut table, &key, Counter::new(1000, 60_000));
        netspectra_common::flow::spill(&mut table, &FlowKey::default(), Counter::new(1, 60));
        let mut sum = OverflowSum::default();
        sum.add(&table);
        assert_eq!(
            lines(&sum.finish()),
            [
                "ingress udp: 1,000 packets, 60,000 bytes",
                "ingress not IP: 1 packets, 60 bytes",
                "distinct sources: ~1 (1 to 2)",
                "from 198.51.100.0/24: 1,000 packets, 60,000 bytes",
                "from any other prefix: at most 0 packets, 0 bytes",
            ]
        );
    }
}
