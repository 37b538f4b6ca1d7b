//! Agents that have no run: the call that comes most, NextRun, is answered for them without a look into the store.
//!
//! What is remembered here says that one thing alone. Whoever may have a run is asked who he is, and the store what
//! there is, as with every other call; so is everybody now and then, and a host that was changed at once.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;
use std::time::Duration;

use protocol::identity::Program;
use sea_orm::DbErr;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::TryRecvError;

use crate::agent_api::memory::make_room;
use crate::live::{Change, What};
use crate::plane::{Plane, token_hash};
use crate::store::entity::host;

/// After so long at least an agent is asked who he is again, for another instance may have changed his host …
const KNOWN_MIN: Duration = Duration::from_secs(15);
/// … and after this at most: those who began together are not asked together for ever.
const KNOWN_MAX: Duration = Duration::from_secs(45);
/// After so long the store is asked again who has a run: another instance may have queued one.
const LOOK: Duration = Duration::from_secs(1);

/// What is known of agents that had no run.
#[derive(Debug, Default)]
pub(super) struct Idle {
    agents: Mutex<HashMap<String, Known>>,
    with_runs: tokio::sync::Mutex<WithRuns>,
}

/// An agent as it called.
#[derive(Debug)]
struct Known {
    token_hash: String,
    program: Program,
    until: Duration,
}

/// The hosts that have a run which is not over.
#[derive(Debug, Default)]
struct WithRuns {
    hosts: HashSet<String>,
    looked_at: Option<Duration>,
    changes: Option<Receiver<Change>>,
}

impl Idle {
    /// Remembers an agent who has shown who he is and has no run.
    pub(super) fn remember(&self, plane: &Plane, host: &host::Model, program: Program) {
        let now = plane.clock.monotonic();
        let spread = u64::try_from((KNOWN_MAX - KNOWN_MIN).as_millis()).expect("half a minute");
        let mut agents = self.agents.lock().expect("nobody panics with it");
        make_room(&mut agents, &host.id, |known| now < known.until);
        let known = Known {
            token_hash: host.token_hash.clone(),
            program,
            until: now + KNOWN_MIN + Duration::from_millis(plane.chance.below(spread)),
        };
        agents.insert(host.id.clone(), known);
    }

    /// Tells whether there is no run for who calls with this name, token and program. `false` says nothing: the caller
    /// may be unknown.
    pub(super) async fn has_no_run(
        &self,
        plane: &Plane,
        (id, token): (&str, &str),
        program: &Program,
    ) -> Result<bool, DbErr> {
        let now = plane.clock.monotonic();
        let mut with_runs = self.with_runs.lock().await;
        self.hear(plane, &mut with_runs);
        if !self.knows(id, token, program, now) {
            return Ok(false);
        }
        if with_runs
            .looked_at
            .is_none_or(|at| now.saturating_sub(at) >= LOOK)
        {
            with_runs.looked_at = None;
            with_runs.hosts = plane.store.hosts_with_open_runs().await?;
            with_runs.looked_at = Some(now);
        }
        Ok(!with_runs.hosts.contains(id))
    }

    fn knows(&self, id: &str, token: &str, program: &Program, now: Duration) -> bool {
        let agents = self.agents.lock().expect("nobody panics with it");
        agents.get(id).is_some_and(|known| {
            now < known.until && known.program == *program && known.token_hash == token_hash(token)
        })
    }

    /// Takes in what this instance changed since the last time.
    fn hear(&self, plane: &Plane, with_runs: &mut WithRuns) {
        let changes = with_runs.changes.get_or_insert_with(|| plane.live.listen());
        loop {
            match changes.try_recv() {
                Ok(change) if change.what == What::Run => with_runs.looked_at = None,
                Ok(change) if change.what == What::Host => self.forget(&change.id),
                Ok(_) => {}
                Err(TryRecvError::Lagged(_)) => {
                    with_runs.looked_at = None;
                    self.agents.lock().expect("nobody panics with it").clear();
                }
                Err(TryRecvError::Empty | TryRecvError::Closed) => return,
            }
        }
    }

    fn forget(&self, id: &str) {
        let mut agents = self.agents.lock().expect("nobody panics with it");
        agents.remove(id);
    }
}
