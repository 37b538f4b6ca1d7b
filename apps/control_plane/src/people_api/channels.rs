//! Channels: where alarms and daily summaries are sent.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use sea_orm::{
    ActiveModelTrait as _, ActiveValue::Set, ColumnTrait as _, ConnectionTrait, EntityTrait as _,
    IntoActiveModel as _, QueryFilter as _, QueryOrder as _, QuerySelect as _,
    TransactionTrait as _,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::deliver;
use crate::deliver::reach::Reach;
use crate::people_api::caller::{Caller, Owner};
use crate::people_api::error::{ApiError, ApiResult};
use crate::people_api::input::{Input, Params, any_text, text};
use crate::people_api::paging::{Page, Paging};
use crate::people_api::request::{
    ChangeRefusals, Id, LookRefusals, OfTenant, given, name_cursor, name_of_cursor, shown, word,
};
use crate::plane::{Plane, SharedPlane};
use crate::schedule::{TimeOfDay, Window, day_of};
use crate::store::behind;
use crate::store::deliveries::{ChannelConfig, secret_of};
use crate::store::entity::{alarm_channel, delivery, notice, tenant};

/// A channel has so many addresses at most.
const ADDRESSES_MAX: usize = 50;

/// A tenant has so many channels at most.
const CHANNELS_MAX: usize = 50;

pub(super) fn routes() -> OpenApiRouter<SharedPlane> {
    OpenApiRouter::new()
        .routes(routes!(all, create))
        .routes(routes!(change, remove))
        .routes(routes!(test))
}

/// Where alarms and daily summaries are sent.
#[derive(Debug, Serialize, ToSchema)]
pub struct Channel {
    /// Its id.
    pub id: String,
    /// The tenant.
    pub tenant_id: String,
    /// What people call it.
    pub name: String,
    /// `email` or `webhook`.
    pub kind: String,
    /// Of `email`: to whom.
    pub addresses: Vec<String>,
    /// Of `webhook`: what is called.
    pub url: String,
    /// Whether calls are signed, in the header `X-E3-Signature`.
    pub has_secret: bool,
    /// From which severity on: `info`, `warning` or `critical`.
    pub min_severity: String,
    /// When only what is critical is sent, in the tenant's zone.
    pub quiet_hours: Option<Window>,
    /// When the daily summary goes out, `HH:MM` in the tenant's zone; null: never.
    pub summary_at: Option<String>,
    /// Whether it is used.
    pub is_enabled: bool,
}

impl From<alarm_channel::Model> for Channel {
    fn from(row: alarm_channel::Model) -> Self {
        let config: ChannelConfig = serde_json::from_str(&row.config_json).unwrap_or_default();
        Self {
            id: row.id,
            tenant_id: row.tenant_id,
            name: row.name,
            kind: row.kind,
            addresses: config.addresses,
            url: config.url,
            has_secret: row.secret_sealed.is_some(),
            min_severity: row.min_severity,
            quiet_hours: serde_json::from_str(&row.quiet_hours_json).unwrap_or_default(),
            summary_at: Some(row.summary_at).filter(|at| !at.is_empty()),
            is_enabled: row.is_enabled,
        }
    }
}

/// A new channel.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewChannel {
    /// The tenant, said by people of the installation.
    tenant_id: Option<String>,
    /// What people call it.
    name: String,
    /// `email` or `webhook`.
    kind: String,
    /// Of `email`: to whom.
    #[serde(default)]
    addresses: Vec<String>,
    /// Of `webhook`: what is called; https, or http in a private network.
    #[serde(default)]
    url: String,
    /// Of `webhook`: the key that signs calls.
    secret: Option<String>,
    /// From which severity on: `info`, `warning` (when left out) or `critical`.
    min_severity: Option<String>,
    /// When only what is critical is sent, in the tenant's zone.
    quiet_hours: Option<Window>,
    /// When the daily summary goes out, in the tenant's zone.
    #[schema(value_type = Option<String>, example = "07:00")]
    summary_at: Option<TimeOfDay>,
    /// Whether it is used; yes, when left out.
    is_enabled: Option<bool>,
}

