//! A message as JSON, posted to an address that somebody of the tenant chose.
//!
//! The address is looked up here, once, and the connection goes to what was found: a name cannot lead to another
//! machine between the check and the call. Where it may lead, [`Reach`] says.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use reqwest::Url;
use reqwest::header::{CONTENT_TYPE, USER_AGENT};
use ring::hmac;

use super::mail::causes;
use super::reach::Reach;

/// How long the receiver may take in all.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// The header with the signature: `sha256=` and the HMAC of the timestamp, a dot and the body, in hex.
pub const SIGNATURE_HEADER: &str = "x-e3-signature";

/// The header with the seconds since 1970 at which it was signed.
pub const TIMESTAMP_HEADER: &str = "x-e3-timestamp";

/// Reads the address of a webhook, as far as that can be judged without looking it up.
pub fn url(text: &str, reach: &Reach) -> Result<Url, String> {
    let url =
        Url::parse(text).map_err(|_| "it is no URL such as https://example.com/hook".to_owned())?;
    if !matches!(url.scheme(), "https" | "http") {
        return Err("a webhook is called by https, or by http in a private network".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(
            "a name and a password in the URL are not supported; use the secret".to_owned(),
        );
    }
    let host = url.host_str().ok_or("the URL names no host")?;
    if let Ok(address) = host.trim_matches(['[', ']']).parse::<IpAddr>() {
        reach.check(host, address, url.scheme())?;
    }
    Ok(url)
}

/// Signs a body as [`SIGNATURE_HEADER`] says.
pub fn signature(secret: &[u8], timestamp: i64, body: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let mut signing = hmac::Context::with_key(&key);
    signing.update(format!("{timestamp}.").as_bytes());
    signing.update(body);
    format!("sha256={}", hex::encode(signing.sign()))
}

/// Posts a body. What went wrong is told in words, without the URL, which may hold a secret.
pub async fn post(
    address: &str,
    reach: &Reach,
    secret: Option<&[u8]>,
    timestamp: i64,
    body: Vec<u8>,
) -> Result<(), String> {
    let url = url(address, reach)?;
    let host = url.host_str().unwrap_or_default().to_owned();
    let port = url.port_or_known_default().ok_or("the URL names no port")?;
    let name = host.trim_matches(['[', ']']);
    let found: Vec<SocketAddr> =
        tokio::time::timeout(ANSWER_MAX, tokio::net::lookup_host((name, port)))
            .await
            .map_err(|_| format!("looking up {host} took too long"))?
            .map_err(|error| format!("looking up {host}: {error}"))?
            .collect();
    if found.is_empty() {
        return Err(format!("{host} has no address"));
    }
    for address in &found {
        reach.check(name, address.ip(), url.scheme())?;
    }
    // Whoever was first has set the same one.
    let _already = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(ANSWER_MAX)
        .no_proxy()
        .resolve_to_addrs(&host, &found)
        .build()
        .map_err(|error| format!("setting up the call: {}", causes(&error)))?;
    let mut request = client
        .post(url)
        .header(CONTENT_TYPE, "application/json")
        .header(
            USER_AGENT,
            concat!("e3-control-plane/", env!("CARGO_PKG_VERSION")),
        )
        .header(TIMESTAMP_HEADER, timestamp);
    if let Some(secret) = secret {
        request = request.header(SIGNATURE_HEADER, signature(secret, timestamp, &body));
    }
    let answer = request
        .body(body)
        .send()
        .await
        .map_err(|error| format!("calling {host}: {}", causes(&error.without_url())))?;
    match answer.status() {
        status if status.is_success() => Ok(()),
        status => Err(format!("{host} answered {status}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_hold_secrets_or_are_public_and_in_the_clear_are_refused() {
        let all = Reach::read(&["0.0.0.0/0".to_owned(), "::/0".to_owned()]).expect("a list");
        for address in [
            "ftp://example.com",
            "https://",
            "nonsense",
            "https://user:word@example.com/",
            "http://169.254.169.254/latest/meta-data",
            "https://169.254.169.254/",
            "https://[fe80::1]/",
            "https://[::ffff:169.254.169.254]/",
            "https://[fd00:ec2::254]/",
            "https://100.100.100.200/",
            "https://0.0.0.0/",
            "http://2852039166/",
            "http://93.184.215.14/",
        ] {
            assert!(url(address, &all).is_err(), "{address}");
        }
        for (address, is_private) in [
            ("https://example.com/hook?token=1", false),
            ("http://10.1.2.3:8080/hook", true),
            ("https://127.0.0.1/", true),
            ("http://2130706433:9/", true),
            ("http://[::1]:9/", true),
            ("https://93.184.215.14/", false),
            ("http://intranet/hook", false),
        ] {
            assert!(url(address, &all).is_ok(), "{address}");
            let nothing = Reach::default();
            assert_eq!(url(address, &nothing).is_err(), is_private, "{address}");
        }
    }

    #[test]
    fn a_signature_is_the_hmac_of_time_and_body() {
        // printf '1700000000.{}' | openssl dgst -sha256 -hmac secret
        assert_eq!(
            signature(b"secret", 1_700_000_000, b"{}"),
            "sha256=b8569b78799ff9e3cbff0fc2d63a33a2b57f3282abd07c37ae5e8e7d79a5f163"
        );
    }
}
