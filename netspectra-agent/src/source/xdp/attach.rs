//! The attach ladder: native XDP, then TCX, then clsact for ingress; TCX, then clsact for egress.
//!
//! Generic XDP is no rung: see `docs/adr`. It is there for who asks for it.

use super::kept::{self, Hook, Way};
use super::links::Link;
use super::offload::offloads;
use super::pin::Pins;
use super::{EGRESS, INGRESS, TC_INGRESS, XdpError, clsact, program};
use aya::Ebpf;
use aya::programs::links::Link as _;
use aya::programs::tc::{SchedClassifierLink, TcAttachOptions, qdisc_add_clsact};
use aya::programs::xdp::{XdpLink, XdpMode};
use aya::programs::{LinkOrder, ProgramError, SchedClassifier, Xdp};
use netspectra_common::report::chain;
use serde::{Deserialize, Serialize};
use std::mem::ManuallyDrop;
use std::sync::Arc;

/// Where ingress is seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AttachMode {
    /// Native XDP, then TC; TC at once where the device takes VLAN tags off and a VLAN device is made on it.
    #[default]
    Auto,
    /// Native XDP or fail.
    Native,
    /// Generic XDP or fail.
    Generic,
    /// TCX, then clsact.
    Tc,
}

/// Where on the ladder of TC hooks to begin, for egress and for ingress that is seen there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EgressChoice {
    /// TCX, then clsact.
    #[default]
    Auto,
    /// clsact or fail: for hosts where the order among TCX programs matters.
    Clsact,
}

/// How ingress is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum IngressMode {
    /// In the driver.
    NativeXdp,
    /// In the network stack.
    GenericXdp,
    /// TCX (Linux 6.6).
    Tcx,
    /// A filter at the clsact qdisc.
    Clsact,
}

impl IngressMode {
    /// Stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NativeXdp => "native-xdp",
            Self::GenericXdp => "generic-xdp",
            Self::Tcx => "tcx",
            Self::Clsact => "clsact",
        }
    }
}

/// How egress is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EgressMode {
    /// TCX (Linux 6.6).
    Tcx,
    /// A filter at the clsact qdisc.
    Clsact,
    /// Not at all: on a loopback interface every packet that is sent is received there, and counted there.
    Loopback,
}

impl EgressMode {
    /// Stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcx => "tcx",
            Self::Clsact => "clsact",
            Self::Loopback => "none (loopback)",
        }
    }
}

/// One interface's hooks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attached {
    /// The interface.
    pub iface: String,
    /// Ingress.
    pub ingress: IngressMode,
    /// Egress.
    pub egress: EgressMode,
    /// Why a lower rung was taken, or what the counts have to be read with.
    pub note: Option<String>,
}

/// The links of one interface. Dropping them detaches, unless they are kept in `pins`: then [`Hooks::end`] does.
pub(super) struct Hooks {
    pub(super) attached: Attached,
    ifindex: u32,
    xdp: Option<XdpLink>,
    tc: Vec<SchedClassifierLink>,
    /// Filters at clsact. They own nothing; the library would remove the filter when it drops one.
    filters: Vec<ManuallyDrop<SchedClassifierLink>>,
    /// Where the hooks are kept over a kill.
    pins: Option<Arc<Pins>>,
    /// All of them are.
    kept: bool,
    /// The clsact qdisc is ours to remove.
    made_clsact: bool,
    /// The interface is gone, and the hooks with it.
    gone: bool,
}

impl Hooks {
    /// Attaches to `link`, whose VLAN devices are known to be there or not.
    ///
    /// # Errors
    /// As for [`super::XdpSource::open`]; nothing stays attached then.
    pub(super) fn attach(
        bpf: &mut Ebpf,
        link: &Link,
        has_vlan: bool,
        (mode, choice): (AttachMode, EgressChoice),
        pins: Option<Arc<Pins>>,
    ) -> Result<Self, XdpError> {
        let iface = link.name.clone();
        let attached =
            Attached { iface, ingress: IngressMode::Tcx, egress: EgressMode::Loopback, note: caution(&link.name) };
        // An error drops this, which detaches what was attached before.
        let mut hooks = Self {
            attached,
            ifindex: link.index,
            xdp: None,
            tc: Vec::new(),
            filters: Vec::new(),
            pins,
            kept: false,
            made_clsact: false,
            gone: false,
        };
        hooks.attached.ingress = hooks.ingress(bpf, link, has_vlan, mode, choice)?;
        if !link.is_loopback() {
            hooks.attached.egress = match hooks.classifier(program(bpf, EGRESS)?, Way::Egress, choice)? {
                TcHook::Tcx => EgressMode::Tcx,
                TcHook::Clsact => EgressMode::Clsact,
            };
        }
        // Hooks for TC go by name: what has it now must be what had it then.
        if super::interfaces::index_of(&link.name) != Some(link.index) {
            return Err(hooks.refused("the programs", "it was renamed meanwhile".into()));
        }
        hooks.kept = hooks.pins.is_some();
        Ok(hooks)
    }

