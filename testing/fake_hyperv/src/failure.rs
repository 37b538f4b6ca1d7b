//! What the simulated host's errors look like through WMI (Hyper-V spec 2.5, 2.7 and 16).

use hyperv::{HypervError, HypervErrorKind, codes as host};
use windows_host::wmi::WmiError;

use crate::Manners;
use crate::codes;
use crate::schema::Family;

/// A method's refusal, as a number of either family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    NotSupported,
    Failed,
    InvalidParameter,
    InvalidState,
    WrongType,
    FilesInUse,
}

impl Refusal {
    /// Returns the number.
    pub(crate) fn code(self, family: Family, manners: &Manners) -> u32 {
        let small = family == Family::A && !manners.family_b_everywhere;
        match self {
            Self::NotSupported if small => 1,
            Self::NotSupported => host::NOT_SUPPORTED,
            Self::Failed if small => 2,
            Self::Failed => host::FAILED,
            Self::InvalidParameter if small => 4,
            Self::InvalidParameter => host::INVALID_PARAMETER,
            // Seen of both families in the field (spec 2.5).
            Self::InvalidState if small && manners.small_busy_code => 5,
            Self::InvalidState => host::INVALID_STATE,
            Self::WrongType if small => 6,
            Self::WrongType => 32776,
            Self::FilesInUse => host::FILE_IN_USE,
        }
    }
}

/// What became of a call that the simulated host refused.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The call itself fails.
    Call(WmiError),
    /// The method answers with a number.
    Refused(Refusal),
    /// A job ends in failure.
    Job(JobError),
    /// A job vanishes before its end is seen.
    Vanished,
}

/// Why a job failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct JobError {
    /// The HRESULT its message carries; none for a job that fails without detail.
    pub code: Option<u32>,
    /// 2 information, 3 warning, 5 and more: it stands in the way.
    pub severity: u16,
    /// What it is about.
    pub about: String,
    /// What the method would have answered, had it been found out before there was a job.
    pub refusal: Option<Refusal>,
}

/// The `PerceivedSeverity` of what stands in the way.
pub(crate) const SEVERE: u16 = 5;
/// That of a warning.
pub(crate) const WARNING: u16 = 3;

impl JobError {
    /// Returns the message: in a language that is not the reader's, with the code in the text.
    pub(crate) fn message(&self) -> String {
        let code = self.code.map(|code| format!(" (0x{code:08X})"));
        let code = code.unwrap_or_default();
        format!("Vorgang fehlgeschlagen: \"{}\"{code}.", self.about)
    }
}

/// Returns what a method makes of an error.
pub(crate) fn of_method(error: &HypervError) -> Failure {
    match error.kind() {
        HypervErrorKind::NotFound => {
            Failure::Call(WmiError::call(error.to_string(), codes::NOT_FOUND))
        }
        HypervErrorKind::Unavailable => {
            Failure::Call(WmiError::call(error.to_string(), codes::RPC_UNAVAILABLE))
        }
        HypervErrorKind::Busy => Failure::Refused(Refusal::InvalidState),
        HypervErrorKind::Unsupported => Failure::Refused(Refusal::NotSupported),
        HypervErrorKind::Invalid if error.code() == Some(host::FILE_IN_USE) => {
            Failure::Refused(Refusal::FilesInUse)
        }
        HypervErrorKind::Invalid => Failure::Refused(Refusal::InvalidParameter),
        HypervErrorKind::OutcomeUnknown => Failure::Vanished,
        kind => Failure::Job(JobError {
            code: hresult(kind, error.code()),
            severity: SEVERE,
            about: error.to_string(),
            refusal: None,
        }),
    }
}

/// Returns the HRESULT that tells of an error, if one does.
fn hresult(kind: HypervErrorKind, code: Option<u32>) -> Option<u32> {
    match (kind, code.filter(|code| *code > 0xFFFF)) {
        (_, Some(code)) => Some(code),
        (HypervErrorKind::InUse, None) => Some(host::SHARING_VIOLATION),
        (HypervErrorKind::Full, None) => Some(host::DISK_FULL),
        (HypervErrorKind::Denied, None) => Some(host::ACCESS_DENIED),
        // A guest that does not answer: its writers may answer another time (spec 16).
        (HypervErrorKind::GuestRefused, None) => Some(0x8004_23F3),
        _ => None,
    }
}

/// Returns what reading objects makes of an error.
pub(crate) fn of_reading(error: HypervError) -> WmiError {
    let code = match error.kind() {
        HypervErrorKind::NotFound => codes::NOT_FOUND,
        HypervErrorKind::Unavailable => codes::RPC_UNAVAILABLE,
        HypervErrorKind::Busy => codes::PROVIDER_LOAD_FAILURE,
        HypervErrorKind::OutcomeUnknown => codes::SHUTTING_DOWN,
        _ => codes::FAILED,
    };
    WmiError::call(error.to_string(), code)
}
