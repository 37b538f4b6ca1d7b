//! What becomes of the moments at which a job should have started. Pure.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::schedule::Schedule;

/// How late a run may start that has no window: six hours.
const GRACE_SECONDS: i64 = 6 * 3_600;

/// Moments that are older are not even recorded as missed: forty days.
const OLDEST_SECONDS: i64 = 40 * 86_400;

/// Of one job, at most so many missed moments are recorded at a time; the oldest are left out.
const RECORDED_MAX: usize = 200;

/// How far back moments are looked for first. Where that finds fewer than are recorded, it is four times as far each time: a
/// schedule of every minute has none looked at that is not recorded.
const FIRST_LOOK_SECONDS: i64 = 3_600;

/// Why a moment was missed: the server was not there.
pub const SERVER_DOWN: &str = "the server was not running at that time";

/// Why a moment was missed: the run before had not ended.
pub const STILL_GOING_ON: &str = "the previous run was still going on";

/// Why a moment was missed: the run before had not been taken by the host yet.
pub const STILL_WAITING: &str = "the previous run was still waiting for its host";

/// A job's run that has not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfinished {
    /// The host has not taken it.
    Queued,
    /// The host is at it.
    GoingOn,
}

/// What becomes of a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A run is queued.
    Start,
    /// A run is recorded that did not happen, and why.
    Missed(&'static str),
}

/// What becomes of all moments up to now, and when the next one is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// The moments, oldest first.
    pub moments: Vec<(Timestamp, Verdict)>,
    /// The next one, after now.
    pub next: Option<Timestamp>,
}

impl Judgement {
    /// Takes into account what has become of the job's run before: while it is not over, no other starts.
    #[must_use]
    pub fn beside(mut self, unfinished: Option<Unfinished>) -> Self {
        let why = match unfinished {
            None => return self,
            Some(Unfinished::Queued) => STILL_WAITING,
            Some(Unfinished::GoingOn) => STILL_GOING_ON,
        };
        for (_, verdict) in &mut self.moments {
            if *verdict == Verdict::Start {
                *verdict = Verdict::Missed(why);
            }
        }
        self
    }
}

/// Judges a job whose next start was to be at `due`, which has come; the run before counts as over. However long none was
/// judged, some hundred moments are looked at: those that are recorded, and others in the last look back for them.
pub fn judge(
    schedule: &Schedule,
    zone: &TimeZone,
    job_id: &str,
    due: Timestamp,
    now: Timestamp,
) -> Judgement {
    let mut looked_back = FIRST_LOOK_SECONDS;
    let (mut moments, next) = loop {
        let is_last = looked_back >= OLDEST_SECONDS.min(now.as_second() - due.as_second());
        let (moments, next) = missed(schedule, zone, job_id, due, now, looked_back);
        if is_last || moments.len() >= RECORDED_MAX {
            break (moments, next);
        }
        looked_back = OLDEST_SECONDS.min(4 * looked_back);
    };
    if let Some((moment, verdict)) = moments.last_mut()
        && schedule.may_still_start(*moment, now, zone, GRACE_SECONDS)
    {
        *verdict = Verdict::Start;
    }
    let surplus = moments.len().saturating_sub(RECORDED_MAX);
    moments.drain(..surplus);
    Judgement { moments, next }
}

