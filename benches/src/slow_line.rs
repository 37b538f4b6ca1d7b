//! A line to a server on which every request takes some time more, as over a long distance.
//!
//! It knows nothing of HTTP but that client and server take turns on a connection: bytes from
//! the client after an answer, or at first, begin a request. What is on its way is not slowed.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result};
use time_and_chance::{SharedClock, StopSignal};

const BUFFER_BYTES: usize = 256 << 10;

/// The line; it takes no more connections once it is dropped.
#[derive(Debug)]
pub struct SlowLine {
    address: SocketAddr,
    line: Arc<Line>,
    accepting: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Line {
    server: SocketAddr,
    delay: Duration,
    clock: SharedClock,
    stop: StopSignal,
    requests: Mutex<BTreeMap<String, u64>>,
}

impl SlowLine {
    /// Opens a line to `server` on which each request takes `delay` more.
    pub fn to(server: SocketAddr, delay: Duration, clock: &SharedClock) -> Result<Self> {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("failed to open a port")?;
        let address = listener.local_addr().context("failed to open a port")?;
        let line = Arc::new(Line {
            server,
            delay,
            clock: clock.clone(),
            stop: StopSignal::new(),
            requests: Mutex::default(),
        });
        let accepting = {
            let line = Arc::clone(&line);
            std::thread::spawn(move || {
                for client in listener.incoming() {
                    if line.stop.is_stopped() {
                        return;
                    }
                    if let Ok(client) = client {
                        let line = Arc::clone(&line);
                        // Its threads end with the connection, which client and server close.
                        std::thread::spawn(move || line.carry(&client));
                    }
                }
            })
        };
        Ok(Self {
            address,
            line,
            accepting: Some(accepting),
        })
    }

    /// Returns where clients connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns how many requests there were, by method, and begins to count anew.
    pub fn take_requests(&self) -> BTreeMap<String, u64> {
        std::mem::take(&mut *self.line.lock())
    }
}

impl Drop for SlowLine {
    fn drop(&mut self) {
        self.line.stop.stop();
        // Wakes whoever waits for connections.
        let _ = TcpStream::connect(self.address);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}

impl Line {
    /// Carries one connection to its end; an error of either side is its end.
    fn carry(&self, client: &TcpStream) {
        let Ok(server) = TcpStream::connect(self.server) else {
            return;
        };
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let answered = AtomicBool::new(true);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let _ = pump(&server, client, |_| answered.store(true, Ordering::SeqCst));
            });
            let _ = pump(client, &server, |bytes| {
                if answered.swap(false, Ordering::SeqCst) {
                    self.begin_request(bytes);
                }
            });
        });
    }

    fn begin_request(&self, bytes: &[u8]) {
        let method = bytes.split(|byte| *byte == b' ').next().unwrap_or_default();
        let method = String::from_utf8_lossy(method).into_owned();
        *self.lock().entry(method).or_default() += 1;
        // Whoever stops the line wants no more delays either.
        let _ = self.clock.sleep(self.delay, &self.stop);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, u64>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Carries bytes until one side ends, and tells the other side so.
fn pump(mut from: &TcpStream, mut to: &TcpStream, see: impl Fn(&[u8])) -> std::io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut carry = || -> std::io::Result<()> {
        loop {
            let count = from.read(&mut buffer)?;
            if count == 0 {
                return Ok(());
            }
            see(&buffer[..count]);
            to.write_all(&buffer[..count])?;
        }
    };
    let carried = carry();
    to.shutdown(Shutdown::Write)?;
    carried
}

#[cfg(test)]
mod tests {
    use time_and_chance::SystemClock;

    use super::*;

    #[test]
    fn each_turn_on_a_connection_is_one_request_and_is_delayed() {
        let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let clock = SystemClock::new();
        let delay = Duration::from_millis(30);
        let line = SlowLine::to(server.local_addr().unwrap(), delay, &clock).unwrap();
        let mut client = TcpStream::connect(line.address()).unwrap();
        client.write_all(b"PUT a").unwrap();
        let (mut served, _) = server.accept().unwrap();
        let mut bytes = [0; 5];
        served.read_exact(&mut bytes).unwrap();
        served.write_all(b"done.").unwrap();
        client.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"done.");
        let before = clock.monotonic();
        for request in [b"GET a", b"GET b"] {
            client.write_all(request).unwrap();
            served.read_exact(&mut bytes).unwrap();
            assert_eq!(&bytes, request);
            served.write_all(b"bytes").unwrap();
            client.read_exact(&mut bytes).unwrap();
        }
        assert!(clock.monotonic() - before >= 2 * delay);
        let expected = [("GET".to_owned(), 2), ("PUT".to_owned(), 1)];
        assert_eq!(line.take_requests(), BTreeMap::from(expected));
        assert_eq!(line.take_requests(), BTreeMap::new());
        drop(client);
        assert_eq!(
            served.read(&mut bytes).unwrap(),
            0,
            "the end is carried too"
        );
    }
}
