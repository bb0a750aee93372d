//! The loaded programs against the real kernel, by `BPF_PROG_TEST_RUN`. Needs root and the eBPF object.
#![allow(clippy::unwrap_used, reason = "tests")]

use aya::programs::{TestRun, TestRunOptions};
use netspectra_agent::source::Source;
use netspectra_agent::source::xdp::{XdpConfig, XdpSource};

fn object() -> Vec<u8> {
    let path = std::env::var("NETSPECTRA_BPF_OBJECT").expect("NETSPECTRA_BPF_OBJECT names the eBPF object: run `cargo xtask test`");
    std::fs::read(&path).unwrap()
}

#[test]
fn quick() {
    let mut source = XdpSource::load(&object(), &XdpConfig::default()).unwrap_or_else(|e| panic!("{e}"));
    let mut f = vec![0u8; 12];
    f.extend([0x08, 0x00, 0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 0, 53, 0, 54, 0, 8, 0, 0]);
    let program = source.ingress_program().unwrap();
    let r = program.test_run(TestRunOptions { data_in: Some(&f), repeat: 1000000, ..TestRunOptions::new() }).unwrap();
    eprintln!("{:?}", r);
    let g = source.generation().unwrap().unwrap();
    eprintln!("{:?} {:?}", g.flows, g.totals.seen);
}
