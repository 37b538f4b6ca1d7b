//! What the repository's policies say about storing a source.

use kopia::compression::CompressionAlgorithm;
use kopia::policy::{EffectivePolicy, StoragePolicy, chain_for};
use kopia::snapshot::SnapshotSource;
use repo::{Manifests, RepoError, RepoErrorKind};

/// Returns how data of `source` is to be compressed, if at all (Kopia spec 7.5).
///
/// # Errors
/// `Unsupported` if the policy names a compression this program does not write.
pub fn compression_for(
    manifests: &Manifests,
    source: &SnapshotSource,
) -> Result<Option<CompressionAlgorithm>, RepoError> {
    let mut policies = Vec::new();
    for labels in chain_for(source) {
        let pairs: Vec<(&str, &str)> = labels
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .collect();
        let Some(entry) = manifests
            .find(&pairs)
            .max_by_key(|entry| (entry.modified, &entry.id))
        else {
            continue;
        };
        let policy = StoragePolicy::parse(entry.data.get()).map_err(|error| {
            RepoError::new(RepoErrorKind::Damaged, format!("read policy {}", entry.id))
                .caused_by(error)
        })?;
        policies.push(policy);
    }
    let Some(name) = EffectivePolicy::merge(&policies).compressor else {
        return Ok(None);
    };
    match CompressionAlgorithm::from_name(&name).filter(|algorithm| algorithm.is_writable()) {
        Some(algorithm) => Ok(Some(algorithm)),
        None => Err(RepoError::new(
            RepoErrorKind::Unsupported,
            format!(
                "compress as the repository's policy says: {name} is not written by this program; choose zstd-fastest in the policy"
            ),
        )),
    }
}