/// What is to be changed of a channel.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ChannelChange {
    /// What people call it.
    name: Option<String>,
    /// Of `email`: to whom.
    addresses: Option<Vec<String>>,
    /// Of `webhook`: what is called.
    url: Option<String>,
    /// Of `webhook`: the key that signs calls; empty: none.
    secret: Option<String>,
    /// From which severity on.
    min_severity: Option<String>,
    /// When only what is critical is sent; null: never.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<Window>)]
    quiet_hours: Option<Option<Window>>,
    /// When the daily summary goes out; null: never.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, example = "07:00")]
    summary_at: Option<Option<TimeOfDay>>,
    /// Whether it is used.
    is_enabled: Option<bool>,
}

/// How a test went.
#[derive(Debug, Serialize, ToSchema)]
struct Tested {
    /// Whether the message was taken.
    sent: bool,
    /// Why it was not.
    error: Option<String>,
}

/// Lists channels, by name.
#[utoipa::path(get, path = "/alarm-channels", tag = "alarms", params(Paging, OfTenant),
    responses((status = 200, description = "The channels", body = Page<Channel>), LookRefusals))]
async fn all(
    Owner(caller): Owner,
    State(plane): State<SharedPlane>,
    Params(paging): Params<Paging>,
    Params(of): Params<OfTenant>,
) -> ApiResult<Json<Page<Channel>>> {
    let limit = paging.limit()?;
    let mut query = alarm_channel::Entity::find()
        .order_by_asc(alarm_channel::Column::Name)
        .order_by_asc(alarm_channel::Column::Id)
        .limit(limit + 1);
    if let Some(tenant) = caller.scope(of.tenant_id.as_deref())? {
        query = query.filter(alarm_channel::Column::TenantId.eq(tenant));
    }
    if let Some(row) = name_of_cursor(paging.after())? {
        use alarm_channel::Column::{Id, Name};
        query = query.filter(behind(Name, Id, row));
    }
    let rows = query.all(plane.store.db()).await?;
    Ok(Json(Page::of(
        rows,
        limit,
        |row| name_cursor(&row.name, &row.id),
        Channel::from,
    )))
}

/// Makes a channel.
#[utoipa::path(post, path = "/alarm-channels", tag = "alarms", request_body = NewChannel,
    responses((status = 201, description = "The channel", body = Channel), ChangeRefusals))]
async fn create(
    Owner(caller): Owner,
    State(plane): State<SharedPlane>,
    Input(new): Input<NewChannel>,
) -> ApiResult<(StatusCode, Json<Channel>)> {
    let tenant_id = caller.tenant_for(new.tenant_id.as_deref())?;
    let kind = word("kind", &new.kind, &["email", "webhook"])?;
    let config = ChannelConfig {
        addresses: new.addresses,
        url: new.url,
    };
    let reach = plane.store.webhook_reach(plane.store.db()).await?;
    let config = checked(&kind, config, &reach)?;
    let severity = severity(new.min_severity.as_deref().unwrap_or("warning"))?;
    let id = plane.new_id();
    let secret = sealed_secret(&plane, &id, &kind, new.secret.as_deref())?;
    let txn = plane.store.db().begin().await?;
    let tenant = tenant_of(&txn, &tenant_id).await?;
    let others = alarm_channel::Entity::find()
        .filter(alarm_channel::Column::TenantId.eq(&tenant_id))
        .all(&txn)
        .await?;
    if others.len() >= CHANNELS_MAX {
        return Err(ApiError::conflict(
            "too_many",
            format!("a tenant has {CHANNELS_MAX} channels at most; delete one"),
        ));
    }
    let row = alarm_channel::ActiveModel {
        id: Set(id.clone()),
        tenant_id: Set(tenant_id.clone()),
        name: Set(text("name", &new.name)?),
        kind: Set(kind),
        config_json: Set(json!(config).to_string()),
        secret_sealed: Set(secret),
        min_severity: Set(severity),
        quiet_hours_json: Set(quiet_hours(new.quiet_hours)?),
        summary_at: Set(new.summary_at.map_or_else(String::new, |at| at.to_string())),
        last_summary_on: Set(already_told(&plane, &tenant, new.summary_at)),
        is_enabled: Set(new.is_enabled.unwrap_or(true)),
        created_at: Set(plane.now_ms()),
    };
    let row = row.insert(&txn).await?;
    let entry = caller
        .did("channel.create", "channel", &id)
        .of_tenant(Some(&tenant_id))
        .with(json!({"name": row.name, "kind": row.kind}));
    plane.store.audit(&txn, plane.now_ms(), entry).await?;
    txn.commit().await?;
    Ok((StatusCode::CREATED, Json(row.into())))
}

