//! What the server does by itself, again and again: fires schedules, watches, cleans up, tells people.
//!
//! ```text
//! one thread for each instance ─ every 5 s ─► claims the chores' leases ─► does those that it holds and that are due
//! ```
//!
//! Each chore may be done twice or by two instances at once without harm; the leases only spare the work. One that
//! panics or hangs is logged and ended; the others go on, and it is tried again when it is due.

pub mod fire;
pub mod inventory;
pub mod turns;
pub mod upkeep;

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use jiff::tz::TimeZone;
use sea_orm::DbErr;
use time_and_chance::StopSignal;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use crate::deliver;
use crate::live::What;
use crate::log;
use crate::people_api::caller::IDLE_MS;
use crate::plane::{Plane, SharedPlane};
use crate::run_rules::watchdog::waits_since;
use crate::store::schedule::Fired;
use crate::watch;

/// The pause between two turns.
const STEP: Duration = Duration::from_secs(5);

/// How long one chore may take, and claiming them; in real time, whatever clock the server plays by.
const CHORE_MAX: Duration = Duration::from_secs(60);

/// How long one pass of sending messages may take: each of its messages has a shorter limit of its own.
const SENDING_MAX: Duration = Duration::from_secs(600);

/// How long an instance holds a chore that it does not renew.
const LEASE_MS: i64 = 30_000;

/// A backup that its host did not take for this long is given up: twelve hours.
const UNTAKEN_MS: i64 = 12 * 3_600_000;

/// Nothing is dropped for its age before the server has been awake for twelve hours: a clock that leapt ahead would make
/// everything old.
const CLOCK_TRUSTED_MS: i64 = 12 * 3_600_000;

/// Why it was given up.
const UNTAKEN: &str =
    "the host did not take it for twelve hours; see whether it is on and its agent runs";

/// Why a run was given up whose window closed before it began.
const OUT_OF_WINDOW: &str = "the host did not take it before the job's window closed; see whether it is on, its agent runs, and whether the window leaves time for all of its jobs";

/// A thing to do again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Chore {
    /// Before the next: what it mends may be due now.
    Plans,
    Schedule,
    Runs,
    Upkeep,
    Inventory,
    Watch,
    Messages,
    OldRows,
}

impl Chore {
    const ALL: [Self; 8] = [
        Self::Plans,
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
            Self::Plans => "plans",
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
            // A clock that is set back by more makes it due at once.
            Self::Plans | Self::OldRows => 600_000,
        }
    }
}

/// What came of a piece of work that was watched.
#[derive(Debug)]
enum Ended {
    Well,
    Failed(String),
    /// It did not end in time. It was told to; if it computes without ever waiting, it still goes on.
    Hung(AbortHandle),
}

/// The chores of one instance.
#[derive(Debug)]
pub struct Chores {
    plane: SharedPlane,
    holder: String,
    next: Mutex<HashMap<Chore, i64>>,
    stuck: Mutex<HashMap<Chore, AbortHandle>>,
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
                // Chores are watched one by one; this is for what stands around them.
                let turn = AssertUnwindSafe(|| handle.block_on(chores.turn()));
                if let Err(cause) = catch_unwind(turn) {
                    log::error(format_args!(
                        "chores: the turn panicked: {}",
                        log::panic_text(&*cause)
                    ));
                }
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
        let sent = plane.clone();
        let ended = watched(SENDING_MAX, async move { deliver::send_due(&sent).await }).await;
        note(&plane, "sending messages", SENDING_MAX, &ended);
        tokio::time::sleep(STEP).await;
    }
}

/// Does something in a task of its own, so that its panic is caught, for `limit` at most.
async fn watched(
    limit: Duration,
    work: impl Future<Output = Result<(), DbErr>> + Send + 'static,
) -> Ended {
    let mut task = tokio::spawn(work);
    match timeout(limit, &mut task).await {
        Ok(Ok(Ok(()))) => Ended::Well,
        Ok(Ok(Err(error))) => Ended::Failed(error.to_string()),
        Ok(Err(ended)) => Ended::Failed(match ended.try_into_panic() {
            Ok(cause) => format!("it panicked: {}", log::panic_text(&*cause)),
            Err(_) => "it was ended with the server".to_owned(),
        }),
        Err(_) => {
            task.abort();
            Ended::Hung(task.abort_handle())
        }
    }
}

