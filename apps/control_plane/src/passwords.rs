//! Passwords by Argon2id: made and compared away from everything else, a few at a time.

use std::sync::Arc;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, PasswordHasher as _, PasswordVerifier as _};
use time_and_chance::Chance;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

/// A password's length in characters, at least.
pub const CHARS_MIN: usize = 12;

/// Its length in bytes, at most; longer ones only cost time.
pub const BYTES_MAX: usize = 1_000;

/// Each takes 19 MiB and a whole core for a moment.
const AT_ONCE: usize = 2;

/// How many may wait for their turn.
const WAITING_MAX: usize = 100;

/// What is compared with where there is no such person, at the cost that everybody's password has: no password has
/// this hash. So a wrong address takes as long as a wrong password.
const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5IGF0IGFsbC4u$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Too many people wait for their passwords to be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busy;

/// Makes and compares passwords.
#[derive(Debug)]
pub struct Passwords {
    queue: Arc<Semaphore>,
    turns: Arc<Semaphore>,
    chance: Chance,
}

impl Passwords {
    /// Returns one that draws salt from `chance`.
    pub fn new(chance: Chance) -> Self {
        Self {
            queue: Arc::new(Semaphore::new(WAITING_MAX)),
            turns: Arc::new(Semaphore::new(AT_ONCE)),
            chance,
        }
    }

    /// Returns what is kept of a password: a PHC string.
    pub async fn hash(&self, password: &str) -> Result<String, Busy> {
        let salt: [u8; 16] = self.chance.bytes();
        self.in_turn(password, move |password| {
            Argon2::default()
                .hash_password_with_salt(password, &salt)
                .expect("Argon2 takes any password with 16 bytes of salt")
                .to_string()
        })
        .await
    }

    /// Tells whether `password` belongs to `hash`. Without a hash it does not, and that takes as long.
    pub async fn matches(&self, hash: Option<&str>, password: &str) -> Result<bool, Busy> {
        let hash = hash.unwrap_or(NOBODY).to_owned();
        self.in_turn(password, move |password| {
            PasswordHash::new(&hash)
                .is_ok_and(|hash| Argon2::default().verify_password(password, &hash).is_ok())
        })
        .await
    }

    async fn in_turn<T: Send + 'static>(
        &self,
        password: &str,
        work: impl FnOnce(&[u8]) -> T + Send + 'static,
    ) -> Result<T, Busy> {
        let _place = self.queue.try_acquire().map_err(|_| Busy)?;
        let turn = Arc::clone(&self.turns)
            .acquire_owned()
            .await
            .expect("nobody closes it");
        let password = Zeroizing::new(password.as_bytes().to_vec());
        let work = tokio::task::spawn_blocking(move || {
            // Held by the work itself: whoever hangs up does not let more than a few run.
            let _turn = turn;
            work(&password)
        });
        Ok(work.await.expect("the work does not panic"))
    }
}

/// Tells what is wrong with a new password, if anything is.
pub fn flaw(password: &str) -> Option<String> {
    if password.chars().count() < CHARS_MIN {
        Some(format!("a password has {CHARS_MIN} characters at least"))
    } else if password.len() > BYTES_MAX {
        Some(format!("a password has {BYTES_MAX} bytes at most"))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_matches_its_own_hash_alone() {
        let passwords = Passwords::new(Chance::from_seed(1));
        let hash = passwords.hash("correct horse").await.expect("not busy");
        assert!(
            hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
            "{hash}"
        );
        assert_eq!(
            passwords.matches(Some(&hash), "correct horse").await,
            Ok(true)
        );
        assert_eq!(
            passwords.matches(Some(&hash), "correct house").await,
            Ok(false)
        );
        assert_eq!(passwords.matches(Some("damaged"), "").await, Ok(false));
    }

    #[tokio::test]
    async fn nobody_costs_what_somebody_costs_and_never_matches() {
        let nobody = PasswordHash::new(NOBODY).expect("a PHC string");
        let passwords = Passwords::new(Chance::from_seed(1));
        let hash = passwords.hash("").await.expect("not busy");
        let somebody = PasswordHash::new(&hash).expect("a PHC string");
        assert_eq!(nobody.params.to_string(), somebody.params.to_string());
        assert_eq!(passwords.matches(None, "").await, Ok(false));
    }

    #[test]
    fn short_passwords_are_refused_by_characters() {
        assert!(flaw("ääääääääääää").is_none());
        assert!(flaw("äääääääääää").is_some());
        assert!(flaw(&"a".repeat(1_001)).is_some());
    }
}
