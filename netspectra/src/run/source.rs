//! The live source: eBPF programs, or packet sockets where the kernel refuses them.

use super::SystemClock;
use crate::config::Capture;
use crate::{Failure, object};
use anyhow::anyhow;
use netspectra_agent::generation::Generation;
use netspectra_agent::rules::RulesHandle;
use netspectra_agent::source::af_packet::{AfPacketConfig, AfPacketError, AfPacketSource};
use netspectra_agent::source::xdp::{AttachMode, EgressChoice, XdpConfig, XdpError, XdpSource};
use netspectra_agent::source::{Source, SourceError};
use netspectra_agent::table::Identity;
use netspectra_common::model::{ManifestHash, Nanos};
use netspectra_common::ports::Clock;
use std::os::fd::OwnedFd;

/// How this host's traffic is seen.
pub(crate) enum LiveSource {
    /// By eBPF programs.
    Xdp(Box<XdpSource>),
    /// By packet sockets; with the reason when something else was wanted.
    AfPacket(AfPacketSource, Option<String>),
}

impl LiveSource {
    /// What `capture.mode` asks for, under the name `instance`. In mode `auto` packet sockets are the last resort, when the kernel refuses eBPF as such:
    /// not when an interface does, because that has a remedy.
    ///
    /// # Errors
    /// Each names the thing and the remedy; nothing stays attached then.
    pub(crate) fn open(capture: &Capture, instance: String) -> Result<Self, Failure> {
        if capture.mode == "af-packet" {
            return open_af_packet(capture).map(|s| Self::AfPacket(s, None)).map_err(af_packet_failure);
        }
        let object = object::bytes().map_err(Failure::misuse)?;
        match XdpSource::open(&object, &xdp_config(capture, instance)) {
            Ok(source) => Ok(Self::Xdp(Box::new(source))),
            Err(refusal) if capture.mode == "auto" && refuses_ebpf(&refusal) => match open_af_packet(capture) {
                Ok(source) => Ok(Self::AfPacket(source, Some(refusal.to_string()))),
                Err(AfPacketError::Privilege { .. }) => {
                    Err(Failure::misuse(anyhow!("{refusal}; packet sockets need at least CAP_NET_RAW")))
                }
                Err(e) => Err(af_packet_failure(e)),
            },
            Err(e) => Err(xdp_failure(e)),
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

    /// Whether eBPF programs count.
    pub(crate) fn is_ebpf(&self) -> bool {
        match self {
            Self::Xdp(_) => true,
            Self::AfPacket(..) => false,
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

/// A verifier's refusal has many lines.
fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

fn identity(capture: &Capture) -> Identity {
    if capture.tunnel == "inner" { Identity::Inner } else { Identity::Outer }
}

fn xdp_config(capture: &Capture, instance: String) -> XdpConfig {
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
        instance: capture.pin.then_some(instance),
        rules: capture.rules.clone(),
    }
}

fn open_af_packet(capture: &Capture) -> Result<AfPacketSource, AfPacketError> {
    AfPacketSource::open(&AfPacketConfig {
        interfaces: capture.interfaces.clone(),
        ring_bytes: capture.ring_mib << 20,
        max_flows: capture.max_flows as usize,
        identity: identity(capture),
        rules: capture.rules.clone(),
        ..AfPacketConfig::default()
    })
}

/// Whether it is the kernel that refuses eBPF, and not one interface or one program.
fn refuses_ebpf(e: &XdpError) -> bool {
    match e {
        XdpError::Privilege { .. } | XdpError::NoBtf | XdpError::Load { .. } | XdpError::Map { .. } => true,
        XdpError::NoInterface { .. }
        | XdpError::Foreign { .. }
        | XdpError::Attach { .. }
        | XdpError::Object { .. }
        | XdpError::Pin { .. }
        | XdpError::Busy { .. }
        | XdpError::Layout { .. }
        | XdpError::NotEthernet { .. }
        | XdpError::Overlap { .. }
        | XdpError::Netlink { .. }
        | XdpError::Rules(_)
        | XdpError::TooMany { .. } => false,
    }
}

fn xdp_failure(e: XdpError) -> Failure {
    match e {
        XdpError::Load { .. }
        | XdpError::Map { .. }
        | XdpError::Object { .. }
        | XdpError::Pin { .. }
        | XdpError::Netlink { .. } => Failure::from(e),
        XdpError::NoInterface { .. }
        | XdpError::Privilege { .. }
        | XdpError::NoBtf
        | XdpError::Foreign { .. }
        | XdpError::Attach { .. }
        | XdpError::Busy { .. }
        | XdpError::Layout { .. }
        | XdpError::NotEthernet { .. }
        | XdpError::Overlap { .. }
        | XdpError::Rules(_)
        | XdpError::TooMany { .. } => Failure::misuse(e),
    }
}

fn af_packet_failure(e: AfPacketError) -> Failure {
    match e {
        AfPacketError::Interfaces(e) => xdp_failure(e),
        AfPacketError::Privilege { .. }
        | AfPacketError::Ring { .. }
        | AfPacketError::Rules(_)
        | AfPacketError::Thread { .. } => Failure::misuse(e),
        AfPacketError::Option { .. } | AfPacketError::Ended { .. } => Failure::from(e),
    }
}
