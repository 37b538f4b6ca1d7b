//! What may be done when: functions of times and figures (Kopia spec 8.3).
//!
//! All times are the store's, or lie within [`SKEW_MAX`] of it: a run is refused otherwise.

use std::collections::BTreeMap;

use blob::BlobMetadata;
use kopia::maintenance::{LogRetention, MaintenanceSchedule, TaskRun};
use time_and_chance::{SignedDuration, Timestamp};

/// The names that Kopia gives the tasks.
pub(crate) mod task {
    pub(crate) const COLLECT: &str = "snapshot-gc";
    pub(crate) const REWRITE: &str = "full-rewrite-contents";
    pub(crate) const DROP: &str = "full-drop-deleted-content";
    pub(crate) const DELETE_PACKS: &str = "full-delete-blobs";
    pub(crate) const COMPACT_SINGLE: &str = "compact-single-epoch";
    pub(crate) const ADVANCE: &str = "advance-epoch";
    pub(crate) const COMPACT_RANGE: &str = "generate-epoch-range-index";
    pub(crate) const CLEAN_MARKERS: &str = "cleanup-epoch-markers";
    pub(crate) const DELETE_SUPERSEDED: &str = "delete-superseded-epoch-indexes";
    pub(crate) const EXTEND_LOCKS: &str = "extend-blob-retention-time";
    pub(crate) const LOGS: &str = "cleanup-logs";
}

/// This machine's clock and the store's may differ by so much.
const SKEW_MAX: SignedDuration = SignedDuration::from_mins(5);
/// Contents that no snapshot needs are left alone for so long.
const CONTENT_AGE_MIN: SignedDuration = SignedDuration::from_hours(24);
/// Contents are not moved before they are so old.
const REWRITE_AGE_MIN: SignedDuration = SignedDuration::from_hours(2);
/// Packs that no index names are left alone for so long.
const PACK_AGE_MIN: SignedDuration = SignedDuration::from_hours(24);
/// … and while their session was alive within this time.
const SESSION_AGE_MAX: SignedDuration = SignedDuration::from_hours(96);
/// Nothing is deleted so soon after contents were moved or tombstones forgotten: other clients
/// still look where they were.
const DELETE_AFTER: SignedDuration = SignedDuration::from_hours(1);
/// Two collections that let tombstones be forgotten lie so far apart.
const COLLECTIONS_APART: SignedDuration = SignedDuration::from_hours(4);
/// Tombstones are forgotten from so long before the earlier of them on.
const DROP_MARGIN: SignedDuration = SignedDuration::from_hours(1);
/// Packs in use by less than this share of their greatest length are short.
const SHORT_PERCENT: u64 = 60;

/// What the error of a run says that began and has not ended.
const UNFINISHED: &str = "interrupted";

/// Returns by how many seconds the clocks differ, if that is too much.
pub(crate) fn skew_seconds(store: Timestamp, local: Timestamp) -> Option<i64> {
    let skew = store.duration_since(local).abs();
    (skew > SKEW_MAX).then_some(skew.as_secs())
}

/// The ages that a run goes by: everything older than its limit may be dealt with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// When the run began.
    pub(crate) start: Timestamp,
}

impl Limits {
    fn before(&self, age: SignedDuration) -> Timestamp {
        self.start.saturating_sub(age).unwrap_or(Timestamp::MIN)
    }

    /// Says whether a content that no snapshot needs is old enough to be collected, given its
    /// own time. The time of its pack, which is the store's, must be old enough, too.
    pub(crate) fn may_bury(&self, content_seconds: i64) -> bool {
        content_seconds <= self.before(CONTENT_AGE_MIN).as_second()
    }

    /// Says whether a content is old enough to be moved, given its own time.
    pub(crate) fn may_move(&self, content_seconds: i64) -> bool {
        content_seconds <= self.before(REWRITE_AGE_MIN).as_second()
    }

    /// Says whether a pack is so young that its contents are left alone by the collection.
    pub(crate) fn is_young(&self, stored: Timestamp) -> bool {
        stored > self.before(CONTENT_AGE_MIN)
    }

    /// Says whether a pack is so young that its contents are not moved.
    pub(crate) fn is_too_young_to_move(&self, stored: Timestamp) -> bool {
        stored > self.before(REWRITE_AGE_MIN)
    }

    /// Says whether a blob that nobody refers to is old enough to be deleted.
    pub(crate) fn may_delete(&self, stored: Timestamp) -> bool {
        stored <= self.before(PACK_AGE_MIN)
    }

    /// Says whether a session counts as alive.
    pub(crate) fn is_alive(&self, last_sign: Timestamp) -> bool {
        last_sign > self.before(SESSION_AGE_MAX)
    }
}

/// Notes that a task begins; until it ends it counts as interrupted.
pub(crate) fn begin(schedule: &mut MaintenanceSchedule, task: &str, now: Timestamp) {
    schedule.note(
        task,
        TaskRun {
            start: now,
            end: now,
            success: false,
            error: UNFINISHED.to_owned(),
            other: BTreeMap::new(),
        },
    );
}