    /// The interface is gone: nothing is left to detach.
    pub(super) fn abandon(mut self) {
        self.unpin();
        self.gone = true;
    }

    /// Detaches for good.
    pub(super) fn end(mut self) {
        // Without pins this is what dropping does.
        self.unpin();
        self.gone |= self.pins.is_some();
    }

    /// Takes away what is kept of this interface.
    fn unpin(&mut self) {
        let Some(pins) = &self.pins else { return };
        let ifindex = self.ifindex;
        if let Err(error) = kept::detach(pins, |_, index| index == ifindex) {
            tracing::warn!(iface = self.attached.iface, %error, "a hook stays: `netspectra detach` takes it away");
        }
    }

    fn ingress(
        &mut self,
        bpf: &mut Ebpf,
        link: &Link,
        has_vlan: bool,
        mode: AttachMode,
        choice: EgressChoice,
    ) -> Result<IngressMode, XdpError> {
        let flags = match mode {
            AttachMode::Tc => None,
            AttachMode::Auto if has_vlan && offloads(&link.name).rx_vlan => {
                self.note("XDP would not see the VLAN tags, which the device takes off".into());
                None
            }
            AttachMode::Auto | AttachMode::Native => Some((XdpMode::Driver, IngressMode::NativeXdp)),
            AttachMode::Generic => Some((XdpMode::Skb, IngressMode::GenericXdp)),
        };
        if let Some(rung) = self.adopt_ingress(bpf, flags.map(|(_, rung)| rung), mode, choice)? {
            return Ok(rung);
        }
        if let Some((flags, rung)) = flags {
            let xdp: &mut Xdp = program(bpf, INGRESS)?;
            match xdp.attach_to_if_index(link.index, flags).and_then(|id| xdp.take_link(id)) {
                Ok(taken) => {
                    self.xdp = Some(match &self.pins {
                        Some(pins) => kept::keep_xdp(pins, taken, rung, link.index)?,
                        None => taken,
                    });
                    if rung == IngressMode::GenericXdp {
                        self.note("generic XDP counts packets that the stack merged (GRO) as one".into());
                    }
                    return Ok(rung);
                }
                Err(e) => {
                    let foreign = matches!(errno(&e), Some(libc::EBUSY | libc::EEXIST));
                    if errno(&e) == Some(libc::EPERM) {
                        return Err(super::load_error("attaching", &e));
                    }
                    if mode != AttachMode::Auto && foreign {
                        return Err(XdpError::Foreign { iface: link.name.clone() });
                    }
                    if mode != AttachMode::Auto {
                        return Err(self.refused(rung.name(), chain(&e)));
                    }
                    self.note(if foreign {
                        "an XDP program of somebody else is there".into()
                    } else {
                        format!("native XDP was refused ({})", chain(&e))
                    });
                }
            }
        }
        Ok(match self.classifier(program(bpf, TC_INGRESS)?, Way::Ingress, choice)? {
            TcHook::Tcx => IngressMode::Tcx,
            TcHook::Clsact => IngressMode::Clsact,
        })
    }

    /// Takes over the ingress hook that a process before this one left, if the configuration would have it; all others of
    /// the interface go, so that no packet counts twice.
    fn adopt_ingress(
        &mut self,
        bpf: &mut Ebpf,
        xdp: Option<IngressMode>,
        mode: AttachMode,
        choice: EgressChoice,
    ) -> Result<Option<IngressMode>, XdpError> {
        let Some(pins) = self.pins.clone() else { return Ok(None) };
        let ifindex = self.ifindex;
        if let Some(rung) = xdp
            && let Some(link) = kept::adopt_xdp(&pins, program(bpf, INGRESS)?, rung, ifindex)
        {
            self.xdp = Some(link);
            let is_other = |hook: Hook| hook.is_ingress() && hook != Hook::of_xdp(rung);
            kept::detach(&pins, |hook, index| index == ifindex && is_other(hook))?;
            return Ok(Some(rung));
        }
        let has_tc = matches!(mode, AttachMode::Auto | AttachMode::Tc);
        let is_allowed = |hook| match hook {
            Hook::Tcx(Way::Ingress) => has_tc && choice == EgressChoice::Auto,
            Hook::Filter(Way::Ingress) => has_tc,
            Hook::Tcx(Way::Egress) => choice == EgressChoice::Auto,
            Hook::Filter(Way::Egress) | Hook::Qdisc => true,
            Hook::XdpNative | Hook::XdpGeneric => false,
        };
        kept::detach(&pins, |hook, index| index == ifindex && !is_allowed(hook))?;
        let kept =
            kept::has(&pins, Hook::Tcx(Way::Ingress), ifindex) || kept::has(&pins, Hook::Filter(Way::Ingress), ifindex);
        if !kept {
            return Ok(None);
        }
        Ok(Some(match self.classifier(program(bpf, TC_INGRESS)?, Way::Ingress, choice)? {
            TcHook::Tcx => IngressMode::Tcx,
            TcHook::Clsact => IngressMode::Clsact,
        }))
    }

