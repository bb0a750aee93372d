//! Runs an emulated machine until it powers itself off.

use super::initramfs::STATUS;
use super::kernels::Kernel;
use crate::process::{say, shown, wait_within};
use anyhow::{Context as _, Result, bail};
use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A minute is usual; emulation on a busy host takes several times that.
const LIMIT: Duration = Duration::from_secs(420);
const PROGRESS: Duration = Duration::from_secs(20);

/// Boots `kernel` with `image` and returns what it wrote to its console, which is also in the file `console`.
///
/// # Errors
/// QEMU does not start, the machine does not end in time (it is ended then), or it never came to the guest's program.
pub(super) fn boot(kernel: &Kernel, image: &Path, console: &Path) -> Result<String> {
    let file = File::create(console).with_context(|| format!("cannot create `{}`", console.display()))?;
    let errors = file.try_clone().context("the console's file cannot be shared")?;
    let mut command = machine(kernel, image);
    let line = shown(&command);
    println!("     + {line}");
    let mut child = command
        .stdin(Stdio::null())
        .stdout(file)
        .stderr(errors)
        .spawn()
        .with_context(|| format!("cannot start `{line}`"))?;
    let (started, mut told) = (Instant::now(), Duration::ZERO);
    let status = wait_within(&mut child, LIMIT, &mut |passed| {
        if passed - told > PROGRESS {
            told = passed;
            say(format!("Linux {}: running for {} s", kernel.release, passed.as_secs()));
        }
    })?;
    let Some(status) = status else {
        bail!("the machine did not end within {} s: its console is in `{}`", LIMIT.as_secs(), console.display());
    };
    let text = std::fs::read(console).with_context(|| format!("cannot read `{}`", console.display()))?;
    let text = String::from_utf8_lossy(&text).into_owned();
    if !status.success() || !text.contains(STATUS) {
        bail!("the machine ended ({status}) before the guest's program did: its console is in `{}`", console.display());
    }
    say(format!("Linux {}: ended after {} s", kernel.release, started.elapsed().as_secs()));
    Ok(text)
}

/// Two processors, so that packets and generations run at the same time; no devices but the console.
fn machine(kernel: &Kernel, image: &Path) -> Command {
    let mut command = Command::new("qemu-system-x86_64");
    command.args(["-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "768", "-nodefaults", "-no-reboot"]);
    command.args(["-display", "none", "-serial", "stdio", "-append", "console=ttyS0 quiet panic=-1"]);
    command.arg("-kernel").arg(&kernel.image).arg("-initrd").arg(image);
    command
}
