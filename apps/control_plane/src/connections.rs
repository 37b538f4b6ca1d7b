//! Who may hold a connection, and for how long without saying anything.
//!
//! ```text
//! TCP ─ is there room? ─► TLS, within ten seconds ─► first words, within twenty ─► HTTP, whose heads have a limit of their own
//! ```
//!
//! HTTP looks at the first bytes to know which version is spoken, and has no limit for how long they take to come; that
//! one stands here. So does what a connection is good for after an answer.

use std::collections::HashMap;
use std::io::{Error, ErrorKind, Result};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::header::CONNECTION;
use axum::http::{HeaderValue, Version};
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum_server::Handle;
use axum_server::accept::Accept;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use http_body::{Frame, SizeHint};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

use crate::sign_in::network;

/// What HTTP/2 begins with: until it is told apart from HTTP/1, nobody else watches the time.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Streams of one HTTP/2 connection.
const STREAMS_MAX: u32 = 200;

/// What connections are held to.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at a time.
    pub connections_max: usize,
    /// Connections of one address at a time; none where all come from a proxy's.
    pub per_address_max: Option<usize>,
    /// How long the TLS handshake may take.
    pub handshake: Duration,
    /// How long a caller may take to send the head of a request, the time before the first included.
    pub head: Duration,
}

/// Serves a router until `handle` ends it.
///
/// # Errors
/// If the address cannot be listened at.
pub async fn serve(
    listen: SocketAddr,
    routes: Router,
    tls: Option<RustlsConfig>,
    limits: Limits,
    handle: Handle<SocketAddr>,
) -> Result<()> {
    let service = routes
        .layer(from_fn(close_unread))
        .into_make_service_with_connect_info::<SocketAddr>();
    let door = Door::new(limits);
    match tls {
        Some(tls) => {
            let tls = RustlsAcceptor::new(tls)
                .handshake_timeout(limits.handshake)
                .acceptor(door);
            let greeted = Greeted {
                inner: tls,
                within: limits.head,
            };
            let mut server = axum_server::bind(listen).handle(handle).acceptor(greeted);
            set_up(server.http_builder(), limits.head);
            server.serve(service).await
        }
        None => {
            // Without TLS nobody speaks HTTP/2.
            let server = axum_server::bind(listen).handle(handle).acceptor(door);
            let mut server = server.http1_only();
            set_up(server.http_builder(), limits.head);
            server.serve(service).await
        }
    }
}

/// Slow callers cannot hold connections open without saying anything.
fn set_up(builder: &mut Builder<TokioExecutor>, head: Duration) {
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(head);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Some(head))
        .max_concurrent_streams(STREAMS_MAX);
}

/// Says with an answer that came before all of its request was read (who calls too often is not listened to) that the
/// connection ends with it: the rest of the request stands in the way of the next one. Streams of HTTP/2 are apart.
async fn close_unread(request: Request, next: Next) -> Response {
    if request.version() == Version::HTTP_2 || request.body().is_end_stream() {
        return next.run(request).await;
    }
    let is_read = Arc::<AtomicBool>::default();
    let request = request.map(|inner| {
        Body::new(Watched {
            inner,
            is_read: is_read.clone(),
        })
    });
    let mut response = next.run(request).await;
    if !is_read.load(Ordering::Relaxed) {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(CONNECTION, close);
    }
    response
}

/// The body of a request, which tells when it was read to its end.
struct Watched {
    inner: Body,
    is_read: Arc<AtomicBool>,
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.inner).poll_frame(context);
        if matches!(frame, Poll::Ready(None)) || self.inner.is_end_stream() {
            self.is_read.store(true, Ordering::Relaxed);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// Lets connections in while there is room. Clones count together.
#[derive(Clone, Debug)]
struct Door {
    limits: Limits,
    inside: Arc<Mutex<Inside>>,
}

#[derive(Debug, Default)]
struct Inside {
    count: usize,
    by_address: HashMap<IpAddr, usize>,
}

impl Door {
    fn new(limits: Limits) -> Self {
        Self {
            limits,
            inside: Arc::default(),
        }
    }

    /// Takes a place for a connection, if there is one.
    fn place(&self, address: IpAddr) -> Option<Place> {
        // One machine has a whole network of IPv6 addresses.
        let address = network(address.to_canonical());
        let mut inside = locked(&self.inside);
        let of_address = inside.by_address.get(&address).copied().unwrap_or(0);
        let is_full = inside.count >= self.limits.connections_max
            || self
                .limits
                .per_address_max
                .is_some_and(|max| of_address >= max);
        if is_full {
            return None;
        }
        inside.count += 1;
        inside.by_address.insert(address, of_address + 1);
        Some(Place {
            address,
            inside: self.inside.clone(),
        })
    }
}

fn locked(inside: &Mutex<Inside>) -> MutexGuard<'_, Inside> {
    inside.lock().expect("no thread panics while it counts")
}

/// A connection's place, until it is dropped.
#[derive(Debug)]
struct Place {
    address: IpAddr,
    inside: Arc<Mutex<Inside>>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut inside = locked(&self.inside);
        inside.count -= 1;
        if let Some(count) = inside.by_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                inside.by_address.remove(&self.address);
            }
        }
    }
}

