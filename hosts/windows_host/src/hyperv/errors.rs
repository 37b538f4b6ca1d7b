//! From Windows' codes to what a caller can act on, with a word on what to do (Hyper-V spec 16).
//!
//! Codes decide, never words: text comes in the host's language.

use std::io;
use std::path::Path;

use disk::{DiskError, DiskErrorKind};
use hyperv::{HypervError, HypervErrorKind as Kind};

use super::return_codes::Failure;
use crate::virtdisk::VirtualDiskError;
use crate::wmi::WmiError;

/// WMI: no such object.
pub(super) const WBEM_NOT_FOUND: u32 = 0x8004_1002;
/// WMI: no such namespace.
pub(super) const WBEM_INVALID_NAMESPACE: u32 = 0x8004_100E;
/// WMI: no such class.
pub(super) const WBEM_INVALID_CLASS: u32 = 0x8004_1010;
/// virtdisk: the disk is shared between VMs.
pub(super) const VHD_SHARED: u32 = 0xC05C_FF0A;

/// COM: the service died while it worked on a call.
const RPC_SERVER_DIED: u32 = 0x8001_0007;
/// COM: the service failed while it worked on a call.
const RPC_SERVER_FAULT: u32 = 0x8001_0105;
/// COM: the service let go of what the call was made on.
const RPC_DISCONNECTED: u32 = 0x8001_0108;
/// COM: something went wrong on the way.
const RPC_UNEXPECTED: u32 = 0x8001_FFFF;

/// Returns a code in the one form the table knows: a plain Win32 number as its HRESULT.
fn as_hresult(code: u32) -> u32 {
    match code {
        0..=0xFFFF => 0x8007_0000 | code,
        other => other,
    }
}

/// Returns what a code of WMI, Win32, VSS or virtdisk means; none for one that says nothing.
pub(super) fn meaning(code: u32) -> Option<(Kind, &'static str)> {
    Some(match as_hresult(code) {
        0x8004_1003 => (
            Kind::Denied,
            "rights are missing: run as SYSTEM, elevated, or as a Hyper-V administrator",
        ),
        WBEM_INVALID_NAMESPACE | WBEM_INVALID_CLASS => (
            Kind::Unsupported,
            "the Hyper-V role is not installed on this machine",
        ),
        0x8004_1013 | 0x8004_1014 => (
            Kind::Unavailable,
            "the Hyper-V management service (vmms) does not answer",
        ),
        0x8004_1015 | 0x8007_06BA | 0x8007_06BE | RPC_SERVER_DIED | RPC_SERVER_FAULT
        | RPC_DISCONNECTED | RPC_UNEXPECTED => (
            Kind::Unavailable,
            "the connection to WMI broke; the service may have been restarted",
        ),
        WBEM_NOT_FOUND => (
            Kind::NotFound,
            "it is not here; it may have been deleted or moved to another host",
        ),
        0x8004_102F | 0x8004_103A => (
            Kind::Invalid,
            "WMI does not accept the parameters or the path",
        ),
        0x8004_1032 | 0x8004_1033 => (
            Kind::Unavailable,
            "WMI is shutting down or cancelled the call",
        ),
        0x8004_106C => (
            Kind::Unavailable,
            "a quota of WMI is exceeded; try again later",
        ),
        0x8007_0005 => (
            Kind::Denied,
            "access is denied; look at the rights of this account, and of NT VIRTUAL MACHINE on the VM's folders",
        ),
        0x8007_0569 | 0x8007_052F => (
            Kind::Denied,
            "NT VIRTUAL MACHINE\\Virtual Machines lacks the right \"Log on as a service\"; look at the group policies",
        ),
        0x8007_0002 | 0x8007_0003 => (Kind::Failed, "a file or folder of the VM is missing"),
        0x8007_0013 => (
            Kind::Failed,
            "the drive that the host shows of the disk is read-only",
        ),
        0x8007_139F => (
            Kind::Failed,
            "the drive that the host shows of the disk does not go offline",
        ),
        0x8007_0020 | 0x8007_0021 => (
            Kind::InUse,
            "a file is in use: by another backup product, an antivirus or a merge that hangs",
        ),
        0x8007_0050 | 0x8007_00B7 => (Kind::Failed, "a file of that name is there already"),
        0x8007_0070 | 0x8007_0027 => (Kind::Full, "the volume is full"),
        0x8007_05B4 => (Kind::Unavailable, "a time limit was reached; try again"),
        0x8007_0057 => (Kind::Invalid, "Windows does not accept the parameters"),
        0x8007_026A => (Kind::Unsupported, "the volume or the file is compressed"),
        0x8007_1772 => (Kind::Unsupported, "the file is encrypted"),
        0x8007_0299 => (
            Kind::Unsupported,
            "the file lies on a share of this same machine",
        ),
        0x8007_0570 => (Kind::Failed, "a file or folder is damaged"),
        0x8004_2300..=0x8004_23FF => (
            Kind::GuestRefused,
            "a VSS writer in the guest failed; look at `vssadmin list writers` there",
        ),
        0xC03A_0001..=0xC03A_000C | 0xC03A_0010 | 0xC03A_0011 => (
            Kind::Failed,
            "the virtual disk is damaged or of an unknown format",
        ),
        0xC03A_000D..=0xC03A_000F | 0xC03A_0016..=0xC03A_0019 => (
            Kind::Failed,
            "the chain of differencing disks is broken; look at the parent",
        ),
        0xC03A_0012 | 0xC03A_0013 | 0xC03A_001A | 0xC03A_001B | 0xC03A_001D => (
            Kind::Unsupported,
            "a virtual disk of this size, kind or place is not supported",
        ),
        0xC03A_0014 | 0xC03A_0015 => (Kind::Failed, "it is no virtual disk"),
        0xC03A_001C | 0xC03A_001E | 0xC03A_001F => (
            Kind::InUse,
            "the virtual disk is in use or in the wrong state",
        ),
        0xC03A_0020..=0xC03A_0024 | 0xC03A_0029 | 0xC03A_002A | 0xC03A_0030 => {
            (Kind::Failed, "change tracking cannot be used")
        }
        0xC03A_0034 => (
            Kind::Failed,
            "it is another virtual disk than the one expected",
        ),
        VHD_SHARED | 0xC05C_FF0C => (
            Kind::Unsupported,
            "the disk is shared between virtual machines; back it up inside the guest",
        ),
        _ => return None,
    })
}

