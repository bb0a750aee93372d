//! Hooks that outlive the process: pinned links, and filters at clsact, which stay by themselves.
//!
//! A link is pinned under what it is and the index of its interface, as in `xdp-native-7`. A filter has no link: it gets a
//! priority and a handle that follow from the instance, so that it is found again and never doubled, and a mark in the
//! folder, as in `clsact-egress-7`, made before it. So has a clsact qdisc that was made for it: `clsact-made-7`.

use super::attach::IngressMode;
use super::interfaces::name_of;
use super::pin::Pins;
use super::{XdpError, clsact, sys};
use aya::maps::MapData;
use aya::programs::links::{FdLink, Link as _, PinnedLink};
use aya::programs::tc::{NlOptions, SchedClassifierLink, TcHandle};
use aya::programs::xdp::XdpLink;
use aya::programs::{SchedClassifier, TcAttachType, Xdp};
use std::os::fd::AsFd as _;
use std::path::Path;

/// Which way the packets of a TC hook go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Ingress,
    Egress,
}

impl Way {
    pub(super) const fn attach_type(self) -> TcAttachType {
        match self {
            Self::Ingress => TcAttachType::Ingress,
            Self::Egress => TcAttachType::Egress,
        }
    }
}

/// What a hook is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hook {
    /// An XDP link in the driver.
    XdpNative,
    /// An XDP link in the stack.
    XdpGeneric,
    /// A TCX link.
    Tcx(Way),
    /// A filter at clsact, by its mark.
    Filter(Way),
    /// The qdisc of filters, by its mark.
    Qdisc,
}

impl Hook {
    /// All of them, the qdisc after what is in it.
    const ALL: [Self; 7] = [
        Self::XdpNative,
        Self::XdpGeneric,
        Self::Tcx(Way::Ingress),
        Self::Tcx(Way::Egress),
        Self::Filter(Way::Ingress),
        Self::Filter(Way::Egress),
        Self::Qdisc,
    ];

    /// The XDP link of a mode.
    pub(super) const fn of_xdp(mode: IngressMode) -> Self {
        match mode {
            IngressMode::GenericXdp => Self::XdpGeneric,
            IngressMode::NativeXdp | IngressMode::Tcx | IngressMode::Clsact => Self::XdpNative,
        }
    }

    /// Whether received packets pass it.
    pub(super) const fn is_ingress(self) -> bool {
        match self {
            Self::XdpNative | Self::XdpGeneric | Self::Tcx(Way::Ingress) | Self::Filter(Way::Ingress) => true,
            Self::Tcx(Way::Egress) | Self::Filter(Way::Egress) | Self::Qdisc => false,
        }
    }

    /// What comes before the interface's index in a name.
    const fn prefix(self) -> &'static str {
        match self {
            Self::XdpNative => "xdp-native-",
            Self::XdpGeneric => "xdp-generic-",
            Self::Tcx(Way::Ingress) => "tcx-ingress-",
            Self::Tcx(Way::Egress) => "tcx-egress-",
            Self::Filter(Way::Ingress) => "clsact-ingress-",
            Self::Filter(Way::Egress) => "clsact-egress-",
            Self::Qdisc => "clsact-made-",
        }
    }

    fn name(self, ifindex: u32) -> String {
        format!("{}{ifindex}", self.prefix())
    }
}

/// Where the kernel begins to count when it chooses a priority itself.
const PRIORITY: u16 = 0xc000;

/// The XDP link of `mode` that was left on an interface, with `xdp` as its program from now on.
pub(super) fn adopt_xdp(pins: &Pins, xdp: &mut Xdp, mode: IngressMode, ifindex: u32) -> Option<XdpLink> {
    let link = pinned(pins, &Hook::of_xdp(mode).name(ifindex))?;
    let adopted = XdpLink::try_from(link).map_err(|e| e.to_string()).and_then(|link| {
        let id = xdp.attach_to_link(link).map_err(|e| e.to_string())?;
        xdp.take_link(id).map_err(|e| e.to_string())
    });
    // The interface may have been gone in between: then the link is dead, and a new one is made.
    adopted.inspect_err(|error| tracing::warn!(ifindex, error, "an XDP link that was left is of no use")).ok()
}

/// The TCX link that was left on an interface, with `tc` as its program from now on.
pub(super) fn adopt_tcx(pins: &Pins, tc: &mut SchedClassifier, way: Way, ifindex: u32) -> Option<SchedClassifierLink> {
    let link = pinned(pins, &Hook::Tcx(way).name(ifindex))?;
    let adopted = SchedClassifierLink::try_from(link).map_err(|e| e.to_string()).and_then(|link| {
        let id = tc.attach_to_link(link).map_err(|e| e.to_string())?;
        tc.take_link(id).map_err(|e| e.to_string())
    });
    adopted.inspect_err(|error| tracing::warn!(ifindex, error, "a TCX link that was left is of no use")).ok()
}

/// Pins an XDP link that was just made.
pub(super) fn keep_xdp(pins: &Pins, link: XdpLink, mode: IngressMode, ifindex: u32) -> Result<XdpLink, XdpError> {
    let link = FdLink::try_from(link).map_err(|e| failed(&e))?;
    XdpLink::try_from(pin(pins, link, &Hook::of_xdp(mode).name(ifindex))?).map_err(|e| failed(&e))
}

