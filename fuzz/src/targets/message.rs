use netspectra_common::model::LogEntry;
use netspectra_common::ports::LiveReport;
use netspectra_common::proto;
use netspectra_common::query::{decode_partial, decode_plan, encode_partial, encode_plan};

/// A message from another process; the first byte picks of which kind: one of the log, a plan, a partial, a live report.
///
/// What is accepted comes back from its own bytes the same, and an accepted plan is legal.
pub fn message(data: &[u8]) {
    let Some((pick, bytes)) = data.split_first() else { return };
    match pick % 4 {
        0 => {
            let Ok(entry) = proto::decode(bytes) else { return };
            let again = proto::decode(&match &entry {
                LogEntry::Message(message) => proto::encode(message),
                LogEntry::Tick => proto::encode_tick(""),
            });
            assert_eq!(format!("{:?}", again.ok()), format!("{:?}", Some(entry)));
        }
        1 => {
            let Ok(plan) = decode_plan(bytes) else { return };
            assert!(plan.validate().is_ok());
            let again = encode_plan(&plan).and_then(|bytes| decode_plan(&bytes)).ok();
            assert_eq!(format!("{again:?}"), format!("{:?}", Some(plan)));
        }
        2 => {
            let Ok(partial) = decode_partial(bytes) else { return };
            assert!(encode_partial(&partial).and_then(|bytes| decode_partial(&bytes)).is_ok());
        }
        _ => {
            let Ok(report) = LiveReport::decode(bytes) else { return };
            assert!(report.encode().and_then(|bytes| LiveReport::decode(&bytes)).is_ok());
        }
    }
}
