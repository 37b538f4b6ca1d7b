//! What tests that run under Wine too must know of it.

use std::io;

/// What `CreateProcess` answers of a process that was gone before its first instruction.
const ERROR_INTERNAL_ERROR: i32 = 1359;
const TRIES: usize = 5;

/// Begins a process, by `begin`. On a busy machine Wine now and then loses one before its first instruction ("wine client
/// error: sendmsg: Bad file descriptor"): nothing of it ran then, and it is begun again.
///
/// # Errors
/// What `begin` answers otherwise.
pub fn begun<T>(mut begin: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    for _ in 1..TRIES {
        match begin() {
            Err(error) if error.raw_os_error() == Some(ERROR_INTERNAL_ERROR) => {
                eprintln!("Wine lost a process before it began: {error}");
            }
            done => return done,
        }
    }
    begin()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_lost_is_begun_again_and_what_failed_is_not() {
        let mut tries = 0;
        let mut begin = |losses: usize, error: i32| {
            tries = 0;
            begun(|| {
                tries += 1;
                match tries > losses {
                    true => Ok(tries),
                    false => Err(io::Error::from_raw_os_error(error)),
                }
            })
        };
        assert_eq!(begin(2, ERROR_INTERNAL_ERROR).expect("begun"), 3);
        assert!(begin(TRIES, ERROR_INTERNAL_ERROR).is_err());
        assert!(begin(1, 2).is_err());
        assert_eq!(tries, 1);
    }
}
