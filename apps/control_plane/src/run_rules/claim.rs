//! Which run an agent that asks for work is offered (contract 3.1).

use crate::run_rules::{RECLAIM_AFTER_MS, SILENCE_MAX_MS, TAKEN, is_backup};
use crate::store::entity::run;

/// Runs in the order in which they are offered.
#[derive(Debug, PartialEq)]
pub struct Offers<'r> {
    /// One that was taken, and whose agent has been silent: it comes first, as it is.
    pub reclaimed: Option<&'r run::Model>,
    /// Those that wait, the oldest first: the first that can be claimed is offered.
    pub waiting: Vec<&'r run::Model>,
}

/// Returns what of a host's open runs, the oldest first, may be offered.
pub fn offers(open: &[run::Model], now: i64) -> Offers<'_> {
    let may_run = |run: &&run::Model| is_backup(run) && run.cancel_requested_at.is_none();
    let is_silent = |run: &&run::Model| {
        let silence = now.saturating_sub(run.heartbeat_at.unwrap_or(run.created_at));
        (RECLAIM_AFTER_MS..=SILENCE_MAX_MS).contains(&silence)
    };
    Offers {
        reclaimed: open
            .iter()
            .filter(may_run)
            .filter(|run| TAKEN.contains(&run.status.as_str()))
            .find(is_silent),
        waiting: open
            .iter()
            .filter(may_run)
            .filter(|run| run.status == "queued")
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run_rules::test_run;

    #[test]
    fn a_silent_run_is_offered_again_between_the_two_limits() {
        for (silence_ms, is_offered) in [
            (0, false),
            (179_999, false),
            (180_000, true),
            (720_000, true),
            (720_001, false),
        ] {
            let mut run = test_run("running");
            run.heartbeat_at = Some(1_000_000);
            let runs = [run];
            let offers = offers(&runs, 1_000_000 + silence_ms);
            assert_eq!(offers.reclaimed.is_some(), is_offered, "{silence_ms}");
            assert!(offers.waiting.is_empty());
        }
    }

    #[test]
    fn restores_and_what_is_to_stop_are_never_offered() {
        let mut restore = test_run("queued");
        restore.kind = "restore".to_owned();
        let mut stopped = test_run("queued");
        stopped.cancel_requested_at = Some(1);
        let mut silent = test_run("starting");
        silent.cancel_requested_at = Some(1);
        let runs = [restore, stopped, silent, test_run("queued")];
        let offers = offers(&runs, 300_000);
        assert_eq!(offers.reclaimed, None);
        assert_eq!(offers.waiting, [&runs[3]]);
    }
}
