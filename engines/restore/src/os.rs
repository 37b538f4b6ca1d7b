//! What differs between operating systems, chosen once.

use std::io;
use std::time::{Duration, SystemTime};

use time_and_chance::Timestamp;

#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

#[cfg(unix)]
pub(crate) use unix::*;
#[cfg(windows)]
pub(crate) use windows::*;

/// Which attributes restored entries get back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes {
    /// User and group, where the system has such and whoever restores may give files away.
    pub owners: bool,
    /// The mode; without it, entries get the one that new ones have.
    pub permissions: bool,
    /// The time of the last modification.
    pub times: bool,
}

impl Default for Attributes {
    fn default() -> Self {
        Self {
            owners: true,
            permissions: true,
            times: true,
        }
    }
}

/// Whose an entry is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    /// Whose it was, if that was asked for and the system has such owners.
    AsAsked,
    /// It is whoever restores.
    #[cfg_attr(
        windows,
        expect(dead_code, reason = "snapshots hold no owners that Windows has")
    )]
    Other,
}

/// Returns a time as file systems take it.
pub(crate) fn system_time(time: Timestamp) -> io::Result<SystemTime> {
    let nanoseconds = time.as_nanosecond();
    let distance = Duration::from_nanos_u128(nanoseconds.unsigned_abs());
    let found = match nanoseconds < 0 {
        true => SystemTime::UNIX_EPOCH.checked_sub(distance),
        false => SystemTime::UNIX_EPOCH.checked_add(distance),
    };
    found.ok_or_else(|| io::ErrorKind::InvalidInput.into())
}
