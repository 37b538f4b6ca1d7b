//! The privilege that attaching virtual disks needs (Hyper-V spec 8 and 15).
//!
//! Unsafe code is run by: `a_frozen_disk_says_and_holds_the_same`.

use windows::Win32::Foundation::HANDLE;
use windows::Win32::Security::{
    AdjustTokenPrivileges, LUID_AND_ATTRIBUTES, LookupPrivilegeValueW, SE_MANAGE_VOLUME_NAME,
    SE_PRIVILEGE_ENABLED, TOKEN_ADJUST_PRIVILEGES, TOKEN_PRIVILEGES,
};
use windows::Win32::System::Threading::{GetCurrentProcess, OpenProcessToken};

use super::handle::OwnedHandle;
use crate::calls;

/// Enables SeManageVolumePrivilege for this process, if its account has it.
#[expect(unsafe_code, reason = "tokens are raw handles")]
pub(super) fn enable_manage_volume() {
    let mut privileges = TOKEN_PRIVILEGES {
        PrivilegeCount: 1,
        Privileges: [LUID_AND_ATTRIBUTES {
            Attributes: SE_PRIVILEGE_ENABLED,
            ..Default::default()
        }],
    };
    let luid = &mut privileges.Privileges[0].Luid;
    let mut token = HANDLE::default();
    calls::count("virtdisk.enable_privilege");
    // SAFETY: the name is a literal that ends with 0, and the LUID and the token are places of
    // ours. The process handle is a pseudo handle that needs no closing.
    let found = unsafe {
        LookupPrivilegeValueW(None, SE_MANAGE_VOLUME_NAME, luid).and_then(|()| {
            OpenProcessToken(GetCurrentProcess(), TOKEN_ADJUST_PRIVILEGES, &mut token)
        })
    };
    if found.is_err() {
        return;
    }
    let token = OwnedHandle::new(token);
    // SAFETY: the token is open for adjusting, the structure holds the one privilege it counts,
    // and no earlier state is asked for.
    let _ = unsafe { AdjustTokenPrivileges(token.raw(), false, Some(&privileges), 0, None, None) };
}
