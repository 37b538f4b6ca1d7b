//! The server's address as agents and people reach it.

use axum::http::header::HOST;
use axum::http::{HeaderMap, Uri};

use crate::plane::Plane;
use crate::store::settings::PUBLIC_URL;

/// Returns the server's address without a slash at its end: what the settings say, else what the server was started
/// with, else what the caller called it by.
pub async fn public_url(plane: &Plane, headers: &HeaderMap) -> Result<String, sea_orm::DbErr> {
    let set = plane.store.setting(plane.store.db(), PUBLIC_URL).await?;
    if !set.is_empty() {
        return Ok(set);
    }
    if !plane.options.public_url.is_empty() {
        return Ok(plane.options.public_url.trim_end_matches('/').to_owned());
    }
    let scheme = if plane.options.is_secure {
        "https"
    } else {
        "http"
    };
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let called = host.and_then(|host| parsed(&format!("{scheme}://{host}")));
    Ok(called.unwrap_or_else(|| format!("{scheme}://ADDRESS-OF-THIS-SERVER")))
}

/// Returns an address in its usual form: `http` or `https`, a host, a port; nothing else, for it is pasted into
/// command lines and put before paths.
pub fn parsed(text: &str) -> Option<String> {
    let text = text.trim().trim_end_matches('/');
    let uri = text.parse::<Uri>().ok()?;
    let scheme = uri.scheme_str()?;
    let authority = uri.authority()?.as_str();
    let is_plain = !authority.is_empty()
        && authority
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b".-:[]_".contains(&byte));
    let is_whole = uri.path() == "/" && uri.query().is_none() && text.len() < 300;
    (matches!(scheme, "http" | "https") && is_plain && is_whole)
        .then(|| format!("{scheme}://{authority}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_scheme_a_host_and_a_port() {
        for (text, wanted) in [
            (
                "https://backup.example.com/",
                Some("https://backup.example.com"),
            ),
            (
                "http://[2001:db8::1]:8080",
                Some("http://[2001:db8::1]:8080"),
            ),
            ("https://backup.example.com/path", None),
            ("https://a?b", None),
            ("https://user@host", None),
            ("https://a$(reboot)", None),
            ("https://a;b", None),
            ("ftp://host", None),
            ("host", None),
            ("", None),
        ] {
            assert_eq!(parsed(text).as_deref(), wanted, "{text}");
        }
    }
}