/// Logs and counts what did not end well.
fn note(plane: &Plane, what: &str, limit: Duration, ended: &Ended) {
    match ended {
        Ended::Well => return,
        Ended::Failed(why) => log::error(format_args!("chores: {what}: {why}")),
        Ended::Hung(_) => log::error(format_args!(
            "chores: {what}: ended, for it took longer than {} s; see whether the database answers quickly",
            limit.as_secs()
        )),
    }
    plane.metrics.count_failed_chore(what);
}

impl Chores {
    /// Returns the chores of an instance, none of them done yet.
    pub fn new(plane: SharedPlane) -> Self {
        Self {
            holder: plane.new_id(),
            plane,
            next: Mutex::default(),
            stuck: Mutex::default(),
        }
    }

    /// Does what is due and not another instance's to do.
    pub async fn turn(&self) {
        let plane = &self.plane;
        self.turn_of(CHORE_MAX, |chore| carry_out(plane.clone(), chore))
            .await;
    }

    /// Makes a turn in which each chore is what `work` says, and takes `limit` at most.
    async fn turn_of<W>(&self, limit: Duration, work: impl Fn(Chore) -> W)
    where
        W: Future<Output = Result<(), DbErr>> + Send + 'static,
    {
        let turns = &self.plane.turns;
        turns.begin();
        let now = self.plane.now_ms();
        let names = Chore::ALL.map(Chore::name);
        let (store, holder) = (self.plane.store.clone(), self.holder.clone());
        let held = timeout(
            limit,
            store.claim_leases(&names, &holder, now, now + LEASE_MS),
        )
        .await;
        let held = match held {
            Ok(Ok(held)) => held,
            Ok(Err(error)) => {
                log::error(format_args!("chores: claiming leases: {error}"));
                return;
            }
            Err(_) => {
                log::error("chores: claiming leases: the database does not answer");
                return;
            }
        };
        for chore in Chore::ALL {
            if !held.iter().any(|name| name == chore.name())
                || self.is_stuck(chore)
                || !self.is_due(chore, now)
            {
                continue;
            }
            let ended = watched(limit, work(chore)).await;
            note(&self.plane, chore.name(), limit, &ended);
            if let Ended::Hung(task) = ended {
                locked(&self.stuck).insert(chore, task);
            }
        }
        turns.complete();
    }

    /// Tells whether the chore's last try still goes on, though it was ended: a second one beside it would get stuck too.
    fn is_stuck(&self, chore: Chore) -> bool {
        let mut stuck = locked(&self.stuck);
        stuck.retain(|_, task| !task.is_finished());
        stuck.contains_key(&chore)
    }