/// Changes a channel.
#[utoipa::path(patch, path = "/alarm-channels/{id}", tag = "alarms", params(("id" = String, Path)),
    request_body = ChannelChange,
    responses((status = 200, description = "The channel", body = Channel), ChangeRefusals))]
async fn change(
    Owner(caller): Owner,
    State(plane): State<SharedPlane>,
    Id(id): Id,
    Input(change): Input<ChannelChange>,
) -> ApiResult<Json<Channel>> {
    let txn = plane.store.db().begin().await?;
    let row = found(&txn, &caller, &id).await?;
    let tenant = tenant_of(&txn, &row.tenant_id).await?;
    let before: ChannelConfig = serde_json::from_str(&row.config_json).unwrap_or_default();
    let mut changed = Vec::new();
    let mut after = row.clone().into_active_model();
    if let Some(name) = &change.name {
        after.name = Set(text("name", name)?);
        changed.push("name");
    }
    if change.addresses.is_some() || change.url.is_some() {
        let reach = plane.store.webhook_reach(&txn).await?;
        let config = ChannelConfig {
            addresses: change.addresses.unwrap_or(before.addresses),
            url: change.url.unwrap_or(before.url),
        };
        after.config_json = Set(json!(checked(&row.kind, config, &reach)?).to_string());
        changed.push("where it leads");
    }
    if let Some(secret) = &change.secret {
        after.secret_sealed = Set(sealed_secret(&plane, &id, &row.kind, Some(secret))?);
        changed.push("secret");
    }
    if let Some(word) = &change.min_severity {
        after.min_severity = Set(severity(word)?);
        changed.push("min_severity");
    }
    if let Some(hours) = change.quiet_hours {
        after.quiet_hours_json = Set(quiet_hours(hours)?);
        changed.push("quiet_hours");
    }
    if let Some(at) = change.summary_at {
        after.summary_at = Set(at.map_or_else(String::new, |at| at.to_string()));
        let told = already_told(&plane, &tenant, at);
        if !told.is_empty() {
            after.last_summary_on = Set(told);
        }
        changed.push("summary_at");
    }
    if let Some(is_enabled) = change.is_enabled {
        after.is_enabled = Set(is_enabled);
        changed.push("is_enabled");
    }
    if changed.is_empty() {
        return Ok(Json(row.into()));
    }
    let row = after.update(&txn).await?;
    let entry = caller
        .did("channel.update", "channel", &id)
        .of_tenant(Some(&row.tenant_id))
        .with(json!({"name": row.name, "changed": changed}));
    plane.store.audit(&txn, plane.now_ms(), entry).await?;
    txn.commit().await?;
    Ok(Json(row.into()))
}

/// Deletes a channel, with the messages that went through it.
#[utoipa::path(delete, path = "/alarm-channels/{id}", tag = "alarms", params(("id" = String, Path)),
    responses((status = 204, description = "It is deleted"), ChangeRefusals))]
async fn remove(
    Owner(caller): Owner,
    State(plane): State<SharedPlane>,
    Id(id): Id,
) -> ApiResult<StatusCode> {
    let txn = plane.store.db().begin().await?;
    let row = found(&txn, &caller, &id).await?;
    notice::Entity::delete_many()
        .filter(notice::Column::ChannelId.eq(&id))
        .exec(&txn)
        .await?;
    delivery::Entity::delete_many()
        .filter(delivery::Column::ChannelId.eq(&id))
        .exec(&txn)
        .await?;
    alarm_channel::Entity::delete_by_id(&id).exec(&txn).await?;
    let entry = caller
        .did("channel.delete", "channel", &id)
        .of_tenant(Some(&row.tenant_id))
        .with(json!({"name": row.name}));
    plane.store.audit(&txn, plane.now_ms(), entry).await?;
    txn.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Sends a test message, now, and says how that went.
#[utoipa::path(post, path = "/alarm-channels/{id}/test", tag = "alarms", params(("id" = String, Path)),
    responses((status = 200, description = "How it went", body = Tested), ChangeRefusals))]
