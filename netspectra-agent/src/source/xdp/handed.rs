//! Programs that one process loads and attaches for another, which reads the maps.

use super::loader::{Loader, Maps};
use super::{XdpConfig, XdpError, XdpSource, interfaces};
use crate::loader::{self, Channel, MOST_FDS, Refusal, Reply, Request};
use crate::privilege;
use crate::source::xdp::hand::Hand;
use aya::maps::MapData;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

/// Loaded programs and their maps, to be handed over. Dropping it detaches what is not kept.
pub(crate) struct Handed {
    loader: Loader,
    maps: Maps,
    interfaces: Vec<String>,
}

/// Why serving ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The other end is closed.
    Closed,
    /// It asks for packet sockets instead.
    Packets,
}

impl Handed {
    /// Loads `object` and makes the maps, or takes over those that the instance left.
    ///
    /// # Errors
    /// As for [`XdpSource::open`]; nothing stays then.
    pub(crate) fn load(object: &[u8], config: &XdpConfig) -> Result<Self, XdpError> {
        let (loader, maps) = Loader::load(object, config)?;
        Ok(Self { loader, maps, interfaces: config.interfaces.clone() })
    }

    /// Hands the maps over and answers until the other end is closed, or wants no programs any more.
    ///
    /// # Errors
    /// The channel's.
    pub(crate) fn serve(mut self, channel: &Channel) -> io::Result<Ended> {
        self.hand_over(channel)?;
        while let Some((request, _)) = channel.receive::<Request>()? {
            let reply = match request {
                Request::Packets => return Ok(Ended::Packets),
                Request::Open | Request::Sockets { .. } => {
                    Err(XdpError::Refused(Refusal::new("the programs are loaded already".into(), false)))
                }
                Request::Retain(wanted) => self.loader.retain(&wanted).map(|()| Reply::Done),
                Request::Attach { link, has_vlan } => self
                    .check(&link.name, link.index)
                    .and_then(|()| self.loader.attach(&link, has_vlan))
                    .map(Reply::Attached),
                Request::LetGo { index, is_there } => {
                    self.loader.let_go(index, is_there);
                    Ok(Reply::Done)
                }
                Request::Keep => {
                    self.loader.keep();
                    if let Err(error) = privilege::for_loaded_programs().and_then(privilege::keep_only) {
                        tracing::warn!(%error, "the loader keeps its privileges");
                    }
                    Ok(Reply::Done)
                }
                Request::Detach => {
                    self.loader.detach();
                    Ok(Reply::Done)
                }
                Request::Forget => self.loader.forget().map(|()| Reply::Done),
            };
            channel.send(&reply.unwrap_or_else(|e| Reply::Refused(e.refusal())), &[])?;
        }
        Ok(Ended::Closed)
    }

    fn hand_over(&mut self, channel: &Channel) -> io::Result<()> {
        let adopted = self.maps.adopted;
        let named: Vec<(String, MapData)> = self.maps.drain().collect();
        let mut parts = named.chunks(MOST_FDS).peekable();
        while let Some(part) = parts.next() {
            let names = part.iter().map(|(name, _)| name.clone()).collect();
            let fds: Vec<_> = part.iter().map(|(_, map)| map.fd().as_fd()).collect();
            channel.send(&Reply::Maps { names, adopted, more: parts.peek().is_some() }, &fds)?;
        }
        Ok(())
    }

    /// Nothing is attached to but what the configuration names.
    fn check(&self, name: &str, index: u32) -> Result<(), XdpError> {
        if interfaces::is_meant(&self.interfaces, name, index) {
            return Ok(());
        }
        let text = format!("interface `{name}` is none that the configuration names: nothing is attached to it");
        Err(XdpError::Refused(Refusal::new(text, false)))
    }
}

impl XdpSource {
    /// Goes on with programs that `loader` has loaded: `first` is its answer, of `names` and `fds`.
    ///
    /// # Errors
    /// As for [`XdpSource::open`]; nothing stays attached then.
    pub(crate) fn by_loader(
        loader: Arc<loader::Loader>,
        first: (Vec<String>, bool, bool),
        mut fds: Vec<OwnedFd>,
        config: &XdpConfig,
    ) -> Result<Self, XdpError> {
        let (mut names, adopted, mut more) = first;
        let mut named = BTreeMap::new();
        loop {
            if names.len() != fds.len() {
                return Err(XdpError::LoaderGone(io::Error::other("it sent maps without descriptors")));
            }
            for (name, fd) in names.into_iter().zip(fds) {
                let map = MapData::from_fd(fd).map_err(|e| super::load_error("a map that was handed over", &e))?;
                named.insert(name, map);
            }
            if !more {
                break;
            }
            match loader.next().map_err(XdpError::LoaderGone)? {
                (Reply::Maps { names: next, more: again, .. }, received) => {
                    (names, fds, more) = (next, received, again)
                }
                (other, _) => return Err(XdpError::LoaderGone(io::Error::other(format!("it answered {other:?}")))),
            }
        }
        Self::of(Maps::new(named, adopted), Hand::There(loader), u32::from(config.payloads))?.begin(config)
    }
}
