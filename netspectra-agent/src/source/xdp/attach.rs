//! The attach ladder: native XDP, then generic XDP for ingress; TCX, then clsact for egress.

use super::interfaces::is_loopback;
use super::kept::{self, Hook};
use super::pin::Pins;
use super::{EGRESS, INGRESS, XdpError, program};
use aya::Ebpf;
use aya::programs::links::Link as _;
use aya::programs::tc::{SchedClassifierLink, TcAttachOptions, qdisc_add_clsact};
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

/// The hooks. Dropping them detaches, unless they were kept.
#[derive(Default)]
pub(super) struct Attachments {
    list: Vec<Attached>,
    xdp: Vec<Ingress>,
    tc: Vec<Egress>,
    /// The hooks outlive the process.
    kept: bool,
}

struct Ingress {
    mode: IngressMode,
    ifindex: u32,
    /// It was there before this process.
    adopted: bool,
    link: XdpLink,
}

struct Egress {
    mode: EgressMode,
    ifindex: u32,
    adopted: bool,
    link: SchedClassifierLink,
}

impl Attachments {
    pub(super) fn list(&self) -> &[Attached] {
        &self.list
    }

    /// Attaches to every interface, or to none. Hooks that were left in `pins` are taken over, and those that are no
    /// longer asked for are taken away.
    pub(super) fn attach(
        bpf: &mut Ebpf,
        interfaces: &[Interface],
        mode: AttachMode,
        choice: EgressChoice,
        pins: Option<&Pins>,
    ) -> Result<Self, XdpError> {
        if let Some(pins) = pins {
            kept::detach(pins, |hook, ifindex| {
                let is_allowed = match hook {
                    Hook::Xdp(rung) => ladder(mode).iter().any(|(r, _)| *r == rung),
                    Hook::Tcx => choice == EgressChoice::Auto,
                    Hook::Filter => true,
                };
                !is_allowed || interfaces.iter().all(|i| i.ifindex != ifindex)
            })?;
        }
        let mut all = Self::default();
        for i in interfaces {
            // An error drops `all`, which detaches what was attached before.
            let ingress = attach_ingress(program(bpf, INGRESS)?, i, mode, pins)?;
            let mut attached =
                Attached { iface: i.name.to_string(), ingress: ingress.mode, egress: EgressMode::Loopback };
            all.xdp.push(ingress);
            if !is_loopback(&i.name) {
                let egress = attach_egress(program(bpf, EGRESS)?, i, choice, pins)?;
                attached.egress = egress.mode;
                all.tc.push(egress);
            }
            all.list.push(attached);
        }
        if let Some(pins) = pins {
            // Counts stay in the tables, whatever becomes of the hooks.
            return all.keep(pins).inspect_err(|_| drop(kept::detach(pins, |_, _| true)));
        }
        Ok(all)
    }

    /// Pins every hook, so that it outlives this process.
    fn keep(mut self, pins: &Pins) -> Result<Self, XdpError> {
        let mut kept = Self::default();
        std::mem::swap(&mut kept.list, &mut self.list);
        for i in self.xdp.drain(..) {
            let link = if i.adopted { i.link } else { kept::keep_xdp(pins, i.link, i.mode, i.ifindex)? };
            kept.xdp.push(Ingress { link, ..i });
        }
        for e in self.tc.drain(..) {
            let is_new_link = !e.adopted && e.mode == EgressMode::Tcx;
            let link = if is_new_link { kept::keep_tcx(pins, e.link, e.ifindex)? } else { e.link };
            kept.tc.push(Egress { link, ..e });
        }
        kept.kept = true;
        Ok(kept)
    }

    /// Detaches; hooks that were kept go, too.
    pub(super) fn end(mut self, pins: Option<&Pins>) -> Result<(), XdpError> {
        let gone = match pins {
            Some(pins) => kept::detach(pins, |_, _| true).map(|_| ()),
            None => Ok(()),
        };
        // Links are detached and filters gone; what is left is to close them.
        self.kept |= pins.is_some();
        gone
    }
}

