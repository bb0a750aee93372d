//! Who does what needs privilege: this process, or the loader's.

use super::XdpError;
use super::attach::Attached;
use super::links::Link;
use super::loader::Loader;
use crate::loader::{self, Refusal, Reply, Request};
use aya::Ebpf;
use std::io;
use std::sync::Arc;

/// The loader, as the source asks it.
pub(super) enum Hand {
    /// In this process.
    Here(Box<Loader>),
    /// In a process of its own.
    There(Arc<loader::Loader>),
}

impl Hand {
    /// The loaded programs.
    pub(super) fn loaded(&self) -> Result<&Ebpf, XdpError> {
        match self {
            Self::Here(loader) => Ok(&loader.bpf),
            Self::There(_) => Err(elsewhere()),
        }
    }

    /// The loaded programs, to be attached or run.
    pub(super) fn bpf(&mut self) -> Result<&mut Ebpf, XdpError> {
        match self {
            Self::Here(loader) => Ok(&mut loader.bpf),
            Self::There(_) => Err(elsewhere()),
        }
    }

    /// Nobody can be asked any more.
    pub(super) fn is_gone(&self) -> bool {
        match self {
            Self::Here(_) => false,
            Self::There(loader) => loader.is_gone(),
        }
    }

    /// The source has begun: what is pinned stays from now on.
    pub(super) fn keep(&mut self) -> Result<(), XdpError> {
        match self {
            Self::Here(loader) => {
                loader.keep();
                Ok(())
            }
            Self::There(loader) => done(loader, &Request::Keep),
        }
    }

    /// Takes away hooks that were left on other interfaces than these.
    pub(super) fn retain(&mut self, wanted: Vec<u32>) -> Result<(), XdpError> {
        match self {
            Self::Here(loader) => loader.retain(&wanted),
            Self::There(loader) => done(loader, &Request::Retain(wanted)),
        }
    }

    /// Attaches to `link`, whose VLAN devices are known to be there or not.
    pub(super) fn attach(&mut self, link: &Link, has_vlan: bool) -> Result<Attached, XdpError> {
        match self {
            Self::Here(loader) => loader.attach(link, has_vlan),
            Self::There(loader) => {
                let request = Request::Attach { link: Box::new(link.clone()), has_vlan };
                let reply = ask(loader, &request)?;
                if let Reply::Attached(attached) = reply { Ok(attached) } else { Err(unexpected(&reply)) }
            }
        }
    }

    /// Detaches from an interface for good, or forgets one that is gone.
    pub(super) fn let_go(&mut self, index: u32, is_there: bool) {
        match self {
            Self::Here(loader) => loader.let_go(index, is_there),
            Self::There(loader) => {
                if let Err(error) = done(loader, &Request::LetGo { index, is_there }) {
                    tracing::warn!(index, %error, "an interface is not let go of");
                }
            }
        }
    }

    /// Detaches from all for good.
    pub(super) fn detach(&mut self) {
        match self {
            Self::Here(loader) => loader.detach(),
            Self::There(loader) => {
                if let Err(error) = done(loader, &Request::Detach) {
                    tracing::error!(%error, "the programs are not detached: `netspectra detach` takes them away");
                }
            }
        }
    }

    /// Nothing is pinned any more.
    pub(super) fn forget(&mut self) -> Result<(), XdpError> {
        match self {
            Self::Here(loader) => loader.forget(),
            Self::There(loader) => done(loader, &Request::Forget),
        }
    }
}

fn ask(loader: &loader::Loader, request: &Request) -> Result<Reply, XdpError> {
    match loader.ask(request).map_err(XdpError::LoaderGone)? {
        (Reply::Refused(refusal), _) => Err(XdpError::Refused(refusal)),
        (reply, _) => Ok(reply),
    }
}

fn done(loader: &loader::Loader, request: &Request) -> Result<(), XdpError> {
    let reply = ask(loader, request)?;
    if let Reply::Done = reply { Ok(()) } else { Err(unexpected(&reply)) }
}

fn unexpected(reply: &Reply) -> XdpError {
    XdpError::LoaderGone(io::Error::other(format!("it answered {reply:?}")))
}

fn elsewhere() -> XdpError {
    XdpError::Refused(Refusal::new("the programs are another process's".into(), false))
}
