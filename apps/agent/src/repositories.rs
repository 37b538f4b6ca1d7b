//! Repositories, opened for runs and commands: passwords by candidates, handles that go from one
//! run to the next, and what is known of where each repository is.
//!
//! A handle belongs to one run at a time, for its waits end with that run; afterwards the next one
//! takes it over, with its keys derived and its index loaded.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use blob::{
    Bandwidth, BlobError, BlobErrorKind, Location, NewLayout, Opening, OutageListener, RetryLimits,
    Retrying, S3Limits, SharedBlobStore, ThrottleLimits, Throttled,
};
use fault::Fault;
use protocol::SecretText;
use repo::{CreateOptions, Identity, RepoError, RepoErrorKind, Repository, Surroundings};
use secrets::SecretStore;
use snapshot::Verified;
use time_and_chance::{Chance, SharedClock, StopSignal};

use crate::bandwidth::Uploads;
use crate::cancellation::Cancellation;
use crate::credentials::{Credentials, Keeper, S3Keys};
use crate::destination::Destination;
use crate::log::Log;

/// A handle that nobody took over for so long is closed.
const IDLE_MAX: Duration = Duration::from_mins(30);
/// So many handles wait to be taken over.
const IDLE_COUNT_MAX: usize = 4;
/// Whoever waits for another run that opens the same repository looks this often.
const OPENING_LOOK: Duration = Duration::from_millis(100);
/// The file that says where repositories are.
const PLACES_FILE: &str = "repositories.json";

/// What a caller can act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenErrorKind {
    /// There is none.
    NoRepository,
    /// No password that is known opens it.
    WrongPassword,
    /// The store does not answer or refuses.
    Store(BlobErrorKind),
    /// The work was told to stop.
    Stopped,
    /// Anything else.
    Other,
}

/// A repository that could not be opened.
pub type OpenError = Fault<OpenErrorKind>;

/// What to do where there is no repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absent {
    /// It is made, as the older agent would (control-plane API 9.3).
    IsCreated,
    /// That is an error.
    IsAnError,
}

/// What repositories need from the world around them.
#[derive(Debug, Clone)]
pub struct RepositoryPorts {
    /// The time.
    pub clock: SharedClock,
    /// Keys, nonces and names.
    pub chance: Chance,
    /// What keeps passwords on this machine.
    pub secrets: Arc<dyn SecretStore>,
    /// Where indexes are cached.
    pub cache_folder: PathBuf,
    /// Where state is kept.
    pub state_folder: PathBuf,
    /// Who we are to other clients.
    pub identity: Identity,
    /// How fast all repositories together may be uploaded to.
    pub uploads: Arc<Uploads>,
    /// Ends everything.
    pub stop: StopSignal,
}

/// The repositories.
#[derive(Debug)]
pub struct Repositories {
    ports: RepositoryPorts,
    /// What all of them upload within.
    bandwidth: Arc<Bandwidth>,
    log: Arc<Log>,
    idle: Mutex<Vec<Idle>>,
    /// Places where a repository is being opened, or made, right now.
    opening: Mutex<BTreeSet<String>>,
    places: Mutex<BTreeMap<String, String>>,
}

/// What tells handles apart.
#[derive(Clone, PartialEq, Eq)]
struct HandleKey {
    location: String,
    keys: Option<(String, String)>,
    upload_bytes_per_second: u64,
}

impl std::fmt::Debug for HandleKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("HandleKey").field(&self.location).finish()
    }
}

#[derive(Debug, Clone)]
struct Handle {
    key: HandleKey,
    repository: Arc<Repository>,
    stop: StopSignal,
}

#[derive(Debug)]
struct Idle {
    handle: Handle,
    since: Duration,
}

/// Held while a repository is opened that may be made by that: another run must neither meet it half made
/// nor make a second one.
#[derive(Debug)]
struct Alone<'r> {
    repositories: &'r Repositories,
    location: String,
}

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        self.repositories.lock_opening().remove(&self.location);
    }
}

