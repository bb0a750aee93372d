//! Makes the eBPF object part of the binary, when there is one.
//!
//! `NETSPECTRA_BPF_OBJECT` names it; else the one that `cargo xtask build-ebpf` left is taken. Without either the binary
//! is built all the same: `analyze`, `query` and `top` need none, and `run` says how to get it.

use std::env;
use std::fs;
use std::path::PathBuf;

fn main() {
    println!("cargo::rerun-if-env-changed=NETSPECTRA_BPF_OBJECT");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("netspectra.bpf.o");
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR"));
    let built = root.join("../target/bpf/netspectra.bpf.o");
    let object = env::var_os("NETSPECTRA_BPF_OBJECT").map(PathBuf::from).unwrap_or(built);
    println!("cargo::rerun-if-changed={}", object.display());
    let bytes = fs::read(&object).unwrap_or_default();
    fs::write(&out, bytes).unwrap_or_else(|e| panic!("cannot write `{}`: {e}", out.display()));
}
