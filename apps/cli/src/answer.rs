//! What a command answers: the same facts for people and for programs.

use std::process::ExitCode;

use serde_json::Value;

use crate::failure::DONE_IN_PART;
use crate::stdout;

/// The outcome of a command that could be carried out, at least in part.
#[derive(Debug)]
pub struct Answer {
    text: String,
    document: Value,
    status: u8,
    shown: bool,
}

impl Answer {
    /// Returns the answer of a command that did all it was asked for.
    pub fn new(text: impl Into<String>, document: Value) -> Self {
        Self::with_status(text, document, 0)
    }

    /// Returns the answer of a command of which some parts failed.
    pub fn in_part(text: impl Into<String>, document: Value) -> Self {
        Self::with_status(text, document, DONE_IN_PART)
    }

    /// Returns the answer of a command that ends with `status`.
    pub fn with_status(text: impl Into<String>, document: Value, status: u8) -> Self {
        Self {
            text: text.into(),
            document,
            status,
            shown: false,
        }
    }

    /// Returns what the program ends with.
    #[cfg(windows)]
    pub fn status(&self) -> u8 {
        self.status
    }

    /// Returns the answer of a command that has written it already, since it is as long as the
    /// repository is large.
    pub fn shown(status: u8) -> Self {
        Self {
            text: String::new(),
            document: Value::Null,
            status,
            shown: true,
        }
    }

    /// Writes the answer to stdout and returns the exit status.
    pub fn show(&self, json: bool) -> ExitCode {
        if self.shown {
            return ExitCode::from(self.status);
        }
        if json {
            stdout::show_document(&self.document);
        } else {
            stdout::show_text(self.text.trim_end());
        }
        ExitCode::from(self.status)
    }
}
