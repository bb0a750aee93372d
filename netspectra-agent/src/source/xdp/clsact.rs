//! The clsact qdisc that TC filters hang on where there is no TCX.

use super::netlink::{Netlink, attributes, text};
use std::io;

const RTM_NEWTFILTER: u16 = 44;
const RTM_GETTFILTER: u16 = 46;
const RTM_NEWQDISC: u16 = 36;
const RTM_DELQDISC: u16 = 37;
const RTM_GETQDISC: u16 = 38;
const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const TCA_BPF_NAME: u16 = 7;
/// `TC_H_CLSACT` with `TC_H_MIN_INGRESS` and `TC_H_MIN_EGRESS`, and as the qdisc's parent and handle.
const INGRESS: u32 = 0xffff_fff2;
const EGRESS: u32 = 0xffff_fff3;
const PARENT: u32 = 0xffff_fff1;
const HANDLE: u32 = 0xffff_0000;
/// `struct tcmsg`.
const HEADER: usize = 20;

/// Removes the clsact qdisc of an interface when no filter is in it.
///
/// The kernel has no such command, so a filter that somebody adds between the look and the removal goes with it.
///
/// # Errors
/// The kernel's.
pub(super) fn remove_if_empty(ifindex: u32) -> io::Result<()> {
    if !filters(ifindex)?.is_empty() || !is_present(ifindex)? {
        return Ok(());
    }
    Netlink::open(0)?.request(RTM_DELQDISC, &header(ifindex, HANDLE, PARENT))
}

/// Names of the filters at an interface's clsact qdisc: a program's name, or the kind of another filter.
///
/// # Errors
/// The kernel's.
pub(super) fn filters(ifindex: u32) -> io::Result<Vec<String>> {
    let mut all = Vec::new();
    if !is_present(ifindex)? {
        return Ok(all);
    }
    for parent in [INGRESS, EGRESS] {
        let found = Netlink::open(0)?.dump(RTM_GETTFILTER, &header(ifindex, 0, parent), |kind, body| {
            (kind == RTM_NEWTFILTER).then(|| filter_name(body)).flatten()
        })?;
        all.extend(found);
    }
    Ok(all)
}

/// The name of a filter; `None` for the head of a chain, which has no options.
fn filter_name(body: &[u8]) -> Option<String> {
    let mut kind = String::new();
    let mut name = None;
    for (attribute, value) in attributes(body.get(HEADER..)?) {
        match attribute {
            TCA_KIND => kind = text(value),
            TCA_OPTIONS => name = Some(attributes(value).find(|(k, _)| *k == TCA_BPF_NAME).map(|(_, v)| text(v))),
            _ => {}
        }
    }
    name.map(|n| n.unwrap_or(kind))
}

fn is_present(ifindex: u32) -> io::Result<bool> {
    let found = Netlink::open(0)?.dump(RTM_GETQDISC, &header(0, 0, 0), |kind, body| {
        let index = body.get(4..8).and_then(super::netlink::number)?;
        let is_clsact = attributes(body.get(HEADER..)?).any(|(k, v)| k == TCA_KIND && text(v) == "clsact");
        (kind == RTM_NEWQDISC && index == ifindex && is_clsact).then_some(())
    })?;
    Ok(!found.is_empty())
}

/// `struct tcmsg`.
fn header(ifindex: u32, handle: u32, parent: u32) -> Vec<u8> {
    let mut h = vec![0u8; 4];
    for field in [ifindex, handle, parent, 0] {
        h.extend(field.to_ne_bytes());
    }
    h
}
