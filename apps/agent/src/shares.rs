//! Shares of other machines that a run reads from or stores to, reached with the account that its job
//! names (control-plane API 4). Runs that use the same one at once share the connection.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use protocol::next_run::Run;

use crate::log::Log;
use crate::ports::{ConnectShare, ShareConnection};

/// The connections of all runs.
pub struct Shares {
    connect: ConnectShare,
    held: Mutex<BTreeMap<Key, Share>>,
}

/// One share. Its own lock is held while it is connected and left, which may take long: nobody but those
/// who want this very share waits for that.
type Share = Arc<Mutex<Held>>;

/// A share and who comes to it.
type Key = (String, String);

#[derive(Default)]
struct Held {
    users: usize,
    connection: Option<ShareConnection>,
}

impl fmt::Debug for Shares {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shares").finish_non_exhaustive()
    }
}

/// Holds the connections of one run, which end with the last run that uses them.
#[derive(Debug)]
pub struct Reached<'s> {
    shares: &'s Shares,
    keys: Vec<Key>,
}

impl Drop for Reached<'_> {
    fn drop(&mut self) {
        for key in self.keys.drain(..) {
            self.shares.leave(&key);
        }
    }
}

impl Shares {
    /// Returns shares that are connected like this.
    pub fn new(connect: ConnectShare) -> Self {
        Self {
            connect,
            held: Mutex::default(),
        }
    }

    /// Connects to the shares that a run's sources and its repository lie on, if its job names an account
    /// for them. The password goes nowhere else.
    pub fn reach(&self, run: &Run, log: &Log) -> Result<Reached<'_>, String> {
        let mut reached = Reached {
            shares: self,
            keys: Vec::new(),
        };
        let account = run.network_credentials.as_ref();
        let Some(account) = account.filter(|it| !it.username.trim().is_empty()) else {
            return Ok(reached);
        };
        log.hide(&account.password);
        let user = user(&account.domain, &account.username);
        let mut paths = run.sources();
        if run.destination.is_local() {
            paths.push(run.destination.dest_local_path.clone());
        }
        let mut shares: Vec<String> = paths.iter().filter_map(|path| share_of(path)).collect();
        shares.sort();
        shares.dedup();
        if shares.is_empty() {
            log.warn("the job names an account for shares of other machines, and none of its paths lies on one");
        }
        for share in shares {
            let key = (share, user.clone());
            let share = self.share(&key);
            let mut held = lock(&share);
            if held.connection.is_none() {
                let connected = (self.connect)(&key.0, &user, &account.password);
                held.connection = Some(connected.map_err(|why| log.redacted(&why))?);
            }
            held.users += 1;
            drop(held);
            reached.keys.push(key);
        }
        Ok(reached)
    }

    fn leave(&self, key: &Key) {
        let share = self.share(key);
        let mut held = lock(&share);
        held.users = held.users.saturating_sub(1);
        if held.users == 0 {
            // Under the lock: the next run must not connect before this is over.
            held.connection = None;
        }
    }

    /// Returns a share, connected or not. They stay: there are as many as jobs ever named.
    fn share(&self, key: &Key) -> Share {
        Arc::clone(lock(&self.held).entry(key.clone()).or_default())
    }
}

/// A run that panicked leaves nothing here half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns a user as Windows takes it, with the domain unless the name has one.
fn user(domain: &str, name: &str) -> String {
    let (domain, name) = (domain.trim(), name.trim());
    match domain.is_empty() || name.contains(['\\', '@']) {
        true => name.to_owned(),
        false => format!("{domain}\\{name}"),
    }
}

