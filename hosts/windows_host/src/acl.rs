//! Access to files and folders: for the system and administrators, and nobody else.
//!
//! It does not know what the files are; configuration, state and secrets are.
//!
//! Unsafe code is run by: `what_is_restricted_is_still_ours`,
//! `the_list_is_closed_and_names_the_system_and_administrators_alone`,
//! `wrappers_gain_neither_handles_nor_memory`.

#![expect(unsafe_code, reason = "security descriptors are memory of Windows'")]

use std::path::Path;

use windows::Win32::Foundation::{ERROR_SUCCESS, HLOCAL, LocalFree, WIN32_ERROR};
use windows::Win32::Security::Authorization::{
    ConvertSecurityDescriptorToStringSecurityDescriptorW,
    ConvertStringSecurityDescriptorToSecurityDescriptorW, GetNamedSecurityInfoW, SDDL_REVISION_1,
    SE_FILE_OBJECT, SetNamedSecurityInfoW,
};
use windows::Win32::Security::{
    ACL, DACL_SECURITY_INFORMATION, GetSecurityDescriptorDacl, GetSecurityDescriptorOwner,
    OBJECT_SECURITY_INFORMATION, OWNER_SECURITY_INFORMATION, PROTECTED_DACL_SECURITY_INFORMATION,
    PSECURITY_DESCRIPTOR, PSID,
};
use windows::core::{BOOL, Error, HSTRING, PCWSTR, PWSTR, w};

use crate::calls;
use crate::win32_error::Win32Error;

/// Full access for the system and for administrators, taken over by what a folder holds; nothing
/// is taken over from above. It belongs to administrators: another owner could open it again.
const RESTRICTED: PCWSTR = w!("O:BAD:PAI(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)");

/// What is set and asked for.
const ASKED: OBJECT_SECURITY_INFORMATION =
    OBJECT_SECURITY_INFORMATION(OWNER_SECURITY_INFORMATION.0 | DACL_SECURITY_INFORMATION.0);

/// Restricts a file or folder, and what will be made in it, to the system and administrators.
///
/// # Errors
/// If it is not there, its file system has no access lists, or the right to change them is missing.
pub fn restrict(path: &Path) -> Result<(), Win32Error> {
    calls::count("acl.restrict");
    let doing = || format!("restrict {} to administrators", path.display());
    let failed = |error: Error| Win32Error::new(doing(), &error);
    let descriptor = Descriptor::restricted().map_err(failed)?;
    let (mut present, mut defaulted) = (BOOL(0), BOOL(0));
    let mut list: *mut ACL = std::ptr::null_mut();
    let mut owner = PSID::default();
    // SAFETY: the descriptor is whole; all places are ours. List and owner lie inside the
    // descriptor, which outlives their use below.
    unsafe {
        GetSecurityDescriptorDacl(descriptor.0, &mut present, &mut list, &mut defaulted)
            .map_err(failed)?;
        GetSecurityDescriptorOwner(descriptor.0, &mut owner, &mut defaulted).map_err(failed)?;
    }
    // SAFETY: the path ends with 0 and lives through the call, and so do list and owner.
    let result = unsafe {
        SetNamedSecurityInfoW(
            &HSTRING::from(path),
            SE_FILE_OBJECT,
            ASKED | PROTECTED_DACL_SECURITY_INFORMATION,
            Some(owner),
            None,
            Some(list),
            None,
        )
    };
    checked(result).map_err(failed)
}

/// Returns whose it is and who has what access, in the words of SDDL, such as
/// `O:BAD:P(A;OICI;FA;;;SY)`.
///
/// # Errors
/// If it is not there or may not be asked.
pub fn access(path: &Path) -> Result<String, Win32Error> {
    calls::count("acl.access");
    let doing = || format!("ask who may use {}", path.display());
    let failed = |error: Error| Win32Error::new(doing(), &error);
    let mut descriptor = Descriptor::default();
    // SAFETY: the path ends with 0 and lives through the call; the place is ours and empty, and
    // what is put there is freed with it.
    let result = unsafe {
        GetNamedSecurityInfoW(
            &HSTRING::from(path),
            SE_FILE_OBJECT,
            ASKED,
            None,
            None,
            None,
            None,
            &mut descriptor.0,
        )
    };
    checked(result).map_err(failed)?;
    descriptor.access().map_err(failed)
}

fn checked(result: WIN32_ERROR) -> Result<(), Error> {
    match result {
        ERROR_SUCCESS => Ok(()),
        other => Err(Error::from_hresult(other.to_hresult())),
    }
}

/// A security descriptor that Windows allocated, freed on drop.
#[derive(Default)]
struct Descriptor(PSECURITY_DESCRIPTOR);

impl Descriptor {
    /// Returns what files and folders are restricted with.
    fn restricted() -> Result<Self, Error> {
        let mut descriptor = Self::default();
        // SAFETY: the text is a literal that ends with 0; the place is ours and empty, and what
        // is put there is freed with it.
        unsafe {
            ConvertStringSecurityDescriptorToSecurityDescriptorW(
                RESTRICTED,
                SDDL_REVISION_1,
                &mut descriptor.0,
                None,
            )
        }?;
        Ok(descriptor)
    }

    /// Returns its owner and access list in the words of SDDL.
    fn access(&self) -> Result<String, Error> {
        let mut text = Text(PWSTR::null());
        // SAFETY: the descriptor is whole; the place is ours and empty, and the text that is put
        // there ends with 0, is copied, and is freed with its place.
        unsafe {
            ConvertSecurityDescriptorToStringSecurityDescriptorW(
                self.0,
                SDDL_REVISION_1,
                ASKED,
                &mut text.0,
                None,
            )?;
            Ok(String::from_utf16_lossy(text.0.as_wide()))
        }
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        // SAFETY: null, which is nothing to free, or what Windows says to free like this, once.
        unsafe { LocalFree(Some(HLOCAL(self.0.0))) };
    }
}

/// A text that Windows allocated, freed on drop.
struct Text(PWSTR);

impl Drop for Text {
    fn drop(&mut self) {
        // SAFETY: as above.
        unsafe { LocalFree(Some(HLOCAL(self.0.0.cast()))) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_closed_and_names_the_system_and_administrators_alone() {
        let restricted = Descriptor::restricted().expect("it can be made");
        let access = restricted.access().expect("it can be told");
        assert_eq!(access, "O:BAD:PAI(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)");
    }

    // Wine keeps no more of a list than goes into the permissions of Unix: that what was set is
    // what is there afterwards only a real Windows shows.
    #[test]
    fn what_is_restricted_is_still_ours() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let file = folder.path().join("state");
        std::fs::write(&file, "x").expect("a file can be made");
        for path in [folder.path(), &file] {
            restrict(path).expect("it can be restricted");
            let access = access(path).expect("it can be asked");
            assert!(access.starts_with("O:"), "{access}");
        }
        assert_eq!(std::fs::read(&file).expect("we still may"), b"x");
    }

    #[test]
    fn what_is_not_there_has_its_code() {
        let path = Path::new(r"C:\no\such\folder");
        for code in [restrict(path).unwrap_err(), access(path).unwrap_err()] {
            assert!([2, 3].contains(&code.code()), "{code}");
        }
    }
}
