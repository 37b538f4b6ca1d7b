//! Channels, what they have not been told yet, and the messages that go through them.

use std::collections::HashMap;

use jiff::tz::TimeZone;
use sea_orm::{
    ActiveValue::NotSet, ActiveValue::Set, ColumnTrait as _, DbErr, EntityTrait as _,
    ExprTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _, SqlErr,
    TransactionTrait as _,
};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::Store;
use super::entity::{alarm, alarm_channel, delivery, host, notice, repository, run, tenant, vm};
use crate::deliver::grouping::{Telling, Told, Untold, telling};
use crate::deliver::message::{Message, Named, Runs, Stored, Summary};
use crate::plane::Plane;
use crate::schedule::{TimeOfDay, Window};
use crate::sealing::SealingError;
use crate::watch::Severity;

const DAY_MS: i64 = 86_400_000;

/// That an alarm is over is told within this time.
const RESOLVED_MS: i64 = 2 * DAY_MS;

/// How many messages are sent in one turn.
const MESSAGES_PER_TURN: u64 = 20;

/// Ids in one query, at most.
const IDS_PER_QUERY: usize = 500;

/// What a channel's row holds as JSON.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ChannelConfig {
    /// Of `email`: to whom.
    pub addresses: Vec<String>,
    /// Of `webhook`: what is called.
    pub url: String,
}

/// A channel, with what its tenant says.
#[derive(Clone, Debug)]
pub struct Channel {
    /// Its id.
    pub id: String,
    /// The tenant.
    pub tenant_id: String,
    /// What people call the tenant.
    pub tenant_name: String,
    /// The tenant's zone.
    pub zone: TimeZone,
    /// `email` or `webhook`.
    pub kind: String,
    /// Of `email`: to whom.
    pub addresses: Vec<String>,
    /// Of `webhook`: what is called.
    pub url: String,
    /// From which severity on.
    pub min_severity: Severity,
    /// When only what is critical is sent.
    pub quiet_hours: Option<Window>,
    /// When the daily summary goes out.
    pub summary_at: Option<TimeOfDay>,
    /// The day of the last one.
    pub last_summary_on: String,
    secret_sealed: Option<Vec<u8>>,
}

impl Channel {
    fn of(row: alarm_channel::Model, tenant: &tenant::Model) -> Self {
        let config: ChannelConfig = serde_json::from_str(&row.config_json).unwrap_or_default();
        Self {
            tenant_name: tenant.name.clone(),
            zone: TimeZone::get(&tenant.time_zone).unwrap_or(TimeZone::UTC),
            id: row.id,
            tenant_id: row.tenant_id,
            kind: row.kind,
            addresses: config.addresses,
            url: config.url,
            min_severity: Severity::of(&row.min_severity).unwrap_or(Severity::Warning),
            quiet_hours: serde_json::from_str(&row.quiet_hours_json).unwrap_or_default(),
            summary_at: row.summary_at.parse().ok(),
            last_summary_on: row.last_summary_on,
            secret_sealed: row.secret_sealed,
        }
    }

    /// Returns the key that signs webhooks, if there is one.
    pub fn secret(&self, plane: &Plane) -> Result<Option<Zeroizing<Vec<u8>>>, SealingError> {
        self.secret_sealed
            .as_ref()
            .map(|sealed| plane.sealing.open(&secret_of(&self.id), sealed))
            .transpose()
    }
}

/// Returns what a channel's secret is sealed as.
pub fn secret_of(channel_id: &str) -> String {
    format!("channel/{channel_id}/secret")
}

/// A channel, and the alarms of which it has not been told all.
#[derive(Clone, Debug)]
pub struct ChannelState {
    /// The channel.
    pub channel: Channel,
    opened: Vec<(alarm::Model, Telling)>,
    resolved: Vec<alarm::Model>,
}

impl ChannelState {
    /// Returns what it has not been told.
    pub fn untold(&self) -> Vec<Untold> {
        let change = |alarm: &alarm::Model, is_resolved: bool, since: i64| Untold {
            alarm_id: alarm.id,
            severity: Severity::of(&alarm.severity).unwrap_or(Severity::Warning),
            grade: alarm.grade,
            is_resolved,
            is_worse: false,
            since,
        };
        let opened = self.opened.iter().map(|(alarm, telling)| {
            let is_worse = *telling == Telling::Worse;
            let begun = match is_worse {
                true => alarm.graded_at,
                false => alarm.opened_at,
            };
            let since = std::cmp::max(begun, alarm.snoozed_until.unwrap_or(0));
            Untold {
                is_worse,
                ..change(alarm, false, since)
            }
        });
        let resolved = self
            .resolved
            .iter()
            .map(|alarm| change(alarm, true, alarm.resolved_at.unwrap_or(0)));
        opened.chain(resolved).collect()
    }

