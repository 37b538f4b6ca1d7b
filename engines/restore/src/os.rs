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

/// Whether an entry's owner is now the one it was stored with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    /// It is, or the system has no such owners.
    Restored,
    /// It is whoever restores.
    Other,
}

/// Returns a time as file systems take it.
fn system_time(time: Timestamp) -> io::Result<SystemTime> {
    let nanoseconds = time.as_nanosecond();
    let distance = Duration::from_nanos_u128(nanoseconds.unsigned_abs());
    let found = match nanoseconds < 0 {
        true => SystemTime::UNIX_EPOCH.checked_sub(distance),
        false => SystemTime::UNIX_EPOCH.checked_add(distance),
    };
    found.ok_or_else(|| io::ErrorKind::InvalidInput.into())
}
