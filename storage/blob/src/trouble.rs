//! Why a store could not be used, told from all that an error carries: for whoever tells people what
//! to look at. What a program does next, the kinds of errors decide.

use std::error::Error;
use std::io;

use crate::s3::{Refusal, Silent, Unresolved, Untrusted};
use crate::{BlobError, BlobErrorKind};

/// What stands between this machine and a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// The server's name leads nowhere.
    NoSuchHost,
    /// Nobody answers in time.
    NoAnswer,
    /// The server's machine takes no connections there.
    Refused,
    /// There is no safe line to the server.
    NoSafeLine,
    /// Something in between, or another kind of server, answers with a page for people.
    Page,
    /// The server cannot be reached, or has trouble of its own.
    Unreachable,
    /// What answers is no store.
    NoStore,
    /// The keys are wrong, or no longer right.
    BadKeys,
    /// The store does not let these keys, or this account, do it.
    Forbidden,
    /// The bucket, the folder or a blob is not there.
    NotFound,
    /// The store wants to be asked less often.
    Throttled,
    /// There is no room left.
    Full,
}

impl Trouble {
    /// Returns the trouble of a store that an error comes from; `None` if it comes from elsewhere, or
    /// says nothing that people could look at.
    pub fn of(error: &(dyn Error + 'static)) -> Option<Self> {
        let kind = find::<BlobError>(error)?.kind();
        let refusal = find::<Refusal>(error);
        // A page instead of an answer that may pass is a server that is being restarted.
        let is_page = kind != BlobErrorKind::Unavailable && refusal.is_some_and(|it| it.is_page);
        match kind {
            _ if is_page => Some(Self::Page),
            BlobErrorKind::Full => Some(Self::Full),
            BlobErrorKind::NotFound => Some(Self::NotFound),
            BlobErrorKind::Stopped | BlobErrorKind::Unsupported | BlobErrorKind::AlreadyThere => {
                None
            }
            _ if find::<Untrusted>(error).is_some() => Some(Self::NoSafeLine),
            BlobErrorKind::Denied if refusal.is_some_and(Refusal::is_about_keys) => {
                Some(Self::BadKeys)
            }
            BlobErrorKind::Denied => Some(Self::Forbidden),
            BlobErrorKind::Unavailable => Some(match refusal {
                Some(refusal) if refusal.asks_to_slow_down() => Self::Throttled,
                Some(_) => Self::Unreachable,
                None => on_the_line(error),
            }),
            BlobErrorKind::Invalid => refusal.map(|_| Self::NoStore),
        }
    }
}

/// Returns what is wrong with the line to a server.
fn on_the_line(error: &(dyn Error + 'static)) -> Trouble {
    if find::<Unresolved>(error).is_some() {
        return Trouble::NoSuchHost;
    }
    if find::<rustls::Error>(error).is_some() {
        return Trouble::NoSafeLine;
    }
    let timed_out = find::<reqwest::Error>(error).is_some_and(reqwest::Error::is_timeout);
    if timed_out || find::<Silent>(error).is_some() {
        return Trouble::NoAnswer;
    }
    match find::<io::Error>(error).map(io::Error::kind) {
        Some(io::ErrorKind::ConnectionRefused) => Trouble::Refused,
        Some(io::ErrorKind::TimedOut) => Trouble::NoAnswer,
        _ => Trouble::Unreachable,
    }
}

/// Returns the first error of a type on the way down to the cause.
fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    std::iter::successors(Some(error), |&error| below(error)).find_map(|it| it.downcast_ref())
}

fn below<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    // An I/O error hides what it wraps from `source`.
    let wrapped = error
        .downcast_ref::<io::Error>()
        .and_then(io::Error::get_ref);
    let wrapped = wrapped.map(|wrapped| wrapped as &(dyn Error + 'static));
    wrapped.or_else(|| error.source())
}

#[cfg(test)]
mod tests {
    use time_and_chance::StopSignal;

    use super::*;
    use crate::{S3Identity, S3Limits, S3Store};

    fn refused(status: u16, body: &str) -> BlobError {
        let refusal = Refusal::new(status, None, body.as_bytes());
        let kind = refusal.kind_and_hint().0;
        BlobError::new(kind, "write blob p1").caused_by(refusal)
    }

    fn of(error: BlobError) -> Option<Trouble> {
        // However deep it lies.
        let outer = fault::Fault::new((), "open the repository").caused_by(error);
        Trouble::of(&outer)
    }

    #[test]
    fn a_refusal_says_what_to_look_at() {
        let page = "<!DOCTYPE html><html><body>Access denied by policy</body></html>";
        let code = |code: &str| format!("<Error><Code>{code}</Code></Error>");
        for (status, body, trouble) in [
            (403, page.to_owned(), Some(Trouble::Page)),
            (407, page.to_owned(), Some(Trouble::Page)),
            (404, page.to_owned(), Some(Trouble::Page)),
            (502, page.to_owned(), Some(Trouble::Unreachable)),
            (403, code("AccessDenied"), Some(Trouble::Forbidden)),
            (403, code("InvalidAccessKeyId"), Some(Trouble::BadKeys)),
            (403, code("SignatureDoesNotMatch"), Some(Trouble::BadKeys)),
            (400, code("ExpiredToken"), Some(Trouble::BadKeys)),
            (404, code("NoSuchBucket"), Some(Trouble::NotFound)),
            (429, String::new(), Some(Trouble::Throttled)),
            (503, code("SlowDown"), Some(Trouble::Throttled)),
            (500, code("InternalError"), Some(Trouble::Unreachable)),
            (507, String::new(), Some(Trouble::Full)),
            (403, code("QuotaExceeded"), Some(Trouble::Full)),
            (400, "what?".to_owned(), Some(Trouble::NoStore)),
            (501, code("NotImplemented"), None),
        ] {
            assert_eq!(of(refused(status, &body)), trouble, "{status} {body}");
        }
    }

    #[test]
    fn a_real_line_that_fails_is_told_apart() {
        // A name that no server of names can be asked for, and a port where nobody listens.
        let nowhere = format!("http://{}.invalid", "a".repeat(64));
        for (endpoint, trouble) in [
            (&*nowhere, Trouble::NoSuchHost),
            ("http://127.0.0.1:9", Trouble::Refused),
        ] {
            let identity = S3Identity::find(&|name| match name {
                "AWS_ACCESS_KEY_ID" | "AWS_SECRET_ACCESS_KEY" => Some("key".to_owned()),
                _ => None,
            });
            let limits = S3Limits {
                retries_max: 0,
                ..S3Limits::default()
            };
            let location = format!("s3://bucket?endpoint={endpoint}").parse().unwrap();
            let (identity, stop) = (identity.unwrap(), StopSignal::new());
            let error = S3Store::open(location, &identity, limits, stop).unwrap_err();
            assert_eq!(error.kind(), BlobErrorKind::Unavailable, "{error}");
            assert_eq!(of(error), Some(trouble), "{endpoint}");
        }
    }

    #[test]
    fn a_line_that_fails_says_where() {
        let broken = |cause: Box<dyn Error + Send + Sync>| {
            of(BlobError::new(BlobErrorKind::Unavailable, "list the bucket").caused_by(cause))
        };
        let io = |kind: io::ErrorKind| broken(io::Error::from(kind).into());
        assert_eq!(io(io::ErrorKind::ConnectionRefused), Some(Trouble::Refused));
        assert_eq!(io(io::ErrorKind::TimedOut), Some(Trouble::NoAnswer));
        let reset = io(io::ErrorKind::ConnectionReset);
        assert_eq!(reset, Some(Trouble::Unreachable));
        let hidden = io::Error::other(rustls::Error::HandshakeNotComplete);
        assert_eq!(broken(hidden.into()), Some(Trouble::NoSafeLine));
        let stopped = BlobError::new(BlobErrorKind::Stopped, "go on");
        assert_eq!(of(stopped), None);
        assert_eq!(Trouble::of(&io::Error::other("elsewhere")), None);
    }
}
