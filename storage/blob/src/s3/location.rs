//! Where a bucket is, as people write it:
//! `s3://bucket/prefix?endpoint=URL&region=R&style=path|virtual&ca=FILE&insecure=true`.
//!
//! Never holds credentials, and refuses to be given any.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::{BlobError, BlobErrorKind};

/// What a location begins with.
pub const SCHEME: &str = "s3://";

/// How requests name the bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum S3Style {
    /// In the path: `https://endpoint/bucket/key`.
    Path,
    /// In the host: `https://bucket.endpoint/key`.
    Virtual,
}

/// A place in a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Location {
    /// The bucket's name.
    pub bucket: String,
    /// What every key begins with: empty, or ending in one slash.
    pub prefix: String,
    /// The server, with its scheme; Amazon's own if there is none.
    pub endpoint: Option<String>,
    /// The region that requests are signed for.
    pub region: Option<String>,
    /// How requests name the bucket; by path at an endpoint, by host at Amazon.
    pub style: Option<S3Style>,
    /// A file with certificates (PEM) that are trusted besides the system's.
    pub ca: Option<PathBuf>,
    /// Whether the server's certificate goes unchecked.
    pub insecure: bool,
}

impl FromStr for S3Location {
    type Err = BlobError;

    fn from_str(text: &str) -> Result<Self, BlobError> {
        let rest = text
            .strip_prefix(SCHEME)
            .ok_or_else(|| invalid("it does not begin with s3://"))?;
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
        let mut location = Self {
            bucket: checked_bucket(bucket)?,
            prefix: checked_prefix(&decoded(prefix)?)?,
            endpoint: None,
            region: None,
            style: None,
            ca: None,
            insecure: false,
        };
        let mut seen = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            if seen.contains(&key) {
                return Err(invalid(format!("{key} is given twice")));
            }
            seen.push(key);
            location.set(key, &decoded(value)?)?;
        }
        Ok(location)
    }
}

impl S3Location {
    fn set(&mut self, key: &str, value: &str) -> Result<(), BlobError> {
        match key {
            "endpoint" => self.endpoint = Some(checked_endpoint(value)?),
            "region" if is_word(value) => self.region = Some(value.to_owned()),
            "style" if value == "path" => self.style = Some(S3Style::Path),
            "style" if value == "virtual" => self.style = Some(S3Style::Virtual),
            "ca" if !value.is_empty() => self.ca = Some(PathBuf::from(value)),
            "insecure" if value == "true" || value == "false" => self.insecure = value == "true",
            "region" | "style" | "ca" | "insecure" => {
                return Err(invalid(format!("{value:?} is no value of {key}")));
            }
            // The value stays unsaid: it may be a key that was put here by mistake.
            _ => {
                return Err(invalid(format!(
                    "it has no setting {key:?}; there are endpoint, region, style, ca, insecure"
                )));
            }
        }
        Ok(())
    }

    /// Returns how requests name the bucket.
    pub fn style(&self) -> S3Style {
        match (self.style, &self.endpoint) {
            (Some(style), _) => style,
            (None, Some(_)) => S3Style::Path,
            (None, None) => S3Style::Virtual,
        }
    }
}

impl fmt::Display for S3Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}", self.bucket)?;
        if !self.prefix.is_empty() {
            write!(f, "/{}", encoded(self.prefix.trim_end_matches('/')))?;
        }
        let style = self.style.map(|style| match style {
            S3Style::Path => "path".to_owned(),
            S3Style::Virtual => "virtual".to_owned(),
        });
        let settings = [
            ("endpoint", self.endpoint.clone()),
            ("region", self.region.clone()),
            ("style", style),
            (
                "ca",
                self.ca.as_ref().map(|path| path.display().to_string()),
            ),
            ("insecure", self.insecure.then(|| "true".to_owned())),
        ];
        let mut mark = '?';
        for (key, value) in settings {
            if let Some(value) = value {
                write!(f, "{mark}{key}={}", encoded(&value))?;
                mark = '&';
            }
        }
        Ok(())
    }
}

fn checked_bucket(bucket: &str) -> Result<String, BlobError> {
    if is_word(bucket) {
        return Ok(bucket.to_owned());
    }
    Err(invalid(
        "the bucket's name is empty or holds more than letters, digits, dots and dashes",
    ))
}

fn checked_prefix(prefix: &str) -> Result<String, BlobError> {
    let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
    if prefix.is_empty() {
        return Ok(String::new());
    }
    let is_odd = |part: &str| {
        part.is_empty() || part == "." || part == ".." || part.chars().any(char::is_control)
    };
    if prefix.split('/').any(is_odd) || prefix.len() > 700 {
        return Err(invalid(format!("{prefix:?} is no prefix of keys")));
    }
    Ok(format!("{prefix}/"))
}

