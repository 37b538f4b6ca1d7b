//! Creating a repository, as `kopia repository create` does (Kopia spec 2.1, 10.1).

use std::sync::Arc;

use blob::{BlobErrorKind, Operation, PutOptions, Recorded, SharedBlobStore};
use kopia::cipher::EncryptionAlgorithm;
use kopia::compression::CompressionAlgorithm;
use kopia::format_blob::{BlobConfig, FormatBlob, RepositoryFormat};
use kopia::hash::HashAlgorithm;
use kopia::key::{KeyDerivation, format_key};
use kopia::maintenance::MaintenanceParameters;
use kopia::policy::{POLICY_TYPE, PolicyTarget, global_policy};
use kopia::splitter::Splitter;
use time_and_chance::Timestamp;

use crate::error::{RepoError, RepoErrorKind, store_error};
use crate::settings::{CONFIG_BLOB, FORMAT_BLOB, format_error, put_options};
use crate::{Repository, Surroundings, Writer};

/// The pack length of repositories that the older agent can open (API spec 9.3).
const FORMAT_2_PACK_BYTES: u32 = 64 << 20;

/// How a new repository is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateOptions {
    /// 3, or 2 for servers that still have the older agent.
    pub format_version: u32,
    /// How contents are named.
    pub hash: HashAlgorithm,
    /// How they are sealed.
    pub encryption: EncryptionAlgorithm,
    /// Kopia's name of the default splitter.
    pub splitter: String,
    /// What the global policy tells clients to compress with; `None` stores as it is.
    pub compression: Option<CompressionAlgorithm>,
    /// How blobs are locked; see [`lock_config`](crate::lock_config).
    pub locks: BlobConfig,
}

impl Default for CreateOptions {
    fn default() -> Self {
        Self {
            format_version: 3,
            hash: HashAlgorithm::Blake2b256_128,
            encryption: EncryptionAlgorithm::Aes256Gcm,
            splitter: "DYNAMIC-4M-BUZHASH".to_owned(),
            compression: Some(CompressionAlgorithm::ZstdFastest),
            locks: BlobConfig::default(),
        }
    }
}

impl CreateOptions {
    /// Tells what stands against these options, in words.
    fn check(&self) -> Result<(), RepoError> {
        let refuse = |what: String| {
            Err(RepoError::new(
                RepoErrorKind::Unsupported,
                format!("create the repository: {what}"),
            ))
        };
        let usual = Self {
            format_version: 2,
            compression: self.compression,
            locks: self.locks.clone(),
            ..Self::default()
        };
        match self.format_version {
            3 => {}
            2 if *self == usual => {}
            2 => {
                return refuse(format!(
                    "format version 2 is for servers with the older agent, which opens only hash {}, encryption {} and splitter {}",
                    usual.hash.name(),
                    usual.encryption.name(),
                    usual.splitter
                ));
            }
            other => {
                return refuse(format!(
                    "format version {other} is not written; choose 3, or 2 for servers with the older agent"
                ));
            }
        }
        if Splitter::from_name(&self.splitter).is_none() {
            return refuse(format!("there is no splitter named {}", self.splitter));
        }
        if self
            .compression
            .is_some_and(|compression| !compression.is_writable())
        {
            return refuse("this compression can be read but is not written".to_owned());
        }
        Ok(())
    }
}

/// Creates a repository in an empty store and opens it.
///
/// Of several clients that create one at once, one succeeds: whose `kopia.repository` is there. Before
/// that blob nothing is written but, where blobs are to be locked, `kopia.blobcfg`, which says so. So
/// whatever a creation leaves that was cut short is either a repository with all its locks, which
/// [`finish_creation`] completes, or nothing that stands in a new one's way.
///
/// # Errors
/// `NotEmpty` if the store holds anything, or another client was faster: nothing is ever initialised
/// over something else.
pub fn create(
    store: SharedBlobStore,
    password: &str,
    options: &CreateOptions,
    surroundings: Surroundings,
) -> Result<Arc<Repository>, RepoError> {
    options.check()?;
    let chance = &surroundings.chance;
    let derivation = KeyDerivation::Scrypt65536_8_1;
    let unique_id = chance.bytes::<32>();
    let key =
        format_key(derivation, password, &unique_id).map_err(|error| format_error(error.into()))?;
    let secrets = [chance.bytes::<32>().to_vec(), chance.bytes::<32>().to_vec()];
    let [secret, master_key] = secrets;
    let mut format =
        RepositoryFormat::for_new_repository(options.hash, options.encryption, secret, master_key);
    format.version = options.format_version;
    format.splitter.clone_from(&options.splitter);
    if options.format_version == 2 {
        format.max_pack_size = FORMAT_2_PACK_BYTES;
    }
    let config = options.locks.seal(&key, &unique_id, chance.bytes());
    let blob = FormatBlob::seal(&unique_id, derivation, &key, &format, chance.bytes())
        .map_err(format_error)?
        .to_bytes();
    let now = surroundings.clock.now();
    if check_place(&store)? == Place::CutShort {
        remove_config(&store)?;
    }
    let creation = Creation {
        store,
        blob,
        config,
        locks: &options.locks,
        now,
    };
    let mut written = Vec::new();
    let made = creation.carry_out(|store| {
        let recorded = Arc::new(Recorded::new(Arc::clone(store)));
        let place: SharedBlobStore = recorded.clone();
        let wrote =
            Repository::open(place, password, surroundings.clone()).and_then(|repository| {
                creation.check_is_ours()?;
                write_first_manifests(&repository, options)
            });
        let put = recorded.take().into_iter();
        let put = put.filter(|it| it.operation == Operation::Put);
        written.extend(put.map(|it| it.name));
        wrote?;
        Repository::open(Arc::clone(store), password, surroundings)
    });
    match made {
        Err(error) if error.kind() == RepoErrorKind::NotEmpty => {
            creation.take_back(&written)?;
            Err(error)
        }
        made => made,
    }
}

