//! Streams read within bounds, whatever they claim to hold.

use std::io::Read;

use super::error::StreamTrouble;

/// Reads to the end, which must come within `limit` bytes after what `plain` holds already.
pub(super) fn read_within(
    reader: impl Read,
    limit: usize,
    plain: &mut Vec<u8>,
) -> Result<(), StreamTrouble> {
    let room = limit.saturating_sub(plain.len());
    let one_more = u64::try_from(room).map_or(u64::MAX, |room| room.saturating_add(1));
    let read = reader
        .take(one_more)
        .read_to_end(plain)
        .map_err(StreamTrouble::damaged)?;
    if read > room {
        return Err(StreamTrouble::TooLong);
    }
    Ok(())
}
