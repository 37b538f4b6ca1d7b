//! What every request and every chore works with.

use std::sync::Arc;

use jiff::Timestamp;
use time_and_chance::{Chance, SharedClock};

use crate::chores::turns::Turns;
use crate::credentials::Guard;
use crate::live::Live;
use crate::metrics::Metrics;
use crate::sealing::Sealing;
use crate::setup_code::SetupCode;
use crate::store::Store;

/// One instance of the server.
#[derive(Debug)]
pub struct Plane {
    /// The database.
    pub store: Store,
    /// The time.
    pub clock: SharedClock,
    /// Randomness: ids, tokens, spread.
    pub chance: Chance,
    /// Opens and seals secrets.
    pub sealing: Sealing,
    /// Says what changed.
    pub live: Live,
    /// What is remembered of those who try to sign in.
    pub guard: Guard,
    /// What the first start takes from elsewhere.
    pub setup_code: SetupCode,
    /// What is counted for Prometheus.
    pub metrics: Metrics,
    /// Whether the chores go on.
    pub turns: Turns,
    /// How it was started.
    pub options: Options,
}

/// An instance that is shared by requests and chores.
pub type SharedPlane = Arc<Plane>;

/// How an instance was started.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The server's address as agents and people reach it, without a slash at its end; empty: what the
    /// request's `Host` header says.
    pub public_url: String,
    /// Whether people reach it by HTTPS, so that cookies are for HTTPS alone.
    pub is_secure: bool,
    /// Whether browsers are told to come by HTTPS alone for a long time; not with a certificate of our own making, which
    /// nobody could then click through, and not for `localhost`.
    pub promises_https: bool,
    /// Whether a proxy stands in front, whose `X-Forwarded-For` says where calls come from.
    pub trusts_proxy: bool,
    /// Whether `/metrics` is for everybody; else it takes an API token of the installation.
    pub are_metrics_open: bool,
}

impl Plane {
    /// Returns an instance, ready to be served.
    pub fn new(
        store: Store,
        clock: SharedClock,
        chance: Chance,
        sealing: Sealing,
        options: Options,
    ) -> SharedPlane {
        Arc::new(Self {
            guard: Guard::new(chance.clone()),
            setup_code: SetupCode::new(&chance),
            metrics: Metrics::new(),
            live: Live::new(),
            turns: Turns::new(&clock),
            store,
            clock,
            chance,
            sealing,
            options,
        })
    }

    /// Returns the time as the store keeps it: milliseconds since 1970.
    pub fn now_ms(&self) -> i64 {
        self.clock.now().as_millisecond()
    }

    /// Returns a new id for a row, a UUID of version 7: sorted by when it was made.
    pub fn new_id(&self) -> String {
        let now = self.now_ms().max(0).cast_unsigned();
        uuid::Builder::from_unix_timestamp_millis(now, &self.chance.bytes())
            .into_uuid()
            .to_string()
    }

    /// Returns a new secret for agents, sessions and programs: 40 hex digits, 160 bits of chance.
    pub fn new_token(&self) -> String {
        hex::encode(self.chance.bytes::<20>())
    }
}

/// Returns what the store keeps of a token: SHA-256 in hex. Tokens have 160 bits of chance, so no salt is needed,
/// and finding the row by its hash compares nothing secret byte by byte.
pub fn token_hash(token: &str) -> String {
    use sha2::{Digest as _, Sha256};
    hex::encode(Sha256::digest(token.as_bytes()))
}

/// Returns a time as the people's API writes it: RFC 3339 in UTC.
pub fn rfc3339(ms: i64) -> String {
    Timestamp::from_millisecond(ms)
        .unwrap_or(Timestamp::UNIX_EPOCH)
        .to_string()
}
