//! The second factor: codes of six digits, a new one every 30 seconds (RFC 6238, SHA-1, as every app knows it).

use totp_rs::{Builder, Totp};

const SECONDS_PER_STEP: i64 = 30;

/// A secret's length, as RFC 4226 recommends.
pub const SECRET_BYTES: usize = 20;

/// Returns the time step that `code` belongs to, if it is right at `now_ms` (or was 30 seconds ago, or will be) and
/// its step comes after `last_step`, the last that was taken. Whoever takes the code remembers its step.
pub fn step_of(secret: &[u8], code: &str, now_ms: i64, last_step: i64) -> Option<i64> {
    let code = code.trim();
    if code.len() != 6 || !code.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let now_s = u64::try_from(now_ms.div_euclid(1_000)).ok()?;
    // Digits are compared in constant time there.
    let step = i64::try_from(totp(secret)?.check(code, now_s)?).ok()?;
    (step > last_step).then_some(step)
}

fn totp(secret: &[u8]) -> Option<Totp> {
    // Refused is a secret that is too short; ours are not.
    Builder::new()
        .with_step_duration(SECONDS_PER_STEP.unsigned_abs())
        .with_secret(<[u8; SECRET_BYTES]>::try_from(secret).ok()?)
        .build()
        .ok()
}

/// Returns a secret in base32, as people type it into an app.
pub fn base32(secret: &[u8]) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let mut text = String::new();
    let (mut bits, mut count) = (0_u32, 0);
    for &byte in secret {
        bits = (bits << 8) | u32::from(byte);
        count += 8;
        while count >= 5 {
            count -= 5;
            text.push(char::from(ALPHABET[(bits >> count) as usize & 31]));
        }
        bits &= (1 << count) - 1;
    }
    if count > 0 {
        text.push(char::from(ALPHABET[(bits << (5 - count)) as usize & 31]));
    }
    text
}

/// Returns what an app scans: the secret, whose it is and of which server.
pub fn uri(secret: &[u8], account: &str, server: &str) -> String {
    format!(
        "otpauth://totp/{server}:{account}?secret={}&issuer={server}&algorithm=SHA1&digits=6&period={SECONDS_PER_STEP}",
        base32(secret),
        server = escaped(server),
        account = escaped(account),
    )
}

fn escaped(text: &str) -> String {
    use std::fmt::Write as _;
    let mut escaped = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            write!(escaped, "%{byte:02X}").expect("a string takes everything");
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The secret of RFC 6238, appendix B.
    const SECRET: &[u8] = b"12345678901234567890";

    #[test]
    fn codes_are_those_of_the_rfc() {
        for (second, code) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (2_000_000_000, "279037"),
        ] {
            let step = step_of(SECRET, code, second * 1_000, 0);
            assert_eq!(step, Some(second / 30), "{second}");
        }
    }

    #[test]
    fn a_code_is_taken_once_and_not_before_an_older_one() {
        assert_eq!(step_of(SECRET, "287082", 59_000, 0), Some(1));
        assert_eq!(step_of(SECRET, "287082", 59_000, 1), None);
        assert_eq!(step_of(SECRET, "287082", 59_000, 2), None);
    }

    #[test]
    fn a_code_lives_for_one_step_before_and_after_its_own() {
        assert_eq!(step_of(SECRET, "287082", 1_000, 0), Some(1));
        assert_eq!(step_of(SECRET, "287082", 89_000, 0), Some(1));
        assert_eq!(step_of(SECRET, "287082", 90_000, 0), None);
        for wrong in ["", "28708", "2870821", "28708a", "+87082", "２８７０８２"] {
            assert_eq!(step_of(SECRET, wrong, 59_000, 0), None, "{wrong}");
        }
        assert_eq!(step_of(b"short", "287082", 59_000, 0), None);
    }

    #[test]
    fn a_secret_reads_as_rfc_4648_says() {
        for (bytes, text) in [
            ("", ""),
            ("f", "MY"),
            ("fo", "MZXQ"),
            ("foo", "MZXW6"),
            ("foob", "MZXW6YQ"),
            ("fooba", "MZXW6YTB"),
            ("foobar", "MZXW6YTBOI"),
        ] {
            assert_eq!(base32(bytes.as_bytes()), text);
        }
    }

    #[test]
    fn an_uri_cannot_be_broken_out_of() {
        assert_eq!(
            uri(b"foobar", "a&b@example.com", "e3 backup"),
            "otpauth://totp/e3%20backup:a%26b%40example.com?secret=MZXW6YTBOI&issuer=e3%20backup&algorithm=SHA1&digits=6&period=30"
        );
    }
}