/// Completes a repository whose creation was cut short after it had begun to be one: without a global
/// policy and parameters of maintenance. Others are left as they are. Says whether there was something
/// to complete.
pub fn finish_creation(
    repository: &Arc<Repository>,
    options: &CreateOptions,
) -> Result<bool, RepoError> {
    let manifests = repository.manifests()?;
    // Parameters of maintenance are read last: that nobody understands them is not a matter of those
    // who only back up.
    let is_begun_only = manifests.unreadable().is_empty()
        && manifests.find(POLICY_TYPE, &[]).next().is_none()
        && manifests.maintenance()?.is_none();
    if is_begun_only {
        write_first_manifests(repository, options)?;
    }
    Ok(is_begun_only)
}

/// What is at a place where a repository may be made.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    Empty,
    /// What other clients write before the repository itself.
    CutShort,
}

fn check_place(store: &SharedBlobStore) -> Result<Place, RepoError> {
    let location = store.location();
    let (mut place, mut found) = (Place::Empty, None);
    let listing = store.list("", &mut |blob| {
        if blob.name == CONFIG_BLOB {
            place = Place::CutShort;
            return Ok(());
        }
        found = Some(blob.name);
        // One is enough; the error only ends the listing.
        Err(blob::BlobError::new(BlobErrorKind::Stopped, "look further"))
    });
    match found {
        Some(name) if name == FORMAT_BLOB => Err(there_is_one(store)),
        Some(name) => Err(RepoError::new(
            RepoErrorKind::NotEmpty,
            format!(
                "create a repository in {location}: it is not empty, it holds {name}; choose an empty place"
            ),
        )),
        None => {
            listing.map_err(store_error(format!("create a repository in {location}")))?;
            Ok(place)
        }
    }
}

/// Removes what another client left that never came to make its repository: no password opens it.
fn remove_config(store: &SharedBlobStore) -> Result<(), RepoError> {
    // Now at the latest it may be somebody's.
    refuse_if_there_is_one(store)?;
    let deleted = store.delete(CONFIG_BLOB);
    deleted.map_err(store_error(doing_to(CONFIG_BLOB)))
}

/// The blobs that make a place this client's repository, and how they come there beside others.
struct Creation<'c> {
    store: SharedBlobStore,
    blob: Vec<u8>,
    config: Vec<u8>,
    locks: &'c BlobConfig,
    now: Timestamp,
}

