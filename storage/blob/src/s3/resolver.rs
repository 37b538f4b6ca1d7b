//! From a server's name to its addresses, by the system; that there are none is an error of its own.

use std::io;
use std::net::ToSocketAddrs as _;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Asks the system.
#[derive(Debug, Clone, Copy)]
pub struct Resolver;

/// A name has no address, or nobody could be asked for it.
#[derive(Debug, thiserror::Error)]
#[error("find the address of {host}: {error}")]
pub struct Unresolved {
    host: String,
    error: io::Error,
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let host = name.as_str().to_owned();
        Box::pin(async move {
            let found = tokio::task::spawn_blocking(move || {
                // The connection knows the port.
                let found = (host.as_str(), 0).to_socket_addrs();
                found.map_err(|error| Unresolved { host, error })
            });
            Ok(Box::new(found.await??) as Addrs)
        })
    }
}