    /// Returns one of these alarms.
    pub fn alarm(&self, id: i64) -> Option<&alarm::Model> {
        let opened = self.opened.iter().map(|(alarm, _)| alarm);
        opened.chain(&self.resolved).find(|alarm| alarm.id == id)
    }
}

impl Store {
    /// Returns a channel.
    pub async fn channel(&self, id: &str) -> Result<Option<Channel>, DbErr> {
        let found = alarm_channel::Entity::find_by_id(id).one(self.db()).await?;
        let Some(row) = found else { return Ok(None) };
        let tenant = tenant::Entity::find_by_id(&row.tenant_id)
            .one(self.db())
            .await?;
        Ok(tenant.map(|tenant| Channel::of(row, &tenant)))
    }

    async fn used_channels(&self) -> Result<Vec<Channel>, DbErr> {
        let rows = alarm_channel::Entity::find()
            .filter(alarm_channel::Column::IsEnabled.eq(true))
            .all(self.reading())
            .await?;
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let tenants: HashMap<String, tenant::Model> = tenant::Entity::find()
            .all(self.reading())
            .await?
            .into_iter()
            .map(|tenant| (tenant.id.clone(), tenant))
            .collect();
        let channel = |row: alarm_channel::Model| {
            let tenant = tenants.get(&row.tenant_id)?;
            Some(Channel::of(row, tenant))
        };
        Ok(rows.into_iter().filter_map(channel).collect())
    }

    /// Returns the channels that send summaries.
    pub async fn channels_with_summary(&self) -> Result<Vec<Channel>, DbErr> {
        let mut channels = self.used_channels().await?;
        channels.retain(|channel| channel.summary_at.is_some());
        Ok(channels)
    }

    /// Returns the channels that have not been told everything, in a number of queries that grows only with what
    /// there is to tell.
    pub async fn channel_states(&self, now_ms: i64) -> Result<Vec<ChannelState>, DbErr> {
        let channels = self.used_channels().await?;
        if channels.is_empty() {
            return Ok(Vec::new());
        }
        let open = alarm::Entity::find()
            .filter(alarm::Column::OpenKey.is_not_null())
            .filter(alarm::Column::AcknowledgedAt.is_null())
            .filter(
                alarm::Column::SnoozedUntil
                    .is_null()
                    .or(alarm::Column::SnoozedUntil.lte(now_ms)),
            )
            .all(self.reading())
            .await?;
        let over = alarm::Entity::find()
            .filter(alarm::Column::OpenKey.is_null())
            .filter(alarm::Column::ResolvedAt.gt(now_ms - RESOLVED_MS))
            .all(self.reading())
            .await?;
        let ids: Vec<i64> = open.iter().chain(&over).map(|alarm| alarm.id).collect();
        let mut told: HashMap<(i64, String, String), Told> = HashMap::new();
        for ids in ids.chunks(IDS_PER_QUERY) {
            let notices = notice::Entity::find()
                .filter(notice::Column::AlarmId.is_in(ids.iter().copied()))
                .all(self.reading())
                .await?;
            told.extend(notices.into_iter().map(|it| {
                let told = Told {
                    grade: it.grade,
                    is_given_up: it.is_given_up,
                };
                ((it.alarm_id, it.channel_id, it.what), told)
            }));
        }
        let told = |alarm: &alarm::Model, channel: &Channel, what: &str| {
            told.get(&(alarm.id, channel.id.clone(), what.to_owned()))
                .copied()
        };
        // That a channel fails cannot be told through it.
        let concerns = |alarm: &alarm::Model, channel: &Channel| {
            alarm.tenant_id == channel.tenant_id
                && !(alarm.subject_kind == "channel" && alarm.subject_id == channel.id)
        };
        let states = channels.into_iter().map(|channel| {
            let is_bad_enough = |alarm: &alarm::Model| {
                Severity::of(&alarm.severity).is_none_or(|it| it >= channel.min_severity)
            };
            let concerned = open.iter().filter(|alarm| concerns(alarm, &channel));
            let opened = concerned
                .filter(|alarm| is_bad_enough(alarm))
                .filter_map(|alarm| {
                    let telling = telling(told(alarm, &channel, "opened"), alarm.grade);
                    Some((alarm.clone(), telling?))
                });
            // What began in a message that nobody got is told with its end.
            let resolved = over.iter().filter(|alarm| {
                concerns(alarm, &channel)
                    && told(alarm, &channel, "opened").is_some()
                    && told(alarm, &channel, "resolved").is_none_or(|it| it.is_given_up)
            });
            ChannelState {
                opened: opened.collect(),
                resolved: resolved.cloned().collect(),
                channel: channel.clone(),
            }
        });
        Ok(states
            .filter(|state| !state.opened.is_empty() || !state.resolved.is_empty())
            .collect())
    }

