//! Sending requests over HTTPS: one request, one whole answer, within a time; and fetching files.

use std::ops::ControlFlow;
use std::time::Duration;

use fault::Fault;
use protocol::endpoint::Method;
use protocol::envelope::RESPONSE_BYTES_MAX;
use protocol::{Request, Response};
use time_and_chance::StopSignal;
use tokio::runtime::Runtime;

/// Setting up a connection may take so long.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// The next piece of a file comes within so long.
const PIECE_MAX: Duration = Duration::from_secs(60);
/// A file's server may send elsewhere so often.
const REDIRECTIONS_MAX: usize = 5;
/// How often a request under way looks whether it is to stop.
const STOP_LOOK: Duration = Duration::from_millis(100);

/// Why no answer came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineErrorKind {
    /// The line failed.
    Line,
    /// Nothing came in time.
    Silence,
    /// The work was told to stop before an answer came.
    Stopped,
    /// The work was told to stop before it was sent.
    Unsent,
}

/// A request without an answer.
pub type LineError = Fault<LineErrorKind>;

/// Sends requests. Implementers return whatever came, however little sense it makes, and neither
/// follow redirections nor send anything twice.
pub trait Transport: std::fmt::Debug + Send + Sync {
    /// Sends a request to the control plane at `api_base_url` and returns what came back.
    fn send(
        &self,
        api_base_url: &str,
        request: &Request,
        within: Duration,
        stop: &StopSignal,
    ) -> Result<Response, LineError>;
}

/// What a server says before a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The status of HTTP.
    pub status: u16,
    /// Where the bytes begin that it sends.
    pub from: u64,
    /// How long the whole file is, if it says so.
    pub total: Option<u64>,
}

/// Fetches files from servers that are none of the control plane's: without its headers.
pub trait Downloads: std::fmt::Debug + Send + Sync {
    /// Asks for a file from an offset on, and hands each piece that comes to `take` until that breaks
    /// off; nothing is handed over of answers other than 200 and 206.
    ///
    /// # Errors
    /// If the line breaks before all was sent that was announced.
    fn fetch(
        &self,
        url: &str,
        from: u64,
        take: &mut dyn FnMut(&Head, &[u8]) -> ControlFlow<()>,
        stop: &StopSignal,
    ) -> Result<Head, LineError>;
}

/// The real line.
#[derive(Debug)]
pub struct Https {
    client: reqwest::Client,
    /// For files, whose servers send elsewhere.
    files: reqwest::Client,
    runtime: Runtime,
}

impl Https {
    /// Sets the line up; nothing is sent yet.
    pub fn new() -> Result<Self, LineError> {
        // Fails if some provider was installed before, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let failed = |error: Box<dyn std::error::Error + Send + Sync>| {
            LineError::new(LineErrorKind::Line, "set up connections").caused_by(error)
        };
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_MAX)
            .pool_idle_timeout(Duration::from_secs(60))
            .build()
            .map_err(|error| failed(error.into()))?;
        let files = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::custom(elsewhere))
            .connect_timeout(CONNECT_MAX)
            .read_timeout(PIECE_MAX)
            .build()
            .map_err(|error| failed(error.into()))?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("https")
            .enable_all()
            .build()
            .map_err(|error| failed(error.into()))?;
        Ok(Self {
            client,
            files,
            runtime,
        })
    }

    async fn exchange(&self, url: &str, request: &Request) -> Result<Response, reqwest::Error> {
        let mut sent = match request.method {
            Method::Get => self.client.get(url),
            Method::Post => self.client.post(url).body(request.body.clone()),
        };
        for (name, value) in &request.headers {
            sent = sent.header(*name, value);
        }
        let mut answer = sent.send().await?;
        let mut response = Response {
            http_status: answer.status().as_u16(),
            headers: Vec::new(),
            body: Vec::new(),
        };
        for (name, value) in answer.headers() {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            response.headers.push((name.as_str().to_owned(), value));
        }
        while let Some(piece) = answer.chunk().await? {
            let room = RESPONSE_BYTES_MAX.saturating_sub(response.body.len());
            response
                .body
                .extend_from_slice(&piece[..piece.len().min(room)]);
            if room == 0 {
                break;
            }
        }
        Ok(response)
    }
}