/// Notes that the task that began last has ended.
pub(crate) fn end(
    schedule: &mut MaintenanceSchedule,
    task: &str,
    now: Timestamp,
    error: Option<&str>,
) {
    if let Some(run) = schedule
        .runs
        .get_mut(task)
        .and_then(|runs| runs.first_mut())
    {
        run.end = now;
        run.success = error.is_none();
        run.error = error.unwrap_or_default().to_owned();
    }
}

/// Returns a schedule in place of one that is lost: contents may have been moved a moment ago, so
/// packs are left alone for as long as after that.
pub fn schedule_anew(now: Timestamp) -> MaintenanceSchedule {
    let mut schedule = MaintenanceSchedule::default();
    begin(&mut schedule, task::REWRITE, now);
    end(&mut schedule, task::REWRITE, now, None);
    schedule
}

/// Forgets the latest run of a task: it did nothing.
pub(crate) fn forget(schedule: &mut MaintenanceSchedule, task: &str) {
    if let Some(runs) = schedule.runs.get_mut(task).filter(|runs| !runs.is_empty()) {
        runs.remove(0);
    }
}

/// Lets runs that were interrupted count as ended now: how long they went on, nobody knows.
pub(crate) fn end_interrupted(schedule: &mut MaintenanceSchedule, now: Timestamp) {
    let latest = schedule
        .runs
        .values_mut()
        .filter_map(|runs| runs.first_mut());
    for run in latest.filter(|run| !run.success && run.error == UNFINISHED) {
        run.end = now;
        run.error = format!("{UNFINISHED}; found by the next run");
    }
}

/// Returns why packs may not be deleted in a run that begins at `start`, if they may not.
pub(crate) fn objection_to_deletion(
    schedule: &MaintenanceSchedule,
    start: Timestamp,
) -> Option<String> {
    for (task, what) in [
        (task::REWRITE, "contents were moved"),
        (task::DROP, "deleted contents were dropped from the index"),
    ] {
        let latest = schedule.runs.get(task).and_then(|runs| runs.first());
        let since = latest.map(|run| start.duration_since(run.end));
        if since.is_some_and(|since| since < DELETE_AFTER) {
            return Some(format!(
                "packs are not deleted: {what} less than an hour ago, and other clients may still look there"
            ));
        }
    }
    None
}

/// Returns why contents are not moved, if they are not: not again before packs were deleted.
pub(crate) fn objection_to_rewriting(schedule: &MaintenanceSchedule) -> Option<&'static str> {
    let latest = |task| schedule.successes(task).map(|run| run.end).max();
    let rewritten = latest(task::REWRITE)?;
    let deleted = latest(task::DELETE_PACKS);
    deleted.is_none_or(|deleted| deleted < rewritten).then_some(
        "short packs are not rewritten: those that the last rewriting emptied were not deleted yet",
    )
}

/// Returns the Unix second up to which tombstones may be forgotten.
///
/// The latest collection has brought back whatever a snapshot needed of what was deleted before
/// an earlier one began, and everybody has seen those tombstones for hours.
pub(crate) fn watermark(schedule: &MaintenanceSchedule) -> Option<i64> {
    let mut runs = schedule.successes(task::COLLECT);
    let latest = runs.next()?;
    let earlier = runs.find(|run| latest.start.duration_since(run.end) > COLLECTIONS_APART)?;
    let bound = earlier.start.min(latest.start).checked_sub(DROP_MARGIN);
    bound.ok().map(Timestamp::as_second)
}

/// What is known of a pack that might be rewritten.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct PackUse {
    /// Bytes of its contents that are not deleted.
    pub(crate) live_bytes: u64,
    /// Contents that may be moved.
    pub(crate) movable: u64,
}

/// Returns whether a pack is short, where packs grow to `pack_bytes_max`.
pub(crate) fn is_short(pack: PackUse, pack_bytes_max: u64) -> bool {
    pack.movable > 0 && pack.live_bytes < pack_bytes_max / 100 * SHORT_PERCENT
}

/// Returns the logs to be deleted: those beyond what is kept, the newest first.
pub(crate) fn logs_to_delete(
    mut logs: Vec<BlobMetadata>,
    kept: &LogRetention,
    start: Timestamp,
) -> Vec<BlobMetadata> {
    logs.sort_by(|a, b| (b.modified, &b.name).cmp(&(a.modified, &a.name)));
    let age_max = SignedDuration::from_nanos(kept.age_max_ns);
    let (mut count, mut bytes) = (0i64, 0u64);
    logs.retain(|log| {
        count = count.saturating_add(1);
        bytes = bytes.saturating_add(log.bytes);
        let beyond = |limit: i64, is: u64| limit > 0 && is > limit.unsigned_abs();
        beyond(kept.count_max, count.unsigned_abs())
            || beyond(kept.total_bytes_max, bytes)
            || (kept.age_max_ns > 0 && start.duration_since(log.modified) > age_max)
    });
    logs
}

#[cfg(test)]
mod tests;