fn checked_endpoint(endpoint: &str) -> Result<String, BlobError> {
    let endpoint = endpoint.trim_end_matches('/');
    let (scheme, host) = endpoint.split_once("://").unwrap_or(("https", endpoint));
    if host.contains('@') {
        return Err(invalid(
            "its endpoint holds a user; credentials come from the environment or ~/.aws/credentials",
        ));
    }
    let is_host = |c: char| c.is_ascii_alphanumeric() || "-._:[]/~".contains(c);
    if !matches!(scheme, "http" | "https")
        || host.is_empty()
        || host.starts_with('/')
        || !host.chars().all(is_host)
    {
        return Err(invalid(format!(
            "{endpoint:?} is no endpoint such as https://host:9000"
        )));
    }
    Ok(format!("{scheme}://{host}"))
}

fn is_word(text: &str) -> bool {
    let is_word = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    (1..=255).contains(&text.len()) && text.chars().all(is_word)
}

fn decoded(text: &str) -> Result<String, BlobError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        if first != b'%' {
            bytes.push(first);
            continue;
        }
        let digits = rest
            .get(..2)
            .filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        let value = digits
            .and_then(|digits| str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok())
            .ok_or_else(|| invalid("a % is not followed by two hexadecimal digits"))?;
        bytes.push(value);
        rest = &rest[2..];
    }
    String::from_utf8(bytes).map_err(|error| invalid("its %-codes are no text").caused_by(error))
}

fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/:[]@,+=\\".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

fn invalid(message: impl fmt::Display) -> BlobError {
    let message = format!("understand the s3:// location: {message}");
    BlobError::new(BlobErrorKind::Invalid, message)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(text: &str) -> S3Location {
        text.parse()
            .unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn the_prefix_ends_in_one_slash_or_is_none() {
        for (text, bucket, prefix) in [
            ("s3://b", "b", ""),
            ("s3://b/", "b", ""),
            ("s3://b/p", "b", "p/"),
            ("s3://b/p/", "b", "p/"),
            ("s3://my.bucket-1/a/b%20c", "my.bucket-1", "a/b c/"),
        ] {
            let location = parsed(text);
            assert_eq!(
                (location.bucket.as_str(), location.prefix.as_str()),
                (bucket, prefix)
            );
        }
    }

    #[test]
    fn settings_are_read_and_shown() {
        let text = "s3://b/p?endpoint=http://127.0.0.1:9000&region=eu-west-1&style=virtual&ca=/etc/my%20ca.pem&insecure=true";
        let location = parsed(text);
        assert_eq!(location.endpoint.as_deref(), Some("http://127.0.0.1:9000"));
        assert_eq!(location.region.as_deref(), Some("eu-west-1"));
        assert_eq!(location.style, Some(S3Style::Virtual));
        assert_eq!(location.ca, Some(PathBuf::from("/etc/my ca.pem")));
        assert!(location.insecure);
        assert_eq!(location.to_string(), text);
        assert_eq!(
            parsed("s3://b?endpoint=http%3A%2F%2Fh%3A1/"),
            parsed("s3://b?endpoint=http://h:1")
        );
        assert_eq!(
            parsed("s3://b?endpoint=minio:9000").endpoint.as_deref(),
            Some("https://minio:9000")
        );
    }

    #[test]
    fn an_endpoint_is_asked_by_path_and_amazon_by_host() {
        assert_eq!(parsed("s3://b").style(), S3Style::Virtual);
        assert_eq!(parsed("s3://b?endpoint=h").style(), S3Style::Path);
        assert_eq!(
            parsed("s3://b?endpoint=h&style=virtual").style(),
            S3Style::Virtual
        );
        assert_eq!(parsed("s3://b?style=path").style(), S3Style::Path);
    }

    #[test]
    fn what_is_no_location_is_refused_without_repeating_secrets() {
        for text in [
            "",
            "/folder",
            "s3:/b",
            "s3://",
            "s3:///p",
            "s3://b/a//b",
            "s3://b/../c",
            "s3://b?style=other",
            "s3://b?insecure=yes",
            "s3://b?insecure",
            "s3://b?region=",
            "s3://b?ca=",
            "s3://b?endpoint=",
            "s3://b?endpoint=ftp://h",
            "s3://b?endpoint=http:///x",
            "s3://b?endpoint=h?x",
            "s3://b?region=a&region=b",
            "s3://b/%zz",
            "s3://b/%e4",
            "s3://b/%2",
            "s3://b?secret=SECRET",
            "s3://KEY:SECRET@b",
            "s3://b?endpoint=https://KEY:SECRET@h",
        ] {
            let error = text.parse::<S3Location>().expect_err(text);
            assert_eq!(error.kind(), BlobErrorKind::Invalid, "{text}");
            assert!(!error.to_string().contains("SECRET"), "{error}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn what_is_shown_reads_back(prefix in "([a-z %?&#=ä+]{1,8}/?){0,1}", ca in "[a-z &%?=ü+/]{1,8}", insecure: bool) {
            let prefix = checked_prefix(&prefix).unwrap();
            let location = S3Location { prefix, ca: Some(ca.into()), insecure, ..parsed("s3://b?endpoint=h:1") };
            prop_assert_eq!(parsed(&location.to_string()), location);
        }

        #[test]
        fn no_text_panics(text in "s3://.{0,40}") {
            let _ = text.parse::<S3Location>();
        }
    }
}
