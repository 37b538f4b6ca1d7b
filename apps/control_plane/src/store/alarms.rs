//! Alarms: what they are judged by, and how findings open, refresh and resolve them.

use std::collections::{HashMap, HashSet};

use sea_orm::sea_query::OnConflict;
use sea_orm::{
    ActiveValue::NotSet, ActiveValue::Set, ColumnTrait as _, Condition, ConnectionTrait, DbErr,
    EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _, TransactionTrait as _,
};
use serde_json::Value;

use super::Store;
use super::entity::{
    alarm, alarm_channel, delivery, host, job, notice, point, repository, run, run_event, vm,
};
use super::settings::MIN_AGENT_VERSION;
use crate::chores::upkeep::Upkeep;
use crate::run_rules::change::ENDED_BY_SERVER;
use crate::run_rules::finish::is_understood;
use crate::vm_choice::VmRules;
use crate::watch::facts::{
    ChannelFacts, Facts, HostFacts, JobFacts, Leftover, MissedFacts, PointFacts, RepositoryFacts,
    RunFacts, VmFacts, VolumeFacts,
};
use crate::watch::{Finding, SERVER_GAP_MS};

const DAY_MS: i64 = 86_400_000;

/// Runs that did not happen count this far back.
const MISSED_DAYS: i64 = 30;

/// An alarm that is still true is written again after this time, so that it says when it was last true.
const REFRESH_MS: i64 = 10 * 60_000;

/// A state that somebody declared resolved opens an alarm anew when it still lasts after this time.
const REOPEN_MS: i64 = DAY_MS;

/// Ids in one query, at most: SQLite takes no endless list.
const IDS_PER_QUERY: usize = 500;

/// How runs end that did take place.
pub(super) const TOOK_PLACE: [&str; 5] = [
    "success",
    "warning",
    "partial_success",
    "failed",
    "cancelled",
];

/// When the server last took a look, and since when it has been awake, in one setting.
const AWAKE: &str = "watch_awake";

/// An alarm that was opened or resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlarmChange {
    /// The tenant.
    pub tenant_id: String,
    /// The alarm.
    pub alarm_id: i64,
}

impl Store {
    /// Writes down that the server looks at `now_ms`, and returns since when it has been looking without a gap.
    pub async fn awake_since(&self, now_ms: i64) -> Result<i64, DbErr> {
        let txn = self.db().begin().await?;
        let before = self.setting(&txn, AWAKE).await?;
        let mut numbers = before.split(' ').filter_map(|it| it.parse::<i64>().ok());
        let since = match (numbers.next(), numbers.next()) {
            (Some(last), Some(since)) if (0..=SERVER_GAP_MS).contains(&(now_ms - last)) => since,
            _ => now_ms,
        };
        self.set_setting(&txn, AWAKE, &format!("{now_ms} {since}"))
            .await?;
        txn.commit().await?;
        Ok(since)
    }

    /// Returns what alarms are judged by, in a number of queries that does not grow with what there is.
    pub async fn facts(&self, now_ms: i64, awake_since: i64) -> Result<Facts, DbErr> {
        let (repositories, jobs) = (
            self.repository_facts().await?,
            self.job_facts(now_ms).await?,
        );
        Ok(Facts {
            awake_since,
            min_agent_version: self.setting(self.db(), MIN_AGENT_VERSION).await?,
            hosts: self.host_facts().await?,
            vms: self.vm_facts().await?,
            jobs,
            repositories,
            channels: self.channel_facts().await?,
        })
    }

    async fn host_facts(&self) -> Result<Vec<HostFacts>, DbErr> {
        let hosts = host::Entity::find()
            .filter(host::Column::IsDisabled.eq(false))
            .all(self.db())
            .await?;
        let facts = hosts.into_iter().map(|host| HostFacts {
            volumes: volumes(&host.volumes_json),
            id: host.id,
            tenant_id: host.tenant_id,
            name: if host.name.is_empty() {
                host.hostname
            } else {
                host.name
            },
            agent_version: host.agent_version,
            last_seen_at: host.last_seen_at,
            created_at: host.created_at,
        });
        Ok(facts.collect())
    }