/// Returns the share that a path lies on, in small letters, as `\\server\share`; none for a path elsewhere.
fn share_of(path: &str) -> Option<String> {
    let path = path.trim().replace('/', "\\").to_lowercase();
    let rest = match path.strip_prefix(r"\\?\unc\") {
        Some(rest) => rest,
        None => path.strip_prefix(r"\\")?,
    };
    let mut parts = rest.split('\\');
    let (server, share) = (parts.next()?, parts.next()?);
    let is_device = matches!(server, "" | "?" | ".");
    (!is_device && !share.is_empty()).then(|| format!(r"\\{server}\{share}"))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use protocol::SecretText;
    use serde_json::{Value, json};
    use time_and_chance::{ManualClock, Timestamp};

    use super::*;
    use crate::log::Level;

    type Calls = Arc<Mutex<Vec<String>>>;

    struct Connection(Calls, String);

    impl Drop for Connection {
        fn drop(&mut self) {
            self.0.lock().unwrap().push(format!("- {}", self.1));
        }
    }

    fn shares(calls: &Calls) -> Shares {
        let calls = Arc::clone(calls);
        Shares::new(Arc::new(move |share, user, password: &SecretText| {
            if share.ends_with("locked") {
                return Err(format!(
                    "connect to {share}: not with {}",
                    password.reveal()
                ));
            }
            calls.lock().unwrap().push(format!("+ {share} as {user}"));
            let connection = Connection(Arc::clone(&calls), share.to_owned());
            Ok(Box::new(connection) as ShareConnection)
        }))
    }

    fn run(sources: Value, account: Value) -> Run {
        serde_json::from_value(json!({
            "run_id": 1, "job_id": 2, "engine": "kopia", "source_type": "local_agent",
            "source_paths": sources, "dest_type": "local", "dest_local_path": r"\\nas\store\repo",
            "network_credentials": account,
        }))
        .unwrap()
    }

    fn log() -> Log {
        Log::nowhere(Level::Debug, false, ManualClock::at(Timestamp::UNIX_EPOCH))
    }

    fn account() -> Value {
        json!({"username": "backup", "password": "hush-hush", "domain": "CORP"})
    }

    #[test]
    fn each_share_of_a_run_is_connected_once_and_left_by_the_last_that_uses_it() {
        let (calls, log) = (Calls::default(), log());
        let shares = shares(&calls);
        let told = || std::mem::take(&mut *calls.lock().unwrap());
        let sources = json!([r"\\FS1\Data\a", r"\\?\UNC\fs1\data\b", r"C:\local"]);
        let first = shares.reach(&run(sources, account()), &log).unwrap();
        let connected = [
            r"+ \\fs1\data as CORP\backup",
            r"+ \\nas\store as CORP\backup",
        ];
        assert_eq!(told(), connected);
        let second = shares.reach(&run(json!([r"\\fs1\data"]), account()), &log);
        let second = second.unwrap();
        drop(first);
        assert!(told().is_empty());
        drop(second);
        assert_eq!(told(), [r"- \\fs1\data", r"- \\nas\store"]);
        for nobody in [
            json!(null),
            json!([]),
            json!({"username": "", "password": "x"}),
        ] {
            shares
                .reach(&run(json!([r"\\fs1\data"]), nobody), &log)
                .unwrap();
        }
        assert!(told().is_empty());
    }

    #[test]
    fn a_share_that_refuses_ends_the_run_without_a_word_of_the_password() {
        let (calls, log) = (Calls::default(), log());
        let shares = shares(&calls);
        let sources = json!([r"\\fs1\data", r"\\fs1\locked"]);
        let refused = shares.reach(&run(sources, account()), &log).unwrap_err();
        assert!(refused.contains(r"connect to \\fs1\locked"), "{refused}");
        assert!(!refused.contains("hush"), "{refused}");
        let told = calls.lock().unwrap();
        assert_eq!(*told, [r"+ \\fs1\data as CORP\backup", r"- \\fs1\data"]);
    }

    #[test]
    fn whoever_wants_another_share_or_none_waits_for_nobody() {
        let (begun, begins) = mpsc::channel();
        let (goes_on, on) = mpsc::channel();
        let on = Mutex::new(on);
        let shares = Shares::new(Arc::new(move |share, _, _: &SecretText| {
            if share.ends_with("slow") {
                begun.send(()).unwrap();
                on.lock().unwrap().recv().unwrap();
            }
            Ok(Box::new(()) as ShareConnection)
        }));
        let shares = &shares;
        thread::scope(|scope| {
            let slow = scope.spawn(|| {
                let sources = json!([r"\\fs1\slow"]);
                shares.reach(&run(sources, account()), &log()).map(drop)
            });
            begins.recv().unwrap();
            for account in [account(), json!(null)] {
                let sources = json!([r"\\fs1\data"]);
                drop(shares.reach(&run(sources, account), &log()).unwrap());
            }
            goes_on.send(()).unwrap();
            slow.join().unwrap().unwrap();
        });
    }

    #[test]
    fn only_paths_of_other_machines_lie_on_shares() {
        for path in [
            r"C:\x",
            r"\\.\PhysicalDrive0",
            r"\\?\C:\x",
            "/srv/x",
            r"\\server",
            "",
        ] {
            assert_eq!(share_of(path), None, "{path}");
        }
        assert_eq!(user("", "me@corp"), "me@corp");
        assert_eq!(user("CORP", r"OTHER\me"), r"OTHER\me");
    }
}