impl Creation<'_> {
    /// Makes the place this client's and fills it. `NotEmpty` if it turns out to be somebody else's.
    fn carry_out<T>(
        &self,
        fill: impl FnOnce(&SharedBlobStore) -> Result<T, RepoError>,
    ) -> Result<T, RepoError> {
        let carry_out = || {
            // First, as Kopia does: a repository that lost its locks on the way would not say so.
            if self.locks.locks_blobs() {
                self.put_if_new(CONFIG_BLOB, &self.config)?;
            }
            let is_settled = self.put_if_new(FORMAT_BLOB, &self.blob)?;
            self.check_is_ours()?;
            // Where another client may yet turn out to have been faster, it must not find one that it
            // cannot open unless it has to.
            self.settle_config(is_settled || self.locks.locks_blobs())?;
            fill(&self.store)
        };
        let made = carry_out();
        // On a store that overwrites all the same, somebody may have been a moment slower.
        match self.check_is_ours() {
            Err(error) if made.is_ok() || error.kind() == RepoErrorKind::NotEmpty => Err(error),
            Err(_) => made,
            Ok(()) => {
                let made = made?;
                // Who was slower may have taken ours for what a dead creation left.
                self.settle_config(self.locks.locks_blobs())?;
                Ok(made)
            }
        }
    }

    /// Writes a blob if nobody else has; says whether the store settled who does.
    fn put_if_new(&self, name: &str, content: &[u8]) -> Result<bool, RepoError> {
        let options = put_options(self.locks, name, self.now);
        let only_new = PutOptions {
            if_absent: true,
            ..options.clone()
        };
        match self.store.put(name, &[content], &only_new) {
            Ok(()) => Ok(true),
            // Another client's, or our own whose answer was lost.
            Err(error) if error.kind() == BlobErrorKind::AlreadyThere => Ok(true),
            // A store that cannot, or that does not understand: then it is a matter of moments.
            Err(error)
                if matches!(
                    error.kind(),
                    BlobErrorKind::Unsupported | BlobErrorKind::Invalid
                ) =>
            {
                refuse_if_there_is_one(&self.store)?;
                let put = self.store.put(name, &[content], &options);
                put.map_err(store_error(doing_to(name)))?;
                Ok(false)
            }
            Err(error) => Err(store_error(doing_to(name))(error)),
        }
    }

    fn check_is_ours(&self) -> Result<(), RepoError> {
        let there = self.store.get(FORMAT_BLOB);
        match there.map_err(store_error(doing_to(FORMAT_BLOB)))? == self.blob {
            true => Ok(()),
            false => Err(RepoError::new(
                RepoErrorKind::NotEmpty,
                format!(
                    "create a repository in {}: another client made one at the same moment; use that one",
                    self.store.location()
                ),
            )),
        }
    }

    /// Sees to it that the settings of locks are this repository's: one without them has no locks, and
    /// with another's it does not open.
    fn settle_config(&self, is_needed: bool) -> Result<(), RepoError> {
        match self.store.get(CONFIG_BLOB) {
            Ok(there) if there == self.config => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == BlobErrorKind::NotFound && !is_needed => return Ok(()),
            Err(error) if error.kind() == BlobErrorKind::NotFound => {}
            Err(error) => return Err(store_error(doing_to(CONFIG_BLOB))(error)),
        }
        let options = put_options(self.locks, CONFIG_BLOB, self.now);
        let put = self.store.put(CONFIG_BLOB, &[&self.config], &options);
        put.map_err(store_error(doing_to(CONFIG_BLOB)))
    }

    /// Deletes what this client put into a repository that is another one's: sealed with keys that
    /// nobody has, it would keep that one from ever opening. Names carry hashes and the session, so
    /// that nobody else's blobs have them.
    fn take_back(&self, written: &[String]) -> Result<(), RepoError> {
        let config = self.store.get(CONFIG_BLOB);
        let is_ours = config.is_ok_and(|there| there == self.config);
        let config = is_ours.then_some(CONFIG_BLOB);
        for name in written.iter().map(String::as_str).chain(config) {
            let deleted = self.store.delete(name);
            deleted.map_err(store_error(format!(
                "take {name} back out of another client's repository"
            )))?;
        }
        Ok(())
    }
}

fn refuse_if_there_is_one(store: &SharedBlobStore) -> Result<(), RepoError> {
    match store.metadata(FORMAT_BLOB) {
        Ok(_) => Err(there_is_one(store)),
        Err(error) if error.kind() == BlobErrorKind::NotFound => Ok(()),
        Err(error) => Err(store_error(doing_to(FORMAT_BLOB))(error)),
    }
}

fn there_is_one(store: &SharedBlobStore) -> RepoError {
    RepoError::new(
        RepoErrorKind::NotEmpty,
        format!(
            "create a repository in {}: there is one already",
            store.location()
        ),
    )
}

fn doing_to(name: &str) -> String {
    format!("create the repository: write {name}")
}

fn write_first_manifests(
    repository: &Arc<Repository>,
    options: &CreateOptions,
) -> Result<(), RepoError> {
    let writer = Writer::new(repository, 1)?;
    let identity = repository.identity();
    let owner = format!("{}@{}", identity.username, identity.hostname);
    let policy = global_policy(
        options
            .compression
            .map_or("none", CompressionAlgorithm::name),
    );
    let maintenance = MaintenanceParameters {
        extend_object_locks: repository.blob_config().locks_blobs(),
        ..MaintenanceParameters::new(owner)
    };
    writer.write_manifests(vec![
        writer.new_manifest(PolicyTarget::global().labels(), policy),
        writer.new_manifest(MaintenanceParameters::labels(), maintenance.encode()),
    ])?;
    writer.flush()
}
