//! The installation's settings.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use sea_orm::sea_query::OnConflict;
use sea_orm::{ActiveValue::Set, ConnectionTrait, DbErr, EntityTrait as _};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use zeroize::Zeroizing;

use super::Store;
use super::entity::setting;
use crate::deliver::reach::Reach;
use crate::sealing::{Sealing, SealingError};

/// The server's address as agents and people reach it.
pub const PUBLIC_URL: &str = "public_url";

/// The oldest version of the agent whose reports are taken (contract 1.3); empty: any.
pub const MIN_AGENT_VERSION: &str = "min_agent_version";

/// How mail is sent: [`Smtp`] as JSON; empty: not at all.
pub const SMTP: &str = "smtp";

/// The mail server's password, sealed, in base64; empty: none.
pub const SMTP_PASSWORD: &str = "smtp_password";

/// How long history is kept: [`History`] as JSON; empty: as usual.
const HISTORY: &str = "history";
/// Where webhooks may call beyond the public Internet: a list of networks, addresses and hosts as JSON; empty: nowhere.
pub const WEBHOOK_NETWORKS: &str = "webhook_networks";

/// Something sealed, by which the key of this database's secrets is known again.
const KEY_CHECK: &str = "secrets_key_check";

/// What it is sealed for.
const KEY_CHECK_SEAL: &str = "setting/secrets_key_check";

/// What the mail server's password is sealed as.
const SMTP_PASSWORD_SEAL: &str = "setting/smtp_password";

/// Nothing is kept for longer than ten years.
const DAYS_MAX: i64 = 3_650;

/// How the connection to the mail server is kept private.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum SmtpTls {
    /// A connection in the clear becomes a private one before anything is said.
    Starttls,
    /// Private from the first byte.
    Tls,
    /// In the clear.
    None,
}

/// How mail is sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Smtp {
    /// The mail server.
    pub host: String,
    /// Its port.
    #[schema(minimum = 1)]
    pub port: u16,
    /// How the connection is kept private.
    pub tls: SmtpTls,
    /// Whom to sign in as; empty: nobody.
    pub username: String,
    /// The sender's address.
    pub from: String,
}

/// For how many days the server keeps what is over; a member that is left out is as usual. What is in repositories does
/// not depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct History {
    /// Runs that are over, and work on repositories. A run stays while one of its points is on record.
    #[schema(minimum = 35, maximum = 3650)]
    pub runs_days: i64,
    /// Events and logs, of runs and of agents.
    #[schema(minimum = 35, maximum = 3650)]
    pub events_days: i64,
    /// Commands that are over.
    #[schema(minimum = 7, maximum = 3650)]
    pub commands_days: i64,
    /// Messages that were sent or given up.
    #[schema(minimum = 7, maximum = 3650)]
    pub messages_days: i64,
    /// Records of points, from when the points were removed from their repository.
    #[schema(minimum = 35, maximum = 3650)]
    pub gone_points_days: i64,
    /// Alarms that are over.
    #[schema(minimum = 35, maximum = 3650)]
    pub alarms_days: i64,
    /// The audit log.
    #[schema(minimum = 90, maximum = 3650)]
    pub audit_days: i64,
}

impl Default for History {
    fn default() -> Self {
        Self {
            runs_days: 400,
            events_days: 90,
            commands_days: 30,
            messages_days: 30,
            gone_points_days: 90,
            alarms_days: 400,
            audit_days: 3 * 365,
        }
    }
}

impl History {
    /// Returns the first member that is out of bounds, and why.
    pub fn fault(&self) -> Option<(&'static str, String)> {
        let least = [
            // The strip has thirty days.
            ("history.runs_days", self.runs_days, 35),
            ("history.events_days", self.events_days, 35),
            ("history.commands_days", self.commands_days, 7),
            ("history.messages_days", self.messages_days, 7),
            ("history.gone_points_days", self.gone_points_days, 35),
            ("history.alarms_days", self.alarms_days, 35),
            ("history.audit_days", self.audit_days, 90),
        ];
        if let Some((member, _, least)) = least
            .into_iter()
            .find(|(_, days, least)| !(*least..=DAYS_MAX).contains(days))
        {
            return Some((member, format!("it must be {least} to {DAYS_MAX} days")));
        }
        (self.events_days > self.runs_days).then(|| {
            let why = "events cannot be kept for longer than their runs".to_owned();
            ("history.events_days", why)
        })
    }
}

/// Returns something by which a key is known again.
fn key_check(sealing: &Sealing) -> String {
    BASE64.encode(sealing.seal(KEY_CHECK_SEAL, b"e3"))
}

