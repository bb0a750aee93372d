//! Whose the sockets of a node's host are, by what its agent saw.

use super::held::Held;
use netspectra_common::model::{Nanos, Owner, SocketSeen};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// Sockets that are kept of each node, about 200 bytes each.
const MOST: usize = 32_768;
/// How long a socket counts after an agent named it. They name all that are there more often.
const HOLDS: Duration = Duration::from_secs(150);
/// How long before it was named a socket may have been there: agents look from time to time.
const BEFORE: Duration = Duration::from_secs(10);

/// The host's end.
type Local = (u8, IpAddr, u16);
/// The peer's end.
type Peer = (IpAddr, u16);

/// Owners by node and socket; a socket without a peer is everybody's.
pub(crate) type Sockets = Held<(Local, Option<Peer>), Arc<Owner>>;

/// Takes in a socket that the agent of `node` saw in the generation between two times.
pub(crate) fn learn(sockets: &mut Sockets, node: &Arc<str>, seen: &SocketSeen, (start, end): (Nanos, Nanos)) {
    let SocketSeen { proto, local, remote, owner } = seen;
    let key = ((*proto, local.0, local.1), *remote);
    sockets.hold(node, key, owner.clone(), (start.minus(BEFORE), end.plus(HOLDS)), MOST);
}

/// Who has the socket at `local` that talks with `peer` at a time between two: the one that is connected, else the one that
/// takes what comes. Cost: two look-ups; none where no socket was ever named.
pub(crate) fn owner(
    sockets: &Sockets,
    node: &str,
    local: Local,
    peer: Peer,
    span: (Nanos, Nanos),
) -> Option<Arc<Owner>> {
    let at = |peer| sockets.at(node, &(local, peer), span);
    at(Some(peer)).or_else(|| at(None)).cloned()
}
