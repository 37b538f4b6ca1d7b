//! A repository opened on a store: its format, its keys, its view of the index.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, RwLock, RwLockReadGuard};
use std::time::Duration;

use blob::{PutOptions, SharedBlobStore};
use kopia::cipher::ContentCipher;
use kopia::content_id::ContentId;
use kopia::format_blob::{BlobConfig, FormatBlob, RepositoryFormat};
use kopia::hash::ContentHasher;
use kopia::key::FormatKey;
use kopia::record::ContentRecord;
use time_and_chance::{Chance, SharedClock, StopSignal, Timestamp};
use zeroize::Zeroizing;

use crate::cache_folder;
use crate::error::{RepoError, RepoErrorKind};
use crate::index::cache::{IndexCache, IndexDamage};
use crate::index::view::IndexView;
use crate::lost::LostContents;
use crate::manifests::packed::Packed;
use crate::opener::Opener;
use crate::settings::{Settings, format_error, put_options, read_format_blob, unseal};

/// The format blob is read again at least this often (Kopia spec 2.4, 9.2).
const FORMAT_AGE_MAX: Duration = Duration::from_mins(15);
/// The index is refreshed at least this often while writing (Kopia spec 5.7).
const INDEX_AGE_MAX: Duration = Duration::from_mins(15);

/// How often a listing of the index that went stale while it was used is made again.
const LISTINGS_MAX: u32 = 10;

/// Who we are to other clients of the repository: session markers and sources carry it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The user name.
    pub username: String,
    /// The host name.
    pub hostname: String,
}

/// What a repository needs from the world around it.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// Where index tables are kept; each repository gets a folder of its own inside.
    pub cache_folder: PathBuf,
    /// Who we are.
    pub identity: Identity,
    /// The time.
    pub clock: SharedClock,
    /// Keys, nonces and names.
    pub chance: Chance,
    /// Ends waiting and retrying.
    pub stop: StopSignal,
}

/// An open repository. Reading needs nothing else; writing goes through a [`Writer`](crate::Writer).
#[derive(Debug)]
pub struct Repository {
    pub(crate) store: SharedBlobStore,
    pub(crate) surroundings: Surroundings,
    pub(crate) hasher: ContentHasher,
    /// Seals.
    pub(crate) cipher: ContentCipher,
    pub(crate) opener: Opener,
    pub(crate) index_cache: IndexCache,
    unique_id: Vec<u8>,
    password: Password,
    /// What the password was stretched to, and by which algorithm: it takes long.
    format_key: (String, Arc<FormatKey>),
    settings: RwLock<Dated<Settings>>,
    view: RwLock<Dated<Arc<IndexView>>>,
    refreshing: Mutex<()>,
    rereading: Mutex<()>,
    /// Packs that this process found gone.
    lost_packs: RwLock<HashSet<Arc<str>>>,
    /// What the contents with manifests hold that were read last.
    pub(crate) manifests_read: Mutex<Packed>,
    leaves_markers: AtomicBool,
    /// What notes on the repository say is lost.
    noted_lost: RwLock<Arc<LostContents>>,
    /// The file in which this machine keeps a note on the repository.
    pub(crate) local_note: OnceLock<PathBuf>,
    warnings: Vec<String>,
    zeros: [OnceLock<ContentId>; ZEROS_BYTES.len()],
}

/// Lengths of chunks of which zeros are told by their id: disks are full of them, and none has
/// to be fetched to be known.
const ZEROS_BYTES: [u64; 6] = [128 << 10, 256 << 10, 512 << 10, 1 << 20, 2 << 20, 4 << 20];

/// A value and the moment from which it was known to be true, on both clocks: a machine that was
/// suspended shows it on the wall clock alone, and a wall clock that was set back on neither.
#[derive(Debug)]
struct Dated<T> {
    value: T,
    moment: Moment,
}

#[derive(Debug, Clone, Copy)]
struct Moment {
    monotonic: Duration,
    wall: Timestamp,
}

impl Moment {
    fn now(clock: &SharedClock) -> Self {
        Self {
            monotonic: clock.monotonic(),
            wall: clock.now(),
        }
    }

    fn is_older_than(self, age: Duration, clock: &SharedClock) -> bool {
        let by_wall = clock.now().duration_since(self.wall);
        clock.monotonic().saturating_sub(self.monotonic) >= age
            || Duration::try_from(by_wall).is_ok_and(|passed| passed >= age)
    }
}

/// Kept to read the format blob again; never shown.
struct Password(String);

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password")
    }
}

