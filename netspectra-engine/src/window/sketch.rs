use super::keys::address;
use super::rows::Rows;
#[cfg(feature = "clickhouse")]
use netspectra_common::model::WindowState;
use netspectra_common::model::{Family, Sent, WindowSketches};
#[cfg(feature = "clickhouse")]
use netspectra_common::sketch::PairSample;

/// Feeds the rows of a window into `sketches`, all but sizes and times, which rows do not have.
///
/// Distinct values and weighted sums are functions of the rows, so one pass when the window closes does what a pass per
/// packet would. Rows without packets (see [`Rows::begin_flow`]) say nothing about who sent.
pub(crate) fn feed(sketches: &mut WindowSketches, rows: &Rows) {
    let rows = rows.iter().filter(|r| r.packets > 0 && r.key.family != Family::NonIp as u8);
    sketches.add(rows.map(|row| {
        let key = &row.key;
        Sent {
            src: address(key.family, &key.src),
            dst: address(key.family, &key.dst),
            proto: key.proto,
            src_port: key.src_port,
            dst_port: key.dst_port,
            packets: row.packets,
            bytes: row.bytes,
        }
    }));
}

/// Adds another window to `into`: totals and sketches.
#[cfg(feature = "clickhouse")]
pub(crate) fn merge_states(into: &mut WindowState, other: &WindowState) {
    let lacks_peers = into.lacks_peers() || other.lacks_peers();
    into.total.add(other.total);
    into.new_flows = into.new_flows.saturating_add(other.new_flows);
    for (proto, counter) in &other.protocols {
        into.protocols.entry(*proto).or_default().add(*counter);
    }
    if let Some(sketches) = &other.sketches {
        into.sketches.get_or_insert_default().merge(sketches);
    }
    // What is known of some windows is not known of all of them.
    if lacks_peers && let Some(sketches) = &mut into.sketches {
        sketches.peers = PairSample::default();
    }
}
