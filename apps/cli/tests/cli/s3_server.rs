//! A server of S3 of other people's making.

#![cfg(unix)]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};

use rclone_server::{KEY_ID, RcloneServer, SECRET};

use crate::agent::Agent;

const REFUSAL: &str = "<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>";

/// The keys that the server knows, as the environment gives them.
pub const KEYS: [(&str, &str); 2] = [
    ("AWS_ACCESS_KEY_ID", KEY_ID),
    ("AWS_SECRET_ACCESS_KEY", SECRET),
];

/// A server of S3 that checks signatures, killed when dropped.
pub struct S3Server {
    process: RcloneServer,
    /// The place of a repository there, which lies in `buckets/bucket/web` of the world.
    pub repository: String,
}

impl S3Server {
    /// Starts it on a folder of the world.
    pub fn start(agent: &Agent) -> Self {
        fs::create_dir_all(agent.path("buckets/bucket")).unwrap();
        let process = RcloneServer::start(&agent.path("buckets"));
        Self {
            repository: format!("s3://bucket/web?endpoint={}", process.endpoint()),
            process,
        }
    }

    /// Returns the same place by way of a line on which the server refuses every deletion, as it does
    /// to keys that may not delete.
    pub fn refusing_deletions(&self) -> String {
        let (place, _) = self.repository.split_once("http://").unwrap();
        let server = self.process.address();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        // It ends with the tests' process.
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let client = client.unwrap();
                std::thread::spawn(move || carry(&client, server));
            }
        });
        format!("{place}http://{address}")
    }
}

/// Carries what a client and the server say, who take turns, and answers deletions itself; until
/// either of the two hangs up.
fn carry(client: &TcpStream, server: SocketAddr) {
    let mut answers = client;
    let server = TcpStream::connect(server).unwrap();
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
            let is_refused = begins && is_deletion(bytes);
            if is_refused {
                is_answered.store(true, Ordering::SeqCst);
                let length = REFUSAL.len();
                let answer =
                    format!("HTTP/1.1 403 Forbidden\r\nContent-Length: {length}\r\n\r\n{REFUSAL}");
                let _ = answers.write_all(answer.as_bytes());
            }
            !is_refused
        });
    });
}

fn is_deletion(request: &[u8]) -> bool {
    let head = String::from_utf8_lossy(request);
    let line = head.lines().next().unwrap_or_default();
    line.starts_with("DELETE ") || (line.starts_with("POST ") && line.contains("?delete"))
}

/// Carries bytes that `passes` lets through, until either side hangs up.
fn pump(mut from: &TcpStream, mut to: &TcpStream, mut passes: impl FnMut(&[u8]) -> bool) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        if passes(&buffer[..count]) && to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