impl Drop for Attachments {
    fn drop(&mut self) {
        if self.kept {
            // Closing a pinned link leaves it; a filter would be removed by the library.
            self.tc.drain(..).filter(|e| e.mode == EgressMode::Clsact).for_each(|e| std::mem::forget(e.link));
            return;
        }
        for ingress in self.xdp.drain(..) {
            if let Err(e) = ingress.link.detach() {
                tracing::warn!(error = %e, "could not detach an XDP program");
            }
        }
        for egress in self.tc.drain(..) {
            if let Err(e) = egress.link.detach() {
                tracing::warn!(error = %e, "could not detach an egress program");
            }
        }
    }
}

const fn ladder(mode: AttachMode) -> &'static [(IngressMode, XdpMode)] {
    match mode {
        AttachMode::Auto => &[(IngressMode::NativeXdp, XdpMode::Driver), (IngressMode::GenericXdp, XdpMode::Skb)],
        AttachMode::Native => &[(IngressMode::NativeXdp, XdpMode::Driver)],
        AttachMode::Generic => &[(IngressMode::GenericXdp, XdpMode::Skb)],
    }
}

fn attach_ingress(xdp: &mut Xdp, i: &Interface, mode: AttachMode, pins: Option<&Pins>) -> Result<Ingress, XdpError> {
    let ifindex = i.ifindex;
    for (rung, _) in ladder(mode) {
        if let Some(link) = kept::adopt_xdp(pins, xdp, *rung, ifindex) {
            return Ok(Ingress { mode: *rung, ifindex, adopted: true, link });
        }
    }
    let mut refusals = Vec::new();
    for (rung, flags) in ladder(mode) {
        match xdp.attach_to_if_index(i.ifindex, *flags) {
            Ok(id) => match xdp.take_link(id) {
                Ok(link) => return Ok(Ingress { mode: *rung, ifindex, adopted: false, link }),
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
    i: &Interface,
    choice: EgressChoice,
    pins: Option<&Pins>,
) -> Result<Egress, XdpError> {
    let (iface, ifindex) = (&*i.name, i.ifindex);
    let refused = |why: String| XdpError::Attach { iface: iface.into(), hook: "an egress program", why };
    if choice == EgressChoice::Auto
        && let Some(link) = kept::adopt_tcx(pins, tc, ifindex)
    {
        return Ok(Egress { mode: EgressMode::Tcx, ifindex, adopted: true, link });
    }
    // One that is there stays there, whatever would be chosen now: both together would count twice.
    if let Some(pins) = pins
        && kept::is_marked(pins, ifindex)
        && let Some(link) = kept::adopt_filter(pins, tc, iface)
    {
        return Ok(Egress { mode: EgressMode::Clsact, ifindex, adopted: true, link });
    }
    if choice == EgressChoice::Auto {
        let order = TcAttachOptions::TcxOrder(LinkOrder::default());
        match tc.attach_with_options(iface, TcAttachType::Egress, order) {
            Ok(id) => {
                let link = tc.take_link(id).map_err(|e| refused(e.to_string()))?;
                return Ok(Egress { mode: EgressMode::Tcx, ifindex, adopted: false, link });
            }
            Err(e) => tracing::debug!(iface, error = %e, "TCX refused, trying clsact"),
        }
    }
    if let Some(pins) = pins {
        kept::mark_filter(pins, ifindex)?;
    }
    // It exists already on many hosts; a real failure shows on the next call.
    if let Err(e) = qdisc_add_clsact(iface) {
        tracing::debug!(iface, error = %e, "clsact not added");
    }
    let id = tc
        .attach_with_options(iface, TcAttachType::Egress, TcAttachOptions::Netlink(kept::filter_options(pins)))
        .map_err(|e| refused(chain(&e)))?;
    let link = tc.take_link(id).map_err(|e| refused(e.to_string()))?;
    Ok(Egress { mode: EgressMode::Clsact, ifindex, adopted: false, link })
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
