//! `netspectra detach`: takes away the kernel state of instances that were killed.

use crate::cli::DetachArgs;
use crate::{FAILED, Failure, Outcome, output};
use anyhow::anyhow;
use netspectra_agent::source::xdp::{XdpError, give_up, instances};
use std::process::ExitCode;

pub(crate) fn main(args: &DetachArgs) -> Outcome {
    let present = instances();
    if let Some(unknown) = args.instance.iter().find(|name| !present.contains(name)) {
        let present: Vec<String> = present.iter().map(|name| format!("`{name}`")).collect();
        let there = if present.is_empty() { "none".into() } else { present.join(", ") };
        return Err(Failure::misuse(anyhow!("no instance `{unknown}` has kernel state: there is {there}")));
    }
    let wanted = if args.instance.is_empty() { &present } else { &args.instance };
    let mut failed = false;
    let mut text = String::new();
    for name in wanted {
        match give_up(name) {
            Ok(Some(left)) => text.push_str(&format!(
                "{name}: {} hooks detached, {} packets and {} bytes that were counted are given up\n",
                left.hooks, left.given_up.packets, left.given_up.bytes
            )),
            Ok(None) => text.push_str(&format!("{name}: nothing is left\n")),
            // What runs is left alone, unless it was named.
            Err(XdpError::Busy { .. }) if args.instance.is_empty() => text.push_str(&format!("{name}: it runs\n")),
            Err(error) => {
                failed = true;
                output::error(&format!("netspectra: {name}: {}", output::chain(&error.into())));
            }
        }
    }
    if wanted.is_empty() {
        text.push_str("no instance has kernel state\n");
    }
    output::print(&text)?;
    Ok(if failed { ExitCode::from(FAILED) } else { ExitCode::SUCCESS })
}
