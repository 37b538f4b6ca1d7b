//! Telling people: alarms that begin and end, and a summary of each day, by e-mail and webhook.
//!
//! ```text
//! alarms ─ grouping (pure) ─► a message in the store, due now ─ claimed ─► mail | webhook ─► sent, tried again, given up
//! ```

pub mod grouping;
pub mod mail;
pub mod message;
pub mod reach;
pub mod webhook;

use std::time::Duration;

use sea_orm::DbErr;
use tokio::task::JoinSet;

use crate::log;
use crate::plane::{Plane, SharedPlane, rfc3339};
use crate::schedule::day_of;
use crate::sealing::SealingError;
use crate::store::deliveries::{Channel, ChannelState};
use crate::store::entity::{alarm, delivery};
use crate::store::settings::PUBLIC_URL;
use crate::watch::Severity;
use grouping::{Untold, choose, next_try};
use message::{Item, Message, alarm_subject, summary_subject};

/// A message that is being sent is not sent by anybody else for this long.
const CLAIM_MS: i64 = 2 * 60_000;

/// How long one message may take in all.
const SENDING_MAX: Duration = Duration::from_secs(60);

/// How many alarms a message names, at most; the rest are counted.
const ITEMS_MAX: usize = 100;

/// An alarm's message in a mail is cut behind so many characters.
const ERROR_CHARS_MAX: usize = 500;

/// Puts together the messages whose time has come.
pub async fn compose_due(plane: &Plane) -> Result<(), DbErr> {
    let now = plane.clock.now();
    let channels = plane.store.channel_states(now.as_millisecond()).await?;
    let url = public_url(plane).await?;
    for state in channels {
        let Some((untold, mut message)) = about_alarms(&state, now) else {
            continue;
        };
        message.url.clone_from(&url);
        plane
            .store
            .queue_message(&state.channel, &message, &untold, now.as_millisecond())
            .await?;
    }
    for channel in plane.store.channels_with_summary().await? {
        let day = day_of(now, &channel.zone);
        let is_due = channel.summary_at.is_some_and(|at| {
            at.on_the_day_of(now, &channel.zone)
                .is_some_and(|at| at <= now)
        });
        if !is_due || channel.last_summary_on == day {
            continue;
        }
        let summary = plane
            .store
            .summary(&channel.tenant_id, &day, now.as_millisecond())
            .await?;
        let message = Message {
            kind: "summary".to_owned(),
            subject: summary_subject(&channel.tenant_name, &summary),
            url: url.clone(),
            summary: Some(summary),
            ..empty(&channel)
        };
        plane
            .store
            .queue_summary(&channel, &day, &message, now.as_millisecond())
            .await?;
    }
    Ok(())
}

/// Returns the changes that a channel is told now, and the message that tells them.
fn about_alarms(state: &ChannelState, now: jiff::Timestamp) -> Option<(Vec<Untold>, Message)> {
    let channel = &state.channel;
    let chosen = choose(&state.untold(), channel.quiet_hours, &channel.zone, now);
    if chosen.is_empty() {
        return None;
    }
    let items = |is_resolved: bool| {
        let mut items: Vec<(&alarm::Model, bool)> = chosen
            .iter()
            .filter(|it| it.is_resolved == is_resolved)
            .filter_map(|it| Some((state.alarm(it.alarm_id)?, it.is_worse)))
            .collect();
        items.sort_by_key(|(alarm, _)| std::cmp::Reverse(Severity::of(&alarm.severity)));
        let more = items.len().saturating_sub(ITEMS_MAX);
        let named = items.into_iter().take(ITEMS_MAX);
        let named: Vec<Item> = named
            .map(|(alarm, is_worse)| item(alarm, is_worse))
            .collect();
        (named, more)
    };
    let ((opened, more_opened), (resolved, more_resolved)) = (items(false), items(true));
    let mut message = Message {
        kind: "alarms".to_owned(),
        opened,
        more_opened,
        resolved,
        more_resolved,
        ..empty(channel)
    };
    message.subject = alarm_subject(&message);
    Some((chosen, message))
}

fn empty(channel: &Channel) -> Message {
    Message {
        tenant_id: channel.tenant_id.clone(),
        tenant_name: channel.tenant_name.clone(),
        ..Message::default()
    }
}

