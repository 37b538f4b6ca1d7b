//! Where a call comes from.

use std::net::{IpAddr, SocketAddr};

use axum::extract::ConnectInfo;
use axum::http::HeaderMap;
use axum::http::request::Parts;

use crate::plane::Options;

/// Returns the address that a call came from, in words; empty when it is not known.
pub fn address_of(parts: &Parts, options: &Options) -> String {
    ip_of(parts, options).map_or_else(String::new, |ip| ip.to_string())
}

/// Returns the address that a call came from. Behind a proxy that is the last one of `X-Forwarded-For`: the one
/// that our proxy saw; those before it are whatever the caller claims.
pub fn ip_of(parts: &Parts, options: &Options) -> Option<IpAddr> {
    let peer = peer_of(parts);
    if options.trusts_proxy {
        forwarded(&parts.headers).or(peer)
    } else {
        peer
    }
}

/// Returns the address at the other end of the connection: the caller's, or a proxy's.
pub fn peer_of(parts: &Parts) -> Option<IpAddr> {
    parts
        .extensions
        .get::<ConnectInfo<SocketAddr>>()
        .map(|ConnectInfo(peer)| peer.ip().to_canonical())
}

fn forwarded(headers: &HeaderMap) -> Option<IpAddr> {
    let last = headers.get_all("x-forwarded-for").iter().next_back()?;
    let last = last.to_str().ok()?.rsplit(',').next()?.trim();
    // Some proxies write the port too, or brackets around an IPv6 address.
    let with_port = || last.parse::<SocketAddr>().ok().map(|it| it.ip());
    let bare = last.trim_matches(['[', ']']).parse::<IpAddr>().ok();
    bare.or_else(with_port).map(|ip| ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    fn parts(forwarded: &[&str]) -> Parts {
        let mut request = Request::builder();
        for value in forwarded {
            request = request.header("x-forwarded-for", *value);
        }
        let mut parts = request.body(()).expect("a request").into_parts().0;
        let peer: SocketAddr = "[::ffff:10.0.0.1]:4000".parse().expect("an address");
        parts.extensions.insert(ConnectInfo(peer));
        parts
    }

    #[test]
    fn a_header_counts_behind_a_proxy_alone_and_its_last_address_does() {
        let claimed = parts(&["1.1.1.1", "2.2.2.2, 3.3.3.3"]);
        let direct = Options::default();
        let proxied = Options {
            trusts_proxy: true,
            ..Options::default()
        };
        assert_eq!(address_of(&claimed, &direct), "10.0.0.1");
        assert_eq!(address_of(&claimed, &proxied), "3.3.3.3");
        for (written, meant) in [
            ("203.0.113.7:51234", "203.0.113.7"),
            ("[2001:db8::7]:51234", "2001:db8::7"),
            ("[2001:db8::7]", "2001:db8::7"),
        ] {
            assert_eq!(address_of(&parts(&[written]), &proxied), meant);
        }
        assert_eq!(address_of(&parts(&["nonsense"]), &proxied), "10.0.0.1");
        assert_eq!(address_of(&parts(&[]), &proxied), "10.0.0.1");
    }
}