/// Returns the moments from `due` to `now`, none older than so many seconds, and the next one after now.
fn missed(
    schedule: &Schedule,
    zone: &TimeZone,
    job_id: &str,
    due: Timestamp,
    now: Timestamp,
    seconds: i64,
) -> (Vec<(Timestamp, Verdict)>, Option<Timestamp>) {
    let mut moments = Vec::new();
    let mut at = Some(due);
    if now.as_second() - due.as_second() > seconds {
        at = Timestamp::from_second(now.as_second() - seconds)
            .ok()
            .and_then(|oldest| schedule.next_after(oldest, zone, job_id));
    }
    while let Some(moment) = at.filter(|moment| *moment <= now) {
        moments.push((moment, Verdict::Missed(SERVER_DOWN)));
        at = schedule.next_after(moment, zone, job_id);
    }
    (moments, at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    fn judged(json: &str, due: &str, now: &str, unfinished: Option<Unfinished>) -> Judgement {
        let schedule: Schedule = serde_json::from_str(json).expect("a schedule");
        judge(&schedule, &TimeZone::UTC, "job", at(due), at(now)).beside(unfinished)
    }

    const NIGHTLY: &str = r#"{"kind":"daily","at":"22:00"}"#;

    #[test]
    fn a_moment_that_has_come_starts_a_run() {
        let judged = judged(
            NIGHTLY,
            "2026-03-01T22:00:00Z",
            "2026-03-01T22:00:03Z",
            None,
        );
        assert_eq!(
            judged.moments,
            [(at("2026-03-01T22:00:00Z"), Verdict::Start)]
        );
        assert_eq!(judged.next, Some(at("2026-03-02T22:00:00Z")));
    }

    #[test]
    fn a_run_that_is_not_over_makes_the_next_one_missed() {
        for (unfinished, why) in [
            (Unfinished::Queued, STILL_WAITING),
            (Unfinished::GoingOn, STILL_GOING_ON),
        ] {
            let judged = judged(
                NIGHTLY,
                "2026-03-01T22:00:00Z",
                "2026-03-01T22:00:03Z",
                Some(unfinished),
            );
            assert_eq!(
                judged.moments,
                [(at("2026-03-01T22:00:00Z"), Verdict::Missed(why))]
            );
        }
    }

    #[test]
    fn after_a_long_night_only_the_newest_moment_is_made_up_for_and_only_soon() {
        let soon = judged(
            NIGHTLY,
            "2026-03-01T22:00:00Z",
            "2026-03-04T03:59:00Z",
            None,
        );
        assert_eq!(
            soon.moments,
            [
                (at("2026-03-01T22:00:00Z"), Verdict::Missed(SERVER_DOWN)),
                (at("2026-03-02T22:00:00Z"), Verdict::Missed(SERVER_DOWN)),
                (at("2026-03-03T22:00:00Z"), Verdict::Start),
            ]
        );
        let late = judged(
            NIGHTLY,
            "2026-03-01T22:00:00Z",
            "2026-03-02T04:00:00Z",
            None,
        );
        assert_eq!(
            late.moments,
            [(at("2026-03-01T22:00:00Z"), Verdict::Missed(SERVER_DOWN))]
        );
        // An open window counts for more than the hours, and a closed one too.
        let windowed = r#"{"kind":"daily","at":"20:00","window":{"from":"20:00","to":"06:00"}}"#;
        let open = judged(
            windowed,
            "2026-03-01T20:00:00Z",
            "2026-03-02T05:00:00Z",
            None,
        );
        assert_eq!(open.moments[0].1, Verdict::Start);
        let closed = judged(
            r#"{"kind":"daily","at":"20:00","window":{"from":"20:00","to":"21:00"}}"#,
            "2026-03-01T20:00:00Z",
            "2026-03-01T21:30:00Z",
            None,
        );
        assert_eq!(closed.moments[0].1, Verdict::Missed(SERVER_DOWN));
    }

    #[test]
    fn years_without_a_server_are_not_recorded_minute_by_minute() {
        let judged = judged(
            r#"{"kind":"cron","expression":"*/10 * * * *"}"#,
            "2020-03-01T20:00:00Z",
            "2026-03-01T20:00:00Z",
            None,
        );
        assert_eq!(judged.moments.len(), RECORDED_MAX);
        assert_eq!(
            judged.moments.last(),
            Some(&(at("2026-03-01T20:00:00Z"), Verdict::Start))
        );
        assert_eq!(judged.next, Some(at("2026-03-01T20:10:00Z")));
    }

    #[test]
    fn weeks_of_minutes_are_judged_as_soon_as_those_that_are_recorded() {
        // Each of 57,600 moments would take a look at 720 before it: minutes, in which no other job is fired.
        let judged = judged(
            r#"{"kind":"cron","expression":"* * * * *","spread_minutes":720}"#,
            "2026-01-20T20:00:00Z",
            "2026-03-01T20:00:30Z",
            None,
        );
        assert_eq!(judged.moments.len(), RECORDED_MAX);
        let newest = (at("2026-03-01T20:00:00Z"), Verdict::Start);
        assert_eq!(judged.moments.last(), Some(&newest));
        assert_eq!(judged.next, Some(at("2026-03-01T20:01:00Z")));
    }

    #[test]
    fn moments_far_apart_are_found_however_far_back_they_lie() {
        let judged = judged(
            r#"{"kind":"cron","expression":"0 6 1 * *"}"#,
            "2026-03-01T06:00:00Z",
            "2026-04-03T20:00:00Z",
            None,
        );
        let moments = ["2026-03-01T06:00:00Z", "2026-04-01T06:00:00Z"];
        let moments = moments.map(|moment| (at(moment), Verdict::Missed(SERVER_DOWN)));
        assert_eq!(judged.moments, moments);
    }
}