    fn is_due(&self, chore: Chore, now: i64) -> bool {
        let mut next = locked(&self.next);
        // A clock that was set back does not keep chores waiting.
        let is_due = next
            .get(&chore)
            .is_none_or(|at| *at <= now || *at > now + chore.period_ms());
        if is_due {
            next.insert(chore, now + chore.period_ms());
        }
        is_due
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .expect("no thread panics while it looks at the chores")
}

async fn carry_out(plane: SharedPlane, chore: Chore) -> Result<(), DbErr> {
    let plane = &plane;
    let now = plane.now_ms();
    match chore {
        Chore::Plans => {
            let zones = plane.store.tenant_zones().await?;
            let plans = plane.store.mend_plans(plane.clock.now(), &zones).await?;
            let times = plane.store.pull_back_times(now).await?;
            if plans + times > 0 {
                log::warn(format_args!(
                    "the server's clock was ahead for a while: {plans} next runs of jobs and moments of runs, and \
                     {times} other times that had yet to come were mended"
                ));
            }
        }
        Chore::Schedule => fire_due(plane).await?,
        Chore::Runs => {
            let awake_since = plane.store.awake_since(now).await?;
            let before = waits_since(UNTAKEN_MS, now, awake_since);
            let untaken = plane
                .store
                .give_up_untaken_runs(before, now, UNTAKEN)
                .await?;
            tell_runs(plane, &untaken);
            let zones = plane.store.tenant_zones().await?;
            let too_late = plane
                .store
                .give_up_runs_out_of_window(plane.clock.now(), &zones, OUT_OF_WINDOW)
                .await?;
            tell_runs(plane, &too_late);
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
            let awake_since = plane.store.awake_since(now).await?;
            if now - awake_since >= CLOCK_TRUSTED_MS {
                plane.store.drop_old_rows(now).await?;
            }
            plane.store.remove_ended_sessions(now, IDLE_MS).await?;
        }
    }
    Ok(())
}

/// Queues the runs of jobs whose time has come, and gives jobs that have none their next time.
async fn fire_due(plane: &Plane) -> Result<(), DbErr> {
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use jiff::Timestamp;
    use sea_orm::ConnectionTrait as _;
    use time_and_chance::{Chance, ManualClock};

    use super::*;
    use crate::plane::Options;
    use crate::sealing::Sealing;
    use crate::store::Store;

    async fn plane(folder: &tempfile::TempDir) -> (SharedPlane, Arc<ManualClock>) {
        let store = Store::in_folder(folder.path()).await.expect("a database");
        let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
        let chance = Chance::from_seed(1);
        let sealing = Sealing::in_folder(folder.path(), &chance).expect("a key");
        let plane = Plane::new(store, clock.clone(), chance, sealing, Options::default());
        (plane, clock)
    }

    /// A turn in which the first chore panics, the second never ends, and the last fails; returns which were done.
    async fn bad_turn(chores: &Chores) -> Vec<Chore> {
        let done = Arc::new(Mutex::new(Vec::new()));
        let limit = Duration::from_millis(50);
        chores
            .turn_of(limit, |chore| {
                let done = done.clone();
                async move {
                    match chore {
                        Chore::Schedule => panic!("a schedule that nobody thought of"),
                        Chore::Runs => std::future::pending().await,
                        Chore::OldRows => Err(DbErr::Custom("no disk".to_owned())),
                        // Nothing waits here: it is there within any limit.
                        other => {
                            done.lock().expect("nobody panics with it").push(other);
                            Ok(())
                        }
                    }
                }
            })
            .await;
        done.lock().expect("nobody panics with it").clone()
    }

    #[tokio::test]
    async fn a_chore_that_panics_or_hangs_holds_up_no_other_and_no_next_turn() {
        let folder = tempfile::tempdir().expect("a folder");
        let (plane, clock) = plane(&folder).await;
        let chores = Chores::new(plane.clone());
        let others = [
            Chore::Plans,
            Chore::Upkeep,
            Chore::Inventory,
            Chore::Watch,
            Chore::Messages,
        ];
        for _ in 0..2 {
            clock.advance(Duration::from_secs(3_600));
            assert_eq!(plane.turns.silence().as_secs(), 3_600);
            assert_eq!(bad_turn(&chores).await, others);
            assert_eq!(plane.turns.silence(), Duration::ZERO);
        }
        for name in ["schedule", "runs", "old_rows"] {
            assert_eq!(plane.metrics.failed_chores(name), 2, "{name}");
        }
    }

    #[tokio::test]
    async fn a_turn_without_a_database_is_not_complete() {
        let folder = tempfile::tempdir().expect("a folder");
        let (plane, clock) = plane(&folder).await;
        let drop = "DROP TABLE leases";
        plane
            .store
            .db()
            .execute_unprepared(drop)
            .await
            .expect("dropped");
        clock.advance(Duration::from_secs(360));
        Chores::new(plane.clone()).turn().await;
        assert!(plane.turns.trouble().is_some());
    }
}
