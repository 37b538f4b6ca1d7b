//! Who somebody is, by e-mail address, password and code: the one way in, for people and for agents that sign in.

use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard};

use sea_orm::DbErr;
use time_and_chance::Chance;

use crate::passwords::{Busy, Passwords};
use crate::plane::{Plane, token_hash};
use crate::sealing::SealingError;
use crate::sign_in::{Bounded, Pace, Tries};
use crate::store::entity::user;
use crate::totp;

/// Addresses, and e-mail addresses that nobody has, that are remembered.
const REMEMBERED_MAX: usize = 10_000;

/// What one instance remembers of those who try to sign in.
#[derive(Debug)]
pub struct Guard {
    /// Makes and compares passwords.
    pub passwords: Passwords,
    pace: Mutex<Pace>,
    /// Tries for e-mail addresses that nobody has: they lock as well, or a lock would tell who exists.
    nobodies: Mutex<Bounded<String, Tries>>,
}

impl Guard {
    /// Returns one that has seen nobody.
    pub fn new(chance: Chance) -> Self {
        Self {
            passwords: Passwords::new(chance),
            pace: Mutex::new(Pace::new(REMEMBERED_MAX)),
            nobodies: Mutex::new(Bounded::new(REMEMBERED_MAX)),
        }
    }

    /// Counts a call of an address that tries passwords. The error says how many milliseconds to wait.
    pub fn count(&self, address: Option<IpAddr>, now_ms: i64) -> Result<(), i64> {
        match address {
            Some(address) => locked(&self.pace).count(address, now_ms),
            None => Ok(()),
        }
    }

    fn count_nobody(&self, email: &str, now_ms: i64) -> Result<(), Refused> {
        // By its hash, for what strangers send may be long.
        let key = token_hash(email);
        let mut nobodies = locked(&self.nobodies);
        let tries = nobodies.get(&key).unwrap_or_default();
        let next = tries.begin(now_ms).map_err(|until_ms| Refused::Locked {
            wait_ms: until_ms - now_ms,
        })?;
        nobodies.set(key, next, |tries| (tries.locked_until, tries.failed));
        Ok(())
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nobody panics while holding it")
}

/// Why somebody is not let in.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The address, the password or the code is wrong, or the person is disabled: which one is not told.
    #[error("the e-mail address, the password or the code is wrong")]
    Wrong,
    /// The password is right, and a code of the second factor is needed too.
    #[error("give the code that your app shows")]
    CodeNeeded,
    /// Too many wrong tries.
    #[error("too many wrong tries; wait, or have an owner reset the password")]
    Locked {
        /// How long it lasts.
        wait_ms: i64,
    },
    /// Too many people sign in at once.
    #[error("too many people sign in at this moment; try again")]
    Busy,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] DbErr),
    /// The second factor's secret cannot be opened.
    #[error(transparent)]
    Sealing(#[from] SealingError),
}

impl From<Busy> for Refused {
    fn from(_: Busy) -> Self {
        Self::Busy
    }
}

/// Returns an e-mail address as it is kept and looked for.
pub fn email_key(email: &str) -> String {
    email.trim().to_lowercase()
}

/// What a person's sealed second factor is a secret of.
pub fn totp_seal(user_id: &str) -> String {
    format!("user/{user_id}/totp")
}

/// Finds the person who has this e-mail address, password and, where there is a second factor, code. A code is
/// taken: it is not right a second time.
pub async fn check(
    plane: &Plane,
    email: &str,
    password: &str,
    code: Option<&str>,
) -> Result<user::Model, Refused> {
    let email = email_key(email);
    match plane.store.user_by_email(&email).await? {
        Some(user) => check_person(plane, user, password, Asked::ToSignIn(code)).await,
        None => {
            plane.guard.count_nobody(&email, plane.now_ms())?;
            plane.guard.passwords.matches(None, password).await?;
            Err(Refused::Wrong)
        }
    }
}

/// Checks the password of somebody who is signed in already, before something that a borrowed browser must not do.
/// Wrong ones count as they do when signing in.
pub async fn check_again(
    plane: &Plane,
    user_id: &str,
    password: &str,
) -> Result<user::Model, Refused> {
    let user = plane.store.user(user_id).await?.ok_or(Refused::Wrong)?;
    check_person(plane, user, password, Asked::PasswordAlone).await
}

/// Checks password and code of somebody who is signed in already and has a second factor.
pub async fn check_both_again(
    plane: &Plane,
    user_id: &str,
    password: &str,
    code: &str,
) -> Result<user::Model, Refused> {
    let user = plane.store.user(user_id).await?.ok_or(Refused::Wrong)?;
    check_person(plane, user, password, Asked::ToSignIn(Some(code))).await
}

enum Asked<'a> {
    PasswordAlone,
    ToSignIn(Option<&'a str>),
}

async fn check_person(
    plane: &Plane,
    user: user::Model,
    password: &str,
    asked: Asked<'_>,
) -> Result<user::Model, Refused> {
    let now_ms = plane.now_ms();
    let (before, counted) = plane
        .store
        .count_try(&user.id, now_ms)
        .await?
        .map_err(|until_ms| Refused::Locked {
            wait_ms: until_ms - now_ms,
        })?;
    let is_right = plane
        .guard
        .passwords
        .matches(Some(&user.password_hash), password)
        .await?;
    if !is_right || user.is_disabled {
        return Err(Refused::Wrong);
    }
    if let (Asked::ToSignIn(code), Some(sealed)) = (asked, &user.totp_secret_sealed) {
        let Some(code) = code.filter(|code| !code.trim().is_empty()) else {
            // No try at the code was made, so none is counted; those before stay counted.
            plane.store.take_back_try(&user.id, counted, before).await?;
            return Err(Refused::CodeNeeded);
        };
        let secret = plane.sealing.open(&totp_seal(&user.id), sealed)?;
        let step =
            totp::step_of(&secret, code, now_ms, user.totp_last_step).ok_or(Refused::Wrong)?;
        if !plane.store.take_step(&user.id, step).await? {
            return Err(Refused::Wrong);
        }
    }
    plane.store.forget_tries(&user.id).await?;
    Ok(user)
}
