//! Real servers of other people's making, each a process on a port of its own.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rclone_server::{RcloneServer, tool};
use tempfile::TempDir;
use time_and_chance::{StopSignal, SystemClock};

/// A server process, killed when dropped.
#[derive(Debug)]
pub struct Server {
    _process: Process,
    port: u16,
    scheme: &'static str,
    folder: TempDir,
}

#[derive(Debug)]
enum Process {
    Moto { _server: Moto },
    Rclone { _server: RcloneServer },
}

/// moto's process, killed when dropped.
#[derive(Debug)]
struct Moto(Child);

impl Drop for Moto {
    fn drop(&mut self) {
        // Either may fail only because the process has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Server {
    /// Starts moto, which knows object locks but checks no signatures.
    pub fn moto() -> Self {
        let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
        let process = Command::new(tool("moto_server"))
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the server starts");
        let mut moto = Moto(process);
        moto.await_port(port);
        Self {
            _process: Process::Moto { _server: moto },
            port,
            scheme: "http",
            folder,
        }
    }

    /// Starts rclone on an empty folder; it checks signatures and ignores object locks.
    pub fn rclone() -> Self {
        Self::start_rclone("http", &[])
    }

    /// Starts rclone with a certificate that nobody signed; see [`Server::certificate`].
    pub fn rclone_with_tls() -> Self {
        Self::start_rclone("https", &[])
    }

    /// The same, where the host's name alone says which bucket is meant.
    pub fn rclone_by_host_with_tls() -> Self {
        Self::start_rclone("https", &["--force-path-style=false"])
    }

    fn start_rclone(scheme: &'static str, arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let buckets = folder.path().join("buckets");
        fs::create_dir(&buckets).unwrap();
        let server = RcloneServer::start_with(&buckets, |command| {
            command.args(arguments).current_dir(folder.path());
            if scheme == "https" {
                let place = |name: &str| folder.path().join(name);
                let (certificate, key) = (place("certificate.pem"), place("key.pem"));
                make_certificate(&certificate, &key);
                command.arg("--cert").arg(certificate).arg("--key").arg(key);
            }
        });
        Self {
            port: server.address().port(),
            _process: Process::Rclone { _server: server },
            scheme,
            folder,
        }
    }

    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// Returns the location of a place in a bucket here.
    pub fn location(&self, place: &str) -> String {
        format!("s3://{place}?endpoint={}://{}", self.scheme, self.address())
    }

    /// The same, with the bucket in the host's name.
    pub fn location_by_host(&self, place: &str) -> String {
        let (scheme, port) = (self.scheme, self.port);
        format!("s3://{place}?endpoint={scheme}://localhost:{port}&style=virtual")
    }

    /// Returns the file with the server's certificate.
    pub fn certificate(&self) -> PathBuf {
        self.folder.path().join("certificate.pem")
    }

    /// Returns the folder that rclone serves; its folders are the buckets.
    pub fn buckets(&self) -> PathBuf {
        self.folder.path().join("buckets")
    }

    /// Makes a request of moto without signing it, and returns the whole answer.
    pub fn ask(&self, method: &str, target: &str, headers: &str) -> String {
        self.ask_with(method, target, headers, "")
    }

    /// The same with a body.
    pub fn ask_with(&self, method: &str, target: &str, headers: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(self.address()).unwrap();
        write!(
            stream,
            "{method} {target} HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\nConnection: close\r\n{headers}\r\n{body}",
            self.address(),
            body.len(),
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

impl Moto {
    fn await_port(&mut self, port: u16) {
        let (clock, nobody) = (SystemClock::new(), StopSignal::new());
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            assert!(
                self.0.try_wait().unwrap().is_none(),
                "the server ended at once"
            );
            assert!(
                clock.monotonic() < Duration::from_secs(120),
                "the server does not listen"
            );
            clock.sleep(Duration::from_millis(20), &nobody).unwrap();
        }
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}

/// Python's cryptography came with moto.
fn make_certificate(certificate: &Path, key: &Path) {
    const PROGRAM: &str = r#"
import datetime, ipaddress, sys
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
key = ec.generate_private_key(ec.SECP256R1())
name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a test's authority")])
now = datetime.datetime.now(datetime.timezone.utc)
day = datetime.timedelta(days=1)
address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
    x509.DNSName("localhost"), x509.DNSName("bucket.localhost")])
certificate = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    .serial_number(1).not_valid_before(now - day).not_valid_after(now + day)
    .add_extension(address, False).sign(key, hashes.SHA256()))
open(sys.argv[1], "wb").write(certificate.public_bytes(serialization.Encoding.PEM))
open(sys.argv[2], "wb").write(key.private_bytes(serialization.Encoding.PEM,
    serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
"#;
    let made = Command::new(tool("python"))
        .args(["-c", PROGRAM])
        .arg(certificate)
        .arg(key)
        .status();
    assert!(made.unwrap().success(), "the certificate is made");
}