async fn test(
    Owner(caller): Owner,
    State(plane): State<SharedPlane>,
    Id(id): Id,
) -> ApiResult<Json<Tested>> {
    let row = found(plane.store.db(), &caller, &id).await?;
    let channel = plane
        .store
        .channel(&id)
        .await?
        .ok_or_else(|| unknown(&id))?;
    let outcome = deliver::send_test(&plane, &channel).await;
    let error = outcome.err();
    let txn = plane.store.db().begin().await?;
    let entry = caller
        .did("channel.test", "channel", &id)
        .of_tenant(Some(&row.tenant_id))
        .with(json!({"name": row.name, "sent": error.is_none()}));
    plane.store.audit(&txn, plane.now_ms(), entry).await?;
    txn.commit().await?;
    Ok(Json(Tested {
        sent: error.is_none(),
        error,
    }))
}

async fn found(
    db: &impl ConnectionTrait,
    caller: &Caller,
    id: &str,
) -> ApiResult<alarm_channel::Model> {
    let row = alarm_channel::Entity::find_by_id(id).one(db).await?;
    row.filter(|row| caller.sees(&row.tenant_id))
        .ok_or_else(|| unknown(id))
}

fn unknown(id: &str) -> ApiError {
    ApiError::not_found(format!("channel {}", shown(id)))
}

async fn tenant_of(db: &impl ConnectionTrait, id: &str) -> ApiResult<tenant::Model> {
    let row = tenant::Entity::find_by_id(id).one(db).await?;
    row.ok_or_else(|| ApiError::not_found(format!("tenant {}", shown(id))))
}

/// Takes where a channel leads, of the members that belong to its kind.
fn checked(kind: &str, config: ChannelConfig, reach: &Reach) -> ApiResult<ChannelConfig> {
    if kind == "email" {
        if !config.url.is_empty() {
            return Err(ApiError::invalid("url", "an e-mail channel has no URL"));
        }
        if config.addresses.is_empty() || config.addresses.len() > ADDRESSES_MAX {
            return Err(ApiError::invalid(
                "addresses",
                format!("name 1 to {ADDRESSES_MAX} addresses"),
            ));
        }
        let mut addresses = Vec::new();
        for address in &config.addresses {
            let address = text("addresses", address)?;
            deliver::mail::mailbox(&address)
                .map_err(|error| ApiError::invalid("addresses", error))?;
            addresses.push(address);
        }
        return Ok(ChannelConfig {
            addresses,
            url: String::new(),
        });
    }
    if !config.addresses.is_empty() {
        return Err(ApiError::invalid(
            "addresses",
            "a webhook has a URL, and no addresses",
        ));
    }
    let url = text("url", &config.url)?;
    deliver::webhook::url(&url, reach).map_err(|error| ApiError::invalid("url", error))?;
    Ok(ChannelConfig {
        addresses: Vec::new(),
        url,
    })
}

fn sealed_secret(
    plane: &Plane,
    id: &str,
    kind: &str,
    secret: Option<&str>,
) -> ApiResult<Option<Vec<u8>>> {
    let secret = any_text("secret", secret.unwrap_or_default())?;
    if secret.is_empty() {
        return Ok(None);
    }
    if kind != "webhook" {
        return Err(ApiError::invalid("secret", "only webhooks are signed"));
    }
    Ok(Some(plane.sealing.seal(&secret_of(id), secret.as_bytes())))
}

fn severity(word_: &str) -> ApiResult<String> {
    word("min_severity", word_, &["info", "warning", "critical"])
}

fn quiet_hours(window: Option<Window>) -> ApiResult<String> {
    if window.is_some_and(|window| window.from == window.to) {
        return Err(ApiError::invalid(
            "quiet_hours",
            "they end at another time than they begin; say null for none",
        ));
    }
    Ok(json!(window).to_string())
}

/// Returns today, if today's summary would be late already: the first one goes out tomorrow.
fn already_told(plane: &Plane, tenant: &tenant::Model, at: Option<TimeOfDay>) -> String {
    let zone = jiff::tz::TimeZone::get(&tenant.time_zone).unwrap_or(jiff::tz::TimeZone::UTC);
    let now = plane.clock.now();
    let is_past = at
        .and_then(|at| at.on_the_day_of(now, &zone))
        .is_some_and(|at| at <= now);
    if is_past {
        day_of(now, &zone)
    } else {
        String::new()
    }
}