/// Follows where a file's server sends, but not from a safe line to an unsafe one.
fn elsewhere(attempt: reqwest::redirect::Attempt<'_>) -> reqwest::redirect::Action {
    let was_safe = attempt.previous().iter().any(|it| it.scheme() == "https");
    if was_safe && attempt.url().scheme() != "https" {
        return attempt.error("the server sends from https to an address without it");
    }
    match attempt.previous().len() > REDIRECTIONS_MAX {
        true => attempt.error("the server sends elsewhere too often"),
        false => attempt.follow(),
    }
}

/// Reads `bytes 4-9/10`: where a piece begins, and how long the whole is.
fn range_of(header: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = header.trim().strip_prefix("bytes ")?.split_once('/')?;
    let from = range.split_once('-')?.0.trim().parse().ok()?;
    Some((from, total.trim().parse().ok()))
}

impl Https {
    async fn pieces(
        &self,
        url: &str,
        from: u64,
        take: &mut dyn FnMut(&Head, &[u8]) -> ControlFlow<()>,
    ) -> Result<Head, reqwest::Error> {
        let mut asked = self.files.get(url);
        if from > 0 {
            asked = asked.header("Range", format!("bytes={from}-"));
        }
        let mut answer = asked.send().await?;
        let status = answer.status().as_u16();
        let header = answer.headers().get("Content-Range");
        let range = header.and_then(|it| range_of(it.to_str().ok()?));
        let head = match (status, range) {
            (206, Some((from, total))) => Head {
                status,
                from,
                total,
            },
            _ => Head {
                status,
                from: 0,
                total: answer.content_length(),
            },
        };
        if matches!(status, 200 | 206) {
            while let Some(piece) = answer.chunk().await? {
                if take(&head, &piece).is_break() {
                    break;
                }
            }
        }
        Ok(head)
    }
}

impl Downloads for Https {
    fn fetch(
        &self,
        url: &str,
        from: u64,
        take: &mut dyn FnMut(&Head, &[u8]) -> ControlFlow<()>,
        stop: &StopSignal,
    ) -> Result<Head, LineError> {
        let failed = |kind, what: String| LineError::new(kind, format!("fetch a file: {what}"));
        let stopped = async {
            while !stop.is_stopped() {
                tokio::time::sleep(STOP_LOOK).await;
            }
        };
        let fetched = async {
            tokio::select! {
                fetched = self.pieces(url, from, take) => Some(fetched),
                () = stopped => None,
            }
        };
        match self.runtime.block_on(fetched) {
            Some(Ok(head)) => Ok(head),
            // Addresses may have keys in them.
            Some(Err(error)) => Err(failed(LineErrorKind::Line, chain(&error.without_url()))),
            None => Err(failed(
                LineErrorKind::Stopped,
                "stopped on request".to_owned(),
            )),
        }
    }
}

impl Transport for Https {
    fn send(
        &self,
        api_base_url: &str,
        request: &Request,
        within: Duration,
        stop: &StopSignal,
    ) -> Result<Response, LineError> {
        let url = request.url(api_base_url);
        let failed =
            |kind, what: String| LineError::new(kind, format!("call {}: {what}", request.path));
        let stopped = async {
            while !stop.is_stopped() {
                tokio::time::sleep(STOP_LOOK).await;
            }
        };
        let exchange = async {
            tokio::select! {
                answer = tokio::time::timeout(within, self.exchange(&url, request)) => Some(answer),
                () = stopped => None,
            }
        };
        match self.runtime.block_on(exchange) {
            Some(Ok(Ok(response))) => Ok(response),
            Some(Ok(Err(error))) => Err(failed(LineErrorKind::Line, chain(&error.without_url()))),
            Some(Err(_)) => {
                let what = format!("no answer within {} s", within.as_secs());
                Err(failed(LineErrorKind::Silence, what))
            }
            None => Err(failed(
                LineErrorKind::Stopped,
                "stopped on request".to_owned(),
            )),
        }
    }
}

/// Returns an error with all that lies underneath: the outermost says only that sending failed.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_says_where_it_begins() {
        assert_eq!(range_of("bytes 4-9/10"), Some((4, Some(10))));
        assert_eq!(range_of("bytes 4-9/*"), Some((4, None)));
        for wrong in ["", "bytes */10", "bytes 4/10", "4-9/10", "bytes a-9/10"] {
            assert_eq!(range_of(wrong), None, "{wrong}");
        }
    }
}
