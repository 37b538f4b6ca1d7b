//! A server of files, as releases lie on: with pieces, with what is not there, with a line that breaks.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};

use anyhow::Result;

/// A server of files, which ends with its process.
#[derive(Debug)]
pub struct Downloads {
    address: SocketAddr,
    shelf: Arc<Mutex<Shelf>>,
}

#[derive(Debug, Default)]
struct Shelf {
    files: BTreeMap<String, Vec<u8>>,
    /// After how many bytes the line breaks, of the next answers with a file.
    breaks: Vec<usize>,
    asked: Vec<String>,
}

impl Downloads {
    /// Starts it.
    pub fn start() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let shelf: Arc<Mutex<Shelf>> = Arc::default();
        let shared = Arc::clone(&shelf);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                // One who hangs up has what he wanted.
                let _ = client
                    .map_err(Into::into)
                    .and_then(|it| serve(&it, &shared));
            }
        });
        Ok(Self { address, shelf })
    }

    /// Puts a file there, and returns its address.
    pub fn put(&self, name: &str, content: &[u8]) -> String {
        let mut shelf = lock(&self.shelf);
        shelf.files.insert(name.to_owned(), content.to_owned());
        self.url(name)
    }

    /// Returns the address of a file, whether it is there or not.
    pub fn url(&self, name: &str) -> String {
        format!("http://{}/{name}", self.address)
    }

    /// Lets the line break in the next answers with a file, after so many bytes each.
    pub fn breaks_after(&self, bytes: &[usize]) {
        lock(&self.shelf).breaks = bytes.to_owned();
    }

    /// Returns what was asked for: names, with the pieces of them.
    pub fn asked(&self) -> Vec<String> {
        lock(&self.shelf).asked.clone()
    }
}

fn lock(shelf: &Mutex<Shelf>) -> MutexGuard<'_, Shelf> {
    shelf.lock().expect("nobody panics while he holds it")
}

fn serve(client: &TcpStream, shelf: &Mutex<Shelf>) -> Result<()> {
    let mut lines = BufReader::new(client).lines();
    let first = lines.next().unwrap_or_else(|| Ok(String::new()))?;
    let name = first.split_whitespace().nth(1).unwrap_or_default();
    let name = name.trim_start_matches('/').to_owned();
    let mut range = None;
    for line in lines {
        let line = line?.to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(asked) = line.strip_prefix("range:") {
            range = Some(asked.trim().to_owned());
        }
    }
    let (file, break_after) = {
        let mut shelf = lock(shelf);
        let piece = range.as_ref().map_or(String::new(), |it| format!(" {it}"));
        shelf.asked.push(format!("{name}{piece}"));
        let file = shelf.files.get(&name).cloned();
        let is_broken = file.is_some() && !shelf.breaks.is_empty();
        let break_after = is_broken.then(|| shelf.breaks.remove(0));
        (file, break_after)
    };
    let mut client = client;
    let Some(file) = file else {
        client.write_all(
            b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        )?;
        return Ok(());
    };
    let from = range
        .and_then(|it| it.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok())
        .filter(|from| *from < file.len());
    let (status, extra) = match from {
        Some(from) => {
            let (last, all) = (file.len() - 1, file.len());
            (
                "206 Partial Content",
                format!("Content-Range: bytes {from}-{last}/{all}\r\n"),
            )
        }
        None => ("200 OK", String::new()),
    };
    let sent = &file[from.unwrap_or(0)..];
    let length = sent.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{extra}Connection: close\r\n\r\n"
    );
    client.write_all(head.as_bytes())?;
    let kept = break_after.unwrap_or(length).min(length);
    client.write_all(&sent[..kept])?;
    Ok(())
}
