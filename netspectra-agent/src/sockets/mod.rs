//! Whose the sockets of this host are: a look from time to time at what the kernel shows this process.
//!
//! It asks for TCP and UDP sockets of its own network namespace, so it does not see those of containers; a socket that comes
//! and goes between two looks is not seen; nor is a process whose files it may not see, unless all of its control group have
//! one name. What is seen is a hint: no count depends on it.

mod diag;
mod processes;

use crate::source::xdp::netlink::Netlink;
use diag::Socket;
use netspectra_common::model::{Owner, SocketSeen};
use processes::Groups;
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Sockets that are looked at.
const MOST: usize = 16_384;
/// Addresses of the host that a socket of all addresses is named at.
const ADDRESSES: usize = 64;
/// Between two looks at least.
const EVERY: Duration = Duration::from_secs(1);
/// Between two looks so many times what the last one took: at most 2 % of a processor.
const REST: u32 = 50;
/// How often all sockets are named again, for engines that did not hear of them.
const AGAIN: Duration = Duration::from_secs(60);

/// What names a socket.
type Key = (u8, (IpAddr, u16), Option<(IpAddr, u16)>);

/// Looks at the sockets of this host and says what is new.
pub struct SocketWatch {
    found: Arc<Mutex<HashMap<Key, Arc<Owner>>>>,
    stop: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl SocketWatch {
    /// Starts a thread that looks until this is dropped, with the privileges of the caller and in its network namespace.
    ///
    /// # Errors
    /// The kernel lists no sockets, or there is no thread.
    pub fn start() -> std::io::Result<Self> {
        let mut look = Look::new()?;
        let found = Arc::<Mutex<HashMap<_, _>>>::default();
        let (stop, stopped) = sync_channel(0);
        let to = found.clone();
        let run = move || {
            loop {
                let begun = Instant::now();
                match look.round() {
                    Ok(news) => {
                        let mut found = to.lock().unwrap_or_else(PoisonError::into_inner);
                        for seen in news {
                            let key = (seen.proto, seen.local, seen.remote);
                            if found.len() < MOST || found.contains_key(&key) {
                                found.insert(key, seen.owner);
                            }
                        }
                    }
                    Err(error) => tracing::debug!(%error, "sockets cannot be listed"),
                }
                let rest = (begun.elapsed() * REST).max(EVERY);
                if stopped.recv_timeout(rest) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("sockets".into()).spawn(run)?;
        Ok(Self { found, stop: Some(stop), thread: Some(thread) })
    }

    /// What was found since the last call, in the order of addresses.
    pub fn take(&self) -> Vec<SocketSeen> {
        let found = std::mem::take(&mut *self.found.lock().unwrap_or_else(PoisonError::into_inner));
        let mut all: Vec<_> = found.into_iter().collect();
        all.sort_unstable_by_key(|(key, _)| *key);
        all.into_iter().map(|((proto, local, remote), owner)| SocketSeen { proto, local, remote, owner }).collect()
    }
}

impl Drop for SocketWatch {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that looks at sockets panicked");
        }
    }
}

impl std::fmt::Debug for SocketWatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SocketWatch").finish_non_exhaustive()
    }
}

/// What was seen so far.
struct Look {
    netlink: Netlink,
    groups: Groups,
    /// By inode and key: a key may be used again by another socket.
    known: HashMap<(u32, Key), Arc<Owner>>,
    named: Option<Instant>,
    too_many: bool,
}

impl Look {
    fn new() -> std::io::Result<Self> {
        let mut netlink = Netlink::sock_diag()?;
        // What the kernel does not know, it says now.
        diag::list(&mut netlink, 1)?;
        Ok(Self { netlink, groups: Groups::new(), known: HashMap::new(), named: None, too_many: false })
    }