    async fn vm_facts(&self) -> Result<Vec<VmFacts>, DbErr> {
        let mut newest = self.newest_points().await?;
        type Row = (
            i64,
            String,
            String,
            String,
            String,
            String,
            Option<i64>,
            bool,
            i64,
            String,
        );
        let rows: Vec<Row> = vm::Entity::find()
            .select_only()
            .columns([
                vm::Column::Id,
                vm::Column::TenantId,
                vm::Column::HostId,
                vm::Column::Guid,
                vm::Column::Name,
                vm::Column::State,
                vm::Column::ObjectiveHours,
                vm::Column::IsExcused,
                vm::Column::FirstSeenAt,
                vm::Column::LeftoversJson,
            ])
            .filter(vm::Column::GoneAt.is_null())
            .into_tuple()
            .all(self.db())
            .await?;
        let facts = rows.into_iter().map(|row| {
            let (id, tenant_id, host_id, guid, name, state, hours, is_excused, first, left) = row;
            VmFacts {
                id,
                tenant_id,
                host_id,
                guid,
                name,
                state,
                objective_hours: hours,
                is_excused,
                first_seen_at: first,
                leftovers: leftovers(&left),
                newest: newest.remove(&id),
            }
        });
        Ok(facts.collect())
    }

    /// Returns the newest point of every VM.
    async fn newest_points(&self) -> Result<HashMap<i64, PointFacts>, DbErr> {
        let ids: Vec<i64> = point::Entity::find()
            .select_only()
            .column_as(point::Column::Id.max(), "id")
            .filter(point::Column::VmId.is_not_null())
            .filter(point::Column::ExpiredAt.is_null())
            .group_by(point::Column::VmId)
            .into_tuple()
            .all(self.db())
            .await?;
        let mut newest = HashMap::new();
        for ids in ids.chunks(IDS_PER_QUERY) {
            let points = point::Entity::find()
                .filter(point::Column::Id.is_in(ids.iter().copied()))
                .all(self.db())
                .await?;
            // What came before matters of full ones alone.
            let full: Vec<&point::Model> = points
                .iter()
                .filter(|it| it.backup_type == "full")
                .collect();
            let before = self.points_before(&full, false).await?;
            let full_before = self.points_before(&full, true).await?;
            for point in points {
                let Some(vm_id) = point.vm_id else { continue };
                let key = (vm_id, point.repository_id.clone());
                let facts = PointFacts {
                    id: point.id,
                    job_id: point.job_id,
                    created_at: point.created_at,
                    consistency: point.consistency,
                    is_full: point.backup_type == "full",
                    before_at: before.get(&key).copied(),
                    full_before_at: full_before.get(&key).copied(),
                    warnings: serde_json::from_str(&point.warnings_json).unwrap_or_default(),
                };
                newest.insert(vm_id, facts);
            }
        }
        Ok(newest)
    }

    /// Returns when the last point before each of these was made, by VM and repository.
    async fn points_before(
        &self,
        points: &[&point::Model],
        only_full: bool,
    ) -> Result<HashMap<(i64, String), i64>, DbErr> {
        if points.is_empty() {
            return Ok(HashMap::new());
        }
        let mut query = point::Entity::find()
            .select_only()
            .columns([point::Column::VmId, point::Column::RepositoryId])
            .column_as(point::Column::CreatedAt.max(), "created_at")
            .filter(point::Column::VmId.is_in(points.iter().filter_map(|point| point.vm_id)))
            .filter(point::Column::Id.is_not_in(points.iter().map(|point| point.id)))
            .group_by(point::Column::VmId)
            .group_by(point::Column::RepositoryId);
        if only_full {
            query = query.filter(point::Column::BackupType.eq("full"));
        }
        let rows: Vec<(i64, String, i64)> = query.into_tuple().all(self.db()).await?;
        let keyed = rows
            .into_iter()
            .map(|(vm, repository, at)| ((vm, repository), at));
        Ok(keyed.collect())
    }