    /// Attaches a classifier by TCX, else to clsact, or takes over the one that was left.
    fn classifier(&mut self, tc: &mut SchedClassifier, way: Way, choice: EgressChoice) -> Result<TcHook, XdpError> {
        let (iface, ifindex, to) = (self.attached.iface.clone(), self.ifindex, way.attach_type());
        let pins = self.pins.clone();
        if let Some(pins) = &pins {
            if choice == EgressChoice::Auto
                && let Some(link) = kept::adopt_tcx(pins, tc, way, ifindex)
            {
                self.tc.push(link);
                return Ok(TcHook::Tcx);
            }
            // One that is there stays there, whatever would be chosen now: both together would count twice.
            if kept::has(pins, Hook::Filter(way), ifindex)
                && let Some(filter) = kept::adopt_filter(pins, tc, way, &iface)
            {
                self.filters.push(ManuallyDrop::new(filter));
                return Ok(TcHook::Clsact);
            }
        }
        if choice == EgressChoice::Auto {
            let order = TcAttachOptions::TcxOrder(LinkOrder::default());
            match tc.attach_with_options(&iface, to, order).and_then(|id| tc.take_link(id)) {
                Ok(link) => {
                    self.tc.push(match &pins {
                        Some(pins) => kept::keep_tcx(pins, link, way, ifindex)?,
                        None => link,
                    });
                    return Ok(TcHook::Tcx);
                }
                Err(e) if errno(&e) == Some(libc::EPERM) => return Err(super::load_error("attaching", &e)),
                Err(e) => tracing::debug!(iface, error = %e, "TCX refused, trying clsact"),
            }
        }
        match qdisc_add_clsact(&iface) {
            Ok(()) => {
                self.made_clsact = true;
                pins.as_ref().map_or(Ok(()), |pins| kept::mark(pins, Hook::Qdisc, ifindex))?;
            }
            // It exists already on many hosts; a real failure shows on the next call.
            Err(e) => tracing::debug!(iface, error = %e, "clsact not added"),
        }
        pins.as_ref().map_or(Ok(()), |pins| kept::mark(pins, Hook::Filter(way), ifindex))?;
        let link = tc
            .attach_with_options(&iface, to, TcAttachOptions::Netlink(kept::filter_options(pins.as_deref())))
            .and_then(|id| tc.take_link(id))
            .map_err(|e| self.refused("a program at TCX or clsact", chain(&e)))?;
        self.filters.push(ManuallyDrop::new(link));
        Ok(TcHook::Clsact)
    }

    fn note(&mut self, more: String) {
        self.attached.note = Some(match self.attached.note.take() {
            Some(note) => format!("{note}; {more}"),
            None => more,
        });
    }

    fn refused(&self, hook: &'static str, why: String) -> XdpError {
        XdpError::Attach { iface: self.attached.iface.clone(), hook, why }
    }
}

enum TcHook {
    Tcx,
    Clsact,
}

impl Drop for Hooks {
    fn drop(&mut self) {
        if !self.gone && !self.kept {
            self.unpin();
        }
        if self.gone || self.pins.is_some() {
            // The links' own drop closes what is left of them; a filter is to stay or is gone.
            return;
        }
        let iface = &self.attached.iface;
        if let Some(Err(e)) = self.xdp.take().map(XdpLink::detach) {
            tracing::warn!(iface, error = %e, "could not detach an XDP program");
        }
        for link in self.tc.drain(..).chain(self.filters.drain(..).map(ManuallyDrop::into_inner)) {
            if let Err(e) = link.detach() {
                tracing::warn!(iface, error = %e, "could not detach a TC program");
            }
        }
        if self.made_clsact
            && let Err(error) = clsact::remove_if_empty(self.ifindex)
        {
            tracing::warn!(iface, %error, "could not remove the clsact qdisc");
        }
    }
}

/// Attaches in native mode and detaches.
pub(super) fn probe_native(xdp: &mut Xdp, link: &Link) -> Result<(), XdpError> {
    let probed = xdp.attach_to_if_index(link.index, XdpMode::Driver).and_then(|id| xdp.take_link(id)?.detach());
    probed.map_err(|e| XdpError::Attach {
        iface: link.name.clone(),
        hook: IngressMode::NativeXdp.name(),
        why: chain(&e),
    })
}

/// What makes counts differ from the wire whatever the hook.
fn caution(iface: &str) -> Option<String> {
    let text = "LRO merges packets in the device, which count as one: `ethtool -K IFACE lro off`";
    offloads(iface).lro.then(|| text.replace("IFACE", iface))
}

fn errno(e: &ProgramError) -> Option<i32> {
    let mut cause: Option<&dyn std::error::Error> = Some(e);
    while let Some(c) = cause {
        if let Some(io) = c.downcast_ref::<std::io::Error>() {
            return io.raw_os_error();
        }
        cause = c.source();
    }
    None
}
