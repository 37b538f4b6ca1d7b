//! What methods answer: two families of numbers, decoded for every method (Hyper-V spec 2.5).

use hyperv::HypervErrorKind as Kind;

/// A method's return code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReturnCode {
    /// Done.
    Done,
    /// A job was started.
    Job,
    /// It failed.
    Failed(Failure),
}

/// A return code that means failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Failure {
    /// The number.
    pub code: u32,
    /// What a caller can act on.
    pub kind: Kind,
    /// What it means.
    pub text: &'static str,
}

impl ReturnCode {
    /// Decodes a return code.
    pub(super) fn decode(code: u32) -> Self {
        let (kind, text) = match code {
            0 => return Self::Done,
            4096 => return Self::Job,
            1 | 32770 => (
                Kind::Unsupported,
                "not supported for this VM; look at pass-through and shared disks and at its configuration version",
            ),
            2 | 32768 => (Kind::Failed, "Hyper-V failed"),
            3 | 32772 => (
                Kind::Unavailable,
                "Hyper-V ran into a time limit; try again",
            ),
            4 | 32773 => (Kind::Invalid, "a parameter makes no sense to Hyper-V"),
            5 | 32775 => (Kind::Busy, "the VM is in a state that does not allow it"),
            6 | 32776 => (Kind::Invalid, "something is of the wrong type for Hyper-V"),
            32769 => (Kind::Denied, "access is denied; run as SYSTEM or elevated"),
            32771 => (
                Kind::OutcomeUnknown,
                "Hyper-V does not know what became of it",
            ),
            32774 => (Kind::Busy, "the VM is in use"),
            32777 => (
                Kind::NotFound,
                "the VM is not available here; it may have moved to another host",
            ),
            32778 => (
                Kind::Unavailable,
                "the host is out of memory; try again later",
            ),
            32779 => (Kind::Failed, "a file is in use or missing"),
            _ => (Kind::Failed, "Hyper-V answered with a number of its own"),
        };
        Self::Failed(Failure { code, kind, text })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_families_mean_the_same() {
        for (a, b) in [
            (1, 32770),
            (2, 32768),
            (3, 32772),
            (4, 32773),
            (5, 32775),
            (6, 32776),
        ] {
            let (ReturnCode::Failed(a), ReturnCode::Failed(b)) =
                (ReturnCode::decode(a), ReturnCode::decode(b))
            else {
                panic!("{a} and {b} are failures");
            };
            assert_eq!((a.kind, a.text), (b.kind, b.text));
        }
    }

    #[test]
    fn every_documented_number_has_its_kind() {
        for (code, kind) in [
            (32768, Kind::Failed),
            (32769, Kind::Denied),
            (32770, Kind::Unsupported),
            (32771, Kind::OutcomeUnknown),
            (32772, Kind::Unavailable),
            (32773, Kind::Invalid),
            (32774, Kind::Busy),
            (32775, Kind::Busy),
            (32776, Kind::Invalid),
            (32777, Kind::NotFound),
            (32778, Kind::Unavailable),
            (32779, Kind::Failed),
            (7, Kind::Failed),
            (4097, Kind::Failed),
            (40_000, Kind::Failed),
        ] {
            let ReturnCode::Failed(failure) = ReturnCode::decode(code) else {
                panic!("{code} is a failure");
            };
            assert_eq!((failure.kind, failure.code), (kind, code));
        }
        assert_eq!(ReturnCode::decode(0), ReturnCode::Done);
        assert_eq!(ReturnCode::decode(4096), ReturnCode::Job);
    }
}
