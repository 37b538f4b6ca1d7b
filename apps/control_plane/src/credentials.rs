//! Who somebody is, by e-mail address, password and code: the one way in, for people and for agents that sign in.

use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use sea_orm::DbErr;
use time_and_chance::Chance;

use crate::passwords::{Busy, Passwords};
use crate::plane::{Plane, token_hash};
use crate::sealing::SealingError;
use crate::sign_in::{Counts, Door, Pace, Trier, network};
use crate::store::entity::user;
use crate::totp;

/// Addresses, people, and pairs of them that are remembered.
const REMEMBERED_MAX: usize = 10_000;

/// Tries of one address at once.
const TRIES_AT_ONCE: i64 = 20;

/// After that, one in this time.
const TRY_EACH_MS: i64 = 3_000;

/// Enrolments by token from one address at once: hosts behind one router.
const ENROLMENTS_AT_ONCE: i64 = 10;

/// After that, one in this time.
const ENROLMENT_EACH_MS: i64 = 6_000;

/// Wrong tries for a person in an hour that are all written down; of more, each whose number is a power of two.
const NOTED_ALL: i64 = 10;

/// What one instance remembers of those who try to sign in.
#[derive(Debug)]
pub struct Guard {
    /// Makes and compares passwords.
    pub passwords: Passwords,
    people_pace: Mutex<Pace>,
    agents_pace: Mutex<Pace>,
    enrolment_pace: Mutex<Pace>,
    /// By what is tried, whether somebody has that e-mail address or not: else a lock would tell who exists.
    counts: Mutex<Counts>,
}

impl Guard {
    /// Returns one that has seen nobody.
    pub fn new(chance: Chance) -> Self {
        let pace = || Mutex::new(Pace::new(TRIES_AT_ONCE, TRY_EACH_MS, REMEMBERED_MAX));
        Self {
            passwords: Passwords::new(chance),
            people_pace: pace(),
            agents_pace: pace(),
            enrolment_pace: Mutex::new(Pace::new(
                ENROLMENTS_AT_ONCE,
                ENROLMENT_EACH_MS,
                REMEMBERED_MAX,
            )),
            counts: Mutex::new(Counts::new(REMEMBERED_MAX)),
        }
    }

    /// Counts a call of an address that tries passwords. The error says how many milliseconds to wait.
    pub fn count(&self, door: Door, address: Option<IpAddr>, now_ms: i64) -> Result<(), i64> {
        let pace = match door {
            Door::People | Door::Account => &self.people_pace,
            Door::Agents => &self.agents_pace,
        };
        match address {
            Some(address) => locked(pace).count(address, now_ms),
            None => Ok(()),
        }
    }

    /// Counts a call of an address that enrols by a token. The error says how many milliseconds to wait.
    pub fn count_enrolment(&self, address: Option<IpAddr>, now_ms: i64) -> Result<(), i64> {
        match address {
            Some(address) => locked(&self.enrolment_pace).count(address, now_ms),
            None => Ok(()),
        }
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        locked(&self.counts)
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nobody panics while holding it")
}

/// Why somebody is not let in.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The address, the password or the code is wrong, or the person is disabled: which one is not told to whoever tried.
    #[error("the e-mail address, the password or the code is wrong")]
    Wrong {
        /// The person who was meant, if this is to be written down.
        of: Option<Box<user::Model>>,
    },
    /// The password is right, and a code of the second factor is needed too.
    #[error("give the code that your app shows")]
    CodeNeeded,
    /// Too many wrong tries.
    #[error(
        "too many wrong tries; wait, sign in from where you did before, or have an owner reset the password"
    )]
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
/// taken: it is not right a second time. `door` and `address` say where it is tried.
pub async fn check(
    plane: &Plane,
    door: Door,
    address: Option<IpAddr>,
    email: &str,
    password: &str,
    code: Option<&str>,
) -> Result<user::Model, Refused> {
    let email = email_key(email);
    let user = plane.store.user_by_email(&email).await?;
    // For nobody, too, so that it takes as long.
    let id = user.as_ref().map_or("", |user| &user.id);
    let is_known = match address {
        Some(address) => plane.store.has_signed_in_from(id, network(address)).await?,
        None => false,
    };
    let trier = Trier {
        door,
        person: key_of(&email, user.as_ref()),
        address,
        is_known,
    };
    tried(plane, &trier, user, password, Asked::ToSignIn(code)).await
}

