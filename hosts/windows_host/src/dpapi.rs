//! DPAPI: secrets that only this machine can read again.
//!
//! The machine's own key is used, so that the service and an administrator's command line read the
//! same secrets. Any process of this machine could: what is protected must besides lie where only
//! administrators can read (see `acl`). It does not know where secrets are kept.
//!
//! Unsafe code is run by: `a_secret_comes_back_on_this_machine`,
//! `wrappers_gain_neither_handles_nor_memory`.

#![expect(unsafe_code, reason = "DPAPI hands over memory that callers free")]

use windows::Win32::Foundation::{HLOCAL, LocalFree};
use windows::Win32::Security::Cryptography::{
    CRYPT_INTEGER_BLOB, CRYPTPROTECT_LOCAL_MACHINE, CRYPTPROTECT_UI_FORBIDDEN, CryptProtectData,
    CryptUnprotectData,
};
use windows::core::{Error, PCWSTR};
use zeroize::{Zeroize as _, Zeroizing};

use crate::calls;
use crate::win32_error::Win32Error;

/// What no service can answer is not asked.
const FLAGS: u32 = CRYPTPROTECT_LOCAL_MACHINE | CRYPTPROTECT_UI_FORBIDDEN;

/// Returns a secret so that only this machine can read it again, and only for the same purpose.
///
/// # Errors
/// If Windows cannot protect it, or it has more than 4 GiB.
pub fn protect(secret: &[u8], purpose: &str) -> Result<Vec<u8>, Win32Error> {
    calls::count("dpapi.protect");
    let failed = |error: Error| Win32Error::new("protect a secret for this machine", &error);
    let (input, entropy) = (
        blob(secret).map_err(failed)?,
        blob(purpose.as_bytes()).map_err(failed)?,
    );
    let mut output = Given::default();
    // SAFETY: both inputs are borrowed through the call and only read; the output is ours and
    // empty, and what is put there is freed with it. Null stands for no description and no prompt.
    unsafe {
        CryptProtectData(
            &input,
            PCWSTR::null(),
            Some(&entropy),
            None,
            None,
            FLAGS,
            &mut output.0,
        )
    }
    .map_err(failed)?;
    Ok(output.bytes().to_vec())
}

/// Returns what was protected on this machine for this purpose.
///
/// # Errors
/// If it was protected elsewhere or for another purpose, or is damaged.
pub fn unprotect(protected: &[u8], purpose: &str) -> Result<Zeroizing<Vec<u8>>, Win32Error> {
    calls::count("dpapi.unprotect");
    let failed = |error: Error| {
        Win32Error::new(
            "read a secret that this machine should have protected",
            &error,
        )
    };
    let (input, entropy) = (
        blob(protected).map_err(failed)?,
        blob(purpose.as_bytes()).map_err(failed)?,
    );
    let mut output = Given::default();
    // SAFETY: as in `protect`; no description is asked for.
    unsafe {
        CryptUnprotectData(
            &input,
            None,
            Some(&entropy),
            None,
            None,
            FLAGS,
            &mut output.0,
        )
    }
    .map_err(failed)?;
    Ok(Zeroizing::new(output.bytes().to_vec()))
}

/// Returns bytes as DPAPI takes them. It does not write to what is in.
fn blob(bytes: &[u8]) -> Result<CRYPT_INTEGER_BLOB, Error> {
    let count = u32::try_from(bytes.len())
        .map_err(|_| Error::from_hresult(windows::Win32::Foundation::E_INVALIDARG))?;
    Ok(CRYPT_INTEGER_BLOB {
        cbData: count,
        pbData: bytes.as_ptr().cast_mut(),
    })
}

/// Memory that DPAPI hands over: wiped and freed on drop.
#[derive(Default)]
struct Given(CRYPT_INTEGER_BLOB);

impl Given {
    fn bytes(&mut self) -> &mut [u8] {
        if self.0.pbData.is_null() {
            return &mut [];
        }
        // SAFETY: DPAPI allocated so many bytes there for us, and nobody else has the pointer.
        unsafe { std::slice::from_raw_parts_mut(self.0.pbData, self.0.cbData as usize) }
    }
}

impl Drop for Given {
    fn drop(&mut self) {
        self.bytes().zeroize();
        // SAFETY: null, which is nothing to free, or what DPAPI says to free like this, once.
        unsafe { LocalFree(Some(HLOCAL(self.0.pbData.cast()))) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_comes_back_on_this_machine() {
        for secret in [&b""[..], b"correct horse battery staple", &[0; 10_000]] {
            let protected = protect(secret, "e3 test").expect("it can be protected");
            if !secret.is_empty() {
                assert!(!protected.windows(secret.len()).any(|part| part == secret));
            }
            let again = unprotect(&protected, "e3 test").expect("it can be read");
            assert_eq!(*again, secret);
        }
    }

    #[test]
    fn another_purpose_or_damage_gives_no_secret() {
        let protected = protect(b"secret", "one").expect("it can be protected");
        assert!(unprotect(&protected, "two").is_err());
        let mut damaged = protected.clone();
        let last = damaged.len() - 1;
        damaged[last] ^= 1;
        assert!(unprotect(&damaged, "one").is_err());
        assert!(unprotect(b"", "one").is_err());
        assert!(unprotect(b"nothing of ours", "one").is_err());
    }
}
