//! What the server does by itself, again and again: fires schedules, watches, cleans up, tells people.
//!
//! ```text
//! one thread for each instance ─ every 5 s ─► claims the chores' leases ─► does those that it holds and that are due
//! ```
//!
//! Each chore may be done twice or by two instances at once without harm; the leases only spare the work.

pub mod fire;
pub mod inventory;
pub mod upkeep;

use std::collections::HashMap;
use std::sync::Mutex;
use std::thread::JoinHandle;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use sea_orm::DbErr;
use time_and_chance::StopSignal;
use tokio::runtime::Handle;

use crate::deliver;
use crate::live::What;
use crate::log;
use crate::people_api::caller::IDLE_MS;
use crate::plane::{Plane, SharedPlane};
use crate::store::schedule::Fired;
use crate::watch;

/// The pause between two turns.
const STEP: Duration = Duration::from_secs(5);

/// How long an instance holds a chore that it does not renew.
const LEASE_MS: i64 = 30_000;

/// A backup that its host did not take for this long is given up: twelve hours.
const UNTAKEN_MS: i64 = 12 * 3_600_000;

/// Why it was given up.
const UNTAKEN: &str =
    "the host did not take it for twelve hours; see whether it is on and its agent runs";

/// A thing to do again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Chore {
    Schedule,
    Runs,
    Upkeep,
    Inventory,
    Watch,
    Messages,
    OldRows,
}

impl Chore {
    const ALL: [Self; 7] = [
        Self::Schedule,
        Self::Runs,
        Self::Upkeep,
        Self::Inventory,
        Self::Watch,
        Self::Messages,
        Self::OldRows,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Schedule => "schedule",
            Self::Runs => "runs",
            Self::Upkeep => "upkeep",
            Self::Inventory => "inventory",
            Self::Watch => "watch",
            Self::Messages => "messages",
            Self::OldRows => "old_rows",
        }
    }

    fn period_ms(self) -> i64 {
        match self {
            Self::Schedule | Self::Messages => 5_000,
            Self::Inventory => 10_000,
            Self::Runs | Self::Watch => 30_000,
            Self::Upkeep => 60_000,
            Self::OldRows => 3_600_000,
        }
    }
}

/// The chores of one instance.
#[derive(Debug)]
pub struct Chores {
    plane: SharedPlane,
    holder: String,
    next: Mutex<HashMap<Chore, i64>>,
}

/// Starts the thread that does the chores until `stop` is thrown.
pub fn start(
    plane: SharedPlane,
    handle: Handle,
    stop: StopSignal,
) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new()
        .name("chores".to_owned())
        .spawn(move || {
            let chores = Chores::new(plane.clone());
            // Messages wait for other servers; nothing else shall wait for them.
            let sender = handle.spawn(send_messages(plane.clone()));
            loop {
                handle.block_on(chores.turn());
                if plane.clock.sleep(STEP, &stop).is_err() {
                    break;
                }
            }
            sender.abort();
            // The next instance takes over at once; if this fails, it does so a little later.
            if let Err(error) = handle.block_on(plane.store.give_up_leases(&chores.holder)) {
                log::warn(format_args!("chores: giving up leases: {error}"));
            }
        })
}

/// Sends what is due, for as long as the server runs. Each message is claimed before it is sent.
async fn send_messages(plane: SharedPlane) {
    loop {
        if let Err(error) = deliver::send_due(&plane).await {
            log::error(format_args!("chores: sending messages: {error}"));
        }
        tokio::time::sleep(STEP).await;
    }
}

impl Chores {
    /// Returns the chores of an instance, none of them done yet.
    pub fn new(plane: SharedPlane) -> Self {
        Self {
            holder: plane.new_id(),
            plane,
            next: Mutex::new(HashMap::new()),
        }
    }

