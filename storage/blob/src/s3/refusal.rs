//! What a server says when it refuses, and what kind of error that is.

use std::error::Error;
use std::fmt;
use std::io;

use object_store::client::{HttpError, HttpErrorKind};

use time_and_chance::Stopped;

use crate::{BlobError, BlobErrorKind};

/// No more of a server's own words than this is shown.
const MESSAGE_CHARS_MAX: usize = 300;

/// A server's answer that is no success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// S3's code for what is wrong, such as `NoSuchBucket`.
    pub code: Option<String>,
    /// The server's explanation.
    pub message: Option<String>,
    /// The region that the bucket is in, if the server says so.
    pub region: Option<String>,
    /// Whether the answer is a page for people, as no store sends one.
    pub is_page: bool,
}

impl Refusal {
    /// Reads code and message out of the answer's body, if they are there.
    pub fn new(status: u16, region: Option<String>, body: &[u8]) -> Self {
        let is_page = is_page(body);
        let body = String::from_utf8_lossy(body);
        let is_error = body.contains("<Error");
        let element = |name| is_error.then(|| element(&body, name)).flatten();
        Self {
            status,
            code: element("Code"),
            message: element("Message"),
            region: region.or_else(|| element("Region")),
            is_page,
        }
    }

    fn code(&self) -> &str {
        self.code.as_deref().unwrap_or_default()
    }

    /// Returns whether the same request may succeed a little later.
    pub fn is_passing(&self) -> bool {
        match self.status {
            // Not implemented, no room: both stay so.
            501 | 507 => false,
            408 | 429 | 500.. => !self.is_full(),
            _ => matches!(
                self.code(),
                "SlowDown"
                    | "RequestTimeout"
                    | "InternalError"
                    | "ServiceUnavailable"
                    | "OperationAborted"
                    | "ConditionalRequestConflict"
            ),
        }
    }

    fn is_full(&self) -> bool {
        let code = self.code().to_ascii_lowercase();
        self.status == 507
            || ["quota", "storagefull", "insufficientstorage"]
                .iter()
                .any(|word| code.contains(word))
    }

    /// Returns whether the keys are wrong, rather than allowed too little.
    pub fn is_about_keys(&self) -> bool {
        let codes = [
            "SignatureDoesNotMatch",
            "InvalidAccessKeyId",
            "ExpiredToken",
            "InvalidToken",
            "RequestTimeTooSkewed",
        ];
        self.status == 401 || codes.contains(&self.code())
    }

    /// Returns whether the server is asked too often.
    pub fn asks_to_slow_down(&self) -> bool {
        self.status == 429 || self.code() == "SlowDown"
    }

    /// Returns the kind, and what the reader may do about it.
    pub fn kind_and_hint(&self) -> (BlobErrorKind, &'static str) {
        match (self.status, self.code()) {
            _ if self.is_full() => (BlobErrorKind::Full, "the store or its quota is full"),
            _ if self.is_passing() => (
                BlobErrorKind::Unavailable,
                "the server has trouble or asks to slow down",
            ),
            (_, "SignatureDoesNotMatch") => (
                BlobErrorKind::Denied,
                "check the secret key, and the region if the server cares",
            ),
            (_, "InvalidAccessKeyId") => (BlobErrorKind::Denied, "check the access key's id"),
            (_, "ExpiredToken" | "InvalidToken") => (
                BlobErrorKind::Denied,
                "the session token has expired or is wrong",
            ),
            (_, "RequestTimeTooSkewed") => (BlobErrorKind::Denied, "check this machine's clock"),
            (_, "AuthorizationHeaderMalformed" | "PermanentRedirect")
            | (301 | 302 | 307 | 308, _) => {
                (BlobErrorKind::Invalid, "check the region and the endpoint")
            }
            (401 | 403, _) => (BlobErrorKind::Denied, "check the keys and what they may do"),
            (404, _) => (BlobErrorKind::NotFound, ""),
            (412, _) => (BlobErrorKind::AlreadyThere, "there is one already"),
            (_, "NotImplemented" | "ObjectLockConfigurationNotFoundError") | (405 | 501, _) => {
                (BlobErrorKind::Unsupported, "the server cannot do this")
            }
            _ => (
                BlobErrorKind::Invalid,
                "is this the address of an S3 server?",
            ),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the server answered {}", self.status)?;
        for text in self.code.iter().chain(&self.message) {
            write!(f, ", {text}")?;
        }
        if let Some(region) = &self.region {
            write!(f, ", the bucket's region is {region}")?;
        }
        Ok(())
    }
}

impl Error for Refusal {}

/// Returns whether a body is a page for people.
pub fn is_page(body: &[u8]) -> bool {
    let start = String::from_utf8_lossy(body.get(..256).unwrap_or(body)).to_ascii_lowercase();
    start.contains("<html") || start.contains("<!doctype html")
}

/// The server's certificate was not trusted.
#[derive(Debug, thiserror::Error)]
#[error("the server's certificate is not trusted ({0}); name its authority by ca=FILE")]
pub struct Untrusted(pub String);

/// The bucket has no object locks, or the server none to give.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error(
    "the bucket shows no object locks (were they enabled when it was made? may the keys do s3:GetBucketObjectLockConfiguration?)"
)]
pub struct WithoutLocks;

