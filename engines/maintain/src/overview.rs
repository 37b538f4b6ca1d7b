//! When maintenance ran last, when it is due, and what failed: read off the schedule, which stock
//! Kopia keeps, too (Kopia spec 8.2).

use kopia::maintenance::MaintenanceSchedule;
use time_and_chance::Timestamp;

/// Tasks of quick maintenance; all others are done by full maintenance alone.
const QUICK_TASKS: [&str; 5] = [
    "compact-single-epoch",
    "advance-epoch",
    "quick-rewrite-contents",
    "quick-delete-blobs",
    "index-compaction",
];

/// A task whose latest run did not do what it should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedTask {
    /// Kopia's name of it.
    pub task: String,
    /// When that run ended.
    pub at: Timestamp,
    /// Why; a run that was interrupted, or is under way, says so.
    pub error: String,
}

/// What the schedule tells.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overview {
    /// When a task of full maintenance ended last.
    pub last_full: Option<Timestamp>,
    /// When a task of quick maintenance, which full maintenance does too, ended last.
    pub last_quick: Option<Timestamp>,
    /// When full maintenance is due.
    pub next_full: Option<Timestamp>,
    /// When quick maintenance is due.
    pub next_quick: Option<Timestamp>,
    /// Tasks whose latest run failed.
    pub failed: Vec<FailedTask>,
}

impl Overview {
    /// Reads the schedule; a repository that nobody has maintained has none.
    pub fn of(schedule: Option<&MaintenanceSchedule>) -> Self {
        let Some(schedule) = schedule else {
            return Self::default();
        };
        let mut overview = Self {
            next_full: Some(schedule.next_full_maintenance),
            next_quick: Some(schedule.next_quick_maintenance),
            ..Self::default()
        };
        for (task, runs) in &schedule.runs {
            let Some(latest) = runs.iter().max_by_key(|run| run.start) else {
                continue;
            };
            let last = match QUICK_TASKS.contains(&task.as_str()) {
                true => &mut overview.last_quick,
                false => &mut overview.last_full,
            };
            *last = (*last).max(Some(latest.end));
            if !latest.success {
                overview.failed.push(FailedTask {
                    task: task.clone(),
                    at: latest.end,
                    error: latest.error.clone(),
                });
            }
        }
        overview
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use kopia::maintenance::TaskRun;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn the_latest_run_of_each_task_counts() {
        assert_eq!(Overview::of(None), Overview::default());
        let mut schedule = MaintenanceSchedule {
            next_full_maintenance: at(900),
            next_quick_maintenance: at(800),
            ..MaintenanceSchedule::default()
        };
        for (task, second, error) in [
            ("snapshot-gc", 100, "no line"),
            ("snapshot-gc", 200, ""),
            ("full-delete-blobs", 250, "denied"),
            ("advance-epoch", 300, "denied"),
            ("advance-epoch", 400, ""),
        ] {
            let run = TaskRun {
                start: at(second),
                end: at(second + 5),
                success: error.is_empty(),
                error: error.to_owned(),
                other: BTreeMap::new(),
            };
            schedule.note(task, run);
        }
        let failed = FailedTask {
            task: "full-delete-blobs".to_owned(),
            at: at(255),
            error: "denied".to_owned(),
        };
        let expected = Overview {
            last_full: Some(at(255)),
            last_quick: Some(at(405)),
            next_full: Some(at(900)),
            next_quick: Some(at(800)),
            failed: vec![failed],
        };
        assert_eq!(Overview::of(Some(&schedule)), expected);
    }
}
