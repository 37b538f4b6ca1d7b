//! `fetch_log_tail`: the end of the service's own log.

use protocol::commands::FetchLogTail;
use protocol::moment::rfc3339;
use protocol::reports::LogTail;

use crate::log::FILE_NAME;
use crate::parts::Parts;

/// Reads the end of the log. No other file is ever read, whatever path is asked for.
pub fn read(parts: &Parts, order: &FetchLogTail) -> Result<LogTail, String> {
    let wanted = order
        .log_path
        .rsplit(['/', '\\'])
        .next()
        .unwrap_or_default();
    if !wanted.is_empty() && !wanted.eq_ignore_ascii_case(FILE_NAME) {
        return Err(format!("only {FILE_NAME} is sent from here"));
    }
    let tail = parts.log.tail(order.bytes_max() as u64);
    let tail = tail.map_err(|error| format!("failed to read the log: {error}"))?;
    Ok(LogTail {
        path: tail.path.display().to_string(),
        truncated: tail.truncated,
        retrieved_at: rfc3339(parts.ports.clock.now()),
        content: tail.content,
    })
}