/// A repository that is open for one run; the next takes the handle over.
#[derive(Debug)]
pub struct Lease<'r> {
    handle: Option<Handle>,
    repositories: &'r Repositories,
    /// What ends the waits of the handle meanwhile, and under which number.
    cancellation: Cancellation,
    number: u64,
}

impl Lease<'_> {
    /// Returns the repository.
    pub fn repository(&self) -> &Arc<Repository> {
        let handle = self.handle.as_ref();
        &handle.expect("it is taken away in drop alone").repository
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        // Who is cancelled from here on must not end the waits of whoever takes the handle over.
        self.cancellation.lets_go_of(self.number);
        if let Some(handle) = self.handle.take().filter(|it| !it.stop.is_stopped()) {
            self.repositories.give_back(handle);
        }
    }
}

impl Repositories {
    /// Returns the repositories that a state folder knows.
    pub fn new(ports: RepositoryPorts, log: Arc<Log>) -> Self {
        let path = ports.state_folder.join(PLACES_FILE);
        // Lost, it costs repository operations until each repository was used again.
        let known = std::fs::read(path).ok();
        let places = known.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let uploads = Arc::clone(&ports.uploads);
        Self {
            bandwidth: Arc::new(Bandwidth::of(move || uploads.bytes_per_second())),
            ports,
            log,
            idle: Mutex::default(),
            opening: Mutex::default(),
            places: Mutex::new(places.unwrap_or_default()),
        }
    }

    /// Opens a repository for work that `cancellation` may end, uploading no faster than the limit
    /// says; 0 is no limit.
    pub fn open(
        &self,
        destination: &Destination,
        absent: Absent,
        upload_bytes_per_second: u64,
        cancellation: &Cancellation,
    ) -> Result<Lease<'_>, OpenError> {
        destination.secrets().for_each(|it| self.log.hide(&it));
        let keys = destination.keys.as_ref();
        let key = HandleKey {
            location: destination.location.to_string(),
            keys: keys.map(|it| (it.access_key_id.clone(), it.secret_access_key.clone())),
            upload_bytes_per_second,
        };
        let stopped = |_| OpenError::new(OpenErrorKind::Stopped, "open the repository: stopped");
        cancellation.stop().check().map_err(stopped)?;
        let (handle, number) = match self.take_idle(&key) {
            Some(handle) => {
                let number = cancellation.stops_too(&handle.stop);
                (handle, number)
            }
            None => self.open_anew(key, destination, absent, cancellation)?,
        };
        self.note_place(destination);
        Ok(Lease {
            handle: Some(handle),
            repositories: self,
            cancellation: cancellation.clone(),
            number,
        })
    }

    /// Returns where a repository is that a run used before, by what the control plane calls it.
    pub fn place_of(&self, repository_id: &str) -> Option<Location> {
        let places = self.places.lock().expect("nobody panics while he holds it");
        places.get(repository_id)?.parse().ok()
    }

    fn open_anew(
        &self,
        key: HandleKey,
        destination: &Destination,
        absent: Absent,
        cancellation: &Cancellation,
    ) -> Result<(Handle, u64), OpenError> {
        let opener = Opener {
            repositories: self,
            destination,
            stop: self.ports.stop.child(),
            upload_bytes_per_second: key.upload_bytes_per_second,
        };
        let number = cancellation.stops_too(&opener.stop);
        let _alone = match absent {
            Absent::IsCreated => Some(self.alone(&key.location, &opener.stop)?),
            Absent::IsAnError => None,
        };
        let repository = opener.open(absent)?;
        let verified = self.ports.state_folder.join("verified");
        repository.keep_notes_in(verified);
        if let Err(error) = Verified::check_kept_here(&repository) {
            self.log.warn(&format!("what verification found and kept on this machine counts as never found: failed to {error}"));
        }
        for warning in repository.warnings() {
            self.log.warn(warning);
        }
        let handle = Handle {
            key,
            repository,
            stop: opener.stop,
        };
        Ok((handle, number))
    }

    /// Waits until nobody else opens the repository at a place. There are stores that cannot settle
    /// who creates one, and whoever comes second is to know the password that the first remembered.
    fn alone(&self, location: &str, stop: &StopSignal) -> Result<Alone<'_>, OpenError> {
        while !self.lock_opening().insert(location.to_owned()) {
            let waited = self.ports.clock.sleep(OPENING_LOOK, stop);
            waited.map_err(|stopped| {
                let what = "wait for another run that opens the repository";
                OpenError::new(OpenErrorKind::Stopped, what).caused_by(stopped)
            })?;
        }
        Ok(Alone {
            repositories: self,
            location: location.to_owned(),
        })
    }

    fn take_idle(&self, key: &HandleKey) -> Option<Handle> {
        let mut idle = self.lock_idle();
        // One whose waits were ended is of no use to anybody.
        idle.retain(|it| !it.handle.stop.is_stopped());
        let place = idle.iter().position(|it| it.handle.key == *key)?;
        Some(idle.swap_remove(place).handle)
    }

    fn give_back(&self, handle: Handle) {
        let now = self.ports.clock.monotonic();
        let mut idle = self.lock_idle();
        idle.push(Idle { handle, since: now });
        if idle.len() > IDLE_COUNT_MAX {
            idle.remove(0);
        }
    }

    /// Closes what nobody took over for long.
    pub fn close_idle(&self) {
        let now = self.ports.clock.monotonic();
        self.lock_idle()
            .retain(|it| now.saturating_sub(it.since) < IDLE_MAX);
    }

    fn lock_idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().expect("nobody panics while he holds it")
    }

    fn lock_opening(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.opening
            .lock()
            .expect("nobody panics while he holds it")
    }

    fn note_place(&self, destination: &Destination) {
        let Some(id) = &destination.repository_id else {
            return;
        };
        let place = destination.location.to_string();
        let mut places = self.places.lock().expect("nobody panics while he holds it");
        if places.get(id) == Some(&place) {
            return;
        }
        places.insert(id.clone(), place);
        let bytes = serde_json::to_vec(&*places).expect("texts have JSON");
        let path = self.ports.state_folder.join(PLACES_FILE);
        if let Err(error) = local_file::replace(&path, &bytes) {
            self.log
                .warn(&format!("failed to write {}: {error}", path.display()));
        }
    }
}

