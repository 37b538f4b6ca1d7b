//! Settings of the installation.

use axum::Json;
use axum::extract::State;
use sea_orm::ConnectionTrait;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::deliver::reach::Reach;
use crate::people_api::caller::InstallationOwner;
use crate::people_api::error::{ApiError, ApiResult};
use crate::people_api::input::{Input, any_text, email, text};
use crate::people_api::request::list;
use crate::plane::{Plane, SharedPlane};
use crate::public_url;
use crate::store::settings::{
    History, MIN_AGENT_VERSION, PUBLIC_URL, SMTP, SMTP_PASSWORD, Smtp, SmtpTls, WEBHOOK_NETWORKS,
};

/// The routes.
pub fn routes() -> OpenApiRouter<SharedPlane> {
    OpenApiRouter::new().routes(routes!(read, replace))
}

/// The installation's settings.
#[derive(Serialize, ToSchema)]
struct Settings {
    /// The server's address as agents and people reach it; empty: what it was started with.
    public_url: String,
    /// The oldest version of the agent whose reports are taken; empty: any.
    min_agent_version: String,
    /// How mail is sent; null: not at all.
    smtp: Option<Smtp>,
    /// Whether a password of the mail server is kept.
    has_smtp_password: bool,
    /// For how long what is over is kept.
    history: History,
    /// Where webhooks may call beyond the public Internet: networks such as `10.1.0.0/16`, addresses, hosts' names.
    webhook_networks: Vec<String>,
}

/// Returns the settings. For owners of the installation.
#[utoipa::path(
    get, path = "/settings", tag = "management",
    responses((status = 200, description = "The settings", body = Settings)),
)]
async fn read(
    State(plane): State<SharedPlane>,
    InstallationOwner(_caller): InstallationOwner,
) -> ApiResult<Json<Settings>> {
    Ok(Json(settings(&plane, plane.store.db()).await?))
}

async fn settings(plane: &Plane, db: &impl ConnectionTrait) -> ApiResult<Settings> {
    Ok(Settings {
        public_url: plane.store.setting(db, PUBLIC_URL).await?,
        min_agent_version: plane.store.setting(db, MIN_AGENT_VERSION).await?,
        smtp: plane.store.smtp(db).await?,
        // It need not open: whoever lost the key gives it anew.
        has_smtp_password: !plane.store.setting(db, SMTP_PASSWORD).await?.is_empty(),
        history: plane.store.history(db).await?,
        webhook_networks: plane.store.webhook_networks(db).await?,
    })
}

/// The installation's settings as they are to be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewSettings {
    /// The server's address: `https://backup.example.com`, without a path; empty: what it was started with.
    #[serde(default)]
    #[schema(max_length = 300)]
    public_url: String,
    /// The oldest version of the agent whose reports are taken, such as `1.8.2`; empty: any.
    #[serde(default)]
    #[schema(max_length = 40)]
    min_agent_version: String,
    /// How mail is sent; null: not at all.
    smtp: Option<NewSmtp>,
    /// What an answer said, so that it can be sent back; it changes nothing.
    #[serde(default, rename = "has_smtp_password")]
    _has_smtp_password: bool,
    /// For how long what is over is kept; left out: as before.
    history: Option<History>,
    /// Where webhooks may call beyond the public Internet: networks such as `10.1.0.0/16`, addresses, hosts' names; left
    /// out: as it is.
    #[schema(max_items = 1000)]
    webhook_networks: Option<Vec<String>>,
}

/// How mail is to be sent.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewSmtp {
    /// The mail server.
    #[schema(min_length = 1, max_length = 1000)]
    host: String,
    /// Its port.
    #[schema(minimum = 1, maximum = 65535)]
    port: u16,
    /// How the connection is kept private.
    tls: SmtpTls,
    /// Whom to sign in as; empty: nobody.
    #[serde(default)]
    #[schema(max_length = 1000)]
    username: String,
    /// The sender's address.
    #[schema(max_length = 254)]
    from: String,
    /// The password; left out: the one that is kept, if the server stays the same; empty: none.
    #[schema(max_length = 1000)]
    password: Option<String>,
}

