//! Hooks that outlive the process: pinned links, and filters at clsact, which stay by themselves.
//!
//! A link is pinned as `xdp-native-<index>`, `xdp-generic-<index>` or `tcx-egress-<index>`. A filter has no link: it gets a
//! priority and a handle that follow from the instance, so that it is found again and never doubled, and a mark in the
//! folder, `clsact-egress-<index>`, made before it.

use super::attach::IngressMode;
use super::interfaces::name_of;
use super::pin::Pins;
use super::{XdpError, sys};
use aya::maps::MapData;
use aya::programs::links::{FdLink, Link as _, PinnedLink};
use aya::programs::tc::{NlOptions, SchedClassifierLink, TcHandle};
use aya::programs::xdp::XdpLink;
use aya::programs::{SchedClassifier, TcAttachType, Xdp};
use std::os::fd::AsFd as _;
use std::path::Path;

/// What a hook is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hook {
    /// An XDP link.
    Xdp(IngressMode),
    /// A TCX link.
    Tcx,
    /// A filter at clsact, by its mark.
    Filter,
}

impl Hook {
    const ALL: [Self; 4] =
        [Self::Xdp(IngressMode::NativeXdp), Self::Xdp(IngressMode::GenericXdp), Self::Tcx, Self::Filter];

    /// What comes before the interface's index in a name.
    const fn prefix(self) -> &'static str {
        match self {
            Self::Xdp(IngressMode::NativeXdp) => "xdp-native-",
            Self::Xdp(IngressMode::GenericXdp) => "xdp-generic-",
            Self::Tcx => "tcx-egress-",
            Self::Filter => "clsact-egress-",
        }
    }

    fn name(self, ifindex: u32) -> String {
        format!("{}{ifindex}", self.prefix())
    }
}

/// Where the kernel begins to count when it chooses a priority itself.
const PRIORITY: u16 = 0xc000;

/// The XDP link of `mode` that was left on an interface, with `xdp` as its program from now on.
pub(super) fn adopt_xdp(pins: Option<&Pins>, xdp: &mut Xdp, mode: IngressMode, ifindex: u32) -> Option<XdpLink> {
    let link = pinned(pins?, &Hook::Xdp(mode).name(ifindex))?;
    let adopted = XdpLink::try_from(link).map_err(|e| e.to_string()).and_then(|link| {
        let id = xdp.attach_to_link(link).map_err(|e| e.to_string())?;
        xdp.take_link(id).map_err(|e| e.to_string())
    });
    // The interface may have been gone in between: then the link is dead, and a new one is made.
    adopted.inspect_err(|error| tracing::warn!(ifindex, error, "an XDP link that was left is of no use")).ok()
}

/// The TCX link that was left on an interface, with `tc` as its program from now on.
pub(super) fn adopt_tcx(pins: Option<&Pins>, tc: &mut SchedClassifier, ifindex: u32) -> Option<SchedClassifierLink> {
    let link = pinned(pins?, &Hook::Tcx.name(ifindex))?;
    let adopted = SchedClassifierLink::try_from(link).map_err(|e| e.to_string()).and_then(|link| {
        let id = tc.attach_to_link(link).map_err(|e| e.to_string())?;
        tc.take_link(id).map_err(|e| e.to_string())
    });
    adopted.inspect_err(|error| tracing::warn!(ifindex, error, "a TCX link that was left is of no use")).ok()
}

/// Pins an XDP link that was just made.
pub(super) fn keep_xdp(pins: &Pins, link: XdpLink, mode: IngressMode, ifindex: u32) -> Result<XdpLink, XdpError> {
    let link = FdLink::try_from(link).map_err(|e| failed(&e))?;
    XdpLink::try_from(pin(pins, link, &Hook::Xdp(mode).name(ifindex))?).map_err(|e| failed(&e))
}

/// Pins a TCX link that was just made.
pub(super) fn keep_tcx(pins: &Pins, link: SchedClassifierLink, ifindex: u32) -> Result<SchedClassifierLink, XdpError> {
    let link = FdLink::try_from(link).map_err(|e| failed(&e))?;
    SchedClassifierLink::try_from(pin(pins, link, &Hook::Tcx.name(ifindex))?).map_err(|e| failed(&e))
}

/// How to attach a filter: where there are `pins`, under a handle of this instance's own.
pub(super) fn filter_options(pins: Option<&Pins>) -> NlOptions {
    match pins {
        Some(pins) => NlOptions { priority: PRIORITY, handle: handle(pins), classid: None },
        None => NlOptions::default(),
    }
}

/// Whether an interface may have a filter of this instance.
pub(super) fn is_marked(pins: &Pins, ifindex: u32) -> bool {
    pins.path(&Hook::Filter.name(ifindex)).exists()
}

/// Marks that an interface is about to have a filter.
pub(super) fn mark_filter(pins: &Pins, ifindex: u32) -> Result<(), XdpError> {
    if is_marked(pins, ifindex) {
        return Ok(());
    }
    // Any object would do: this one is there as long as the folder counts.
    let state = MapData::from_pin(pins.state()).map_err(|e| failed(&e))?;
    state.pin(pins.path(&Hook::Filter.name(ifindex))).map_err(|e| failed(&e))
}

/// The filter that was left on an interface, with `tc` as its program from now on; `None` when it is not there.
pub(super) fn adopt_filter(pins: &Pins, tc: &mut SchedClassifier, iface: &str) -> Option<SchedClassifierLink> {
    let left = SchedClassifierLink::attached(iface, TcAttachType::Egress, PRIORITY, handle(pins), None).ok()?;
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
                Hook::Xdp(_) | Hook::Tcx => detach_link(&pins.path(&name)),
                Hook::Filter => ifindex.and_then(name_of).iter().for_each(|iface| remove_filter(pins, iface)),
            }
            pins.remove(&name)?;
            gone += 1;
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

fn remove_filter(pins: &Pins, iface: &str) {
    let left = SchedClassifierLink::attached(iface, TcAttachType::Egress, PRIORITY, handle(pins), None);
    let removed = left.map_err(|e| e.to_string()).and_then(|link| link.detach().map_err(|e| e.to_string()));
    if let Err(error) = removed {
        tracing::debug!(iface, error, "a filter that was left is gone already");
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
