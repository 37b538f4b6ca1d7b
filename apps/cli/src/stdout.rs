//! Standard output, where a command's answer goes and nothing else.

use std::io::Write as _;

use serde_json::Value;

/// Writes a document.
pub fn show_document(document: &Value) {
    show_text(&format!("{document:#}"));
}

/// Writes text for people, if there is any, with an end of line.
pub fn show_text(text: &str) {
    if !text.is_empty() {
        // Whoever closed the pipe does not want the rest.
        let _ = writeln!(std::io::stdout().lock(), "{text}");
    }
}
