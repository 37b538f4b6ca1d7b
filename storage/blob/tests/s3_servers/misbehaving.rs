//! A server of ours that answers wrongly, late, half or not at all.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use time_and_chance::{StopSignal, SystemClock};

/// What a listing of an empty bucket answers.
pub const EMPTY_LISTING: &str = "<?xml version=\"1.0\"?><ListBucketResult><Name>b</Name><IsTruncated>false</IsTruncated></ListBucketResult>";

/// What the server does with a request.
#[derive(Debug, Clone)]
pub enum Reaction {
    /// Answers with a status, headers (each ending in CR LF) and a body.
    Answer(u16, &'static str, &'static str),
    /// Answers with something else than HTTP.
    Garbage,
    /// Says nothing and keeps the connection.
    Hang,
    /// Begins a longer answer and says no more.
    HangInside,
    /// Begins a longer answer and closes.
    CloseInside,
    /// Resets the connection.
    Reset,
    /// Answers well, after a while.
    Slow(Duration),
}

type Script = Box<dyn Fn(usize) -> Reaction + Send>;

/// The server; it ends when dropped.
#[derive(Debug)]
pub struct Misbehaving {
    shared: Arc<Shared>,
    port: u16,
}

struct Shared {
    /// How requests are answered from now on, by their number; well if there is none.
    script: Mutex<Option<Script>>,
    /// Heads of the requests since the script began.
    heads: Mutex<Vec<String>>,
    inside: AtomicUsize,
    inside_most: AtomicUsize,
    is_over: AtomicBool,
    over: StopSignal,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shared")
    }
}

impl Drop for Misbehaving {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        self.shared.over.stop();
        // Wakes the thread that waits for connections.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

impl Misbehaving {
    pub fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            script: Mutex::new(None),
            heads: Mutex::default(),
            inside: AtomicUsize::new(0),
            inside_most: AtomicUsize::new(0),
            is_over: AtomicBool::new(false),
            over: StopSignal::new(),
        });
        let for_thread = shared.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if for_thread.is_over.load(Ordering::SeqCst) {
                    break;
                }
                let shared = for_thread.clone();
                thread::spawn(move || shared.serve(stream));
            }
        });
        Self { shared, port }
    }

    pub fn location(&self) -> String {
        format!("s3://b/p?endpoint=http://127.0.0.1:{}", self.port)
    }

    /// Answers by this from now on, counting requests from 0.
    pub fn play(&self, script: impl Fn(usize) -> Reaction + Send + 'static) {
        self.shared.heads.lock().unwrap().clear();
        *self.shared.script.lock().unwrap() = Some(Box::new(script));
    }

    /// Returns the heads of the requests since [`Misbehaving::play`].
    pub fn heads(&self) -> Vec<String> {
        self.shared.heads.lock().unwrap().clone()
    }

    /// Returns how many requests were answered slowly at once, at most.
    pub fn inside_most(&self) -> usize {
        self.shared.inside_most.load(Ordering::SeqCst)
    }
}

impl Shared {
    fn serve(&self, stream: TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        while let Some(head) = read_request(&mut reader) {
            if !self.react(&stream, &head) {
                return;
            }
        }
    }

    fn react(&self, mut stream: &TcpStream, head: &str) -> bool {
        let number = {
            let mut heads = self.heads.lock().unwrap();
            heads.push(head.to_owned());
            heads.len() - 1
        };
        let reaction = self
            .script
            .lock()
            .unwrap()
            .as_ref()
            .map_or_else(|| well(head), |script| script(number));
        let has_body = !head.starts_with("HEAD");
        let clock = SystemClock::new();
        match reaction {
            Reaction::Answer(status, headers, body) => {
                answer(stream, status, headers, body, has_body)
            }
            Reaction::Slow(duration) => {
                let inside = self.inside.fetch_add(1, Ordering::SeqCst) + 1;
                self.inside_most.fetch_max(inside, Ordering::SeqCst);
                let _ = clock.sleep(duration, &self.over);
                // Before the answer: whoever has it may ask again at once.
                self.inside.fetch_sub(1, Ordering::SeqCst);
                let Reaction::Answer(status, headers, body) = well(head) else {
                    unreachable!("a good answer is an answer")
                };
                answer(stream, status, headers, body, has_body)
            }
            Reaction::Garbage => {
                let _ = stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n\r\n");
                false
            }
            Reaction::Hang => {
                let _ = clock.sleep(Duration::from_secs(60), &self.over);
                false
            }
            Reaction::HangInside => {
                answer(
                    stream,
                    200,
                    "ETag: \"x\"\r\nContent-Length: 1000\r\n",
                    "",
                    false,
                );
                let _ = stream.write_all(b"the beginning");
                let _ = clock.sleep(Duration::from_secs(60), &self.over);
                false
            }
            Reaction::CloseInside => {
                answer(
                    stream,
                    200,
                    "ETag: \"x\"\r\nContent-Length: 1000\r\n",
                    "",
                    false,
                );
                let _ = stream.write_all(b"the beginning");
                let _ = stream.shutdown(Shutdown::Both);
                false
            }
            Reaction::Reset => {
                let _ = stream.shutdown(Shutdown::Both);
                false
            }
        }
    }
}

/// What a good server with an empty bucket answers.
fn well(head: &str) -> Reaction {
    match head.split(' ').next() {
        Some("GET") if head.contains("list-type=2") => Reaction::Answer(200, "", EMPTY_LISTING),
        Some("PUT") => Reaction::Answer(200, "ETag: \"x\"\r\n", ""),
        Some("DELETE") => Reaction::Answer(204, "", ""),
        _ => Reaction::Answer(404, "", "<Error><Code>NoSuchKey</Code></Error>"),
    }
}

fn answer(mut stream: &TcpStream, status: u16, headers: &str, body: &str, has_body: bool) -> bool {
    let mut text = format!("HTTP/1.1 {status} So\r\n{headers}");
    if !headers.contains("Content-Length") {
        text.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    text.push_str("\r\n");
    if has_body {
        text.push_str(body);
    }
    stream.write_all(text.as_bytes()).is_ok()
}

fn read_request(reader: &mut BufReader<TcpStream>) -> Option<String> {
    let mut head = String::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if line == "\r\n" {
            break;
        }
        head.push_str(&line);
    }
    let length = head.lines().find_map(|line| {
        line.to_ascii_lowercase()
            .strip_prefix("content-length: ")?
            .parse()
            .ok()
    });
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body).ok()?;
    Some(head)
}