/// Returns why the certificate was refused, if that is at the bottom of an error.
pub fn untrusted(error: &(dyn Error + 'static)) -> Option<Untrusted> {
    if let Some(rustls::Error::InvalidCertificate(why)) = error.downcast_ref() {
        return Some(Untrusted(format!("{why:?}")));
    }
    // An I/O error hides what it wraps from `source`.
    let wrapped = error
        .downcast_ref::<io::Error>()
        .and_then(io::Error::get_ref);
    let below = wrapped.map(|wrapped| wrapped as &(dyn Error + 'static));
    below.or_else(|| error.source()).and_then(untrusted)
}

/// Turns what went wrong while doing `what` into an error of the port.
pub fn blob_error(what: &str, bucket: &str, error: object_store::Error) -> BlobError {
    if let Some(refusal) = find::<Refusal>(&error) {
        let refusal = refusal.clone();
        let (kind, hint) = match refusal.code() {
            "NoSuchBucket" => {
                return BlobError::new(
                    BlobErrorKind::NotFound,
                    format!("{what}: there is no bucket {bucket}"),
                )
                .caused_by(refusal);
            }
            _ => refusal.kind_and_hint(),
        };
        let message = match hint {
            "" => what.to_owned(),
            _ => format!("{what} ({hint})"),
        };
        return BlobError::new(kind, message).caused_by(refusal);
    }
    if find::<Stopped>(&error).is_some() {
        return BlobError::new(BlobErrorKind::Stopped, what).caused_by(Stopped);
    }
    if let Some(untrusted) = find::<Untrusted>(&error) {
        return BlobError::new(BlobErrorKind::Denied, what)
            .caused_by(Untrusted(untrusted.0.clone()));
    }
    if let Some(without) = find::<WithoutLocks>(&error) {
        return BlobError::new(BlobErrorKind::Unsupported, what).caused_by(*without);
    }
    let kind = match find::<HttpError>(&error).map(HttpError::kind) {
        Some(
            HttpErrorKind::Connect
            | HttpErrorKind::Request
            | HttpErrorKind::Timeout
            | HttpErrorKind::Interrupted,
        ) => BlobErrorKind::Unavailable,
        _ => BlobErrorKind::Invalid,
    };
    BlobError::new(kind, what).caused_by(error)
}

/// Returns whether the server said that there is no such blob, rather than no such bucket.
pub fn is_missing_blob(error: &object_store::Error) -> bool {
    find::<Refusal>(error)
        .is_some_and(|refusal| refusal.status == 404 && refusal.code() != "NoSuchBucket")
}

/// Returns whether the server said that the keys are right but may not do this.
pub fn lacks_a_right(error: &object_store::Error) -> bool {
    find::<Refusal>(error).is_some_and(|refusal| {
        refusal.status == 403 && matches!(refusal.code(), "" | "AccessDenied")
    })
}

/// Returns whether the server said that the range begins beyond the blob's end.
pub fn is_beyond_end(error: &object_store::Error) -> bool {
    find::<Refusal>(error).is_some_and(|refusal| refusal.status == 416)
}

fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    chain(error).find_map(|error| error.downcast_ref())
}

fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

/// Returns the text of the first element of this name, made harmless.
fn element(xml: &str, name: &str) -> Option<String> {
    let (_, after) = xml.split_once(&format!("<{name}>"))?;
    let (text, _) = after.split_once(&format!("</{name}>"))?;
    let text = text
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&apos;", "'")
        .replace("&amp;", "&");
    let text: String = text
        .chars()
        .filter(|c| !c.is_control())
        .take(MESSAGE_CHARS_MAX)
        .collect();
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(status: u16, code: &str) -> Refusal {
        let body = format!(
            "<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>it&apos;s so</Message></Error>"
        );
        Refusal::new(status, None, body.as_bytes())
    }

    #[test]
    fn refusals_have_kinds() {
        for (status, code, kind) in [
            (403, "SignatureDoesNotMatch", BlobErrorKind::Denied),
            (403, "InvalidAccessKeyId", BlobErrorKind::Denied),
            (403, "AccessDenied", BlobErrorKind::Denied),
            (403, "", BlobErrorKind::Denied),
            (400, "ExpiredToken", BlobErrorKind::Denied),
            (404, "NoSuchKey", BlobErrorKind::NotFound),
            (500, "InternalError", BlobErrorKind::Unavailable),
            (503, "SlowDown", BlobErrorKind::Unavailable),
            (429, "", BlobErrorKind::Unavailable),
            (400, "RequestTimeout", BlobErrorKind::Unavailable),
            (412, "PreconditionFailed", BlobErrorKind::AlreadyThere),
            (
                409,
                "ConditionalRequestConflict",
                BlobErrorKind::Unavailable,
            ),
            (507, "", BlobErrorKind::Full),
            (403, "QuotaExceeded", BlobErrorKind::Full),
            (500, "XMinioStorageFull", BlobErrorKind::Full),
            (501, "NotImplemented", BlobErrorKind::Unsupported),
            (301, "PermanentRedirect", BlobErrorKind::Invalid),
            (400, "InvalidRequest", BlobErrorKind::Invalid),
        ] {
            assert_eq!(
                refusal(status, code).kind_and_hint().0,
                kind,
                "{status} {code}"
            );
        }
    }

    #[test]
    fn the_servers_words_are_shown_and_made_harmless() {
        let shown = refusal(403, "AccessDenied").to_string();
        assert_eq!(shown, "the server answered 403, AccessDenied, it's so");
        let long = format!(
            "<Error><Message>\u{1b}[2J{}</Message></Error>",
            "x".repeat(5_000)
        );
        let shown = Refusal::new(400, None, long.as_bytes()).to_string();
        assert!(shown.len() < 400 && !shown.contains('\u{1b}'));
        for body in [
            &b"<html><Code>x</Code>"[..],
            b"<Error><Code>",
            b"\xff\xfe",
            b"",
        ] {
            assert_eq!(Refusal::new(500, None, body).code, None);
        }
    }
}