    /// Queues a message and writes down what it tells, in one transaction. Nothing happens when another instance was
    /// first. Returns whether it was queued.
    pub async fn queue_message(
        &self,
        channel: &Channel,
        message: &Message,
        told: &[Untold],
        now_ms: i64,
    ) -> Result<bool, DbErr> {
        let txn = self.db().begin().await?;
        let delivery = delivery::Entity::insert(new_delivery(channel, message, now_ms))
            .exec(&txn)
            .await?
            .last_insert_id;
        for it in told {
            let what = if it.is_resolved { "resolved" } else { "opened" };
            // Of what was told before, or was to be told, the notice is renewed.
            let renewed = notice::Entity::update_many()
                .col_expr(notice::Column::Grade, it.grade.into())
                .col_expr(notice::Column::IsGivenUp, false.into())
                .col_expr(notice::Column::DeliveryId, delivery.into())
                .filter(notice::Column::AlarmId.eq(it.alarm_id))
                .filter(notice::Column::ChannelId.eq(&channel.id))
                .filter(notice::Column::What.eq(what))
                .filter(
                    notice::Column::IsGivenUp
                        .eq(true)
                        .or(notice::Column::Grade.lt(it.grade)),
                )
                .exec(&txn)
                .await?;
            if renewed.rows_affected > 0 {
                continue;
            }
            let row = notice::ActiveModel {
                id: NotSet,
                alarm_id: Set(it.alarm_id),
                channel_id: Set(channel.id.clone()),
                what: Set(what.to_owned()),
                grade: Set(it.grade),
                is_given_up: Set(false),
                delivery_id: Set(delivery),
            };
            let inserted = notice::Entity::insert(row)
                .exec_without_returning(&txn)
                .await;
            if let Err(error) = inserted {
                txn.rollback().await?;
                return match error.sql_err() {
                    Some(SqlErr::UniqueConstraintViolation(_)) => Ok(false),
                    _ => Err(error),
                };
            }
        }
        txn.commit().await?;
        Ok(true)
    }

    /// Queues the summary of a day, once. Returns whether it was queued.
    pub async fn queue_summary(
        &self,
        channel: &Channel,
        day: &str,
        message: &Message,
        now_ms: i64,
    ) -> Result<bool, DbErr> {
        let txn = self.db().begin().await?;
        let changed = alarm_channel::Entity::update_many()
            .col_expr(alarm_channel::Column::LastSummaryOn, day.into())
            .filter(alarm_channel::Column::Id.eq(&channel.id))
            .filter(alarm_channel::Column::LastSummaryOn.eq(&channel.last_summary_on))
            .exec(&txn)
            .await?;
        if changed.rows_affected != 1 {
            txn.rollback().await?;
            return Ok(false);
        }
        delivery::Entity::insert(new_delivery(channel, message, now_ms))
            .exec_without_returning(&txn)
            .await?;
        txn.commit().await?;
        Ok(true)
    }

    /// Returns messages that are due, the oldest first.
    pub async fn due_deliveries(&self, now_ms: i64) -> Result<Vec<delivery::Model>, DbErr> {
        delivery::Entity::find()
            .filter(delivery::Column::Status.eq("due"))
            .filter(delivery::Column::DueAt.lte(now_ms))
            .order_by_asc(delivery::Column::DueAt)
            .limit(MESSAGES_PER_TURN)
            .all(self.reading())
            .await
    }

    /// Claims a message until `until_ms`, when it is due again unless it has ended. Tells whether nobody was faster.
    pub async fn claim_delivery(
        &self,
        delivery: &delivery::Model,
        until_ms: i64,
    ) -> Result<bool, DbErr> {
        let changed = delivery::Entity::update_many()
            .col_expr(delivery::Column::DueAt, until_ms.into())
            .col_expr(delivery::Column::Attempts, (delivery.attempts + 1).into())
            .filter(delivery::Column::Id.eq(delivery.id))
            .filter(delivery::Column::Status.eq("due"))
            .filter(delivery::Column::DueAt.eq(delivery.due_at))
            .filter(delivery::Column::Attempts.eq(delivery.attempts))
            .exec(self.db())
            .await?;
        Ok(changed.rows_affected == 1)
    }