fn item(alarm: &alarm::Model, is_worse: bool) -> Item {
    Item {
        is_worse,
        id: alarm.id,
        kind: alarm.kind.clone(),
        severity: alarm.severity.clone(),
        subject_kind: alarm.subject_kind.clone(),
        subject_id: alarm.subject_id.clone(),
        subject_name: alarm.subject_name.clone(),
        message: alarm.message.clone(),
        opened_at: rfc3339(alarm.opened_at),
        resolved_at: alarm.resolved_at.map(rfc3339),
    }
}

async fn public_url(plane: &Plane) -> Result<String, DbErr> {
    let url = plane.store.setting(plane.store.db(), PUBLIC_URL).await?;
    Ok(match url.as_str() {
        "" => plane.options.public_url.clone(),
        _ => url,
    })
}

/// Sends the messages that are due, side by side, and writes down how that went.
pub async fn send_due(plane: &SharedPlane) -> Result<(), DbErr> {
    let now = plane.now_ms();
    let mut sending = JoinSet::new();
    for delivery in plane.store.due_deliveries(now).await? {
        if !plane
            .store
            .claim_delivery(&delivery, now + CLAIM_MS)
            .await?
        {
            continue;
        }
        let plane = plane.clone();
        sending.spawn(async move {
            if let Err(error) = send_claimed(&plane, &delivery).await {
                log::error(format_args!("message {}: {error}", delivery.id));
            }
        });
    }
    while let Some(ended) = sending.join_next().await {
        if let Err(error) = ended {
            log::error(format_args!("sending a message: {error}"));
        }
    }
    Ok(())
}

async fn send_claimed(plane: &Plane, delivery: &delivery::Model) -> Result<(), DbErr> {
    let store = &plane.store;
    let Some(channel) = store.channel(&delivery.channel_id).await? else {
        // Somebody deleted it meanwhile, with its messages.
        return Ok(());
    };
    let outcome = match serde_json::from_str::<Message>(&delivery.body_json) {
        Ok(message) => send_through(plane, &channel, &message, &delivery.id.to_string()).await,
        Err(error) => Err(format!("the stored message cannot be read: {error}")),
    };
    let now = plane.now_ms();
    match outcome {
        Ok(()) => store.end_delivery(delivery.id, "sent", "", now).await,
        Err(error) => match next_try(delivery.attempts + 1, delivery.created_at, now) {
            Some(next) => store.retry_delivery(delivery.id, &error, next).await,
            None => store.end_delivery(delivery.id, "failed", &error, now).await,
        },
    }
}

/// Sends a test message through a channel, now. What went wrong is told in words.
pub async fn send_test(plane: &Plane, channel: &Channel) -> Result<(), String> {
    let message = Message {
        kind: "test".to_owned(),
        subject: format!("[{}] A test message", channel.tenant_name),
        url: public_url(plane).await.unwrap_or_default(),
        ..empty(channel)
    };
    send_through(plane, channel, &message, "test").await
}

async fn send_through(
    plane: &Plane,
    channel: &Channel,
    message: &Message,
    id: &str,
) -> Result<(), String> {
    let sending = async {
        match channel.kind.as_str() {
            "email" => mail::send(plane, message, &channel.addresses).await,
            "webhook" => call(plane, channel, message, id).await,
            other => Err(format!("there are no channels of the kind {other}")),
        }
    };
    let outcome = tokio::time::timeout(SENDING_MAX, sending)
        .await
        .unwrap_or_else(|_| Err("it took longer than a minute".to_owned()));
    outcome.map_err(|error| error.chars().take(ERROR_CHARS_MAX).collect())
}

async fn call(plane: &Plane, channel: &Channel, message: &Message, id: &str) -> Result<(), String> {
    let secret = channel
        .secret(plane)
        .map_err(|error: SealingError| error.to_string())?;
    let mut body = serde_json::to_value(message).map_err(|error| error.to_string())?;
    // The same message that is sent again has the same id.
    body["id"] = id.into();
    let now = plane.clock.now();
    body["sent_at"] = rfc3339(now.as_millisecond()).into();
    let reach = plane
        .store
        .webhook_reach(plane.store.db())
        .await
        .map_err(|error| format!("reading the settings: {error}"))?;
    webhook::post(
        &channel.url,
        &reach,
        secret.as_deref().map(|it| it.as_slice()),
        now.as_second(),
        body.to_string().into_bytes(),
    )
    .await
}
