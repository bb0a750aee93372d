//! The live source: eBPF programs, or packet sockets where the kernel refuses them.

use super::SystemClock;
use crate::config::Capture;
use crate::{Failure, object, output};
use anyhow::Context;
use netspectra_agent::generation::Generation;
use netspectra_agent::loader::{self, Loader, Refusal};
use netspectra_agent::payload::{PayloadLimits, Payloads};
use netspectra_agent::rules::RulesHandle;
use netspectra_agent::source::af_packet::{AfPacketConfig, AfPacketSource};
use netspectra_agent::source::by_loader::{self, Opened, Wanted};
use netspectra_agent::source::xdp::{AttachMode, EgressChoice, XdpConfig, XdpSource};
use netspectra_agent::source::{Source, SourceError};
use netspectra_agent::table::Identity;
use netspectra_common::model::{ManifestHash, Nanos};
use netspectra_common::ports::Clock;
use netspectra_engine::dissect::{self, Dissectors};
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// How this host's traffic is seen.
pub(crate) enum LiveSource {
    /// By eBPF programs.
    Xdp(Box<XdpSource>),
    /// By packet sockets; with the reason when something else was wanted.
    AfPacket(Box<AfPacketSource>, Option<String>),
}

/// Starts the process that will open what `capture` says, under the name `instance`. Before there are threads.
///
/// # Errors
/// No process.
pub(crate) fn start_loader(capture: &Capture, instance: &str) -> anyhow::Result<Loader> {
    let started = loader::start(|channel| {
        let object = || object::bytes().map_err(|e| Refusal::new(output::chain(&e), true));
        let (xdp, packets) = (xdp_config(capture, instance), af_packet_config(capture));
        match by_loader::serve(&channel, wanted(capture), object, &xdp, &packets) {
            Ok(()) => 0,
            // Whoever asked is gone, and says itself why.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => 0,
            Err(error) => {
                tracing::error!(%error, "the loader's process ends");
                crate::FAILED
            }
        }
    });
    started.context("the process that loads the programs cannot be started")
}

impl LiveSource {
    /// What `capture` says, opened by `loader`, which was started for it. In mode `auto` packet sockets are the last resort,
    /// when the kernel refuses eBPF as such: not when an interface does, because that has a remedy.
    ///
    /// # Errors
    /// Each names the thing and the remedy; nothing stays attached then.
    pub(crate) fn open(loader: Loader, capture: &Capture, instance: &str) -> Result<Self, Failure> {
        let (xdp, packets) = (xdp_config(capture, instance), af_packet_config(capture));
        match by_loader::open(loader, wanted(capture), &xdp, &packets) {
            Ok(Opened::Xdp(source)) => Ok(Self::Xdp(source)),
            Ok(Opened::AfPacket(source, refusal)) => Ok(Self::AfPacket(source, refusal)),
            Err(e) if e.is_misuse() => Err(Failure::misuse(e)),
            Err(e) => Err(Failure::from(e)),
        }
    }

    /// Says in the log what is watched, and how.
    pub(crate) fn log(&self) {
        match self {
            Self::Xdp(source) => {
                for a in source.attached() {
                    let (ingress, egress) = (a.ingress.name(), a.egress.name());
                    tracing::info!(iface = %a.iface, ingress, egress, note = a.note, "watching");
                }
            }
            Self::AfPacket(source, refusal) => {
                if let Some(refusal) = refusal {
                    let refusal = first_line(refusal);
                    tracing::warn!(refusal, "no eBPF here: watching by packet sockets, which cost more a packet");
                }
                for (iface, sockets) in source.sockets() {
                    tracing::info!(%iface, ingress = "af-packet", egress = "af-packet", sockets, "watching");
                }
            }
        }
    }

    /// A handle by which the capture rules are changed.
    pub(crate) fn rules_handle(&self) -> RulesHandle {
        match self {
            Self::Xdp(source) => source.rules_handle(),
            Self::AfPacket(source, _) => source.rules_handle(),
        }
    }