    async fn job_facts(&self, now_ms: i64) -> Result<Vec<JobFacts>, DbErr> {
        let jobs = job::Entity::find()
            .filter(job::Column::Status.eq("active"))
            .all(self.db())
            .await?;
        let ended: Vec<String> = run::Entity::find()
            .select_only()
            .column_as(run::Column::Id.max(), "id")
            .filter(run::Column::Kind.eq("backup"))
            .filter(run::Column::Status.is_in(TOOK_PLACE))
            .filter(run::Column::JobId.is_not_null())
            .group_by(run::Column::JobId)
            .into_tuple()
            .all(self.db())
            .await?;
        let mut last: HashMap<String, RunFacts> = HashMap::new();
        for ids in ended.chunks(IDS_PER_QUERY) {
            let runs = run::Entity::find()
                .filter(run::Column::Id.is_in(ids.iter().cloned()))
                .all(self.db())
                .await?;
            last.extend(runs.into_iter().filter_map(|run| {
                let facts = RunFacts {
                    finished_at: run.finished_at.unwrap_or(run.created_at),
                    is_ended_by_person: !is_ended_by_server(&run.stats_json),
                    id: run.id,
                    status: run.status,
                    error_summary: run.error_summary,
                };
                Some((run.job_id?, facts))
            }));
        }
        // Agents call a run in which some VMs failed a warning (contract 5.2).
        let warned = last.values().filter(|run| run.status == "warning");
        let warned: Vec<String> = warned.map(|run| run.id.clone()).collect();
        let mut in_part: HashSet<String> = HashSet::new();
        for ids in warned.chunks(IDS_PER_QUERY) {
            let failed: Vec<String> = run_event::Entity::find()
                .select_only()
                .column(run_event::Column::RunId)
                .distinct()
                .filter(run_event::Column::RunId.is_in(ids.iter().cloned()))
                .filter(run_event::Column::MessageId.eq("HYPERV_VM_FAILED"))
                .into_tuple()
                .all(self.db())
                .await?;
            in_part.extend(failed);
        }
        for run in last.values_mut().filter(|run| in_part.contains(&run.id)) {
            run.status = "partial_success".to_owned();
        }
        let mut missed: HashMap<String, Vec<MissedFacts>> = HashMap::new();
        type Row = (String, Option<String>, Option<i64>, i64, String);
        let rows: Vec<Row> = run::Entity::find()
            .select_only()
            .columns([
                run::Column::Id,
                run::Column::JobId,
                run::Column::ScheduledFor,
                run::Column::CreatedAt,
                run::Column::ErrorSummary,
            ])
            .filter(run::Column::Status.eq("missed"))
            .filter(run::Column::CreatedAt.gt(now_ms - MISSED_DAYS * DAY_MS))
            .order_by_asc(run::Column::Id)
            .into_tuple()
            .all(self.db())
            .await?;
        for (id, job, scheduled_for, created_at, why) in rows {
            let at = scheduled_for.unwrap_or(created_at);
            if let Some(job) = job {
                missed
                    .entry(job)
                    .or_default()
                    .push(MissedFacts { id, at, why });
            }
        }
        let facts = jobs.into_iter().map(|job| JobFacts {
            last_run: last.remove(&job.id),
            missed: missed.remove(&job.id).unwrap_or_default(),
            is_hyperv: job.engine == "hyperv",
            vms: VmRules::of_json(&job.vms_json),
            wants_application: job.consistency != "crash",
            id: job.id,
            tenant_id: job.tenant_id,
            host_id: job.host_id,
            name: job.name,
            objective_hours: job.objective_hours,
            created_at: job.created_at,
        });
        Ok(facts.collect())
    }

    async fn repository_facts(&self) -> Result<Vec<RepositoryFacts>, DbErr> {
        let workers = self.workers().await?;
        let mut upkeep: HashMap<String, _> = self
            .upkeep_records()
            .await?
            .into_iter()
            .map(|(repository, records)| (repository.id, records))
            .collect();
        let repositories = repository::Entity::find().all(self.db()).await?;
        let facts = repositories.into_iter().map(|repository| RepositoryFacts {
            upkeep: upkeep.remove(&repository.id).unwrap_or_default(),
            can_be_verified: workers
                .get(&repository.id)
                .into_iter()
                .flatten()
                .any(|(_, version)| is_understood(Upkeep::Verify.kind(), version)),
            id: repository.id,
            tenant_id: repository.tenant_id,
            name: repository.name,
            stored_bytes: repository.stored_bytes,
            limit_bytes: repository.limit_bytes,
        });
        Ok(facts.collect())
    }