/// Opens one repository.
struct Opener<'a> {
    repositories: &'a Repositories,
    destination: &'a Destination,
    stop: StopSignal,
    upload_bytes_per_second: u64,
}

impl Opener<'_> {
    fn open(&self, absent: Absent) -> Result<Arc<Repository>, OpenError> {
        let location = &self.destination.location;
        let keeper = Keeper::new(Arc::clone(&self.repositories.ports.secrets), location);
        let remembered = keeper.read().unwrap_or_else(|error| {
            self.repositories.log.warn(&format!("failed to {error}"));
            None
        });
        let remembered = remembered.as_ref();
        let found = match self.open_what_is_there(remembered, &keeper)? {
            Some(repository) => repository,
            None => match self.create(absent, remembered, &keeper)? {
                Some(repository) => return Ok(repository),
                // Another client was faster, and its repository is as good.
                None => self
                    .open_what_is_there(remembered, &keeper)?
                    .ok_or_else(|| self.missing("there is something in its place that is none"))?,
            },
        };
        if absent == Absent::IsCreated {
            repo::finish_creation(&found, &new_repository()).map_err(of_repository)?;
        }
        Ok(found)
    }

    /// Opens the repository with whichever password it is that opens it; `None` if there is none.
    fn open_what_is_there(
        &self,
        remembered: Option<&Credentials>,
        keeper: &Keeper,
    ) -> Result<Option<Arc<Repository>>, OpenError> {
        let location = &self.destination.location;
        let store = match self.with_store(&|opening| blob::open(location, opening)) {
            Ok(store) => store,
            Err(error) if error.kind() == BlobErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(of_store(error)),
        };
        let mut is_there = false;
        for candidate in self.destination.candidates(remembered) {
            let store = Arc::clone(&store);
            match Repository::open(store, candidate.reveal(), self.surroundings()) {
                Ok(repository) => {
                    self.remember(keeper, remembered, &candidate);
                    return Ok(Some(repository));
                }
                Err(error) if error.kind() == RepoErrorKind::WrongPassword => is_there = true,
                Err(error) if error.kind() == RepoErrorKind::NoRepository => break,
                Err(error) => return Err(of_repository(error)),
            }
        }
        match is_there {
            true => Err(OpenError::new(
                OpenErrorKind::WrongPassword,
                format!(
                    "open the repository at {location}: it is there, and neither the password that opened it before, nor the control plane's, nor that of the storage keys is right; `e3-backup-agent repo remember` teaches this machine the right one"
                ),
            )),
            false => Ok(None),
        }
    }

    /// Makes the repository; `None` if the place is no longer empty.
    fn create(
        &self,
        absent: Absent,
        remembered: Option<&Credentials>,
        keeper: &Keeper,
    ) -> Result<Option<Arc<Repository>>, OpenError> {
        let location = &self.destination.location;
        if absent == Absent::IsAnError {
            return Err(self.missing("there is none"));
        }
        // An empty folder where a repository was is mostly a disk that is not mounted.
        if remembered.is_some() && matches!(location, Location::Folder(_)) {
            return Err(self.missing(
                "it was there before and is gone; connect its disk, or let `e3-backup-agent repo forget` allow a new one",
            ));
        }
        let password = self.destination.first_password().ok_or_else(|| {
            self.missing(
                "there is none, and the control plane sent no password and no keys for a new one",
            )
        })?;
        let create = |opening: &Opening<'_>| blob::create(location, NewLayout::Sharded, opening);
        let store = match self.with_store(&create) {
            Err(error) if error.kind() == BlobErrorKind::AlreadyThere => return Ok(None),
            other => other.map_err(of_store)?,
        };
        let options = new_repository();
        let created = repo::create(store, password.reveal(), &options, self.surroundings());
        let repository = match created {
            Err(error) if error.kind() == RepoErrorKind::NotEmpty => return Ok(None),
            other => other.map_err(of_repository)?,
        };
        self.repositories
            .log
            .info(&format!("created a repository at {location}"));
        self.remember(keeper, None, &password);
        Ok(Some(repository))
    }

    fn missing(&self, what: &str) -> OpenError {
        let location = &self.destination.location;
        let what = format!("open the repository at {location}: {what}");
        OpenError::new(OpenErrorKind::NoRepository, what)
    }

    /// Remembers what opened the repository. Without it the next run finds it again by trying.
    fn remember(&self, keeper: &Keeper, known: Option<&Credentials>, password: &SecretText) {
        let keys = self.destination.keys.clone();
        let is_known = known.is_some_and(|known| {
            known.password == password.reveal()
                && pair(known.s3_keys.as_ref()) == pair(keys.as_ref())
        });
        if is_known {
            return;
        }
        // Keys that fit the repository's first password are worth more than newer ones.
        let earlier = known.and_then(|known| known.s3_keys.clone());
        let keys = keys.or(earlier);
        let credentials = Credentials::new(&self.destination.location, password.reveal(), keys);
        if let Err(error) = keeper.keep(&credentials) {
            self.repositories.log.warn(&format!("failed to {error}"));
        }
    }

    fn with_store(
        &self,
        open: &dyn Fn(&Opening<'_>) -> Result<SharedBlobStore, BlobError>,
    ) -> Result<SharedBlobStore, BlobError> {
        let ports = &self.repositories.ports;
        let keys = self.destination.keys.as_ref();
        let environment = |name: &str| match name {
            "AWS_ACCESS_KEY_ID" => keys.map(|it| it.access_key_id.clone()),
            "AWS_SECRET_ACCESS_KEY" => keys.map(|it| it.secret_access_key.clone()),
            _ => None,
        };
        let store = open(&Opening {
            environment: &environment,
            chance: ports.chance.clone(),
            s3_limits: S3Limits::default(),
            stop: self.stop.clone(),
            dated_by: Some(ports.clock.clone()).filter(|clock| clock.is_simulated()),
        })?;
        let limits = ThrottleLimits {
            upload_bytes_per_second: Some(self.upload_bytes_per_second),
            ..ThrottleLimits::default()
        };
        let retrying = Retrying::new(
            store,
            RetryLimits::default(),
            ports.clock.clone(),
            ports.chance.clone(),
            self.stop.clone(),
        )
        .telling(self.outage_listener());
        // Outside of what tries again: waiting for one's share of the line is no outage, and what is
        // sent again was paid for.
        let (clock, stop) = (ports.clock.clone(), self.stop.clone());
        let throttled = Throttled::new(Arc::new(retrying), limits, clock, stop);
        Ok(Arc::new(throttled.uploading_within(Arc::clone(
            &self.repositories.bandwidth,
        ))))
    }

    fn outage_listener(&self) -> OutageListener {
        let log = Arc::clone(&self.repositories.log);
        Arc::new(move |error, total_max| {
            let minutes = total_max.as_secs() / 60;
            log.warn(&format!("the repository's store does not answer; trying again for up to {minutes} minutes (failed to {error})"));
        })
    }

    fn surroundings(&self) -> Surroundings {
        let ports = &self.repositories.ports;
        Surroundings {
            cache_folder: ports.cache_folder.clone(),
            identity: ports.identity.clone(),
            clock: ports.clock.clone(),
            chance: ports.chance.clone(),
            stop: self.stop.clone(),
        }
    }
}

