//! Who does what needs privilege: this process.

use super::XdpError;
use super::attach::Attached;
use super::links::Link;
use super::loader::Loader;
use aya::Ebpf;

/// The loader, as the source asks it.
pub(super) enum Hand {
    /// In this process.
    Here(Box<Loader>),
}

impl Hand {
    /// The loaded programs.
    pub(super) fn loaded(&self) -> Result<&Ebpf, XdpError> {
        match self {
            Self::Here(loader) => Ok(&loader.bpf),
        }
    }

    /// The loaded programs, to be attached or run.
    pub(super) fn bpf(&mut self) -> Result<&mut Ebpf, XdpError> {
        match self {
            Self::Here(loader) => Ok(&mut loader.bpf),
        }
    }

    /// What is pinned stays from now on.
    pub(super) fn keep(&mut self) -> Result<(), XdpError> {
        match self {
            Self::Here(loader) => {
                loader.keep();
                Ok(())
            }
        }
    }

    /// Takes away hooks that were left on other interfaces than these.
    pub(super) fn retain(&mut self, wanted: Vec<u32>) -> Result<(), XdpError> {
        match self {
            Self::Here(loader) => loader.retain(&wanted),
        }
    }

    /// Attaches to `link`, whose VLAN devices are known to be there or not.
    pub(super) fn attach(&mut self, link: &Link, has_vlan: bool) -> Result<Attached, XdpError> {
        match self {
            Self::Here(loader) => loader.attach(link, has_vlan),
        }
    }

    /// Detaches from an interface for good, or forgets one that is gone.
    pub(super) fn let_go(&mut self, index: u32, is_there: bool) {
        match self {
            Self::Here(loader) => loader.let_go(index, is_there),
        }
    }

    /// Detaches from all for good.
    pub(super) fn detach(&mut self) {
        match self {
            Self::Here(loader) => loader.detach(),
        }
    }

    /// Nothing is pinned any more.
    pub(super) fn forget(&mut self) -> Result<(), XdpError> {
        match self {
            Self::Here(loader) => loader.forget(),
        }
    }
}