    async fn channel_facts(&self) -> Result<Vec<ChannelFacts>, DbErr> {
        let channels = alarm_channel::Entity::find()
            .filter(alarm_channel::Column::IsEnabled.eq(true))
            .all(self.db())
            .await?;
        let newest = |status: &'static str| {
            delivery::Entity::find()
                .select_only()
                .column_as(delivery::Column::Id.max(), "id")
                .filter(delivery::Column::Status.eq(status))
                .group_by(delivery::Column::ChannelId)
                .into_tuple::<i64>()
        };
        let mut ids = newest("failed").all(self.db()).await?;
        ids.extend(newest("sent").all(self.db()).await?);
        let mut failed = HashMap::new();
        let mut sent = HashMap::new();
        for ids in ids.chunks(IDS_PER_QUERY) {
            let deliveries = delivery::Entity::find()
                .filter(delivery::Column::Id.is_in(ids.iter().copied()))
                .all(self.db())
                .await?;
            for message in deliveries {
                // Of one that was given up, `sent_at` says when that was.
                let at = message.sent_at.unwrap_or(message.created_at);
                if message.status == "failed" {
                    failed.insert(message.channel_id, (at, message.error));
                } else {
                    sent.insert(message.channel_id, at);
                }
            }
        }
        let facts = channels.into_iter().map(|channel| {
            let (failed_at, error) = failed
                .remove(&channel.id)
                .map_or((None, String::new()), |(at, error)| (Some(at), error));
            ChannelFacts {
                sent_at: sent.remove(&channel.id),
                id: channel.id,
                tenant_id: channel.tenant_id,
                name: channel.name,
                failed_at,
                error,
            }
        });
        Ok(facts.collect())
    }

    /// Brings alarms in line with what was found, in one transaction, and returns those that were opened or resolved.
    ///
    /// Two instances may do it at once: of one thing one alarm is open.
    pub async fn apply_findings(
        &self,
        findings: &[Finding],
        now_ms: i64,
    ) -> Result<Vec<AlarmChange>, DbErr> {
        let txn = self.db().begin().await?;
        let open: HashMap<String, alarm::Model> = alarm::Entity::find()
            .filter(alarm::Column::OpenKey.is_not_null())
            .all(&txn)
            .await?
            .into_iter()
            .filter_map(|alarm| Some((alarm.open_key.clone()?, alarm)))
            .collect();
        let mut changes = Vec::new();
        let mut true_now = HashSet::new();
        let mut new = Vec::new();
        for finding in findings {
            let key = finding.key();
            match open.get(&key) {
                Some(alarm) if !finding.is_unknown => {
                    refresh(&txn, alarm, finding, now_ms).await?;
                }
                Some(_) => {}
                None if !finding.is_unknown => new.push(finding),
                None => {}
            }
            true_now.insert(key);
        }
        let silenced = silenced(&txn, &new, now_ms).await?;
        for finding in new {
            if silenced.contains(&finding.key()) {
                continue;
            }
            if let Some(alarm_id) = open_alarm(&txn, finding, now_ms).await? {
                changes.push(AlarmChange {
                    tenant_id: finding.tenant_id.clone(),
                    alarm_id,
                });
            }
        }
        for (key, alarm) in &open {
            // What is doubtful about older points stays so until somebody says that it was dealt with.
            let lasts = ["point_damaged", "tracking_wrong"].contains(&alarm.kind.as_str());
            if !lasts
                && !true_now.contains(key)
                && resolve_alarm(&txn, alarm.id, "system", now_ms).await?
            {
                changes.push(AlarmChange {
                    tenant_id: alarm.tenant_id.clone(),
                    alarm_id: alarm.id,
                });
            }
        }
        txn.commit().await?;
        Ok(changes)
    }

    /// Resolves an alarm that is open, on somebody's word. Tells whether it was open.
    pub async fn resolve_alarm(
        &self,
        txn: &impl ConnectionTrait,
        alarm_id: i64,
        who: &str,
        now_ms: i64,
    ) -> Result<bool, DbErr> {
        resolve_alarm(txn, alarm_id, who, now_ms).await
    }

    /// Keeps an open alarm quiet until `until_ms`; after that it is told anew. Tells whether it was open.
    pub async fn snooze_alarm(
        &self,
        txn: &impl ConnectionTrait,
        alarm_id: i64,
        until_ms: i64,
    ) -> Result<bool, DbErr> {
        let changed = alarm::Entity::update_many()
            .col_expr(alarm::Column::SnoozedUntil, until_ms.into())
            .filter(alarm::Column::Id.eq(alarm_id))
            .filter(alarm::Column::OpenKey.is_not_null())
            .exec(txn)
            .await?;
        if changed.rows_affected == 0 {
            return Ok(false);
        }
        notice::Entity::delete_many()
            .filter(notice::Column::AlarmId.eq(alarm_id))
            .exec(txn)
            .await?;
        Ok(true)
    }

    /// Writes down that somebody takes care of an open alarm. Tells whether it was open.
    pub async fn acknowledge_alarm(
        &self,
        txn: &impl ConnectionTrait,
        alarm_id: i64,
        who: &str,
        now_ms: i64,
    ) -> Result<bool, DbErr> {
        let changed = alarm::Entity::update_many()
            .col_expr(alarm::Column::AcknowledgedAt, now_ms.into())
            .col_expr(alarm::Column::AcknowledgedBy, who.into())
            .filter(alarm::Column::Id.eq(alarm_id))
            .filter(alarm::Column::OpenKey.is_not_null())
            .exec(txn)
            .await?;
        Ok(changed.rows_affected == 1)
    }
}

