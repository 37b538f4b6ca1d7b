//! A connection to the server that asks one thing after another: HTTP/1.1, and no more of it than the server speaks.
//! Thousands of them fit beside the server that they try.

use std::io;
use std::net::{IpAddr, SocketAddr};

use anyhow::{Context as _, bail};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpSocket, TcpStream};

/// No answer is longer.
const BODY_BYTES_MAX: usize = 64 << 20;

/// What is asked.
#[derive(Debug)]
pub struct Asked<'a> {
    /// The method.
    pub method: &'a str,
    /// The path and the query.
    pub path: &'a str,
    /// Headers but those of the connection.
    pub headers: &'a [(&'a str, String)],
    /// The body.
    pub body: &'a [u8],
}

/// What was answered.
#[derive(Debug)]
pub struct Answered {
    /// The status.
    pub status: u16,
    /// The headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Answered {
    /// Returns a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// A line to the server, which is opened again when the server has closed it.
#[derive(Debug)]
pub struct Line {
    server: SocketAddr,
    from: Option<IpAddr>,
    stream: Option<BufReader<TcpStream>>,
}

impl Line {
    /// Returns a line, from an address of this machine if one is named.
    pub fn to(server: SocketAddr, from: Option<IpAddr>) -> Self {
        Self {
            server,
            from,
            stream: None,
        }
    }

    /// Asks, and returns the answer. A line that was idle may have been closed, so that is asked again once.
    ///
    /// # Errors
    /// If the server does not answer, or not in HTTP.
    pub async fn ask(&mut self, asked: &Asked<'_>) -> anyhow::Result<Answered> {
        let was_idle = self.stream.is_some();
        match self.ask_once(asked).await {
            Ok(answered) => Ok(answered),
            Err(error) => {
                self.stream = None;
                match was_idle {
                    true => self.ask_once(asked).await,
                    false => Err(error),
                }
            }
        }
    }

    async fn ask_once(&mut self, asked: &Asked<'_>) -> anyhow::Result<Answered> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => BufReader::with_capacity(2048, self.connect().await.context("connecting")?),
        };
        let mut head = format!(
            "{} {} HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n",
            asked.method,
            asked.path,
            self.server,
            asked.body.len()
        );
        for (name, value) in asked.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(asked.body);
        stream.get_mut().write_all(&bytes).await?;
        let answered = answer(&mut stream).await?;
        if answered.header("connection") != Some("close") {
            self.stream = Some(stream);
        }
        Ok(answered)
    }

    async fn connect(&self) -> io::Result<TcpStream> {
        let socket = match self.server {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        if let Some(from) = self.from {
            socket.bind(SocketAddr::new(from, 0))?;
        }
        let stream = socket.connect(self.server).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

async fn answer(stream: &mut BufReader<TcpStream>) -> anyhow::Result<Answered> {
    let first = text_line(stream).await?;
    let status = first.split(' ').nth(1).and_then(|word| word.parse().ok());
    let status = status.with_context(|| format!("{first:?} is no answer in HTTP"))?;
    let mut headers = Vec::new();
    loop {
        let line = text_line(stream).await?;
        if line.is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':') {
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    let mut answered = Answered {
        status,
        headers,
        body: Vec::new(),
    };
    if answered.header("transfer-encoding") == Some("chunked") {
        loop {
            let size = text_line(stream).await?;
            let size = usize::from_str_radix(size.trim(), 16).context("reading a chunk's size")?;
            read_into(stream, &mut answered.body, size).await?;
            text_line(stream).await?;
            if size == 0 {
                break;
            }
        }
    } else if let Some(length) = answered.header("content-length") {
        let length = length.parse().context("reading the body's length")?;
        read_into(stream, &mut answered.body, length).await?;
    }
    Ok(answered)
}

async fn read_into(
    stream: &mut BufReader<TcpStream>,
    body: &mut Vec<u8>,
    bytes: usize,
) -> anyhow::Result<()> {
    let begun = body.len();
    if begun.saturating_add(bytes) > BODY_BYTES_MAX {
        bail!("the answer is longer than {BODY_BYTES_MAX} bytes");
    }
    body.resize(begun + bytes, 0);
    stream.read_exact(&mut body[begun..]).await?;
    Ok(())
}

async fn text_line(stream: &mut BufReader<TcpStream>) -> anyhow::Result<String> {
    let mut line = String::new();
    if stream.read_line(&mut line).await? == 0 {
        bail!("the server closed the connection");
    }
    Ok(line.trim_end().to_owned())
}
