//! `user`: what an administrator on the machine itself can do for people who cannot sign in any more.

use std::io::{IsTerminal as _, stdin};

use anyhow::{Context as _, bail};
use clap::Subcommand;
use control_plane::credentials::email_key;
use control_plane::passwords::{Passwords, flaw};
use control_plane::store::audit::Entry;
use control_plane::store::entity::user;
use sea_orm::{
    ActiveModelTrait as _, ActiveValue::Set, EntityTrait as _, IntoActiveModel as _,
    QueryOrder as _,
};
use serde_json::json;
use time_and_chance::{Chance, SystemClock};
use zeroize::Zeroizing;

use super::Place;

/// The arguments.
#[derive(Subcommand)]
pub(crate) enum User {
    /// Lists people: who may sign in, and as what.
    List {
        #[command(flatten)]
        place: Place,
    },
    /// Gives a person a new password, ends a lock, and ends every session and API token of theirs.
    #[command(after_help = "\
Examples:
  e3-control-plane user reset-password ann@example.com --data DIR
      asks for the new password, twice
  pwgen 20 1 | e3-control-plane user reset-password ann@example.com --data DIR
      reads it from standard input
  e3-control-plane user reset-password ann@example.com --data DIR --remove-second-factor
      when the phone is gone, too

The server may go on running meanwhile.")]
    ResetPassword {
        /// Whose, by the e-mail address they sign in with.
        #[arg(value_name = "EMAIL")]
        email: String,
        #[command(flatten)]
        place: Place,
        /// Remove the second factor as well.
        #[arg(long)]
        remove_second_factor: bool,
        /// Let a disabled person in again.
        #[arg(long)]
        enable: bool,
        /// Let the API tokens that the person made go on: the password was forgotten, and nobody else had it.
        #[arg(long)]
        keep_tokens: bool,
    },
}

impl User {
    /// Runs the command.
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::List { place } => list(&place).await,
            Self::ResetPassword {
                email,
                place,
                remove_second_factor,
                enable,
                keep_tokens,
            } => {
                let reset = Reset {
                    removes_totp: remove_second_factor,
                    enables: enable,
                    keeps_tokens: keep_tokens,
                };
                reset_password(&place, &email, reset).await
            }
        }
    }
}

async fn list(place: &Place) -> anyhow::Result<()> {
    let store = place.store().await?;
    let people = user::Entity::find()
        .order_by_asc(user::Column::Email)
        .all(store.db())
        .await?;
    println!("{:40} {:9} {:38} STATE", "E-MAIL", "ROLE", "TENANT");
    for person in people {
        let mut state = Vec::new();
        if person.is_disabled {
            state.push("disabled");
        }
        if person.totp_secret_sealed.is_some() {
            state.push("second factor");
        }
        println!(
            "{:40} {:9} {:38} {}",
            person.email,
            person.role,
            person.tenant_id.as_deref().unwrap_or("(installation)"),
            state.join(", ")
        );
    }
    Ok(())
}

/// What a new password comes with.
struct Reset {
    removes_totp: bool,
    enables: bool,
    keeps_tokens: bool,
}

async fn reset_password(place: &Place, email: &str, reset: Reset) -> anyhow::Result<()> {
    let store = place.store().await?;
    let Some(person) = store.user_by_email(&email_key(email)).await? else {
        bail!("nobody has the e-mail address {email}; `user list` shows who there is");
    };
    let password = new_password()?;
    if let Some(flaw) = flaw(&password) {
        bail!("{flaw}");
    }
    let hash = Passwords::new(Chance::from_system())
        .hash(&password)
        .await
        .map_err(|_| anyhow::anyhow!("hashing the password"))?;
    let (id, tenant_id) = (person.id.clone(), person.tenant_id.clone());
    let email = person.email.clone();
    let mut change = person.into_active_model();
    change.password_hash = Set(hash);
    if reset.removes_totp {
        change.totp_secret_sealed = Set(None);
        change.totp_pending_sealed = Set(None);
    }
    if reset.enables {
        change.is_disabled = Set(false);
    }
    let txn = store.begin().await?;
    change.update(&txn).await?;
    store.end_sessions(&txn, &id, None).await?;
    store.forget_addresses(&txn, &id).await?;
    let now_ms = SystemClock::new().now().as_millisecond();
    let revoked_tokens = match reset.keeps_tokens {
        true => 0,
        false => store.revoke_tokens_of(&txn, &id, now_ms).await?,
    };
    let entry = Entry {
        tenant_id: tenant_id.as_deref(),
        user_id: None,
        actor: "the command line",
        action: "user.reset_password",
        object_kind: "user",
        object_id: &id,
        detail: json!({
            "email": email, "is_totp_reset": reset.removes_totp, "is_enabled": reset.enables,
            "revoked_tokens": revoked_tokens,
        }),
        address: "",
    };
    store.audit(&txn, now_ms, entry).await?;
    txn.commit().await?;
    println!(
        "{email} has a new password, and signs in anew everywhere; {revoked_tokens} API tokens were taken back"
    );
    Ok(())
}

/// Asks for a password twice at a terminal; reads one line from standard input elsewhere.
fn new_password() -> anyhow::Result<Zeroizing<String>> {
    if !stdin().is_terminal() {
        let mut line = Zeroizing::new(String::new());
        stdin()
            .read_line(&mut line)
            .context("reading the new password from standard input")?;
        let length = line.trim_end_matches(['\r', '\n']).len();
        line.truncate(length);
        return Ok(line);
    }
    let ask = |prompt: &str| {
        rpassword::prompt_password(prompt)
            .map(Zeroizing::new)
            .context("asking for the new password")
    };
    let first = ask("New password: ")?;
    if *first != *ask("Again: ")? {
        bail!("the two passwords differ");
    }
    Ok(first)
}
