//! What a run, of a backup or of a restore, tells of a store that cannot be used: which it is, what is wrong with it, and what to
//! look at (control-plane API 6.2, 6.3).

use std::error::Error;

use blob::{Location, Trouble};
use protocol::event::{
    ErrorAuth, ErrorNetwork, ErrorNotFound, ErrorPermission, ErrorQuota, ErrorRateLimit, Event,
    Stage, StorageFailed, StorageReason,
};
use protocol::next_run::Destination as Sent;

use crate::destination::Destination;
use crate::supervision::Work;

/// Returns why a run fails, and tells of the store if it is the store's doing.
pub fn because(work: &Work<'_>, sent: &Sent, error: &(dyn Error + 'static)) -> String {
    tell(work, sent, error);
    format!("failed to {error}")
}

/// Tells of the store that an error comes from, if it comes from one and nobody stopped the run: once in a
/// run, whatever fails by it.
pub fn tell(work: &Work<'_>, sent: &Sent, error: &(dyn Error + 'static)) {
    let mut is_told = work
        .is_store_told
        .lock()
        .expect("nobody panics while he tells");
    if *is_told || work.cancellation.stop().is_stopped() {
        return;
    }
    let Some(trouble) = Trouble::of(error) else {
        return;
    };
    *is_told = true;
    let destination = Destination::of(sent, &work.parts.config).ok();
    let server = match destination.map(|it| it.location) {
        Some(Location::S3(place)) => Some(Server::of(
            place.endpoint.as_deref(),
            place.region.as_deref(),
        )),
        _ => None,
    };
    let error = work.parts.log.redacted(&error.to_string());
    work.reporter.event(event(trouble, server, error));
}

/// Tells that a destination's address makes no sense.
pub fn tell_of_address(work: &Work<'_>, sent: &Sent, error: &(dyn Error + 'static)) {
    if sent.is_local() || blob_error(error).is_none() {
        return;
    }
    let server = Server::of(Some(&sent.dest_endpoint), None);
    let error = work.parts.log.redacted(&error.to_string());
    let event = cannot_be_used(StorageReason::EndpointInvalid, server, error);
    work.reporter.event(event);
}

fn blob_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a blob::BlobError> {
    std::iter::successors(Some(error), |&error: &&'a (dyn Error + 'static)| {
        error.source()
    })
    .find_map(|it| it.downcast_ref())
}

/// A server of buckets.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Server {
    endpoint: String,
    host: String,
    port: u64,
}

impl Server {
    /// Returns the server of an address; without one it is Amazon's.
    fn of(endpoint: Option<&str>, region: Option<&str>) -> Self {
        let endpoint = match endpoint {
            Some(named) => named.to_owned(),
            None => format!("https://s3.{}.amazonaws.com", region.unwrap_or("us-east-1")),
        };
        let (scheme, rest) = endpoint.split_once("://").unwrap_or(("https", &endpoint));
        let authority = rest.split(['/', '?']).next().unwrap_or_default();
        // Who writes keys into an address must not find them in events.
        let authority = authority.rsplit('@').next().unwrap_or_default();
        // The colons of an address of IPv6 stand in brackets.
        let named = authority
            .rsplit_once(':')
            .and_then(|(host, port)| Some((host, port.parse().ok()?)));
        let default = if scheme == "http" { 80 } else { 443 };
        let (host, port) = named.unwrap_or((authority, default));
        Self {
            host: host.trim_matches(['[', ']']).to_owned(),
            port,
            endpoint: match authority {
                "" => String::new(),
                _ => format!("{scheme}://{authority}"),
            },
        }
    }
}

/// Returns the event of a trouble with a server, or with a folder where there is none.
fn event(trouble: Trouble, server: Option<Server>, error: String) -> Event {
    let reason = match trouble {
        Trouble::NoSuchHost => StorageReason::DnsLookupFailed,
        Trouble::NoAnswer => StorageReason::TcpTimeout,
        Trouble::Refused => StorageReason::TcpRefused,
        Trouble::NoSafeLine => StorageReason::TlsFailed,
        Trouble::Page => StorageReason::HttpBlocked,
        Trouble::Unreachable => StorageReason::EndpointUnreachable,
        Trouble::NoStore => StorageReason::EndpointInvalid,
        Trouble::BadKeys => return ErrorAuth {}.into(),
        Trouble::Forbidden => return ErrorPermission {}.into(),
        Trouble::NotFound => return ErrorNotFound {}.into(),
        Trouble::Throttled => return ErrorRateLimit {}.into(),
        Trouble::Full => return ErrorQuota {}.into(),
    };
    match server {
        Some(server) => cannot_be_used(reason, server, error),
        // A disk that is not connected, a share that is away.
        None => ErrorNetwork {}.into(),
    }
}