impl Store {
    /// Returns for how long history is kept.
    pub async fn history(&self, db: &impl ConnectionTrait) -> Result<History, DbErr> {
        let value = self.setting(db, HISTORY).await?;
        Ok(serde_json::from_str(&value).unwrap_or_default())
    }

    /// Sets for how long history is kept.
    pub async fn set_history(
        &self,
        txn: &impl ConnectionTrait,
        history: &History,
    ) -> Result<(), DbErr> {
        let value = serde_json::to_string(history).expect("numbers are plain JSON");
        self.set_setting(txn, HISTORY, &value).await
    }

    /// Returns a setting's value; empty when it was never set.
    pub async fn setting(&self, db: &impl ConnectionTrait, name: &str) -> Result<String, DbErr> {
        let row = setting::Entity::find_by_id(name).one(db).await?;
        Ok(row.map_or_else(String::new, |row| row.value))
    }

    /// Tells whether a key is the one that this database's secrets are sealed with. The first one that is asked about
    /// is; of several that are asked about at once, one.
    pub async fn is_sealed_with(&self, sealing: &Sealing) -> Result<bool, DbErr> {
        let first = setting::ActiveModel {
            name: Set(KEY_CHECK.to_owned()),
            value: Set(key_check(sealing)),
        };
        let leave = OnConflict::column(setting::Column::Name)
            .do_nothing()
            .to_owned();
        setting::Entity::insert(first)
            .on_conflict(leave)
            .exec_without_returning(self.db())
            .await?;
        let kept = self.setting(self.db(), KEY_CHECK).await?;
        let sealed = BASE64.decode(&kept).unwrap_or_default();
        Ok(sealing.open(KEY_CHECK_SEAL, &sealed).is_ok())
    }

    /// Takes a key as the one that secrets are sealed with from now on.
    pub async fn seal_from_now_on(&self, sealing: &Sealing) -> Result<(), DbErr> {
        self.set_setting(self.db(), KEY_CHECK, &key_check(sealing))
            .await
    }

    /// Sets a setting.
    pub async fn set_setting(
        &self,
        txn: &impl ConnectionTrait,
        name: &str,
        value: &str,
    ) -> Result<(), DbErr> {
        let row = setting::ActiveModel {
            name: Set(name.to_owned()),
            value: Set(value.to_owned()),
        };
        let replace = OnConflict::column(setting::Column::Name)
            .update_column(setting::Column::Value)
            .to_owned();
        setting::Entity::insert(row)
            .on_conflict(replace)
            .exec_without_returning(txn)
            .await?;
        Ok(())
    }

    /// Returns where webhooks may call beyond the public Internet, as an owner wrote it.
    pub async fn webhook_networks(&self, db: &impl ConnectionTrait) -> Result<Vec<String>, DbErr> {
        let value = self.setting(db, WEBHOOK_NETWORKS).await?;
        Ok(serde_json::from_str(&value).unwrap_or_default())
    }

    /// Returns where webhooks may call. What cannot be read allows nothing.
    pub async fn webhook_reach(&self, db: &impl ConnectionTrait) -> Result<Reach, DbErr> {
        let networks = self.webhook_networks(db).await?;
        Ok(Reach::read(&networks).unwrap_or_default())
    }

    /// Returns how mail is sent; none: not at all.
    pub async fn smtp(&self, db: &impl ConnectionTrait) -> Result<Option<Smtp>, DbErr> {
        let value = self.setting(db, SMTP).await?;
        Ok(serde_json::from_str(&value).ok())
    }

    /// Returns the mail server's password, if there is one.
    pub async fn smtp_password(
        &self,
        db: &impl ConnectionTrait,
        sealing: &Sealing,
    ) -> Result<Result<Option<Zeroizing<String>>, SealingError>, DbErr> {
        let value = self.setting(db, SMTP_PASSWORD).await?;
        if value.is_empty() {
            return Ok(Ok(None));
        }
        let sealed = BASE64.decode(&value).unwrap_or_default();
        Ok(sealing.open_text(SMTP_PASSWORD_SEAL, &sealed).map(Some))
    }

    /// Keeps the mail server's password, sealed; an empty one is forgotten.
    pub async fn set_smtp_password(
        &self,
        txn: &impl ConnectionTrait,
        sealing: &Sealing,
        password: &str,
    ) -> Result<(), DbErr> {
        let value = if password.is_empty() {
            String::new()
        } else {
            BASE64.encode(sealing.seal(SMTP_PASSWORD_SEAL, password.as_bytes()))
        };
        self.set_setting(txn, SMTP_PASSWORD, &value).await
    }
}