impl<S> Accept<TcpStream, S> for Door {
    type Stream = Placed;
    type Service = S;
    type Future = std::future::Ready<Result<(Placed, S)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let placed = stream.peer_addr().and_then(|peer| {
            let place = self
                .place(peer.ip())
                .ok_or_else(|| Error::new(ErrorKind::QuotaExceeded, "there is no more room"))?;
            Ok(Placed {
                stream,
                _place: place,
            })
        });
        std::future::ready(placed.map(|placed| (placed, service)))
    }
}

/// A connection that has its place.
#[derive(Debug)]
struct Placed {
    stream: TcpStream,
    _place: Place,
}

/// Lets in whom another lets in, and waits for their first words no longer than `within`.
#[derive(Clone, Debug)]
struct Greeted<A> {
    inner: A,
    within: Duration,
}

impl<A, I, S> Accept<I, S> for Greeted<A>
where
    A: Accept<I, S>,
    A::Future: Send + 'static,
{
    type Stream = Waited<A::Stream>;
    type Service = A::Service;
    type Future = Pin<Box<dyn Future<Output = Result<(Self::Stream, Self::Service)>> + Send>>;

    fn accept(&self, stream: I, service: S) -> Self::Future {
        let accepted = self.inner.accept(stream, service);
        let within = self.within;
        Box::pin(async move {
            let (stream, service) = accepted.await?;
            let waited = Waited {
                stream,
                matched: 0,
                until: Some(Box::pin(tokio::time::sleep(within))),
            };
            Ok((waited, service))
        })
    }
}

/// A connection that fails when it takes too long to say which version it speaks.
#[derive(Debug)]
struct Waited<S> {
    stream: S,
    /// How much of the preface was read.
    matched: usize,
    until: Option<Pin<Box<Sleep>>>,
}

impl<S> Waited<S> {
    /// Stops watching the time once the version is clear.
    fn hear(&mut self, said: &[u8]) {
        let rest = &PREFACE[self.matched..];
        let same = rest.iter().zip(said).take_while(|(a, b)| a == b).count();
        self.matched += same;
        if same < said.len() || self.matched == PREFACE.len() {
            self.until = None;
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Waited<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if self.until.is_none() {
            return read;
        }
        if read.is_ready() {
            self.hear(&buffer.filled()[before..]);
            return read;
        }
        let is_over = self
            .until
            .as_mut()
            .is_some_and(|until| until.as_mut().poll(context).is_ready());
        match is_over {
            true => Poll::Ready(Err(Error::new(ErrorKind::TimedOut, "it said nothing"))),
            false => Poll::Pending,
        }
    }
}

impl AsyncRead for Placed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

/// Writes go to the stream within as they are.
macro_rules! writes_through {
    ([$($generic:ident)?] $of:ty) => {
        impl<$($generic: AsyncWrite + Unpin)?> AsyncWrite for $of {
            fn poll_write(
                mut self: Pin<&mut Self>,
                context: &mut Context<'_>,
                bytes: &[u8],
            ) -> Poll<Result<usize>> {
                Pin::new(&mut self.stream).poll_write(context, bytes)
            }

            fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
                Pin::new(&mut self.stream).poll_flush(context)
            }

            fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
                Pin::new(&mut self.stream).poll_shutdown(context)
            }

            fn poll_write_vectored(
                mut self: Pin<&mut Self>,
                context: &mut Context<'_>,
                pieces: &[std::io::IoSlice<'_>],
            ) -> Poll<Result<usize>> {
                Pin::new(&mut self.stream).poll_write_vectored(context, pieces)
            }

            fn is_write_vectored(&self) -> bool {
                self.stream.is_write_vectored()
            }
        }
    };
}

