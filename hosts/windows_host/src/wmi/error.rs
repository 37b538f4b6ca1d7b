//! A WMI call that failed.

/// A call that failed, with the HRESULT if WMI gave one; reads after "failed to …".
///
/// Decisions rest on the code alone: text comes in the host's language (Hyper-V spec 2.7).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}{}", .code.map(|code| format!(" (0x{code:08X})")).unwrap_or_default())]
pub struct WmiError {
    message: String,
    code: Option<u32>,
}

impl WmiError {
    /// Returns the error of a call that ended with an HRESULT.
    pub fn call(doing: impl Into<String>, code: u32) -> Self {
        Self {
            message: doing.into(),
            code: Some(code),
        }
    }

    /// Returns the error of an answer that has another shape than documented.
    pub fn shape(what: impl Into<String>) -> Self {
        Self {
            message: what.into(),
            code: None,
        }
    }

    /// Returns the HRESULT; none if the call worked and its answer made no sense.
    pub fn code(&self) -> Option<u32> {
        self.code
    }
}
