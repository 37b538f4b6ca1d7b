//! A call of VSS that failed.

/// Why a call failed; reads after "failed to …".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VssError {
    /// VSS said so.
    #[error("{doing} (0x{code:08X})")]
    Code {
        /// What was being done.
        doing: String,
        /// An HRESULT.
        code: u32,
    },
    /// It was not over in time.
    #[error("{doing}: it was not over within {limit_s} s")]
    TimedOut {
        /// What was being done.
        doing: String,
        /// How long it was waited for.
        limit_s: u64,
    },
    /// The work was told to stop.
    #[error("{doing}: stopped")]
    Stopped {
        /// What was being done.
        doing: String,
    },
}

impl VssError {
    /// Returns the error of a call that ended with `code`.
    pub fn code(doing: impl Into<String>, code: u32) -> Self {
        Self::Code {
            doing: doing.into(),
            code,
        }
    }
}
