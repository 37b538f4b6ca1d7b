//! The combined poll (contract 3.8), and what wakes those that wait in it.
//!
//! One task of the instance listens to what changes, and asks the store once a second for whom there is work, so that
//! thousands who wait cost one query a second, and work that another instance queued is found too.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use axum::extract::State;
use serde_json::json;
use tokio::sync::Notify;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout_at};

use crate::agent_api::call::{AgentCall, field};
use crate::agent_api::commands::commands_for;
use crate::agent_api::operations::operation_for;
use crate::agent_api::refusal::{Answer, success};
use crate::live::What;
use crate::log;
use crate::plane::{Plane, SharedPlane};
use crate::store::repo_operations::Waiting;

/// How long an answer is held at most.
const HELD_MAX: Duration = Duration::from_secs(25);
/// How often the store is asked for work that nobody told of.
const LOOK: Duration = Duration::from_secs(1);
/// When agents are to ask again …
const NEXT_POLL_SECS: u64 = 15;
/// … and when there may be more.
const NEXT_POLL_AFTER_WORK_SECS: u64 = 7;

/// Hands out commands and an operation, at once or when there are some.
pub(super) async fn poll(State(plane): State<SharedPlane>, call: AgentCall) -> Answer {
    let is_long = matches!(field(&call.fields(), "long_poll"), "1" | "true");
    let until = Instant::now() + HELD_MAX;
    if is_long {
        call.shared.wakers.keep_awake(&plane);
    }
    let place = call.shared.wakers.place(&call.host.id);
    loop {
        let notified = place.notify.notified();
        let mut notified = std::pin::pin!(notified);
        // From here on nothing is missed: work that is queued while the store is asked wakes.
        notified.as_mut().enable();
        let commands = commands_for(&plane, &call).await?;
        let operation = match operation_for(&plane, &call).await {
            // Commands that are claimed are handed out, whatever else fails.
            Err(error) if !commands.is_empty() => {
                log::error(format_args!("handing out work on a repository: {error:?}"));
                None
            }
            other => other?,
        };
        let has_work = !commands.is_empty() || operation.is_some();
        let is_woken = async {
            tokio::select! {
                () = notified => true,
                () = plane.live.stopped() => false,
            }
        };
        let goes_on =
            is_long && !has_work && timeout_at(until, is_woken).await.is_ok_and(|woken| woken);
        if !goes_on {
            return Ok(success(json!({
                "poll_version": 1,
                "commands": commands,
                "repo_operation": operation,
                "next_poll_secs": if has_work { NEXT_POLL_AFTER_WORK_SECS } else { NEXT_POLL_SECS },
            })));
        }
    }
}

/// Wakes those that wait for a host's work.
#[derive(Debug, Default)]
pub(super) struct Wakers {
    hosts: Mutex<HashMap<String, (usize, Arc<Notify>)>>,
    is_awake: AtomicBool,
}

/// A place among those that wait.
#[derive(Debug)]
struct Place {
    wakers: Arc<Wakers>,
    host_id: String,
    notify: Arc<Notify>,
}

impl Wakers {
    fn place(self: &Arc<Self>, host_id: &str) -> Place {
        let mut hosts = self.hosts.lock().expect("nobody panics with it");
        let (count, notify) = hosts.entry(host_id.to_owned()).or_default();
        *count += 1;
        Place {
            wakers: self.clone(),
            host_id: host_id.to_owned(),
            notify: notify.clone(),
        }
    }

    fn wake(&self, host_id: &str) {
        let hosts = self.hosts.lock().expect("nobody panics with it");
        if let Some((_, notify)) = hosts.get(host_id) {
            notify.notify_waiters();
        }
    }

    /// Wakes those for whom something waits. Of several who could take the same, one at a time is woken, and with the next
    /// turn another.
    fn wake_for(&self, work: &Waiting, turn: usize) {
        let hosts = self.hosts.lock().expect("nobody panics with it");
        let chosen = work.one_of.iter().filter_map(|those| {
            let waiting: Vec<&String> = those.iter().filter(|it| hosts.contains_key(*it)).collect();
            waiting.get(turn.checked_rem(waiting.len())?).copied()
        });
        for host in work.each.iter().chain(chosen) {
            if let Some((_, notify)) = hosts.get(host) {
                notify.notify_waiters();
            }
        }
    }

    fn wake_all(&self) {
        let hosts = self.hosts.lock().expect("nobody panics with it");
        for (_, notify) in hosts.values() {
            notify.notify_waiters();
        }
    }

    fn is_empty(&self) -> bool {
        self.hosts.lock().expect("nobody panics with it").is_empty()
    }

    /// Begins the task that wakes, unless it is at work. It ends with the instance.
    fn keep_awake(self: &Arc<Self>, plane: &SharedPlane) {
        if !self.is_awake.swap(true, Ordering::Relaxed) {
            tokio::spawn(self.clone().keep_waking(Arc::downgrade(plane)));
        }
    }

    async fn keep_waking(self: Arc<Self>, plane: Weak<Plane>) {
        let Some(mut changes) = plane.upgrade().map(|plane| plane.live.listen()) else {
            return;
        };
        let mut turn = 0_usize;
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                change = changes.recv() => match change {
                    Ok(change) if change.what == What::HostWork => self.wake(&change.id),
                    Ok(_) => {}
                    Err(RecvError::Lagged(_)) => self.wake_all(),
                    Err(RecvError::Closed) => return,
                },
                _ = look.tick() => {
                    if self.is_empty() {
                        continue;
                    }
                    turn = turn.wrapping_add(1);
                    let Some(plane) = plane.upgrade() else { return };
                    match plane.store.hosts_with_work(plane.now_ms()).await {
                        Ok(work) => self.wake_for(&work, turn),
                        Err(error) => log::error(format_args!("agents' API: looking for work: {error}")),
                    }
                }
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut hosts = self.wakers.hosts.lock().expect("nobody panics with it");
        if let Some((count, _)) = hosts.get_mut(&self.host_id) {
            *count -= 1;
            if *count == 0 {
                hosts.remove(&self.host_id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn work_that_one_can_take_wakes_one_who_waits_and_then_another() {
        let wakers = Arc::new(Wakers::default());
        let places = ["a", "b", "c"].map(|host| wakers.place(host));
        let one_of = ["gone", "a", "b"].map(str::to_owned).to_vec();
        let work = Waiting {
            each: vec!["c".to_owned()],
            one_of: vec![one_of, vec!["gone".to_owned()]],
        };
        let woken = |turn| {
            let mut waits: Vec<_> = places
                .iter()
                .map(|place| Box::pin(place.notify.notified()))
                .collect();
            for wait in &mut waits {
                wait.as_mut().enable();
            }
            wakers.wake_for(&work, turn);
            waits
                .into_iter()
                .map(|wait| wait.now_or_never().is_some())
                .collect::<Vec<bool>>()
        };
        assert_eq!(woken(0), [true, false, true]);
        assert_eq!(woken(1), [false, true, true]);
        assert_eq!(woken(2), [true, false, true]);
    }

    #[test]
    fn who_has_waited_is_forgotten() {
        let wakers = Arc::<Wakers>::default();
        let (one, other) = (wakers.place("host"), wakers.place("host"));
        drop(one);
        assert!(!wakers.is_empty(), "the other one still waits");
        drop(other);
        assert!(wakers.is_empty());
    }
}