impl Repository {
    /// Opens the repository in `store`.
    ///
    /// # Errors
    /// `NoRepository`, `WrongPassword`, `Unsupported`, `UpgradeInProgress`, or what the store says.
    pub fn open(
        store: SharedBlobStore,
        password: &str,
        surroundings: Surroundings,
    ) -> Result<Arc<Self>, RepoError> {
        Self::open_with(store, password, surroundings, IndexDamage::IsAnError)
    }

    /// Opens the repository in `store` although index blobs may be damaged: they are left out,
    /// and [`left_out_indexes`](Self::left_out_indexes) names them. What only they knew is missing,
    /// so this is for looking and for mending.
    ///
    /// # Errors
    /// As [`open`](Self::open), save for damaged index blobs.
    pub fn open_despite_damage(
        store: SharedBlobStore,
        password: &str,
        surroundings: Surroundings,
    ) -> Result<Arc<Self>, RepoError> {
        Self::open_with(store, password, surroundings, IndexDamage::IsLeftOut)
    }

    fn open_with(
        store: SharedBlobStore,
        password: &str,
        surroundings: Surroundings,
        on_damage: IndexDamage,
    ) -> Result<Arc<Self>, RepoError> {
        let moment = Moment::now(&surroundings.clock);
        let blob = read_format_blob(&store)?;
        let key = blob.format_key(password).map_err(format_error)?;
        let Settings {
            format,
            blob_config,
        } = unseal(&store, &blob, &key)?;
        let warnings = format
            .check_readable(surroundings.clock.now(), None)
            .map_err(format_error)?;
        let hasher = format.hasher().map_err(format_error)?;
        let cipher = format.cipher().map_err(format_error)?;
        let correction = format.error_correction().map_err(format_error)?;
        let opener = Opener::new(cipher.clone(), correction);
        cache_folder::make(&surroundings.cache_folder)?;
        let folder = surroundings.cache_folder.join(hex::encode(&blob.unique_id));
        let index_cache = IndexCache::new(
            folder,
            hasher.clone(),
            opener.clone(),
            format.epoch_parameters.enabled,
            on_damage,
        )?;
        let repository = Self {
            store,
            hasher,
            cipher,
            opener,
            index_cache,
            unique_id: blob.unique_id,
            password: Password(password.to_owned()),
            format_key: (blob.key_algorithm, Arc::new(key)),
            settings: RwLock::new(Dated {
                value: Settings {
                    format,
                    blob_config,
                },
                moment,
            }),
            view: RwLock::new(Dated {
                value: Arc::new(IndexView::empty()),
                moment,
            }),
            refreshing: Mutex::new(()),
            rereading: Mutex::new(()),
            lost_packs: RwLock::default(),
            manifests_read: Mutex::default(),
            leaves_markers: AtomicBool::default(),
            noted_lost: RwLock::default(),
            local_note: OnceLock::new(),
            warnings,
            zeros: Default::default(),
            surroundings,
        };
        repository.refresh()?;
        Ok(Arc::new(repository))
    }

    /// Returns the repository's own id, which never changes.
    pub fn unique_id(&self) -> &[u8] {
        &self.unique_id
    }

    /// Returns the repository's id as 64 hex digits.
    pub fn unique_id_hex(&self) -> String {
        hex::encode(&self.unique_id)
    }

    /// Returns where the repository is, for people.
    pub fn location(&self) -> String {
        self.store.location()
    }

    /// Returns who we are to other clients.
    pub fn identity(&self) -> &Identity {
        &self.surroundings.identity
    }

    /// Returns the store the repository lies in.
    pub fn store(&self) -> &SharedBlobStore {
        &self.store
    }

    /// Returns what the repository's format says one should know though it does not hinder.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Returns the names of blobs in which damage was met since the repository was opened that its
    /// error correction made up for. An index blob is met once, when it is fetched into the cache.
    pub fn corrected_blobs(&self) -> Vec<String> {
        self.opener.corrected().iter().cloned().collect()
    }

    /// Returns the clock the repository lives by.
    pub fn clock(&self) -> &SharedClock {
        &self.surroundings.clock
    }

    /// Returns the source of chance the repository draws from.
    pub fn chance(&self) -> &Chance {
        &self.surroundings.chance
    }

    /// Returns how a blob of this name is to be kept: with an object lock where the repository
    /// wants one (Kopia spec 2.5).
    pub(crate) fn put_options(&self, name: &str) -> PutOptions {
        let now = self.surroundings.clock.now();
        put_options(&self.settings().value.blob_config, name, now)
    }

    /// Returns how the repository wants its blobs locked.
    pub fn blob_config(&self) -> BlobConfig {
        self.settings().value.blob_config.clone()
    }

    /// Returns a copy of the repository's configuration; it holds keys.
    pub fn format(&self) -> RepositoryFormat {
        self.settings().value.format.clone()
    }