/// Returns the keys of those findings about which somebody said lately that they are dealt with.
async fn silenced(
    txn: &impl ConnectionTrait,
    findings: &[&Finding],
    now_ms: i64,
) -> Result<HashSet<String>, DbErr> {
    let mut silenced = HashSet::new();
    if findings.is_empty() {
        return Ok(silenced);
    }
    let subjects: HashSet<&str> = findings.iter().map(|it| it.subject_id.as_str()).collect();
    let subjects: Vec<&str> = subjects.into_iter().collect();
    let mut declared: HashMap<String, alarm::Model> = HashMap::new();
    for subjects in subjects.chunks(IDS_PER_QUERY) {
        let alarms = alarm::Entity::find()
            .filter(
                Condition::all()
                    .add(alarm::Column::OpenKey.is_null())
                    .add(alarm::Column::ResolvedBy.ne("system"))
                    .add(alarm::Column::SubjectId.is_in(subjects.iter().copied())),
            )
            .order_by_asc(alarm::Column::Id)
            .all(txn)
            .await?;
        declared.extend(alarms.into_iter().map(|alarm| {
            let key = format!("{}/{}/{}", alarm.tenant_id, alarm.kind, alarm.subject_id);
            (key, alarm)
        }));
    }
    for finding in findings {
        let key = finding.key();
        let Some(alarm) = declared.get(&key) else {
            continue;
        };
        let is_dealt_with = match &finding.occasion {
            Some(occasion) => {
                let detail: Value = serde_json::from_str(&alarm.detail_json).unwrap_or_default();
                detail["occasion"] == occasion.as_str()
            }
            None => alarm.resolved_at.is_some_and(|at| now_ms - at < REOPEN_MS),
        };
        if is_dealt_with {
            silenced.insert(key);
        }
    }
    Ok(silenced)
}

async fn open_alarm(
    txn: &impl ConnectionTrait,
    finding: &Finding,
    now_ms: i64,
) -> Result<Option<i64>, DbErr> {
    let key = finding.key();
    let row = alarm::ActiveModel {
        id: NotSet,
        tenant_id: Set(finding.tenant_id.clone()),
        kind: Set(finding.kind.to_owned()),
        subject_kind: Set(finding.subject_kind.to_owned()),
        subject_id: Set(finding.subject_id.clone()),
        subject_name: Set(finding.subject_name.clone()),
        severity: Set(finding.severity.as_str().to_owned()),
        message: Set(finding.message.clone()),
        detail_json: Set(detail(finding)),
        open_key: Set(Some(key.clone())),
        opened_at: Set(now_ms),
        last_seen_at: Set(now_ms),
        acknowledged_at: Set(None),
        acknowledged_by: Set(String::new()),
        snoozed_until: Set(None),
        resolved_at: Set(None),
        resolved_by: Set(String::new()),
    };
    let inserted = alarm::Entity::insert(row)
        .on_conflict(
            OnConflict::column(alarm::Column::OpenKey)
                .do_nothing()
                .to_owned(),
        )
        .exec_without_returning(txn)
        .await?;
    if inserted == 0 {
        return Ok(None);
    }
    let ids: Vec<i64> = alarm::Entity::find()
        .select_only()
        .column(alarm::Column::Id)
        .filter(alarm::Column::OpenKey.eq(key))
        .into_tuple()
        .all(txn)
        .await?;
    Ok(ids.first().copied())
}