/// Pins a TCX link that was just made.
pub(super) fn keep_tcx(
    pins: &Pins,
    link: SchedClassifierLink,
    way: Way,
    ifindex: u32,
) -> Result<SchedClassifierLink, XdpError> {
    let link = FdLink::try_from(link).map_err(|e| failed(&e))?;
    SchedClassifierLink::try_from(pin(pins, link, &Hook::Tcx(way).name(ifindex))?).map_err(|e| failed(&e))
}

/// How to attach a filter: where there are `pins`, under a handle of this instance's own.
pub(super) fn filter_options(pins: Option<&Pins>) -> NlOptions {
    match pins {
        Some(pins) => NlOptions { priority: PRIORITY, handle: handle(pins), classid: None },
        None => NlOptions::default(),
    }
}

/// Whether a hook, or the mark of one, was left on an interface.
pub(super) fn has(pins: &Pins, hook: Hook, ifindex: u32) -> bool {
    pins.path(&hook.name(ifindex)).exists()
}

/// Marks that an interface is about to have a filter, or has a qdisc for it.
pub(super) fn mark(pins: &Pins, hook: Hook, ifindex: u32) -> Result<(), XdpError> {
    if has(pins, hook, ifindex) {
        return Ok(());
    }
    // Any object would do: this one is there as long as the folder counts.
    let state = MapData::from_pin(pins.state()).map_err(|e| failed(&e))?;
    state.pin(pins.path(&hook.name(ifindex))).map_err(|e| failed(&e))
}

/// The filter that was left on an interface, with `tc` as its program from now on; `None` when it is not there.
pub(super) fn adopt_filter(
    pins: &Pins,
    tc: &mut SchedClassifier,
    way: Way,
    iface: &str,
) -> Option<SchedClassifierLink> {
    let left = SchedClassifierLink::attached(iface, way.attach_type(), PRIORITY, handle(pins), None).ok()?;
    let replaced = tc.attach_to_link(left).and_then(|id| tc.take_link(id));
    replaced.inspect_err(|error| tracing::debug!(iface, %error, "the filter that was left is gone")).ok()
}

/// Takes away every hook of the folder that `goes` says, by the index of its interface, and returns how many there were.
///
/// When it returns no program begins to run any more at a hook that went.
pub(super) fn detach(pins: &Pins, goes: impl Fn(Hook, u32) -> bool) -> Result<usize, XdpError> {
    let mut gone = 0;
    for hook in Hook::ALL {
        for name in pins.names(hook.prefix())? {
            let ifindex = name.strip_prefix(hook.prefix()).and_then(|n| n.parse().ok());
            if ifindex.is_some_and(|i| !goes(hook, i)) {
                continue;
            }
            match hook {
                Hook::XdpNative | Hook::XdpGeneric | Hook::Tcx(_) => detach_link(&pins.path(&name)),
                Hook::Filter(way) => {
                    ifindex.and_then(name_of).iter().for_each(|iface| remove_filter(pins, way, iface));
                }
                Hook::Qdisc => ifindex.iter().for_each(|i| remove_qdisc(*i)),
            }
            pins.remove(&name)?;
            gone += usize::from(hook != Hook::Qdisc);
        }
    }
    Ok(gone)
}

/// Detaches at once: a pin that is removed lets its link go only some time later.
fn detach_link(path: &Path) {
    let detached = sys::object(path).and_then(|link| sys::detach_link(link.as_fd()));
    // An interface that is gone took the hook with it.
    if let Err(error) = detached
        && !matches!(error.raw_os_error(), Some(libc::ENOLINK | libc::ENODEV))
    {
        tracing::warn!(path = %path.display(), %error, "a link cannot be detached at once: it goes with its pin");
    }
}

fn remove_filter(pins: &Pins, way: Way, iface: &str) {
    let left = SchedClassifierLink::attached(iface, way.attach_type(), PRIORITY, handle(pins), None);
    let removed = left.map_err(|e| e.to_string()).and_then(|link| link.detach().map_err(|e| e.to_string()));
    if let Err(error) = removed {
        tracing::debug!(iface, error, "a filter that was left is gone already");
    }
}

fn remove_qdisc(ifindex: u32) {
    // An interface that is gone took it with it.
    if let Some(iface) = name_of(ifindex)
        && let Err(error) = clsact::remove_if_empty(ifindex)
    {
        tracing::warn!(iface, %error, "could not remove the clsact qdisc");
    }
}

/// The handle of an instance's filters: 31 bits of its folder's name.
fn handle(pins: &Pins) -> TcHandle {
    let mut hash: u32 = 0x811c_9dc5;
    for byte in pins.dir().as_os_str().as_encoded_bytes() {
        // FNV-1a.
        hash = (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
    }
    TcHandle::from((hash & 0x7fff_ffff).max(1))
}

fn pinned(pins: &Pins, name: &str) -> Option<FdLink> {
    let path = pins.path(name);
    path.exists().then(|| PinnedLink::from_pin(path).ok()).flatten().map(FdLink::from)
}

fn pin(pins: &Pins, link: FdLink, name: &str) -> Result<FdLink, XdpError> {
    // A dead one may have the name.
    pins.remove(name)?;
    link.pin(pins.path(name)).map(FdLink::from).map_err(|e| failed(&e))
}

fn failed(e: &(dyn std::error::Error + 'static)) -> XdpError {
    super::load_error("a hook that outlives the process", e)
}