    /// In one line, for health.
    pub(crate) fn mode(&self) -> String {
        match self {
            Self::Xdp(_) => "ebpf".into(),
            Self::AfPacket(_, None) => "af-packet".into(),
            Self::AfPacket(_, Some(refusal)) => format!("af-packet, because {}", first_line(refusal)),
        }
    }

    /// Names the run in chunk ids. By eBPF it goes on over kills.
    pub(crate) fn epoch(&self) -> Nanos {
        match self {
            Self::Xdp(source) => Nanos(source.epoch()),
            Self::AfPacket(..) => SystemClock.now(),
        }
    }

    /// The number of the generation that comes next.
    pub(crate) fn next_generation(&self) -> u64 {
        match self {
            Self::Xdp(source) => source.next_generation(),
            Self::AfPacket(..) => 0,
        }
    }

    /// The hash of the manifest before that one.
    pub(crate) fn previous(&self) -> Option<ManifestHash> {
        match self {
            Self::Xdp(source) => source.previous(),
            Self::AfPacket(..) => None,
        }
    }

    /// Lets nothing more in; the next generation is the last.
    pub(crate) fn detach(&mut self) {
        match self {
            Self::Xdp(source) => source.detach(),
            Self::AfPacket(source, _) => source.detach(),
        }
    }
}

impl Source for LiveSource {
    fn generation(&mut self) -> Result<Option<Generation>, SourceError> {
        match self {
            Self::Xdp(source) => source.generation(),
            Self::AfPacket(source, _) => source.generation(),
        }
    }

    fn wake(&self) -> Option<OwnedFd> {
        match self {
            Self::Xdp(source) => source.wake(),
            Self::AfPacket(source, _) => source.wake(),
        }
    }

    fn sent(&mut self, hash: ManifestHash) {
        match self {
            Self::Xdp(source) => source.sent(hash),
            Self::AfPacket(source, _) => source.sent(hash),
        }
    }

    fn recycle(&mut self) -> Result<(), SourceError> {
        match self {
            Self::Xdp(source) => source.recycle(),
            Self::AfPacket(source, _) => source.recycle(),
        }
    }
}

/// What reads the first bytes of payloads that a live source brings.
pub(crate) fn hints() -> Payloads {
    Payloads::new(Arc::new(Dissectors::new(dissect::builtin())), PayloadLimits::live())
}

/// A verifier's refusal has many lines.
fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

fn identity(capture: &Capture) -> Identity {
    if capture.tunnel == "inner" { Identity::Inner } else { Identity::Outer }
}

fn xdp_config(capture: &Capture, instance: &str) -> XdpConfig {
    XdpConfig {
        interfaces: capture.interfaces.clone(),
        mode: match capture.mode.as_str() {
            "native" => AttachMode::Native,
            "generic" => AttachMode::Generic,
            "tc" => AttachMode::Tc,
            _ => AttachMode::Auto,
        },
        egress: if capture.egress == "clsact" { EgressChoice::Clsact } else { EgressChoice::Auto },
        max_flows: capture.max_flows,
        identity: identity(capture),
        payloads: capture.payloads,
        instance: capture.pin.then(|| instance.to_owned()),
        rules: capture.rules.clone(),
    }
}

fn af_packet_config(capture: &Capture) -> AfPacketConfig {
    AfPacketConfig {
        interfaces: capture.interfaces.clone(),
        ring_bytes: capture.ring_mib << 20,
        max_flows: capture.max_flows as usize,
        identity: identity(capture),
        payloads: capture.payloads,
        rules: capture.rules.clone(),
        ..AfPacketConfig::default()
    }
}

fn wanted(capture: &Capture) -> Wanted {
    match capture.mode.as_str() {
        "af-packet" => Wanted::Sockets,
        "auto" => Wanted::Either,
        _ => Wanted::Programs,
    }
}
