//! What can go wrong with a Hyper-V host.

use std::error::Error;
use std::fmt;

/// What a caller can act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HypervErrorKind {
    /// No such VM, checkpoint, reference point or disk here (deleted, or moved to another node).
    NotFound,
    /// The VM is busy with another operation; waiting helps (return code 32775).
    Busy,
    /// The guest refused to be quiesced; the caller's policy decides.
    GuestRefused,
    /// The job vanished before its outcome was seen: look at the state of the world.
    OutcomeUnknown,
    /// A file is held open by someone (0x80070020).
    InUse,
    /// A volume has no room (0x80070070).
    Full,
    /// Rights are missing (0x80070005).
    Denied,
    /// Hyper-V cannot do this with this VM.
    Unsupported,
    /// An argument makes no sense to the host.
    Invalid,
    /// The management service does not answer; trying again may help.
    Unavailable,
    /// A job ended with an error.
    Failed,
    /// The work was told to stop.
    Stopped,
}

/// A host operation that failed; reads after "failed to …".
#[derive(Debug)]
pub struct HypervError {
    kind: HypervErrorKind,
    code: Option<u32>,
    message: String,
    source: Option<Box<dyn Error + Send + Sync>>,
    is_of_configuration: bool,
}

impl HypervError {
    /// Returns an error of `kind` that says `message`.
    pub fn new(kind: HypervErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            code: None,
            message: message.into(),
            source: None,
            is_of_configuration: false,
        }
    }

    /// Adds the host's own code (a method's return code or an HRESULT; Hyper-V spec 16).
    pub fn with_code(mut self, code: u32) -> Self {
        self.code = Some(code);
        self
    }

    /// Adds what lies underneath.
    pub fn caused_by(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Says that it is a VM's configuration which the host refused to import, and nothing that came
    /// before or after that.
    pub fn of_configuration(mut self) -> Self {
        self.is_of_configuration = true;
        self
    }

    /// Returns whether the host refused to import a VM's configuration.
    pub fn is_of_configuration(&self) -> bool {
        self.is_of_configuration
    }

    /// Returns what a caller can act on.
    pub fn kind(&self) -> HypervErrorKind {
        self.kind
    }

    /// Returns the host's own code, if it gave one.
    pub fn code(&self) -> Option<u32> {
        self.code
    }
}

impl fmt::Display for HypervError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match self.code {
            Some(code) if code > 0xFFFF => write!(f, " (0x{code:08X})")?,
            Some(code) => write!(f, " (return code {code})")?,
            None => {}
        }
        match &self.source {
            Some(source) => write!(f, ": {source}"),
            None => Ok(()),
        }
    }
}

impl Error for HypervError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