    /// Sockets that are new since the last round; from time to time all of them.
    fn round(&mut self) -> std::io::Result<Vec<SocketSeen>> {
        let (sockets, more) = diag::list(&mut self.netlink, MOST)?;
        if more && !std::mem::replace(&mut self.too_many, true) {
            tracing::warn!("this host has more than {MOST} sockets: of the rest no process is told");
        }
        let all = self.named.is_none_or(|at| at.elapsed() >= AGAIN);
        if all {
            self.named = Some(Instant::now());
            self.groups.forget();
        }
        let is_new = |s: &Socket| all || !self.known.contains_key(&(s.inode, key(s)));
        let fresh: Vec<&Socket> = sockets.iter().filter(|s| s.inode != 0 && is_new(s)).collect();
        let owners = self.owners(&fresh);
        let mut known = HashMap::with_capacity(sockets.len());
        for socket in &sockets {
            let name = (socket.inode, key(socket));
            let owner = owners.get(&socket.inode).or_else(|| self.known.get(&name));
            if let Some(owner) = owner.cloned() {
                known.insert(name, owner);
            }
        }
        self.known = known;
        let mut addresses = None;
        let mut news = Vec::new();
        for socket in fresh {
            let Some(owner) = owners.get(&socket.inode).filter(|owner| ***owner != Owner::default()) else { continue };
            let seen = |local: IpAddr| SocketSeen {
                proto: socket.proto,
                local: (local, socket.local.1),
                remote: socket.remote,
                owner: owner.clone(),
            };
            if !socket.local.0.is_unspecified() {
                news.push(seen(socket.local.0));
                continue;
            }
            let addresses = match &addresses {
                Some(known) => known,
                None => addresses.insert(diag::local_addresses(ADDRESSES)?),
            };
            let takes = |address: &&IpAddr| {
                socket.local.0.is_ipv4() == address.is_ipv4() || !socket.v6_only && address.is_ipv4()
            };
            news.extend(addresses.iter().filter(takes).map(|address| seen(*address)));
        }
        Ok(news)
    }

    /// Whose the sockets are, by inode.
    fn owners(&mut self, sockets: &[&Socket]) -> HashMap<u32, Arc<Owner>> {
        if sockets.is_empty() {
            return HashMap::new();
        }
        self.groups.find(sockets.iter().filter_map(|s| s.cgroup));
        let processes = processes::owners(&sockets.iter().map(|s| s.inode).collect::<HashSet<_>>());
        let mut shared = HashMap::<Owner, Arc<Owner>>::new();
        let mut alone = HashMap::<Arc<str>, Option<Arc<str>>>::new();
        let mut owner = |socket: &&Socket| {
            let cgroup = socket.cgroup.and_then(|id| self.groups.path(id));
            let process = processes.get(&socket.inode).and_then(|pid| processes::name(*pid)).or_else(|| {
                let path = cgroup.clone()?;
                alone.entry(path).or_insert_with_key(|path| self.groups.one_name(path)).clone()
            });
            let owner = Owner { process, cgroup };
            (socket.inode, shared.entry(owner.clone()).or_insert_with(|| owner.into()).clone())
        };
        sockets.iter().map(&mut owner).collect()
    }
}

fn key(socket: &Socket) -> Key {
    (socket.proto, socket.local, socket.remote)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use std::net::{SocketAddr, TcpListener, TcpStream};

    fn pair(address: SocketAddr) -> (IpAddr, u16) {
        (address.ip(), address.port())
    }

    #[test]
    fn new_sockets_are_named_once_and_all_of_them_again_later() {
        let own = processes::name(std::process::id());
        let mut look = Look::new().unwrap();
        look.round().unwrap();
        let listener = TcpListener::bind("0.0.0.0:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let (server, _) = listener.accept().unwrap();
        let here = pair(client.local_addr().unwrap());
        let ends = [(here, Some(pair(client.peer_addr().unwrap()))), (pair(server.local_addr().unwrap()), Some(here))];
        let news = look.round().unwrap();
        let is_listening = |seen: &&SocketSeen| seen.remote.is_none() && seen.local.1 == port;
        let find = |news: &[SocketSeen], (local, remote)| {
            let found = news.iter().find(|s| (s.proto, s.local, s.remote) == (6, local, remote));
            found.map(|seen| seen.owner.process.clone())
        };
        for end in ends {
            assert_eq!(find(&news, end), Some(own.clone()), "{end:?}");
        }
        // One that takes connections at any address is named at each of them.
        let listening: Vec<&SocketSeen> = news.iter().filter(is_listening).collect();
        let addresses = diag::local_addresses(ADDRESSES).unwrap();
        assert_eq!(listening.len(), addresses.iter().filter(|address| address.is_ipv4()).count());
        assert!(listening.iter().all(|seen| seen.owner.process == own));
        let again = look.round().unwrap();
        assert_eq!(ends.map(|end| find(&again, end)), [None, None]);
        look.named = None;
        let all = look.round().unwrap();
        assert_eq!(find(&all, ends[0]), Some(own));
        assert_eq!(all.iter().filter(is_listening).count(), listening.len());
    }
}