/// Returns whether somebody else has a file open in a way that does not go together with ours.
pub(super) fn is_in_use(code: u32) -> bool {
    meaning(code).is_some_and(|(kind, _)| kind == Kind::InUse)
}

/// Returns whether a call that changes something may have done so although it failed like this:
/// the answer was lost, not the call.
pub(super) fn answer_was_lost(code: u32) -> bool {
    matches!(
        code,
        0x8004_1013
            | 0x8004_1015
            | 0x8004_1032
            | 0x8004_1033
            | 0x8007_05B4
            | 0x8007_06BE
            | RPC_SERVER_DIED
            | RPC_SERVER_FAULT
            | RPC_DISCONNECTED
            | RPC_UNEXPECTED
    )
}

/// Returns a failed WMI call as the port's error.
pub(super) fn wmi_error(doing: &str, error: WmiError) -> HypervError {
    let Some(code) = error.code() else {
        return HypervError::new(
            Kind::Failed,
            format!("{doing}: Hyper-V's answer makes no sense"),
        )
        .caused_by(error);
    };
    let (kind, text) = meaning(code).unwrap_or((Kind::Failed, "WMI failed"));
    HypervError::new(kind, format!("{doing}: {text}"))
        .with_code(code)
        .caused_by(error)
}

/// Returns a failed call of something that changes the host: if the answer was lost, nobody knows
/// what became of it.
pub(super) fn change_error(doing: &str, error: WmiError) -> HypervError {
    match error.code() {
        Some(code) if answer_was_lost(code) => HypervError::new(
            Kind::OutcomeUnknown,
            format!("{doing}: the answer was lost"),
        )
        .with_code(code)
        .caused_by(error),
        _ => wmi_error(doing, error),
    }
}

/// Returns a method's return code as the port's error.
pub(super) fn return_error(doing: &str, failure: Failure) -> HypervError {
    HypervError::new(failure.kind, format!("{doing}: {}", failure.text)).with_code(failure.code)
}

/// Returns a failed virtdisk call as the port's error.
pub(super) fn virtual_disk_error(error: VirtualDiskError) -> HypervError {
    let (kind, text) = meaning(error.code).unwrap_or((Kind::Failed, "virtdisk failed"));
    let doing = format!("{} {}: {text}", error.doing, error.path.display());
    HypervError::new(kind, doing).with_code(as_hresult(error.code))
}

/// Returns a failed virtdisk call as a disk's error.
pub(super) fn disk_error(error: VirtualDiskError) -> DiskError {
    let kind = match as_hresult(error.code) {
        0xC03A_0001..=0xC03A_0011 | 0xC03A_0016..=0xC03A_0019 | 0x8007_0570 => {
            DiskErrorKind::Damaged
        }
        0x8007_0070 | 0x8007_0027 => DiskErrorKind::Full,
        0x8007_0020 | 0x8007_0021 | 0x8007_0005 | 0x8007_0013 | 0xC03A_001C | 0xC03A_001E
        | 0xC03A_001F | VHD_SHARED => DiskErrorKind::Refused,
        _ => DiskErrorKind::Unreadable,
    };
    DiskError::new(kind, "reach the virtual disk").caused_by(error)
}

