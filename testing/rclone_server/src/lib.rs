//! rclone as a server of S3: of other people's making, it checks signatures and ignores object locks. Each server is a
//! process on a port of its own, which it chooses itself. What clients do with it is not known here.

use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// The key pair that the server knows.
pub const KEY_ID: &str = "test-key-id";
/// See [`KEY_ID`].
pub const SECRET: &str = "test-secret+/=";

/// Returns the path of a program that `./check` installs.
///
/// # Panics
/// If it is not there: the test that wants it cannot be run.
pub fn tool(name: &str) -> PathBuf {
    let folder = std::env::var_os("E3_TEST_TOOLS")
        .expect("E3_TEST_TOOLS is not set: run ./check, which installs the test servers, or set it to target/test_tools/bin");
    let path = PathBuf::from(folder).join(name);
    assert!(
        path.exists(),
        "{} is missing: run ./check, which installs it",
        path.display()
    );
    path
}

/// A server process, killed when dropped.
#[derive(Debug)]
pub struct RcloneServer {
    process: Child,
    port: u16,
}

impl RcloneServer {
    /// Starts one on a folder whose folders are the buckets.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start(buckets: &Path) -> Self {
        Self::start_with(buckets, |_| {})
    }

    /// Starts one with more arguments.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start_with(buckets: &Path, arguments: impl FnOnce(&mut Command)) -> Self {
        let mut command = Command::new(tool("rclone"));
        command
            .args(["serve", "s3", "--config", "", "--addr", "127.0.0.1:0"])
            .args(["--auth-key", &format!("{KEY_ID},{SECRET}")])
            .arg(buckets)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        arguments(&mut command);
        let mut process = command.spawn().expect("the server starts");
        let said = process.stderr.take().expect("it is piped");
        let mut lines = BufReader::new(said).lines();
        let port = lines.find_map(|line| {
            let line = line.expect("what a server says can be read");
            let (_, after) = line.split_once("://127.0.0.1:")?;
            let port: String = after.chars().take_while(char::is_ascii_digit).collect();
            port.parse().ok()
        });
        // Whoever does not read what a server says may end it.
        std::thread::spawn(move || lines.for_each(drop));
        let mut server = Self { process, port: 0 };
        let Some(port) = port else {
            let ended = server.process.wait();
            panic!("the server does not say where it listens: {ended:?}");
        };
        server.port = port;
        server
    }

    /// Returns where it listens.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// Returns the same as a URL without TLS.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address())
    }
}

impl Drop for RcloneServer {
    fn drop(&mut self) {
        // Either may fail only because the process has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