    /// Writes down that a message failed and is tried again.
    pub async fn retry_delivery(&self, id: i64, error: &str, due_ms: i64) -> Result<(), DbErr> {
        delivery::Entity::update_many()
            .col_expr(delivery::Column::DueAt, due_ms.into())
            .col_expr(delivery::Column::Error, error.into())
            .filter(delivery::Column::Id.eq(id))
            .filter(delivery::Column::Status.eq("due"))
            .exec(self.db())
            .await?;
        Ok(())
    }

    /// Writes down that a message was taken, or given up: what it told is told again then, by the next one.
    pub async fn end_delivery(
        &self,
        id: i64,
        status: &str,
        error: &str,
        now_ms: i64,
    ) -> Result<(), DbErr> {
        let txn = self.db().begin().await?;
        delivery::Entity::update_many()
            .col_expr(delivery::Column::Status, status.into())
            .col_expr(delivery::Column::Error, error.into())
            .col_expr(delivery::Column::SentAt, now_ms.into())
            .filter(delivery::Column::Id.eq(id))
            .exec(&txn)
            .await?;
        if status == "failed" {
            notice::Entity::update_many()
                .col_expr(notice::Column::IsGivenUp, true.into())
                .filter(notice::Column::DeliveryId.eq(id))
                .exec(&txn)
                .await?;
        }
        txn.commit().await
    }

    /// Returns the last day of a tenant.
    pub async fn summary(&self, tenant_id: &str, day: &str, now_ms: i64) -> Result<Summary, DbErr> {
        use sea_orm::PaginatorTrait as _;
        let db = self.reading();
        let ended: Vec<(String, i64)> = run::Entity::find()
            .select_only()
            .column(run::Column::Status)
            .column_as(run::Column::Id.count(), "count")
            .filter(run::Column::TenantId.eq(tenant_id))
            .filter(run::Column::Kind.eq("backup"))
            .filter(run::Column::FinishedAt.gt(now_ms - DAY_MS))
            .group_by(run::Column::Status)
            .into_tuple()
            .all(db)
            .await?;
        let alarms = alarm::Entity::find()
            .filter(alarm::Column::TenantId.eq(tenant_id))
            .filter(alarm::Column::OpenKey.is_not_null())
            .order_by_asc(alarm::Column::Id)
            .all(db)
            .await?;
        let mut summary = Summary {
            day: day.to_owned(),
            vms: vm::Entity::find()
                .filter(vm::Column::TenantId.eq(tenant_id))
                .filter(vm::Column::GoneAt.is_null())
                .count(db)
                .await?,
            hosts: host::Entity::find()
                .filter(host::Column::TenantId.eq(tenant_id))
                .filter(host::Column::IsDisabled.eq(false))
                .count(db)
                .await?,
            runs: runs(&ended),
            ..Summary::default()
        };
        for alarm in alarms {
            let place = match alarm.kind.as_str() {
                "vm_unprotected"
                | "vm_objective_missed"
                | "job_objective_missed"
                | "tracking_wrong"
                | "point_damaged"
                | "points_damaged" => &mut summary.at_risk,
                "run_failed" | "run_missed" => &mut summary.failed,
                _ => &mut summary.other,
            };
            place.push(Named {
                name: alarm.subject_name,
                message: alarm.message,
            });
        }
        let repositories = repository::Entity::find()
            .filter(repository::Column::TenantId.eq(tenant_id))
            .order_by_asc(repository::Column::Name)
            .all(db)
            .await?;
        summary.repositories = repositories
            .into_iter()
            .map(|repository| Stored {
                name: repository.name,
                stored_bytes: repository.stored_bytes,
                limit_bytes: repository.limit_bytes,
            })
            .collect();
        Ok(summary)
    }
}

fn runs(ended: &[(String, i64)]) -> Runs {
    let mut runs = Runs::default();
    for (status, count) in ended {
        let place = match status.as_str() {
            "success" => &mut runs.success,
            "warning" => &mut runs.warning,
            "failed" | "partial_success" => &mut runs.failed,
            "cancelled" => &mut runs.cancelled,
            "missed" => &mut runs.missed,
            _ => continue,
        };
        *place += u64::try_from(*count).unwrap_or(0);
    }
    runs
}

fn new_delivery(channel: &Channel, message: &Message, now_ms: i64) -> delivery::ActiveModel {
    delivery::ActiveModel {
        id: NotSet,
        tenant_id: Set(channel.tenant_id.clone()),
        channel_id: Set(channel.id.clone()),
        subject: Set(message.subject.clone()),
        body_json: Set(serde_json::to_string(message).expect("a message is texts and numbers")),
        status: Set("due".to_owned()),
        due_at: Set(now_ms),
        attempts: Set(0),
        error: Set(String::new()),
        created_at: Set(now_ms),
        sent_at: Set(None),
    }
}
