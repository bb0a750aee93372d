//! A dissector of a third party: a line protocol, from recognising it to what it says.
#![allow(clippy::print_stdout, reason = "an example")]

use netspectra_common::dissect::{Claim, Dissector, Next, Opener, Session, Side};
use netspectra_common::model::{FlowKey, Nanos, Observation};
use netspectra_engine::dissect::{Dissectors, builtin};
use std::sync::Arc;

/// Bytes of a line that are kept.
const MAX_LINE: usize = 512;

/// Redis's inline commands: `PING`, and the answer to it.
struct Ping;

impl Dissector for Ping {
    fn claims(&self, _: &FlowKey, first: &[u8]) -> Claim {
        const COMMAND: &[u8] = b"PING\r\n";
        match (first.starts_with(COMMAND), COMMAND.starts_with(first)) {
            (true, _) => Claim::Yes,
            (false, true) => Claim::NeedMore,
            (false, false) => Claim::No,
        }
    }

    fn open(&self, _: &FlowKey) -> Box<dyn Session> {
        Box::new(Lines::default())
    }
}

#[derive(Default)]
struct Lines {
    line: [Vec<u8>; 2],
}

impl Session for Lines {
    fn stream(&mut self, side: Side, bytes: &[u8], _: Nanos, say: &mut dyn FnMut(Observation)) -> Next {
        let line = &mut self.line[side as usize];
        for byte in bytes {
            match byte {
                b'\n' => {
                    let text = String::from_utf8_lossy(line).trim_end().to_owned();
                    say(Observation::Other { protocol: "ping".into(), fields: vec![("line".into(), text)] });
                    line.clear();
                }
                _ if line.len() < MAX_LINE => line.push(*byte),
                _ => return Next::Done,
            }
        }
        Next::More
    }
}

fn main() {
    let dissectors = Dissectors::new(builtin().with("ping", Arc::new(Ping)));
    let key = FlowKey { proto: 6, src_port: 40_000, dst_port: 6379, ..FlowKey::default() };
    let Some(mut session) = dissectors.open(&key) else { return };
    let conversation: [(Side, &[u8]); 3] =
        [(Side::Forward, b"PI"), (Side::Forward, b"NG\r\n"), (Side::Reverse, b"+PONG\r\n")];
    for (side, bytes) in conversation {
        session.stream(side, bytes, Nanos(0), &mut |said| println!("{side:?}: {said:?}"));
    }
}
