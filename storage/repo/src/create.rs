//! Creating a repository, as `kopia repository create` does (Kopia spec 2.1, 10.1).

use std::sync::Arc;

use blob::SharedBlobStore;
use kopia::cipher::EncryptionAlgorithm;
use kopia::compression::CompressionAlgorithm;
use kopia::format_blob::{BlobConfig, FormatBlob, RepositoryFormat};
use kopia::hash::HashAlgorithm;
use kopia::key::{KeyDerivation, format_key};
use kopia::maintenance::MaintenanceParameters;
use kopia::policy::{PolicyTarget, global_policy};
use kopia::splitter::Splitter;

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
/// # Errors
/// `NotEmpty` if the store holds any blob: nothing is ever initialised over something else.
pub fn create(
    store: SharedBlobStore,
    password: &str,
    options: &CreateOptions,
    surroundings: Surroundings,
) -> Result<Arc<Repository>, RepoError> {
    options.check()?;
    refuse_if_not_empty(&store)?;
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
        .map_err(format_error)?;
    let now = surroundings.clock.now();
    for (name, bytes) in [(CONFIG_BLOB, config), (FORMAT_BLOB, blob.to_bytes())] {
        store
            .put(name, &[&bytes], &put_options(&options.locks, name, now))
            .map_err(store_error(format!("create the repository: write {name}")))?;
    }
    let repository = Repository::open(store, password, surroundings)?;
    write_first_manifests(&repository, options)?;
    Ok(repository)
}

fn refuse_if_not_empty(store: &SharedBlobStore) -> Result<(), RepoError> {
    let location = store.location();
    let mut found = None;
    let listing = store.list("", &mut |blob| {
        found = Some(blob.name);
        // One is enough; the error only ends the listing.
        Err(blob::BlobError::new(
            blob::BlobErrorKind::Stopped,
            "look further",
        ))
    });
    match found {
        Some(name) if name == "kopia.repository" => Err(RepoError::new(
            RepoErrorKind::NotEmpty,
            format!("create a repository in {location}: there is one already"),
        )),
        Some(name) => Err(RepoError::new(
            RepoErrorKind::NotEmpty,
            format!(
                "create a repository in {location}: it is not empty, it holds {name}; choose an empty place"
            ),
        )),
        None => listing.map_err(store_error(format!("create a repository in {location}"))),
    }
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
        extend_object_locks: options.locks.locks_blobs(),
        ..MaintenanceParameters::new(owner)
    };
    writer.write_manifests(vec![
        writer.new_manifest(PolicyTarget::global().labels(), policy),
        writer.new_manifest(MaintenanceParameters::labels(), maintenance.encode()),
    ])?;
    writer.flush()
}
