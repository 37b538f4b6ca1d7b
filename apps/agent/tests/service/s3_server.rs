//! A server of S3 of other people's making, and a line to it that can be held and cut.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use rclone_server::RcloneServer;

/// No name of another blob's is as long as a pack's.
const PACK_NAME_CHARS_MIN: usize = 32;

/// A server of S3 that checks signatures, killed when dropped.
pub struct S3Server {
    /// The line to it.
    pub line: Line,
    _process: RcloneServer,
}

impl S3Server {
    /// Starts it on a folder, with one bucket called `bucket`.
    pub fn start(folder: &Path) -> Self {
        fs::create_dir_all(folder.join("bucket")).unwrap();
        let process = RcloneServer::start(folder);
        Self {
            line: Line::to(process.address()),
            _process: process,
        }
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        // Whoever waits for the line must not wait for ever.
        self.line.let_all_pass();
    }
}

/// A line to a server.
pub struct Line {
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    order: Mutex<Order>,
    changed: Condvar,
}

/// What passes.
#[derive(Default)]
struct Order {
    /// Packs with the contents of files and disks wait.
    holds_packs: bool,
    /// Nothing passes once so many more packs were sent.
    packs_until_death: Option<u64>,
    /// Nothing passes.
    is_dead: bool,
    /// How many requests wait.
    held: u64,
    /// How many connections and requests came to nothing.
    refused: u64,
}

impl Line {
    fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State::default());
        let of_thread = Arc::clone(&state);
        // It ends with the tests' process.
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (client, state) = (client.unwrap(), Arc::clone(&of_thread));
                std::thread::spawn(move || {
                    if state.is_alive() {
                        carry(&client, server, &state);
                    }
                });
            }
        });
        Self { address, state }
    }

    /// Returns the endpoint at this end of the line.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Lets packs wait from now on, and everything else pass.
    pub fn hold_packs(&self) {
        self.state.order.lock().unwrap().holds_packs = true;
    }

    /// Returns how many requests for packs wait.
    pub fn held(&self) -> u64 {
        self.state.order.lock().unwrap().held
    }

    /// Lets the line die with the next pack that is sent.
    pub fn dies_with_a_pack(&self) {
        self.state.order.lock().unwrap().packs_until_death = Some(0);
    }

    /// Returns how often nothing passed.
    pub fn refused(&self) -> u64 {
        self.state.order.lock().unwrap().refused
    }

    /// Lets everything pass from now on.
    pub fn let_all_pass(&self) {
        let mut order = self.state.order.lock().unwrap();
        *order = Order {
            held: order.held,
            refused: order.refused,
            ..Order::default()
        };
        self.state.changed.notify_all();
    }
}

impl State {
    fn is_alive(&self) -> bool {
        let mut order = self.order.lock().unwrap();
        order.refused += u64::from(order.is_dead);
        !order.is_dead
    }

    /// Tells whether a request passes, once it may.
    fn passes(&self, request: &[u8]) -> bool {
        let mut order = self.order.lock().unwrap();
        if is_of_a_pack(request) {
            if request.starts_with(b"PUT ") && order.packs_until_death == Some(0) {
                order.is_dead = true;
            }
            order.held += 1;
            while order.holds_packs {
                order = self.changed.wait(order).unwrap();
            }
            order.held -= 1;
        }
        order.refused += u64::from(order.is_dead);
        !order.is_dead
    }
}

/// Tells whether a request is for a pack with the contents of files or disks.
fn is_of_a_pack(request: &[u8]) -> bool {
    let head = String::from_utf8_lossy(request);
    let path = head.split(' ').nth(1).unwrap_or_default();
    let path = path.split('?').next().unwrap_or_default();
    let name = path.rsplit('/').next().unwrap_or_default();
    name.starts_with('p') && name.len() >= PACK_NAME_CHARS_MIN
}

/// Carries what a client and the server say, who take turns, until either hangs up or nothing passes any
/// more.
fn carry(client: &TcpStream, server: SocketAddr, state: &State) {
    let Ok(server) = TcpStream::connect(server) else {
        return;
    };
    let is_answered = AtomicBool::new(true);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            pump(&server, client, |_| {
                is_answered.store(true, Ordering::SeqCst);
                true
            });
        });
        pump(client, &server, |bytes| {
            let begins = is_answered.swap(false, Ordering::SeqCst);
            !begins || state.passes(bytes)
        });
        let _ = client.shutdown(Shutdown::Both);
        let _ = server.shutdown(Shutdown::Both);
    });
}

/// Carries bytes that `passes` lets through, until either side hangs up or it does not.
fn pump(mut from: &TcpStream, mut to: &TcpStream, mut passes: impl FnMut(&[u8]) -> bool) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        if !passes(&buffer[..count]) || to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
