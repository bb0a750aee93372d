//! The attach ladder: native XDP, then generic XDP for ingress; TCX, then clsact for egress.

use super::interfaces::is_loopback;
use super::{EGRESS, INGRESS, XdpError, program};
use aya::Ebpf;
use aya::programs::links::Link as _;
use aya::programs::tc::{NlOptions, SchedClassifierLink, TcAttachOptions, qdisc_add_clsact};
use aya::programs::xdp::{XdpLink, XdpMode};
use aya::programs::{LinkOrder, ProgramError, SchedClassifier, TcAttachType, Xdp};
use netspectra_common::model::Interface;

/// Where on the ladder to begin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AttachMode {
    /// Native, then generic.
    #[default]
    Auto,
    /// Native or fail.
    Native,
    /// Generic or fail.
    Generic,
}

/// Where on the egress ladder to begin.
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
}

impl IngressMode {
    /// Stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NativeXdp => "native-xdp",
            Self::GenericXdp => "generic-xdp",
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
}

/// The links; dropping them detaches.
#[derive(Default)]
pub(super) struct Attachments {
    list: Vec<Attached>,
    xdp: Vec<XdpLink>,
    tc: Vec<SchedClassifierLink>,
}

impl Attachments {
    pub(super) fn list(&self) -> &[Attached] {
        &self.list
    }

    /// Attaches to every interface, or to none.
    pub(super) fn attach(
        bpf: &mut Ebpf,
        interfaces: &[Interface],
        mode: AttachMode,
        choice: EgressChoice,
    ) -> Result<Self, XdpError> {
        let mut all = Self::default();
        for i in interfaces {
            // An error drops `all`, which detaches what was attached before.
            let (ingress, xdp) = attach_ingress(program(bpf, INGRESS)?, i, mode)?;
            all.xdp.push(xdp);
            let egress = if is_loopback(&i.name) {
                EgressMode::Loopback
            } else {
                let (egress, tc) = attach_egress(program(bpf, EGRESS)?, &i.name, choice)?;
                all.tc.push(tc);
                egress
            };
            all.list.push(Attached { iface: i.name.to_string(), ingress, egress });
        }
        Ok(all)
    }
}

impl Drop for Attachments {
    fn drop(&mut self) {
        for link in self.xdp.drain(..) {
            if let Err(e) = link.detach() {
                tracing::warn!(error = %e, "could not detach an XDP program");
            }
        }
        for link in self.tc.drain(..) {
            if let Err(e) = link.detach() {
                tracing::warn!(error = %e, "could not detach an egress program");
            }
        }
    }
}

fn attach_ingress(xdp: &mut Xdp, i: &Interface, mode: AttachMode) -> Result<(IngressMode, XdpLink), XdpError> {
    let ladder: &[(IngressMode, XdpMode)] = match mode {
        AttachMode::Auto => &[(IngressMode::NativeXdp, XdpMode::Driver), (IngressMode::GenericXdp, XdpMode::Skb)],
        AttachMode::Native => &[(IngressMode::NativeXdp, XdpMode::Driver)],
        AttachMode::Generic => &[(IngressMode::GenericXdp, XdpMode::Skb)],
    };
    let mut refusals = Vec::new();
    for (rung, flags) in ladder {
        match xdp.attach_to_if_index(i.ifindex, *flags) {
            Ok(id) => match xdp.take_link(id) {
                Ok(link) => return Ok((*rung, link)),
                Err(e) => refusals.push(format!("{}: {e}", rung.name())),
            },
            Err(e) => {
                let errno = errno(&e);
                if matches!(errno, Some(libc::EBUSY | libc::EEXIST)) {
                    return Err(XdpError::Foreign { iface: i.name.to_string() });
                }
                if errno == Some(libc::EPERM) {
                    return Err(super::load_error("attaching", &e));
                }
                tracing::debug!(iface = %i.name, mode = rung.name(), error = %e, "attach refused");
                refusals.push(format!("{}: {}", rung.name(), chain(&e)));
            }
        }
    }
    Err(XdpError::Attach { iface: i.name.to_string(), hook: "XDP", why: refusals.join("; ") })
}

fn attach_egress(
    tc: &mut SchedClassifier,
    iface: &str,
    choice: EgressChoice,
) -> Result<(EgressMode, SchedClassifierLink), XdpError> {
    let refused = |why: String| XdpError::Attach { iface: iface.into(), hook: "an egress program", why };
    if choice == EgressChoice::Auto {
        let order = TcAttachOptions::TcxOrder(LinkOrder::default());
        match tc.attach_with_options(iface, TcAttachType::Egress, order) {
            Ok(id) => return Ok((EgressMode::Tcx, tc.take_link(id).map_err(|e| refused(e.to_string()))?)),
            Err(e) => tracing::debug!(iface, error = %e, "TCX refused, trying clsact"),
        }
    }
    // It exists already on many hosts; a real failure shows on the next call.
    if let Err(e) = qdisc_add_clsact(iface) {
        tracing::debug!(iface, error = %e, "clsact not added");
    }
    let id = tc
        .attach_with_options(iface, TcAttachType::Egress, TcAttachOptions::Netlink(NlOptions::default()))
        .map_err(|e| refused(chain(&e)))?;
    Ok((EgressMode::Clsact, tc.take_link(id).map_err(|e| refused(e.to_string()))?))
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