/// Replaces the settings. For owners of the installation.
#[utoipa::path(
    put, path = "/settings", tag = "management", request_body = NewSettings,
    responses((status = 200, description = "The settings", body = Settings)),
)]
async fn replace(
    State(plane): State<SharedPlane>,
    InstallationOwner(caller): InstallationOwner,
    Input(wish): Input<NewSettings>,
) -> ApiResult<Json<Settings>> {
    let url = address(&wish.public_url)?;
    let version = version(&wish.min_agent_version)?;
    let networks = wish
        .webhook_networks
        .map(|networks| checked_networks(&networks))
        .transpose()?;
    let (smtp, password) = match wish.smtp {
        Some(smtp) => {
            let (smtp, password) = checked(smtp)?;
            (Some(smtp), password)
        }
        None => (None, Some(String::new())),
    };
    if let Some((member, why)) = wish.history.and_then(|history| history.fault()) {
        return Err(ApiError::invalid(member, why));
    }
    let store = &plane.store;
    let txn = store.begin().await?;
    let before = settings(&plane, &txn).await?;
    if password.is_none() && before.has_smtp_password && !is_same_server(&before.smtp, &smtp) {
        // Or whoever may write settings could have the password sent to a server of theirs.
        return Err(ApiError::invalid(
            "smtp.password",
            "give the password again: the mail server is another one",
        ));
    }
    store.set_setting(&txn, PUBLIC_URL, &url).await?;
    store.set_setting(&txn, MIN_AGENT_VERSION, &version).await?;
    let text = smtp.as_ref().map_or_else(String::new, |smtp| {
        serde_json::to_string(smtp).expect("a mail server is plain JSON")
    });
    store.set_setting(&txn, SMTP, &text).await?;
    if let Some(networks) = &networks {
        let text = json!(networks).to_string();
        store.set_setting(&txn, WEBHOOK_NETWORKS, &text).await?;
    }
    if let Some(password) = &password {
        store
            .set_smtp_password(&txn, &plane.sealing, password)
            .await?;
    }
    if let Some(history) = &wish.history {
        store.set_history(&txn, history).await?;
    }
    let entry = caller.did("settings.update", "settings", "").with(json!({
        "history": wish.history,
        "public_url": url,
        "min_agent_version": version,
        "smtp": smtp,
        "webhook_networks": networks.unwrap_or(before.webhook_networks),
        "has_new_smtp_password": password.is_some_and(|password| !password.is_empty()),
    }));
    store.audit(&txn, plane.now_ms(), entry).await?;
    let after = settings(&plane, &txn).await?;
    txn.commit().await?;
    Ok(Json(after))
}

fn address(value: &str) -> ApiResult<String> {
    if value.trim().is_empty() {
        return Ok(String::new());
    }
    public_url::parsed(value).ok_or_else(|| {
        ApiError::invalid(
            "public_url",
            "it must be http:// or https:// with a host and, if need be, a port; nothing after that",
        )
    })
}

fn checked_networks(networks: &[String]) -> ApiResult<Vec<String>> {
    let networks = list("webhook_networks", networks, text)?;
    Reach::read(&networks).map_err(|wrong| ApiError::invalid("webhook_networks", wrong))?;
    Ok(networks)
}

fn version(value: &str) -> ApiResult<String> {
    let value = any_text("min_agent_version", value)?;
    let is_version = value.len() <= 40
        && value
            .split('.')
            .all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()));
    if !value.is_empty() && !is_version {
        return Err(ApiError::invalid(
            "min_agent_version",
            "it must be numbers with dots, such as 1.8.2",
        ));
    }
    Ok(value)
}

fn checked(wish: NewSmtp) -> ApiResult<(Smtp, Option<String>)> {
    let host = text("smtp.host", &wish.host)?;
    let is_host = host.len() <= 253
        && host
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b".-:_".contains(&byte));
    if !is_host {
        return Err(ApiError::invalid(
            "smtp.host",
            "it must be a host's name or address",
        ));
    }
    if wish.port == 0 {
        return Err(ApiError::invalid("smtp.port", "a port is 1 to 65535"));
    }
    let smtp = Smtp {
        host,
        port: wish.port,
        tls: wish.tls,
        username: any_text("smtp.username", &wish.username)?,
        from: email("smtp.from", &wish.from)?,
    };
    let password = wish.password;
    if password
        .as_ref()
        .is_some_and(|password| password.len() > 1_000)
    {
        return Err(ApiError::invalid("smtp.password", "it is too long"));
    }
    Ok((smtp, password))
}

/// Tells whether the password would go to the same server as before, as the same user, as privately.
fn is_same_server(before: &Option<Smtp>, after: &Option<Smtp>) -> bool {
    match (before, after) {
        (Some(before), Some(after)) => {
            let from = after.from.clone();
            *after
                == Smtp {
                    from,
                    ..before.clone()
                }
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_numbers_with_dots() {
        for fine in ["", "1", "1.8.2", " 1.10 "] {
            assert!(version(fine).is_ok(), "{fine}");
        }
        for wrong in ["v1", "1.", ".1", "1.8-rc", "1..2"] {
            assert!(version(wrong).is_err(), "{wrong}");
        }
    }
}
