//! The attach ladder: native XDP, then TCX, then clsact for ingress; TCX, then clsact for egress.
//!
//! Generic XDP is no rung: see `docs/adr`. It is there for who asks for it.

use super::links::Link;
use super::offload::offloads;
use super::{EGRESS, INGRESS, TC_INGRESS, XdpError, clsact, program};
use aya::Ebpf;
use aya::programs::links::Link as _;
use aya::programs::tc::{NlOptions, SchedClassifierLink, TcAttachOptions, qdisc_add_clsact};
use aya::programs::xdp::{XdpLink, XdpMode};
use aya::programs::{LinkOrder, ProgramError, SchedClassifier, TcAttachType, Xdp};

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
#[derive(Clone, Debug, PartialEq, Eq)]
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

/// The links of one interface; dropping them detaches.
pub(super) struct Hooks {
    pub(super) attached: Attached,
    ifindex: u32,
    xdp: Option<XdpLink>,
    tc: Vec<SchedClassifierLink>,
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
        mode: AttachMode,
        choice: EgressChoice,
    ) -> Result<Self, XdpError> {
        let iface = link.name.clone();
        let attached =
            Attached { iface, ingress: IngressMode::Tcx, egress: EgressMode::Loopback, note: caution(&link.name) };
        // An error drops this, which detaches what was attached before.
        let mut hooks =
            Self { attached, ifindex: link.index, xdp: None, tc: Vec::new(), made_clsact: false, gone: false };
        hooks.attached.ingress = hooks.ingress(bpf, link, has_vlan, mode, choice)?;
        if !link.is_loopback() {
            hooks.attached.egress = match hooks.classifier(program(bpf, EGRESS)?, TcAttachType::Egress, choice)? {
                TcHook::Tcx => EgressMode::Tcx,
                TcHook::Clsact => EgressMode::Clsact,
            };
        }
        // Hooks for TC go by name: what has it now must be what had it then.
        if super::interfaces::index_of(&link.name) != Some(link.index) {
            return Err(hooks.refused("the programs", "it was renamed meanwhile".into()));
        }
        Ok(hooks)
    }

    /// The interface has another name now; returns the old one.
    pub(super) fn rename(&mut self, name: &str) -> String {
        std::mem::replace(&mut self.attached.iface, name.to_owned())
    }

    /// The interface is gone: nothing is left to detach.
    pub(super) fn abandon(mut self) {
        self.gone = true;
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
        if let Some((flags, rung)) = flags {
            let xdp: &mut Xdp = program(bpf, INGRESS)?;
            match xdp.attach_to_if_index(link.index, flags).and_then(|id| xdp.take_link(id)) {
                Ok(taken) => {
                    self.xdp = Some(taken);
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
        Ok(match self.classifier(program(bpf, TC_INGRESS)?, TcAttachType::Ingress, choice)? {
            TcHook::Tcx => IngressMode::Tcx,
            TcHook::Clsact => IngressMode::Clsact,
        })
    }

    /// Attaches a classifier by TCX, else to clsact.
    fn classifier(
        &mut self,
        tc: &mut SchedClassifier,
        to: TcAttachType,
        choice: EgressChoice,
    ) -> Result<TcHook, XdpError> {
        let iface = self.attached.iface.clone();
        if choice == EgressChoice::Auto {
            let order = TcAttachOptions::TcxOrder(LinkOrder::default());
            match tc.attach_with_options(&iface, to, order).and_then(|id| tc.take_link(id)) {
                Ok(link) => {
                    self.tc.push(link);
                    return Ok(TcHook::Tcx);
                }
                Err(e) if errno(&e) == Some(libc::EPERM) => return Err(super::load_error("attaching", &e)),
                Err(e) => tracing::debug!(iface, error = %e, "TCX refused, trying clsact"),
            }
        }
        match qdisc_add_clsact(&iface) {
            Ok(()) => self.made_clsact = true,
            // It exists already on many hosts; a real failure shows on the next call.
            Err(e) => tracing::debug!(iface, error = %e, "clsact not added"),
        }
        let link = tc
            .attach_with_options(&iface, to, TcAttachOptions::Netlink(NlOptions::default()))
            .and_then(|id| tc.take_link(id))
            .map_err(|e| self.refused("a program at TCX or clsact", chain(&e)))?;
        self.tc.push(link);
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
        if self.gone {
            // The links' own drop closes what is left of them.
            return;
        }
        let iface = &self.attached.iface;
        if let Some(Err(e)) = self.xdp.take().map(XdpLink::detach) {
            tracing::warn!(iface, error = %e, "could not detach an XDP program");
        }
        for link in self.tc.drain(..) {
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

fn chain(e: &dyn std::error::Error) -> String {
    let mut text = e.to_string();
    let mut cause = e.source();
    while let Some(c) = cause {
        let more = c.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = c.source();
    }
    text
}