/// Returns a failed file operation as the port's error.
pub(super) fn file_error(doing: &str, path: &Path, error: io::Error) -> HypervError {
    let kind = match error.kind() {
        io::ErrorKind::NotFound => Kind::Failed,
        io::ErrorKind::PermissionDenied => Kind::Denied,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Kind::Full,
        io::ErrorKind::AlreadyExists => Kind::Invalid,
        io::ErrorKind::ResourceBusy => Kind::InUse,
        _ => error
            .raw_os_error()
            .filter(|_| cfg!(windows))
            .and_then(|code| meaning(code.cast_unsigned()))
            .map_or(Kind::Failed, |(kind, _)| kind),
    };
    HypervError::new(kind, format!("{doing} {}", path.display())).caused_by(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_of_the_spec_has_its_kind() {
        for (codes, kind) in [
            (
                &[0x8004_1003, 5, 0x8007_0005, 0x8007_0569, 0x8007_052F][..],
                Kind::Denied,
            ),
            (
                &[0x8004_100E, 0x8004_1010, 618, 6002, 665],
                Kind::Unsupported,
            ),
            (
                &[
                    0x8004_1013,
                    0x8004_1014,
                    0x8004_1015,
                    0x8007_06BA,
                    0x8007_06BE,
                    0x8004_1032,
                    0x8001_0007,
                    0x8001_0105,
                    0x8001_0108,
                    0x8001_FFFF,
                ],
                Kind::Unavailable,
            ),
            (
                &[0x8004_1033, 0x8004_106C, 0x8007_05B4, 1460],
                Kind::Unavailable,
            ),
            (&[0x8004_1002], Kind::NotFound),
            (&[0x8004_102F, 0x8004_103A, 87, 0x8007_0057], Kind::Invalid),
            (
                &[2, 3, 0x8007_0002, 0x8007_0003, 1392, 0x8007_0050, 19, 5023],
                Kind::Failed,
            ),
            (
                &[32, 33, 0x8007_0020, 0xC03A_001C, 0xC03A_001E, 0xC03A_001F],
                Kind::InUse,
            ),
            (&[112, 39, 0x8007_0070], Kind::Full),
            (
                &[
                    0x8004_23F0,
                    0x8004_23F1,
                    0x8004_23F2,
                    0x8004_23F3,
                    0x8004_23F4,
                    0x8004_23FB,
                ],
                Kind::GuestRefused,
            ),
            (
                &[0xC03A_0001, 0xC03A_000C, 0xC03A_0010, 0xC03A_0011],
                Kind::Failed,
            ),
            (
                &[
                    0xC03A_000D,
                    0xC03A_000E,
                    0xC03A_000F,
                    0xC03A_0016,
                    0xC03A_0019,
                ],
                Kind::Failed,
            ),
            (
                &[0xC03A_0012, 0xC03A_0013, 0xC03A_001A, 0xC03A_001B],
                Kind::Unsupported,
            ),
            (&[0xC03A_001D, 0xC05C_FF0A, 0xC05C_FF0C], Kind::Unsupported),
            (&[0xC03A_0014, 0xC03A_0015, 0xC03A_0034], Kind::Failed),
            (
                &[
                    0xC03A_0020,
                    0xC03A_0024,
                    0xC03A_0029,
                    0xC03A_002A,
                    0xC03A_0030,
                ],
                Kind::Failed,
            ),
        ] {
            for &code in codes {
                let found = meaning(code).map(|(kind, _)| kind);
                assert_eq!(found, Some(kind), "0x{code:08X}");
            }
        }
        assert_eq!(meaning(0x8004_1001), None);
    }

    #[test]
    fn a_lost_answer_to_a_change_is_an_unknown_outcome() {
        let lost = || WmiError::call("call CreateSnapshot", 0x8007_06BE);
        assert_eq!(change_error("freeze", lost()).kind(), Kind::OutcomeUnknown);
        assert_eq!(wmi_error("look", lost()).kind(), Kind::Unavailable);
        // This one never reached the service.
        let refused = WmiError::call("call CreateSnapshot", 0x8007_06BA);
        assert_eq!(change_error("freeze", refused).kind(), Kind::Unavailable);
    }

    #[test]
    fn an_error_says_what_was_done_to_what_and_its_code() {
        let error = virtual_disk_error(VirtualDiskError {
            doing: "open",
            path: "D:\\vm\\disk.vhdx".into(),
            code: 32,
        });
        assert_eq!(error.code(), Some(0x8007_0020));
        let text = error.to_string();
        assert!(text.contains("open D:\\vm\\disk.vhdx"), "{text}");
        assert!(text.contains("0x80070020"), "{text}");
    }
}
