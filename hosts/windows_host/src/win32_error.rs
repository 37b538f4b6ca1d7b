//! A Win32 call that failed.

/// A call that failed, with Windows' own code; reads after "failed to …".
///
/// Decisions rest on the code alone: the text comes in the host's language.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{doing}: {text} ({code})")]
pub struct Win32Error {
    doing: String,
    text: String,
    code: u32,
}

impl Win32Error {
    /// Returns the error of a call that ended with `error`.
    pub(crate) fn new(doing: impl Into<String>, error: &windows::core::Error) -> Self {
        /// HRESULTs of this facility carry a Win32 code.
        const FACILITY_WIN32: u32 = 0x8007_0000;
        let code = error.code().0.cast_unsigned();
        let code = match code & 0xFFFF_0000 {
            FACILITY_WIN32 => code & 0xFFFF,
            _ => code,
        };
        Self {
            doing: doing.into(),
            text: error.message().trim().to_owned(),
            code,
        }
    }

    /// Returns the Win32 code, such as 5 for "access denied"; an HRESULT where there is no other.
    pub fn code(&self) -> u32 {
        self.code
    }
}

#[cfg(test)]
mod tests {
    use windows::core::{Error, HRESULT};

    use super::*;

    fn error(code: u32) -> Win32Error {
        let error = Error::from_hresult(HRESULT(code.cast_signed()));
        Win32Error::new("open the door", &error)
    }

    #[test]
    fn codes_are_those_that_administrators_look_up() {
        assert_eq!(error(0x8007_0005).code(), 5);
        assert_eq!(error(0x8004_1003).code(), 0x8004_1003);
        let text = error(0x8007_0005).to_string();
        assert!(text.starts_with("open the door: "), "{text}");
        assert!(text.ends_with(" (5)"), "{text}");
    }
}
