//! Standard error, where warnings, progress and failures go.

use crate::plain;

/// Writes a line.
pub fn say(text: &str) {
    eprintln!("{}", plain::line(text));
}

/// Warns.
pub fn warn(text: &str) {
    say(&format!("warning: {text}"));
}
