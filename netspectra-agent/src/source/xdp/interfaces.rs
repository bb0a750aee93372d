//! Interfaces by name and glob.

use super::XdpError;
use super::links::{Link, list_links};
use super::observe::{choose, choose_present, is_name};
use netspectra_common::abi::Obs;
use std::fs;

/// `(index, name)` of the interfaces of this network namespace, by index.
pub fn list_interfaces() -> Vec<(u32, String)> {
    // This file follows the network namespace of the thread, as the system calls do; `/sys/class/net` follows its mount.
    let text = fs::read_to_string("/proc/thread-self/net/dev").unwrap_or_default();
    let mut all: Vec<(u32, String)> = text
        .lines()
        .skip(2)
        .filter_map(|l| l.split_once(':'))
        .filter_map(|(name, _)| index_of(name.trim()).map(|i| (i, name.trim().to_owned())))
        .collect();
    all.sort_unstable();
    all
}

pub(super) fn index_of(name: &str) -> Option<u32> {
    let name = std::ffi::CString::new(name).ok()?;
    // SAFETY: `name` is a string with a terminating zero that outlives the call.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    (index != 0).then_some(index)
}

/// The name of interface `index` of this network namespace.
pub(super) fn name_of(index: u32) -> Option<String> {
    let mut name = [0u8; libc::IF_NAMESIZE];
    // SAFETY: the buffer has the length that the call writes at most, and outlives it.
    let found = unsafe { libc::if_indextoname(index, name.as_mut_ptr().cast()) };
    if found.is_null() {
        return None;
    }
    std::ffi::CStr::from_bytes_until_nul(&name).ok()?.to_str().ok().map(str::to_owned)
}

/// The interfaces that `patterns` name, by index, each once, and none that sees the packets of another; whatever the kind
/// of their frames.
///
/// # Errors
/// No match, with what there is; names of the same packets; more interfaces than a key can tell apart.
pub fn match_interfaces(patterns: &[String]) -> Result<Vec<(u32, String)>, XdpError> {
    let links = list_links().map_err(|source| XdpError::Netlink { what: "list interfaces", source })?;
    let links: Vec<Link> = links.into_iter().map(Link::of_any_kind).collect();
    let found: Vec<(u32, String)> = choose(patterns, &links)?.watch.into_iter().map(|l| (l.index, l.name)).collect();
    if found.is_empty() {
        let present = links.iter().map(|l| format!("`{}`", l.name)).collect::<Vec<_>>().join(", ");
        return Err(XdpError::NoInterface { pattern: patterns.join(","), present });
    }
    let most = usize::from(Obs::MAX_IFACE);
    if found.len() > most {
        return Err(XdpError::TooMany { found: found.len(), most });
    }
    Ok(found)
}

/// As [`match_interfaces`] while interfaces come and go: what is not there is waited for, and what is too much is left out.
///
/// # Errors
/// The kernel does not list them.
pub(crate) fn present_interfaces(patterns: &[String]) -> Result<Vec<(u32, String)>, XdpError> {
    let links = list_links().map_err(|source| XdpError::Netlink { what: "list interfaces", source })?;
    let links: Vec<Link> = links.into_iter().map(Link::of_any_kind).collect();
    let watch = choose_present(patterns, &links).watch;
    Ok(watch.into_iter().map(|l| (l.index, l.name)).take(usize::from(Obs::MAX_IFACE)).collect())
}

/// Whether all of `patterns` are globs, which may match nothing yet.
pub(crate) fn are_globs(patterns: &[String]) -> bool {
    patterns.iter().all(|pattern| !is_name(pattern))
}

/// Whether `name` is the one of interface `index`, and one that `patterns` mean: a loader opens nothing else.
pub(crate) fn is_meant(patterns: &[String], name: &str, index: u32) -> bool {
    patterns.iter().any(|pattern| name_matches(pattern, name)) && name_of(index).as_deref() == Some(name)
}

/// Whether the name or glob `pattern` fits `name`.
pub(crate) fn name_matches(pattern: &str, name: &str) -> bool {
    glob(pattern.as_bytes(), name.as_bytes())
}

/// Shell-like matching of `*` and `?`. Cost: linear in the name for each star.
pub(super) fn glob(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern.split_first(), name.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) => (0..=name.len()).any(|n| glob(rest, &name[n..])),
        (Some((b'?', rest)), Some((_, tail))) => glob(rest, tail),
        (Some((p, rest)), Some((n, tail))) if p == n => glob(rest, tail),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn globs_match_as_in_a_shell() {
        for (pattern, name, expected) in [
            ("eth*", "eth0", true),
            ("eth*", "eth", true),
            ("e?h0", "eth0", true),
            ("eth", "eth0", false),
            ("*", "", true),
            ("*1", "veth0", false),
        ] {
            assert_eq!(glob(pattern.as_bytes(), name.as_bytes()), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn this_machine_has_a_loopback() {
        assert!(list_interfaces().iter().any(|(_, name)| name == "lo"));
    }

    #[test]
    fn an_unknown_interface_is_named_with_what_there_is() {
        let error = match_interfaces(&["no-such-iface".into()]).unwrap_err().to_string();
        assert!(error.starts_with("no interface matches `no-such-iface`: this host has `lo`"), "{error}");
    }
}
