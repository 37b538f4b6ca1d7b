//! Sending requests over HTTPS: one request, one whole answer, within a time.

use std::time::Duration;

use fault::Fault;
use protocol::endpoint::Method;
use protocol::envelope::RESPONSE_BYTES_MAX;
use protocol::{Request, Response};
use time_and_chance::StopSignal;
use tokio::runtime::Runtime;

/// Setting up a connection may take so long.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// How often a request under way looks whether it is to stop.
const STOP_LOOK: Duration = Duration::from_millis(100);

/// Why no answer came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineErrorKind {
    /// The line failed, or nothing came in time.
    Line,
    /// The work was told to stop.
    Stopped,
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

/// The real line.
#[derive(Debug)]
pub struct Https {
    client: reqwest::Client,
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
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("https")
            .enable_all()
            .build()
            .map_err(|error| failed(error.into()))?;
        Ok(Self { client, runtime })
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
                Err(failed(LineErrorKind::Line, what))
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