writes_through!([] Placed);
writes_through!([S] Waited<S>);

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpStream as Caller;

    use axum::http::StatusCode;
    use axum::routing::{get, post};
    use rustls::pki_types::ServerName;
    use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
    use tower::ServiceExt as _;

    use super::*;

    const LONG: Duration = Duration::from_secs(600);
    const SHORT: Duration = Duration::from_millis(20);

    const OPEN: Limits = Limits {
        connections_max: 100,
        per_address_max: None,
        handshake: LONG,
        head: LONG,
    };

    async fn served(limits: Limits, tls: Option<RustlsConfig>) -> SocketAddr {
        let routes = Router::new()
            .route("/", get(async || "fine"))
            .route("/read", post(async |_: Bytes| "read"))
            .route("/refused", post(async || StatusCode::TOO_MANY_REQUESTS));
        let handle = Handle::new();
        let listen = "127.0.0.1:0".parse().expect("an address");
        tokio::spawn(serve(listen, routes, tls, limits, handle.clone()));
        handle.listening().await.expect("an address")
    }

    /// Says something, if anything, and reads until the server ends the connection.
    fn says(caller: &mut (impl std::io::Read + std::io::Write), said: &[u8]) -> String {
        let mut heard = Vec::new();
        // Whoever is shut out may hear so while it speaks.
        if caller.write_all(said).and_then(|()| caller.flush()).is_ok() {
            let _shut_out_or_ended = caller.read_to_end(&mut heard);
        }
        String::from_utf8_lossy(&heard).into_owned()
    }

    const ASK: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";

    async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
        tokio::task::spawn_blocking(work).await.expect("no panic")
    }

    #[tokio::test]
    async fn there_is_room_for_so_many_and_what_ends_makes_room() {
        for limits in [
            Limits {
                connections_max: 2,
                ..OPEN
            },
            Limits {
                per_address_max: Some(2),
                ..OPEN
            },
        ] {
            let server = served(limits, None).await;
            blocking(move || {
                let call = || Caller::connect(server).expect("connected");
                let mut held = [call(), call()];
                // Both are known to be inside once they were answered.
                for caller in &mut held {
                    caller
                        .write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
                        .expect("sent");
                    caller.read_exact(&mut [0; 12]).expect("answered");
                }
                assert_eq!(says(&mut call(), ASK), "", "{limits:?}");
                drop(held);
                while !says(&mut call(), ASK).ends_with("fine") {}
            })
            .await;
        }
    }

    #[test]
    fn addresses_have_a_share_each_and_a_network_of_ipv6_has_one() {
        let door = Door::new(Limits {
            connections_max: 3,
            per_address_max: Some(1),
            ..OPEN
        });
        let place = |address: &str| door.place(address.parse().expect("an address"));
        let first = place("192.0.2.1");
        assert!(first.is_some() && place("::ffff:192.0.2.1").is_none());
        let _second = place("2001:db8:1:2::1").expect("room");
        assert!(place("2001:db8:1:2:ffff::2").is_none());
        let _third = place("2001:db8:1:3::1").expect("room");
        assert!(place("192.0.2.2").is_none(), "all are taken");
        drop(first);
        assert!(place("192.0.2.2").is_some());
    }

    #[tokio::test]
    async fn an_answer_before_all_was_read_says_that_the_connection_ends() {
        let server = served(OPEN, None).await;
        blocking(move || {
            let call = |path: &str, sent: &str| {
                let ask = String::from_utf8_lossy(ASK);
                let said = format!("POST {path} HTTP/1.1\r\nhost: a\r\n{sent}{ask}");
                says(
                    &mut Caller::connect(server).expect("connected"),
                    said.as_bytes(),
                )
            };
            let close = "connection: close";
            let heard = call("/refused", "content-length: 1000000\r\n\r\n");
            assert!(heard.contains(" 429 ") && heard.contains(close), "{heard}");
            assert!(!heard.ends_with("fine"), "{heard}");
            for all in [
                "content-length: 5\r\n\r\nwords",
                "transfer-encoding: chunked\r\n\r\n5\r\nwords\r\n0\r\n\r\n",
            ] {
                let heard = call("/read", all);
                let (first, next) = heard.split_once("read").expect("an answer");
                assert!(!first.contains(close) && next.ends_with("fine"), "{heard}");
            }
        })
        .await;
    }

    #[tokio::test]
    async fn streams_of_http_2_are_apart() {
        let routes = Router::new()
            .route("/", post(async || StatusCode::TOO_MANY_REQUESTS))
            .layer(from_fn(close_unread));
        for (version, is_closed) in [(Version::HTTP_11, true), (Version::HTTP_2, false)] {
            let request = Request::post("/")
                .version(version)
                .body(Body::from("words"));
            let request = request.expect("a request");
            let response = routes.clone().oneshot(request).await.expect("an answer");
            let closed = response.headers().contains_key(CONNECTION);
            assert_eq!(closed, is_closed, "{version:?}");
        }
    }

    #[tokio::test]
    async fn whoever_is_silent_is_shut_out_before_and_after_the_handshake() {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("made");
        let (cert, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        let tls = RustlsConfig::from_pem(cert.into(), key.into())
            .await
            .expect("fit");
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).expect("a certificate");
        let config = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let config = Arc::new(config);
        let private = move |server: SocketAddr| {
            let name = ServerName::try_from("localhost").expect("a name");
            let connection = ClientConnection::new(config.clone(), name).expect("a client");
            StreamOwned::new(connection, Caller::connect(server).expect("connected"))
        };
        let no_handshake = served(
            Limits {
                handshake: SHORT,
                ..OPEN
            },
            Some(tls.clone()),
        )
        .await;
        let no_words = served(
            Limits {
                head: SHORT,
                ..OPEN
            },
            Some(tls.clone()),
        )
        .await;
        let patient = served(OPEN, Some(tls)).await;
        let plain = served(
            Limits {
                head: SHORT,
                ..OPEN
            },
            None,
        )
        .await;
        blocking(move || {
            let call = |server| Caller::connect(server).expect("connected");
            assert_eq!(says(&mut call(no_handshake), b""), "");
            assert_eq!(says(&mut call(plain), b""), "");
            for said in ["", "PRI * HTTP", "GET / HTTP"] {
                let heard = says(&mut private(no_words), said.as_bytes());
                assert_eq!(heard, "", "{said:?}");
            }
            assert!(says(&mut private(patient), ASK).ends_with("fine"));
        })
        .await;
    }
}
