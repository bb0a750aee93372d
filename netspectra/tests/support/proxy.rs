//! A relay between clients and a server that cuts connections: before a request passes, or after it did and before its answer.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How often a relay that has nothing to do looks whether it is to end.
const POLL: Duration = Duration::from_millis(50);

#[derive(Debug, Default)]
struct State {
    end: AtomicBool,
    /// No connection is let through, as if the server were gone.
    is_away: AtomicBool,
    /// Cuts still to be made.
    cuts: AtomicU64,
    before: AtomicU64,
    after: AtomicU64,
    connections: AtomicU64,
    open: Mutex<Vec<TcpStream>>,
}

/// A relay; ends when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    state: Arc<State>,
    front: SocketAddr,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Proxy {
    /// Relays what comes to `front` to `behind`. Made in another network namespace, it listens there; `behind` is reached from
    /// the namespace in which this is called by the thread that `dial` runs on.
    pub fn new(front: TcpListener, behind: SocketAddr) -> Self {
        let state = Arc::<State>::default();
        let address = front.local_addr().unwrap();
        front.set_nonblocking(true).unwrap();
        let shared = state.clone();
        let thread = std::thread::spawn(move || accept(&front, behind, &shared));
        Self { state, front: address, thread: Some(thread) }
    }

    pub fn front(&self) -> SocketAddr {
        self.front
    }

    /// Cuts `count` connections from now on, each after a few pieces of data, half of them behind a request.
    pub fn cut(&self, count: u64) {
        self.state.cuts.store(count, Ordering::SeqCst);
    }

    /// Cuts that were made: before a request passed, and behind one.
    pub fn made(&self) -> (u64, u64) {
        (self.state.before.load(Ordering::SeqCst), self.state.after.load(Ordering::SeqCst))
    }

    /// Takes the server away from everybody, or gives it back.
    pub fn set_away(&self, is_away: bool) {
        self.state.is_away.store(is_away, Ordering::SeqCst);
        if is_away {
            self.state.close_all();
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.end.store(true, Ordering::SeqCst);
        self.state.close_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl State {
    fn close_all(&self) {
        for stream in self.open.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Takes one of the cuts to be made.
    fn take_cut(&self) -> bool {
        self.cuts.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok()
    }
}

fn accept(front: &TcpListener, behind: SocketAddr, state: &Arc<State>) {
    while !state.end.load(Ordering::SeqCst) {
        match front.accept() {
            // Whoever connects while the server is away is dropped.
            Ok((client, _)) if !state.is_away.load(Ordering::SeqCst) => {
                let Ok(server) = TcpStream::connect(behind) else { continue };
                relay(client, server, state);
            }
            Ok(_) => {}
            Err(_) => std::thread::sleep(POLL),
        }
    }
}

fn relay(client: TcpStream, server: TcpStream, state: &Arc<State>) {
    let number = state.connections.fetch_add(1, Ordering::SeqCst);
    client.set_nonblocking(false).unwrap();
    let mut open = state.open.lock().unwrap_or_else(PoisonError::into_inner);
    for stream in [&client, &server] {
        let _ = stream.set_nodelay(true);
        open.extend(stream.try_clone());
    }
    drop(open);
    // The answer to the request that just passed is not to arrive.
    let is_cut = Arc::new(AtomicBool::new(false));
    let (Ok(client_end), Ok(server_end)) = (client.try_clone(), server.try_clone()) else { return };
    let (forward, back) = (state.clone(), is_cut.clone());
    // How many pieces of data a connection lives while cuts are to be made: some not long enough to say who they are.
    let life = 1 + number * 7 % 23;
    std::thread::spawn(move || {
        let mut pieces = 0;
        pump(client, server, |_| {
            pieces += 1;
            if pieces < life || !forward.take_cut() {
                return true;
            }
            let is_before = number.is_multiple_of(2);
            if is_before {
                forward.before.fetch_add(1, Ordering::SeqCst);
            } else {
                is_cut.store(true, Ordering::SeqCst);
                pieces = 0;
            }
            !is_before
        });
    });
    let answers = state.clone();
    std::thread::spawn(move || {
        pump(server_end, client_end, |_| {
            let lost = back.load(Ordering::SeqCst);
            if lost {
                answers.after.fetch_add(1, Ordering::SeqCst);
            }
            !lost
        });
    });
}

/// Copies from `from` to `to` while `passes` lets a piece through; then both are closed.
fn pump(mut from: TcpStream, mut to: TcpStream, mut passes: impl FnMut(&[u8]) -> bool) {
    let mut piece = vec![0; 64 << 10];
    while let Ok(count) = from.read(&mut piece) {
        if count == 0 || !passes(&piece[..count]) || to.write_all(&piece[..count]).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
