//! Alarms: how findings open, refresh and resolve them.

use std::collections::{HashMap, HashSet};

use sea_orm::sea_query::OnConflict;
use sea_orm::{
    ActiveValue::NotSet, ActiveValue::Set, ColumnTrait as _, Condition, ConnectionTrait, DbErr,
    EntityTrait as _, PaginatorTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _,
    TransactionTrait as _,
};
use serde_json::Value;

use super::Store;
use super::entity::{alarm, notice, vm};
use crate::watch::{Finding, SERVER_GAP_MS, Severity};

const DAY_MS: i64 = 86_400_000;

/// An alarm that is still true is written again after this time, so that it says when it was last true.
const REFRESH_MS: i64 = 10 * 60_000;

/// A state that somebody declared resolved opens an alarm anew when it still lasts after this time.
const REOPEN_MS: i64 = DAY_MS;

/// So many findings, or alarms that are over, are written down in one transaction: whoever else writes waits for no more.
const CHANGES_PER_TRANSACTION: usize = 1_000;

/// Ids in one query, at most: SQLite takes no endless list.
const IDS_PER_QUERY: usize = 500;

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

    /// Brings alarms in line with what was found, a part at a time, and returns those that were opened or resolved. Each
    /// alarm stands for itself: what one part brought stays when another fails, and the next look does the rest.
    ///
    /// Two instances may do it at once: of one thing one alarm is open.
    pub async fn apply_findings(
        &self,
        findings: &[Finding],
        now_ms: i64,
    ) -> Result<Vec<AlarmChange>, DbErr> {
        let open: HashMap<String, alarm::Model> = alarm::Entity::find()
            .filter(alarm::Column::OpenKey.is_not_null())
            .all(self.reading())
            .await?
            .into_iter()
            .filter_map(|alarm| Some((alarm.open_key.clone()?, alarm)))
            .collect();
        let mut changes = Vec::new();
        for findings in findings.chunks(CHANGES_PER_TRANSACTION) {
            changes.extend(self.apply_some(findings, &open, now_ms).await?);
        }
        let true_now: HashSet<String> = findings.iter().map(Finding::key).collect();
        let over = open.iter().filter(|(key, _)| !true_now.contains(*key));
        let over: Vec<&alarm::Model> = over.map(|(_, alarm)| alarm).collect();
        for alarms in over.chunks(CHANGES_PER_TRANSACTION) {
            let txn = self.db().begin().await?;
            for alarm in alarms {
                if !lasts(&txn, alarm).await?
                    && resolve_alarm(&txn, alarm.id, "system", now_ms).await?
                {
                    changes.push(AlarmChange {
                        tenant_id: alarm.tenant_id.clone(),
                        alarm_id: alarm.id,
                    });
                }
            }
            txn.commit().await?;
        }
        Ok(changes)
    }

    /// Opens and refreshes the alarms of some findings, in one transaction.
    async fn apply_some(
        &self,
        findings: &[Finding],
        open: &HashMap<String, alarm::Model>,
        now_ms: i64,
    ) -> Result<Vec<AlarmChange>, DbErr> {
        let txn = self.db().begin().await?;
        let mut changes = Vec::new();
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
        // What was told of it is to be told anew; that it was told stays known, for whoever heard of it hears of its end.
        notice::Entity::update_many()
            .col_expr(notice::Column::IsGivenUp, true.into())
            .filter(notice::Column::AlarmId.eq(alarm_id))
            .filter(notice::Column::What.eq("opened"))
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

/// Tells whether an alarm stays though its finding is gone: what is doubtful about older points of a VM is until somebody
/// says that it was dealt with, or the VM is gone.
async fn lasts(txn: &impl ConnectionTrait, alarm: &alarm::Model) -> Result<bool, DbErr> {
    if !["point_damaged", "tracking_wrong"].contains(&alarm.kind.as_str()) {
        return Ok(false);
    }
    let Ok(id) = alarm.subject_id.parse::<i64>() else {
        return Ok(false);
    };
    let there = vm::Entity::find_by_id(id)
        .filter(vm::Column::GoneAt.is_null())
        .count(txn)
        .await?;
    Ok(there > 0)
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
        grade: Set(finding.grade()),
        graded_at: Set(now_ms),
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
    let grade = finding.grade();
    let is_same = alarm.severity == severity && alarm.detail_json == detail && alarm.grade == grade;
    if is_same && now_ms - alarm.last_seen_at < REFRESH_MS {
        return Ok(());
    }
    let graded_at = match grade > alarm.grade {
        true => now_ms,
        false => alarm.graded_at,
    };
    let mut update = alarm::Entity::update_many();
    if Severity::of(&alarm.severity).is_some_and(|before| finding.severity > before) {
        // Whoever takes care of a warning, or wants to hear nothing of it, does not know that it is more than that.
        update = update
            .col_expr(alarm::Column::AcknowledgedAt, None::<i64>.into())
            .col_expr(alarm::Column::AcknowledgedBy, "".into())
            .col_expr(alarm::Column::SnoozedUntil, None::<i64>.into());
    }
    update
        .col_expr(alarm::Column::Grade, grade.into())
        .col_expr(alarm::Column::GradedAt, graded_at.into())
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