fn cannot_be_used(reason: StorageReason, server: Server, error: String) -> Event {
    let Server {
        endpoint,
        host,
        port,
    } = server;
    let (summary, hint) = match reason {
        StorageReason::DnsLookupFailed => (
            format!("The name {host} of the storage server leads nowhere."),
            "Check the endpoint of the destination, and this machine's name servers.",
        ),
        StorageReason::TcpTimeout => (
            format!("The storage server {host} does not answer on port {port}."),
            "Check the line of this machine, and whether a firewall lets connections to this port out.",
        ),
        StorageReason::TcpRefused => (
            format!("The storage server {host} takes no connections on port {port}."),
            "Check the endpoint's port, and whether the storage server is running.",
        ),
        StorageReason::TlsFailed => (
            format!(
                "There is no safe line to the storage server {host}: its certificate is not trusted, or something in between speaks for it."
            ),
            "Check the server's certificate, this machine's clock, and proxies that look into encrypted lines.",
        ),
        StorageReason::HttpBlocked => (
            format!("Something answers for the storage server {host} with a web page."),
            "Let the proxy or firewall in between pass connections to this server, or correct the endpoint.",
        ),
        StorageReason::EndpointUnreachable => (
            format!(
                "The storage server {host} cannot be used: it cannot be reached, or has trouble of its own."
            ),
            "Try again later, and check the line of this machine if it lasts.",
        ),
        StorageReason::EndpointInvalid => (
            format!(
                "What answers at {endpoint} is no storage server, or the address makes no sense."
            ),
            "Correct endpoint, region and bucket of the destination.",
        ),
    };
    StorageFailed {
        reason,
        summary,
        hint: hint.to_owned(),
        endpoint,
        host,
        port,
        error,
        stage: Stage::StorageInit,
    }
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_named_by_host_and_port() {
        let server = |endpoint: &str| {
            let server = Server::of(Some(endpoint), None);
            (server.host, server.port)
        };
        for (endpoint, host, port) in [
            ("https://s3.example.net", "s3.example.net", 443),
            ("http://s3.example.net", "s3.example.net", 80),
            ("s3.example.net:9000/", "s3.example.net", 9000),
            ("http://127.0.0.1:9000", "127.0.0.1", 9000),
            ("https://[::1]:8443", "::1", 8443),
            ("", "", 443),
        ] {
            assert_eq!(server(endpoint), (host.to_owned(), port), "{endpoint}");
        }
        let with_keys = Server::of(Some("https://KEY:SECRET@h:1/x?y"), None);
        assert_eq!(with_keys.endpoint, "https://h:1");
        let amazon = Server::of(None, Some("eu-west-1"));
        assert_eq!(amazon.host, "s3.eu-west-1.amazonaws.com");
    }

    #[test]
    fn every_trouble_has_its_event_with_all_that_its_text_has_places_for() {
        let server = || Some(Server::of(Some("https://h:9"), None));
        let of = |trouble, server| event(trouble, server, "connect: refused".to_owned());
        for (trouble, message_id, code) in [
            (
                Trouble::NoSuchHost,
                "STORAGE_DNS_FAILED",
                "dns_lookup_failed",
            ),
            (Trouble::NoAnswer, "STORAGE_TCP_TIMEOUT", "tcp_timeout"),
            (Trouble::Refused, "STORAGE_TCP_REFUSED", "tcp_refused"),
            (Trouble::NoSafeLine, "STORAGE_TLS_FAILED", "tls_failed"),
            (Trouble::Page, "STORAGE_HTTP_BLOCKED", "http_blocked"),
            (
                Trouble::Unreachable,
                "STORAGE_ENDPOINT_UNREACHABLE",
                "endpoint_unreachable",
            ),
            (
                Trouble::NoStore,
                "STORAGE_ENDPOINT_UNREACHABLE",
                "endpoint_invalid",
            ),
        ] {
            let event = of(trouble, server());
            assert_eq!(event.message_id, message_id);
            assert_eq!(event.code.as_deref(), Some(code));
            let params = &event.params_json;
            for name in ["summary", "hint", "error", "endpoint", "host", "stage"] {
                let text = params[name].as_str().unwrap();
                assert!(!text.is_empty(), "{message_id}: {name}");
            }
            assert_eq!((&params["host"], &params["port"]), (&"h".into(), &9.into()));
            assert_eq!(of(trouble, None).message_id, "ERROR_NETWORK");
        }
        for (trouble, message_id) in [
            (Trouble::BadKeys, "ERROR_AUTH"),
            (Trouble::Forbidden, "ERROR_PERMISSION"),
            (Trouble::NotFound, "ERROR_NOT_FOUND"),
            (Trouble::Throttled, "ERROR_RATE_LIMIT"),
            (Trouble::Full, "ERROR_QUOTA"),
        ] {
            assert_eq!(of(trouble, server()).message_id, message_id);
        }
    }
}