    /// Derives the repository's key for a purpose from its password.
    pub(crate) fn purpose_key(
        &self,
        purpose: &str,
        bytes: usize,
    ) -> Result<Zeroizing<Vec<u8>>, RepoError> {
        let blob = read_format_blob(&self.store)?;
        let key = self.format_key_of(&blob)?;
        let format = blob.open(&key).map_err(format_error)?;
        Ok(format.purpose_key(&self.unique_id, &key, purpose, bytes))
    }

    /// Returns the key of the format blob; the password is stretched anew only where the algorithm
    /// changed.
    pub(crate) fn format_key_of(&self, blob: &FormatBlob) -> Result<Arc<FormatKey>, RepoError> {
        let (algorithm, key) = &self.format_key;
        if *algorithm == blob.key_algorithm && self.unique_id == blob.unique_id {
            return Ok(Arc::clone(key));
        }
        let key = blob.format_key(&self.password.0);
        key.map(Arc::new).map_err(format_error)
    }

    fn settings(&self) -> RwLockReadGuard<'_, Dated<Settings>> {
        self.settings
            .read()
            .expect("no thread panics while it holds the settings")
    }

    /// Reads the settings again, whatever the age of the copy.
    pub(crate) fn reread_settings(&self) -> Result<(), RepoError> {
        let moment = Moment::now(&self.surroundings.clock);
        let blob = read_format_blob(&self.store)?;
        let value = unseal(&self.store, &blob, self.format_key_of(&blob)?.as_ref())
            .map_err(password_was_changed)?;
        *self
            .settings
            .write()
            .expect("no thread panics while it holds the settings") = Dated { value, moment };
        Ok(())
    }

    /// Notes that the store did not let a session's marker go.
    pub(crate) fn note_marker_stays(&self) {
        self.leaves_markers.store(true, Ordering::Relaxed);
    }

    /// Returns whether markers of finished sessions stayed in the store because the keys may not
    /// delete them. That is harmless: maintenance removes them.
    pub fn leaves_markers(&self) -> bool {
        self.leaves_markers.load(Ordering::Relaxed)
    }

    /// Returns the id that content has in this repository.
    pub fn content_id(&self, prefix: Option<u8>, content: &[u8]) -> ContentId {
        ContentId::new(prefix, self.hasher.hash(content))
    }

    /// Returns whether a content is so many zeros, where that is told by its id alone.
    pub(crate) fn is_zeros(&self, id: &ContentId, bytes: u64) -> bool {
        let Some(place) = ZEROS_BYTES.iter().position(|length| *length == bytes) else {
            return false;
        };
        let zeros = || self.content_id(None, &vec![0; bytes as usize]);
        self.zeros[place].get_or_init(zeros) == id
    }

    /// Reads the index anew: what other clients wrote is seen afterwards.
    pub fn refresh(&self) -> Result<(), RepoError> {
        let _only_one = self.lock_refreshing();
        self.refresh_locked()
    }

    fn lock_refreshing(&self) -> MutexGuard<'_, ()> {
        self.refreshing
            .lock()
            .expect("no thread panics while it refreshes")
    }

    fn refresh_locked(&self) -> Result<(), RepoError> {
        self.check_may_go_on()?;
        let Surroundings { clock, stop, .. } = &self.surroundings;
        let epochs = self.format().epoch_parameters.clone();
        let age_max =
            Duration::from_nanos(u64::try_from(epochs.epoch_refresh_frequency_ns).unwrap_or(0));
        let mut previous = self.view();
        for _ in 0..LISTINGS_MAX {
            let moment = Moment::now(clock);
            let view =
                self.index_cache
                    .refresh(self.store.as_ref(), &previous, clock.as_ref(), stop)?;
            let view = Arc::new(view);
            if !(epochs.enabled && moment.is_older_than(age_max, clock)) {
                *self
                    .view
                    .write()
                    .expect("no thread panics while it holds the view") = Dated {
                    value: view,
                    moment,
                };
                return Ok(());
            }
            // Maintenance may have compacted an epoch and deleted its indexes while we listed and
            // fetched (Kopia spec 5.5). What was fetched is kept, so the next time is quicker.
            previous = view;
        }
        Err(RepoError::new(
            RepoErrorKind::TooSlow,
            "read the index: listing it takes longer than the repository allows; is the line to it very slow, or this machine being suspended?",
        ))
    }

    /// Refreshes the index if it is older than writing allows.
    pub(crate) fn refresh_if_old(&self) -> Result<(), RepoError> {
        let is_old = || {
            let moment = self
                .view
                .read()
                .expect("no thread panics while it holds the view")
                .moment;
            moment.is_older_than(INDEX_AGE_MAX, &self.surroundings.clock)
        };
        if is_old() {
            let _only_one = self.lock_refreshing();
            // Another thread may have done it while this one waited.
            if is_old() {
                return self.refresh_locked();
            }
        }
        Ok(())
    }

    /// Reads the format blob again if its copy is too old, and refuses to go on where an upgrade
    /// began or an unknown feature appeared (Kopia spec 9.1, 9.2): before every use of the store
    /// that may be one of many.
    pub(crate) fn check_may_go_on(&self) -> Result<(), RepoError> {
        let clock = &self.surroundings.clock;
        let is_old = || {
            let moment = self.settings().moment;
            moment.is_older_than(FORMAT_AGE_MAX, clock)
        };
        if is_old() {
            let _only_one = self
                .rereading
                .lock()
                .expect("no thread panics while it reads the format");
            if is_old() {
                self.reread_settings()?;
            }
        }
        self.settings()
            .value
            .format
            .check_readable(clock.now(), None)
            .map(drop)
            .map_err(format_error)
    }

    /// Like [`check_may_go_on`](Self::check_may_go_on), for writers.
    pub(crate) fn check_may_write(&self) -> Result<(), RepoError> {
        self.check_may_go_on()?;
        self.settings()
            .value
            .format
            .check_writable()
            .map_err(format_error)
    }

    /// Returns the record of a content, tombstones included, or `None` if there is none.
    pub fn find(&self, id: &ContentId) -> Result<Option<ContentRecord>, RepoError> {
        self.view().find(id)
    }

    /// Returns whether a content is there, not deleted, and not known to be lost.
    pub fn is_live(&self, id: &ContentId) -> Result<bool, RepoError> {
        Ok(self
            .find(id)?
            .is_some_and(|record| !record.deleted && !self.is_lost(&record)))
    }

    /// Returns whether a content was here: it is, or it is known to have been deleted. One that
    /// lay in a pack known to be lost, or that no index names, was not.
    pub fn was_here(&self, id: &ContentId) -> Result<bool, RepoError> {
        Ok(self
            .view()
            .newest(id)?
            .is_some_and(|record| !self.is_lost(&record)))
    }

    /// Returns whether no index blob is there at all.
    pub fn index_is_empty(&self) -> bool {
        self.view().tables.is_empty()
    }

    /// Hands every content record with the given id prefix to `each`, tombstones included.
    pub fn for_each_content(
        &self,
        prefix: Option<u8>,
        each: &mut dyn FnMut(ContentRecord) -> Result<(), RepoError>,
    ) -> Result<(), RepoError> {
        self.view().for_each(prefix, each)
    }

    /// Returns the index as this client sees it now.
    pub(crate) fn view(&self) -> Arc<IndexView> {
        Arc::clone(
            &self
                .view
                .read()
                .expect("no thread panics while it holds the view")
                .value,
        )
    }

    /// Adds a table that this process has just written an index blob for.
    pub(crate) fn add_to_view(&self, blob: &str, payload: &[u8]) -> Result<(), RepoError> {
        // A refresh that began before the blob was written would replace the view without it.
        let _not_beside_a_refresh = self
            .refreshing
            .lock()
            .expect("no thread panics while it refreshes");
        let changed = self.index_cache.adopt(&self.view(), blob, payload)?;
        self.view
            .write()
            .expect("no thread panics while it holds the view")
            .value = Arc::new(changed);
        Ok(())
    }

    /// Remembers that a pack which the index names is no longer in the store.
    pub(crate) fn mark_lost(&self, pack: Arc<str>) {
        self.lost_packs
            .write()
            .expect("no thread panics while it holds the lost packs")
            .insert(pack);
    }

    /// Takes over what notes on the repository say is lost, in place of what they said before: it counts as missing, so that whoever writes it stores it again.
    pub fn note_lost(&self, lost: LostContents) {
        *self
            .noted_lost
            .write()
            .expect("no thread panics while it notes what is lost") = Arc::new(lost);
    }

    pub(crate) fn is_lost(&self, record: &ContentRecord) -> bool {
        let noted = self
            .noted_lost
            .read()
            .expect("no thread panics while it notes what is lost");
        noted.holds(record)
            || self
                .lost_packs
                .read()
                .expect("no thread panics while it holds the lost packs")
                .contains(&record.pack_blob)
    }
}

/// A password that was right before is wrong now because somebody changed it.
fn password_was_changed(error: RepoError) -> RepoError {
    match error.kind() {
        RepoErrorKind::WrongPassword => RepoError::new(
            RepoErrorKind::WrongPassword,
            "go on: the repository's password was changed since it was opened here",
        ),
        _ => error,
    }
}