/// Checks the password of somebody who is signed in already, before something that a borrowed browser must not do.
/// Wrong ones count, apart from those of people who sign in.
pub async fn check_again(
    plane: &Plane,
    user_id: &str,
    password: &str,
) -> Result<user::Model, Refused> {
    check_person(plane, user_id, password, Asked::PasswordAlone).await
}

/// Checks password and code of somebody who is signed in already and has a second factor.
pub async fn check_both_again(
    plane: &Plane,
    user_id: &str,
    password: &str,
    code: &str,
) -> Result<user::Model, Refused> {
    check_person(plane, user_id, password, Asked::ToSignIn(Some(code))).await
}

enum Asked<'a> {
    PasswordAlone,
    ToSignIn(Option<&'a str>),
}

async fn check_person(
    plane: &Plane,
    user_id: &str,
    password: &str,
    asked: Asked<'_>,
) -> Result<user::Model, Refused> {
    let user = plane.store.user(user_id).await?;
    let trier = Trier {
        door: Door::Account,
        person: key_of(user_id, user.as_ref()),
        // With one session, many addresses are one.
        address: None,
        is_known: true,
    };
    tried(plane, &trier, user, password, asked).await
}

/// Returns what tries as somebody are counted by. Who has a new password is somebody new: whoever was locked out is let in
/// with it, whichever server or program made it.
fn key_of(named: &str, user: Option<&user::Model>) -> String {
    token_hash(&match user {
        Some(user) => format!("{}\n{}", user.id, user.password_hash),
        None => format!("nobody\n{named}"),
    })
}

/// Counts a try, lets it wait where it has to, and looks at it. What was given up half-way stays counted.
async fn tried(
    plane: &Plane,
    trier: &Trier,
    user: Option<user::Model>,
    password: &str,
    asked: Asked<'_>,
) -> Result<user::Model, Refused> {
    let now_ms = plane.now_ms();
    let wait_ms = plane
        .guard
        .counts()
        .begin(trier, now_ms)
        .map_err(|until_ms| locked_until(until_ms, now_ms))?;
    let outcome = looked_at(plane, trier, wait_ms, user, password, asked).await;
    let mut counts = plane.guard.counts();
    match outcome {
        Ok(_) => counts.right(trier),
        Err(Refused::Wrong { of }) => {
            let nth = counts.wrong_tries(trier, now_ms);
            let is_noted = nth <= NOTED_ALL || nth.count_ones() == 1;
            return Err(Refused::Wrong {
                of: of.filter(|_| is_noted),
            });
        }
        // Nothing was tried: the server was busy or failed, or a code is asked for.
        Err(_) => counts.take_back(trier),
    }
    outcome
}

fn locked_until(until_ms: i64, now_ms: i64) -> Refused {
    Refused::Locked {
        wait_ms: until_ms - now_ms,
    }
}

async fn looked_at(
    plane: &Plane,
    trier: &Trier,
    wait_ms: i64,
    mut user: Option<user::Model>,
    password: &str,
    asked: Asked<'_>,
) -> Result<user::Model, Refused> {
    if let Ok(wait_ms @ 1..) = u64::try_from(wait_ms) {
        tokio::time::sleep(Duration::from_millis(wait_ms)).await;
        // Much may have changed meanwhile.
        let id = user.map_or_else(String::new, |user| user.id);
        user = plane.store.user(&id).await?;
    }
    let hash = user.as_ref().map(|user| &*user.password_hash);
    let is_right = plane.guard.passwords.matches(hash, password).await?;
    let Some(user) = user else {
        return Err(Refused::Wrong { of: None });
    };
    if !is_right || user.is_disabled {
        return Err(wrong(user));
    }
    if let (Asked::ToSignIn(code), Some(sealed)) = (asked, &user.totp_secret_sealed) {
        let Some(code) = code.filter(|code| !code.trim().is_empty()) else {
            // No try at the code was made, so none is counted; those before stay counted.
            return Err(Refused::CodeNeeded);
        };
        let now_ms = plane.now_ms();
        plane
            .guard
            .counts()
            .begin_code(trier, now_ms)
            .map_err(|until_ms| locked_until(until_ms, now_ms))?;
        let secret = plane.sealing.open(&totp_seal(&user.id), sealed)?;
        let Some(step) = totp::step_of(&secret, code, now_ms, user.totp_last_step) else {
            return Err(wrong(user));
        };
        if !plane.store.take_step(&user.id, step).await? {
            return Err(wrong(user));
        }
    }
    Ok(user)
}

fn wrong(user: user::Model) -> Refused {
    Refused::Wrong {
        of: Some(Box::new(user)),
    }
}
