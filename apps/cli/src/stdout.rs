//! Standard output, where a command's answer goes and nothing else.

use std::io::{BufWriter, Write as _};

use serde::{Serialize, Serializer};

use crate::plain;

/// Writes a document; lists in it that are [`Each`] are made while they are written.
pub fn show_document(document: &impl Serialize) {
    let mut stdout = BufWriter::new(std::io::stdout().lock());
    // Whoever closed the pipe does not want the rest.
    let _ = serde_json::to_writer_pretty(&mut stdout, document);
    let _ = writeln!(stdout);
}

/// Writes text for people, if there is any, with an end of line.
pub fn show_text(text: &str) {
    if !text.is_empty() {
        // Whoever closed the pipe does not want the rest.
        let _ = writeln!(std::io::stdout().lock(), "{}", plain::lines(text));
    }
}

/// A list in a document, whose entries are made one by one while it is written.
pub struct Each<F>(pub F);

impl<F, I> Serialize for Each<F>
where
    F: Fn() -> I,
    I: Iterator<Item: Serialize>,
{
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq((self.0)())
    }
}