/// Returns how repositories are made: as the older agent opens them (control-plane API 9.3).
fn new_repository() -> CreateOptions {
    CreateOptions {
        format_version: 2,
        compression: None,
        ..CreateOptions::default()
    }
}

fn pair(keys: Option<&S3Keys>) -> Option<(&str, &str)> {
    keys.map(|it| (&*it.access_key_id, &*it.secret_access_key))
}

fn of_store(error: BlobError) -> OpenError {
    let kind = match error.kind() {
        BlobErrorKind::Stopped => OpenErrorKind::Stopped,
        kind => OpenErrorKind::Store(kind),
    };
    OpenError::new(kind, "open the repository's storage").caused_by(error)
}

fn of_repository(error: RepoError) -> OpenError {
    let kind = match error.kind() {
        RepoErrorKind::Stopped => OpenErrorKind::Stopped,
        RepoErrorKind::Store(kind) => OpenErrorKind::Store(kind),
        RepoErrorKind::NoRepository => OpenErrorKind::NoRepository,
        _ => OpenErrorKind::Other,
    };
    OpenError::new(kind, "open the repository").caused_by(error)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use blob::PutOptions;
    use protocol::next_run::Destination as Sent;
    use secrets::PrivateFiles;
    use time_and_chance::{Clock as _, ManualClock, SystemClock, TimeZone, Timestamp};

    use super::*;
    use crate::bandwidth::UploadLimits;
    use crate::config::Config;
    use crate::log::Level;

    /// Returns the beginning of this very minute: stores must not see another time.
    fn this_minute() -> Timestamp {
        let now = SystemClock::new().now().as_second();
        Timestamp::from_second(now - now % 60).unwrap()
    }

    fn in_folder(folder: &Path) -> Sent {
        Sent {
            dest_type: "local".to_owned(),
            dest_local_path: folder.join("repo").display().to_string(),
            repository_password: Some(SecretText::new("a password")),
            ..Sent::default()
        }
    }

    /// Puts blobs of 256 KiB into the repository at a place that a run names, whose job may upload
    /// `job_kib` a second, while the configuration says otherwise; returns the seconds that each took.
    fn seconds_of_puts(
        folder: &Path,
        sent: &Sent,
        job_kib: u64,
        (now, windows): (Timestamp, &[&str]),
    ) -> Vec<u64> {
        let clock = ManualClock::at(now);
        let limits = UploadLimits {
            otherwise_kib: 0,
            windows: windows.iter().map(|it| it.parse().unwrap()).collect(),
        };
        let log = Arc::new(Log::nowhere(Level::Error, false, clock.clone()));
        let ports = RepositoryPorts {
            clock: clock.clone(),
            chance: Chance::from_seed(1),
            secrets: Arc::new(PrivateFiles::new(folder.join("credentials"))),
            cache_folder: folder.join("cache"),
            state_folder: folder.to_owned(),
            identity: Identity {
                username: "agent".to_owned(),
                hostname: "testhost".to_owned(),
            },
            uploads: Arc::new(Uploads::within(limits, clock.clone(), TimeZone::UTC)),
            stop: StopSignal::new(),
        };
        let stop = ports.stop.clone();
        let repositories = Repositories::new(ports, log);
        let sent = Sent {
            local_bandwidth_limit_kbps: job_kib,
            ..sent.clone()
        };
        let destination = Destination::of(&sent, &Config::default()).unwrap();
        let limit = sent.upload_bytes_per_second_max().unwrap_or(0);
        let cancellation = Cancellation::below(&stop);
        let lease = repositories
            .open(&destination, Absent::IsCreated, limit, &cancellation)
            .unwrap();
        let store = lease.repository().store();
        let put = |number: u64| {
            let begun = clock.monotonic();
            let name = format!("p{number}");
            let content = vec![1; 256 << 10];
            store
                .put(&name, &[&content], &PutOptions::default())
                .unwrap();
            (clock.monotonic() - begun).as_secs()
        };
        // The first one pays for what opening wrote.
        (0..5).map(put).skip(1).collect()
    }

    fn check_limits(folder: &Path, sent: &Sent) {
        let puts = |job_kib, windows: &[&str]| {
            seconds_of_puts(folder, sent, job_kib, (this_minute(), windows))
        };
        assert_eq!(puts(0, &[]), [0; 4]);
        assert_eq!(puts(64, &[]), [4; 4]);
        assert_eq!(puts(0, &["daily 00:00-24:00 128"]), [2; 4]);
        // The lower one wins, whosever it is.
        assert_eq!(puts(64, &["daily 00:00-24:00 128"]), [4; 4]);
        assert_eq!(puts(64, &["daily 00:00-24:00 32"]), [8; 4]);
        // It ends in two minutes, while the first blob is being paid.
        let now = this_minute();
        let minute = |from_now: i64| {
            let minute = (now.as_second() / 60 + from_now).rem_euclid(24 * 60);
            format!("{:02}:{:02}", minute / 60, minute % 60)
        };
        let window = format!("daily {}-{} 1", minute(-10), minute(2));
        let paid = seconds_of_puts(folder, sent, 0, (now, &[&window]));
        assert!((60..=120).contains(&paid[0]), "{paid:?}");
        assert_eq!(paid[1..], [0; 3]);
    }

    #[test]
    fn uploads_to_a_folder_keep_the_lower_limit_also_when_it_changes() {
        let folder = tempfile::tempdir().unwrap();
        check_limits(folder.path(), &in_folder(folder.path()));
    }

    #[cfg(unix)]
    #[test]
    fn uploads_to_s3_keep_the_lower_limit_also_when_it_changes() {
        use rclone_server::{KEY_ID, RcloneServer, SECRET};

        let folder = tempfile::tempdir().unwrap();
        let buckets = folder.path().join("buckets");
        std::fs::create_dir_all(buckets.join("bucket")).unwrap();
        let server = RcloneServer::start(&buckets);
        let sent = Sent {
            dest_type: "s3".to_owned(),
            dest_bucket_name: "bucket".to_owned(),
            dest_prefix: "agent".to_owned(),
            dest_endpoint: server.endpoint(),
            dest_access_key: SecretText::new(KEY_ID),
            dest_secret_key: SecretText::new(SECRET),
            ..in_folder(folder.path())
        };
        check_limits(folder.path(), &sent);
    }
}
