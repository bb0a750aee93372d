//! The eBPF object: part of the binary, or named by the environment.

use anyhow::{Context, bail};

static EMBEDDED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/netspectra.bpf.o"));

/// The eBPF object.
///
/// # Errors
/// When the binary was built without one; says how to get it.
pub(crate) fn bytes() -> anyhow::Result<Vec<u8>> {
    if let Some(path) = std::env::var_os("NETSPECTRA_BPF_OBJECT") {
        return std::fs::read(&path).with_context(|| {
            format!("cannot read the eBPF object `{}` that NETSPECTRA_BPF_OBJECT names", path.display())
        });
    }
    if EMBEDDED.is_empty() {
        bail!(
            "this binary was built without the eBPF programs: build it by `cargo xtask build`, or build the object by \
             `cargo xtask build-ebpf` and name it in NETSPECTRA_BPF_OBJECT"
        );
    }
    Ok(EMBEDDED.to_vec())
}

/// Whether the binary carries the object.
pub(crate) fn embedded() -> bool {
    !EMBEDDED.is_empty()
}