    /// Does what is due and not another instance's to do.
    pub async fn turn(&self) {
        let now = self.plane.now_ms();
        let names = Chore::ALL.map(Chore::name);
        let held = self
            .plane
            .store
            .claim_leases(&names, &self.holder, now, now + LEASE_MS)
            .await;
        let held = match held {
            Ok(held) => held,
            Err(error) => {
                log::error(format_args!("chores: claiming leases: {error}"));
                return;
            }
        };
        for chore in Chore::ALL {
            if !held.iter().any(|name| name == chore.name()) || !self.is_due(chore, now) {
                continue;
            }
            if let Err(error) = self.carry_out(chore).await {
                log::error(format_args!("chores: {}: {error}", chore.name()));
            }
        }
    }

    fn is_due(&self, chore: Chore, now: i64) -> bool {
        let mut next = self
            .next
            .lock()
            .expect("no thread panics while it looks at the times");
        // A clock that was set back does not keep chores waiting.
        let is_due = next
            .get(&chore)
            .is_none_or(|at| *at <= now || *at > now + chore.period_ms());
        if is_due {
            next.insert(chore, now + chore.period_ms());
        }
        is_due
    }

    async fn carry_out(&self, chore: Chore) -> Result<(), DbErr> {
        let plane = &self.plane;
        let now = plane.now_ms();
        match chore {
            Chore::Schedule => self.fire().await?,
            Chore::Runs => {
                let untaken = plane
                    .store
                    .give_up_untaken_runs(now - UNTAKEN_MS, now, UNTAKEN)
                    .await?;
                tell_runs(plane, &untaken);
                let awake_since = plane.store.awake_since(now).await?;
                for run in plane.store.watchdog(now, awake_since).await? {
                    plane.live.tell(&run.tenant_id, What::Run, &run.id);
                }
            }
            Chore::Upkeep => tell_hosts(plane, &plane.store.queue_due_upkeep(now).await?),
            Chore::Inventory => {
                tell_hosts(plane, &plane.store.queue_due_inventories(now).await?);
            }
            Chore::Watch => {
                let awake_since = plane.store.awake_since(now).await?;
                let facts = plane.store.facts(now, awake_since).await?;
                let findings = watch::judge(&facts, now);
                for change in plane.store.apply_findings(&findings, now).await? {
                    plane
                        .live
                        .tell(&change.tenant_id, What::Alarm, change.alarm_id);
                }
            }
            Chore::Messages => deliver::compose_due(plane).await?,
            Chore::OldRows => {
                plane.store.drop_old_rows(now).await?;
                plane.store.remove_ended_sessions(now, IDLE_MS).await?;
            }
        }
        Ok(())
    }

    async fn fire(&self) -> Result<(), DbErr> {
        let plane = &self.plane;
        let now = plane.clock.now();
        let zones = plane.store.tenant_zones().await?;
        for job in plane.store.due_jobs(now.as_millisecond()).await? {
            let zone = zones.get(&job.tenant_id).cloned().unwrap_or(TimeZone::UTC);
            let fired = plane
                .store
                .fire_job(&job, &zone, now, |at| id_at(plane, at))
                .await;
            match fired {
                Ok(fired) => tell_runs(plane, &fired),
                // One job's trouble holds up no other's.
                Err(error) => log::error(format_args!("firing job {}: {error}", job.id)),
            }
        }
        plane.store.plan_jobs(now, &zones).await
    }
}

/// Returns a new id for a row that sorts as if it had been made at `at_ms`.
fn id_at(plane: &Plane, at_ms: i64) -> String {
    uuid::Builder::from_unix_timestamp_millis(at_ms.max(0).cast_unsigned(), &plane.chance.bytes())
        .into_uuid()
        .to_string()
}

fn tell_runs(plane: &Plane, fired: &[Fired]) {
    for run in fired {
        plane.live.tell(&run.tenant_id, What::Run, &run.run_id);
        if run.is_queued {
            plane
                .live
                .tell(&run.tenant_id, What::HostWork, &run.host_id);
        }
    }
}

fn tell_hosts(plane: &Plane, hosts: &[(String, String)]) {
    for (tenant, host) in hosts {
        plane.live.tell(tenant, What::HostWork, host);
    }
}

/// Returns the day of `now` in a zone, `YYYY-MM-DD`.
pub fn day_of(now: Timestamp, zone: &TimeZone) -> String {
    zone.to_datetime(now).date().to_string()
}