async fn refresh(
    txn: &impl ConnectionTrait,
    alarm: &alarm::Model,
    finding: &Finding,
    now_ms: i64,
) -> Result<(), DbErr> {
    let (severity, detail) = (finding.severity.as_str(), detail(finding));
    // Ages in the message change all the time; that alone is no reason to write.
    let is_same = alarm.severity == severity && alarm.detail_json == detail;
    if is_same && now_ms - alarm.last_seen_at < REFRESH_MS {
        return Ok(());
    }
    alarm::Entity::update_many()
        .col_expr(alarm::Column::Severity, severity.into())
        .col_expr(alarm::Column::Message, finding.message.as_str().into())
        .col_expr(alarm::Column::DetailJson, detail.into())
        .col_expr(
            alarm::Column::SubjectName,
            finding.subject_name.as_str().into(),
        )
        .col_expr(alarm::Column::LastSeenAt, now_ms.into())
        .filter(alarm::Column::Id.eq(alarm.id))
        .filter(alarm::Column::OpenKey.is_not_null())
        .exec(txn)
        .await?;
    Ok(())
}

async fn resolve_alarm(
    txn: &impl ConnectionTrait,
    alarm_id: i64,
    who: &str,
    now_ms: i64,
) -> Result<bool, DbErr> {
    let changed = alarm::Entity::update_many()
        .col_expr(alarm::Column::OpenKey, None::<String>.into())
        .col_expr(alarm::Column::ResolvedAt, now_ms.into())
        .col_expr(alarm::Column::ResolvedBy, who.into())
        .filter(alarm::Column::Id.eq(alarm_id))
        .filter(alarm::Column::OpenKey.is_not_null())
        .exec(txn)
        .await?;
    Ok(changed.rows_affected == 1)
}

fn detail(finding: &Finding) -> String {
    let mut detail = finding.detail.clone();
    if let Some(occasion) = &finding.occasion {
        detail["occasion"] = occasion.as_str().into();
    }
    detail.to_string()
}

fn is_ended_by_server(stats_json: &str) -> bool {
    serde_json::from_str::<Value>(stats_json)
        .is_ok_and(|stats| stats[ENDED_BY_SERVER] == Value::Bool(true))
}

/// Reads the volumes whose free space an agent tells; the contract has no such member, agents of ours send it.
fn volumes(json: &str) -> Vec<VolumeFacts> {
    let list: Vec<Value> = serde_json::from_str(json).unwrap_or_default();
    list.iter()
        .filter(|volume| volume["is_network"] != Value::Bool(true))
        .filter_map(|volume| {
            Some(VolumeFacts {
                path: volume["path"].as_str()?.to_owned(),
                size_bytes: volume["size_bytes"].as_i64()?,
                free_bytes: volume["free_bytes"].as_i64()?,
            })
        })
        .collect()
}

fn leftovers(json: &str) -> Vec<Leftover> {
    let list: Vec<Value> = serde_json::from_str(json).unwrap_or_default();
    let time = |value: &Value| {
        value.as_i64().or_else(|| {
            let time: jiff::Timestamp = value.as_str()?.parse().ok()?;
            Some(time.as_millisecond())
        })
    };
    list.iter()
        .filter_map(|leftover| {
            Some(Leftover {
                name: leftover["name"].as_str().unwrap_or("unnamed").to_owned(),
                created_at: time(&leftover["created_at"])?,
            })
        })
        .collect()
}
