//! The code that the first start takes from elsewhere than the server's own machine: whoever reads the server's log may
//! make the owner's account.

use std::fmt;
use std::net::IpAddr;

use axum::http::Uri;
use axum::http::header::HOST;
use axum::http::request::Parts;
use time_and_chance::Chance;

use crate::plane::token_hash;
use crate::source::peer_of;
use crate::totp::base32;

/// Headers by which a proxy says that it stands between.
const OF_PROXIES: [&str; 4] = ["x-forwarded-for", "forwarded", "x-real-ip", "via"];

/// A code of 80 bits, drawn when an instance starts and kept nowhere but in its memory and its log.
pub struct SetupCode(String);

impl fmt::Debug for SetupCode {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("SetupCode")
    }
}

impl SetupCode {
    /// Draws a code.
    pub fn new(chance: &Chance) -> Self {
        Self(base32(&chance.bytes::<10>()))
    }

    /// Returns the code as it is printed: four groups of four letters and digits.
    pub fn text(&self) -> String {
        let groups = [0..4, 4..8, 8..12, 12..16];
        groups.map(|group| &self.0[group]).join("-")
    }

    /// Tells whether somebody gave the code; how they grouped the letters and whether they are capital does not matter.
    pub fn is(&self, given: &str) -> bool {
        let given: String = given
            .chars()
            .filter(char::is_ascii_alphanumeric)
            .map(|letter| letter.to_ascii_uppercase())
            .collect();
        // Hashes are compared, so the time it takes says nothing about the code.
        token_hash(&given) == token_hash(&self.0)
    }
}

/// Tells whether the first start takes the code from a caller. It does not from this machine itself: from a loopback
/// address, by the name of one, and with no word of a proxy. The name is looked at because a browser on this machine can
/// be led here by a page from elsewhere, under that page's own name.
pub fn is_needed(parts: &Parts) -> bool {
    let is_from_here = peer_of(parts).is_some_and(|peer| peer.is_loopback());
    let is_proxied = OF_PROXIES
        .iter()
        .any(|name| parts.headers.contains_key(*name));
    !is_from_here || is_proxied || !names_loopback(parts)
}

fn names_loopback(parts: &Parts) -> bool {
    let header = parts.headers.get(HOST).and_then(|host| host.to_str().ok());
    // By HTTP/2 the name stands in the request's own line.
    let Some(called) = header.or_else(|| parts.uri.authority().map(|it| it.as_str())) else {
        return false;
    };
    let uri = format!("http://{called}").parse::<Uri>();
    let name = uri.ok().and_then(|uri| uri.host().map(str::to_owned));
    name.is_some_and(|name| {
        let address = name.trim_matches(['[', ']']).parse::<IpAddr>();
        name.eq_ignore_ascii_case("localhost") || address.is_ok_and(|it| it.is_loopback())
    })
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use axum::extract::ConnectInfo;
    use axum::http::Request;

    use super::*;

    #[test]
    fn a_code_is_known_however_it_is_written() {
        let code = SetupCode::new(&Chance::from_seed(1));
        let text = code.text();
        assert_eq!(text.len(), 19, "{text}");
        for written in [
            text.clone(),
            text.to_lowercase(),
            text.replace('-', ""),
            format!(" {text} "),
        ] {
            assert!(code.is(&written), "{written}");
        }
        let other = SetupCode::new(&Chance::from_seed(2)).text();
        for wrong in ["", "-", &text[..18], &format!("{text}A"), &other] {
            assert!(!code.is(wrong), "{wrong}");
        }
        assert!(!format!("{code:?}").contains(&code.0));
    }

    #[test]
    fn this_machine_alone_needs_no_code() {
        let needed = |peer: &str, headers: &[(&str, &str)]| {
            let mut request = Request::builder().uri("/");
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let mut parts = request.body(()).expect("a request").into_parts().0;
            let peer: SocketAddr = peer.parse().expect("an address");
            parts.extensions.insert(ConnectInfo(peer));
            is_needed(&parts)
        };
        for (peer, host) in [
            ("127.0.0.1:4000", "127.0.0.1:8080"),
            ("127.0.0.1:4000", "localhost"),
            ("[::1]:4000", "[::1]:8080"),
            ("[::ffff:127.0.0.1]:4000", "LOCALHOST:80"),
        ] {
            assert!(!needed(peer, &[("host", host)]), "{peer} {host}");
        }
        let here = ("host", "localhost:8080");
        assert!(needed("192.0.2.1:4000", &[here]));
        assert!(needed("127.0.0.1:4000", &[]));
        assert!(needed(
            "127.0.0.1:4000",
            &[("host", "evil.example.com:8080")]
        ));
        assert!(needed(
            "127.0.0.1:4000",
            &[("host", "127.0.0.1.example.com")]
        ));
        for proxied in [
            ("x-forwarded-for", "127.0.0.1"),
            ("forwarded", "for=127.0.0.1"),
            ("x-real-ip", "127.0.0.1"),
            ("via", "1.1 proxy"),
        ] {
            assert!(needed("127.0.0.1:4000", &[here, proxied]), "{proxied:?}");
        }
    }
}
