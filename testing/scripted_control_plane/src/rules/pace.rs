//! Pace: who is told to wait waits, nobody loops, and what is not there is left alone.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Timeline, Violation};
use crate::record::Recorded;
use crate::world::{World, id_text};

/// How long an endpoint that an old server lacks is left alone.
const MISSING_PAUSE: Duration = Duration::from_secs(600);
/// How soon what was refused for good may be tried again.
const REFUSED_PAUSE: Duration = Duration::from_secs(1);
/// More calls of one poll in a second are a loop.
const POLLS_PER_SECOND_MAX: usize = 20;
/// More calls that are not let in within a minute are a loop.
const UNAUTHORIZED_PER_MINUTE_MAX: usize = 60;

pub(super) fn check(calls: &[Recorded], world: &World, timeline: &Timeline) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut earlier: BTreeMap<(String, String), &Recorded> = BTreeMap::new();
    let mut polls: BTreeMap<(String, u64), usize> = BTreeMap::new();
    let mut unauthorized: BTreeMap<u64, usize> = BTreeMap::new();
    for recorded in calls {
        let endpoint = &recorded.call.endpoint;
        let key = (endpoint.clone(), id_text(&recorded.call.body["run_id"]));
        if let Some(last) = earlier
            .get(&key)
            .filter(|last| !timeline.is_killed(last.at, recorded.at))
        {
            found.extend(hurry(last, recorded, world).map(|what| Violation::of(recorded, what)));
        }
        earlier.insert(key, recorded);
        if recorded.call.method == "GET" {
            let count = polls
                .entry((endpoint.clone(), recorded.at.as_secs()))
                .or_default();
            *count += 1;
            if *count == POLLS_PER_SECOND_MAX + 1 {
                found.push(Violation::of(
                    recorded,
                    "this is asked for again and again within a second",
                ));
            }
        }
        if recorded.http_status == 401 {
            let count = unauthorized.entry(recorded.at.as_secs() / 60).or_default();
            *count += 1;
            if *count == UNAUTHORIZED_PER_MINUTE_MAX + 1 {
                found.push(Violation::of(
                    recorded,
                    "it is not let in, and asks again and again",
                ));
            }
        }
    }
    found
}

fn hurry(last: &Recorded, recorded: &Recorded, world: &World) -> Option<String> {
    let pause = recorded.at.saturating_sub(last.answered_at);
    let is_same = last.call.raw == recorded.call.raw;
    match last.http_status {
        429 => {
            let asked = Duration::from_secs(asked_to_wait(last)?);
            (pause < asked && asked <= Duration::from_secs(60))
                .then(|| format!("it was told to wait for {} seconds", asked.as_secs()))
        }
        404 if world.is_old() && last.answer["status"].is_null() => {
            (pause < MISSING_PAUSE).then(|| {
                "this server does not have it; it should be left alone for a while".to_owned()
            })
        }
        400 | 403 | 404 | 413 | 426
            if is_same && recorded.call.method == "POST" && !is_poll(recorded) =>
        {
            (pause < REFUSED_PAUSE)
                .then(|| "what was refused for good is sent again at once".to_owned())
        }
        _ => None,
    }
}

fn is_poll(recorded: &Recorded) -> bool {
    recorded.call.endpoint == "agent_poll_commands"
}

fn asked_to_wait(last: &Recorded) -> Option<u64> {
    match &last.fault {
        Some(crate::fault::Fault::RateLimited { retry_after_secs }) => Some(*retry_after_secs),
        _ => last.answer["retry_after_secs"].as_u64(),
    }
}
