//! What the repository's policies say about a source, and how a policy is changed.

use std::collections::BTreeMap;

use kopia::compression::CompressionAlgorithm;
use kopia::manifest::{ManifestEntry, latest};
use kopia::policy::{POLICY_TYPE, Policy, PolicyTarget, RetentionPolicy};
use kopia::snapshot::SnapshotSource;
use repo::{Manifests, RepoError, RepoErrorKind, Writer};

/// Returns the policy that stands for exactly `target`, if there is one.
///
/// # Errors
/// `Damaged` if it makes no sense.
pub fn policy_of(
    manifests: &Manifests,
    target: &PolicyTarget,
) -> Result<Option<Policy>, RepoError> {
    latest(manifests_of(manifests, target))
        .map(|entry| parse(&entry))
        .transpose()
}

/// Returns all policies of a repository with what they are of, in the order of their targets.
///
/// # Errors
/// `Damaged` if one makes no sense.
pub fn policies(manifests: &Manifests) -> Result<Vec<(PolicyTarget, Policy)>, RepoError> {
    let all = Policies::of(manifests).0.into_iter();
    all.map(|(target, entry)| Ok((target, parse(&entry)?)))
        .collect()
}

/// Returns the policies that apply to `target`, most specific first.
///
/// # Errors
/// `Damaged` if one makes no sense.
pub fn policy_chain(
    manifests: &Manifests,
    target: &PolicyTarget,
) -> Result<Vec<(PolicyTarget, Policy)>, RepoError> {
    Policies::of(manifests).chain(target)
}

/// Returns what all policies together say about `target` (Kopia spec 7.5).
///
/// # Errors
/// `Damaged` if one of them makes no sense.
pub fn effective_policy(manifests: &Manifests, target: &PolicyTarget) -> Result<Policy, RepoError> {
    Policies::of(manifests).effective(target)
}

/// The manifest that counts for each target: whoever asks about many sources reads all of them once.
#[derive(Debug)]
pub(crate) struct Policies(BTreeMap<PolicyTarget, ManifestEntry>);

impl Policies {
    pub(crate) fn of(manifests: &Manifests) -> Self {
        let mut of_target: BTreeMap<PolicyTarget, ManifestEntry> = BTreeMap::new();
        for entry in manifests.find(POLICY_TYPE, &[]) {
            let Some(target) = PolicyTarget::from_labels(&entry.labels) else {
                continue;
            };
            let counts = latest(of_target.remove(&target).into_iter().chain([entry]));
            of_target.extend(counts.map(|entry| (target, entry)));
        }
        Self(of_target)
    }

    fn chain(&self, target: &PolicyTarget) -> Result<Vec<(PolicyTarget, Policy)>, RepoError> {
        let mut chain = Vec::new();
        for target in target.chain() {
            if let Some(entry) = self.0.get(&target) {
                chain.push((target, parse(entry)?));
            }
        }
        Ok(chain)
    }

    pub(crate) fn effective(&self, target: &PolicyTarget) -> Result<Policy, RepoError> {
        let chain = self.chain(target)?;
        Ok(Policy::merge(chain.iter().map(|(_, policy)| policy)))
    }

    /// Returns what all policies together say about `target`'s retention, if `instead` stands where the
    /// target's own stood.
    pub(crate) fn effective_retention(
        &self,
        target: &PolicyTarget,
        instead: &dyn Fn(&RetentionPolicy) -> Option<RetentionPolicy>,
    ) -> Result<RetentionPolicy, RepoError> {
        let chain = self.chain(target)?;
        let (own, above): (Vec<_>, Vec<_>) = chain.into_iter().partition(|(of, _)| of == target);
        let mut own = own.into_iter().next().map(|(_, policy)| policy);
        let own_retention = own.as_ref().map(|policy| policy.retention.clone());
        if let Some(retention) = instead(&own_retention.unwrap_or_default()) {
            own.get_or_insert_default().retention = retention;
        }
        let above = above.iter().map(|(_, policy)| policy);
        Ok(Policy::merge(own.iter().chain(above)).retention)
    }
}

/// Returns how data of `source` is to be compressed, if at all.
///
/// # Errors
/// `Unsupported` if the policy names a compression this program does not write.
pub fn compression_for(
    manifests: &Manifests,
    source: &SnapshotSource,
) -> Result<Option<CompressionAlgorithm>, RepoError> {
    let policy = effective_policy(manifests, &PolicyTarget::source(source))?;
    let compressor = policy.compression.compressor();
    compressor.map(writable_compressor).transpose()
}

/// Returns the compression that a policy names.
///
/// # Errors
/// `Unsupported` if this program does not write it.
pub fn writable_compressor(name: &str) -> Result<CompressionAlgorithm, RepoError> {
    CompressionAlgorithm::from_name(name)
        .filter(|algorithm| algorithm.is_writable())
        .ok_or_else(|| RepoError::new(
            RepoErrorKind::Unsupported,
            format!(
                "compress as the repository's policy says: {name} is not written by this program; choose zstd-fastest in the policy"
            ),
        ))
}

/// Stores the policy for exactly `target` in place of the one that was there; visible to others
/// when this returns.
///
/// # Errors
/// `Invalid` if Kopia could not carry it out, `Damaged` if manifests are lost among which an older
/// policy may be.
pub fn save_policy(
    writer: &Writer,
    target: &PolicyTarget,
    policy: &Policy,
) -> Result<(), RepoError> {
    policy.check(target).map_err(|error| {
        RepoError::new(
            RepoErrorKind::Invalid,
            format!("store the policy of {target}"),
        )
        .caused_by(error)
    })?;
    let mut entries = tombstones(writer, target)?;
    entries.push(writer.new_manifest(target.labels(), policy.encode()));
    writer.write_manifests(entries)?;
    writer.flush()
}

/// Deletes the policy for exactly `target`; says whether there was one.
pub fn delete_policy(writer: &Writer, target: &PolicyTarget) -> Result<bool, RepoError> {
    let tombstones = tombstones(writer, target)?;
    if tombstones.is_empty() {
        return Ok(false);
    }
    writer.write_manifests(tombstones)?;
    writer.flush()?;
    Ok(true)
}

fn tombstones(writer: &Writer, target: &PolicyTarget) -> Result<Vec<ManifestEntry>, RepoError> {
    let now = writer.repository().clock().now();
    let manifests = writer.repository().manifests()?;
    check_readable(&manifests, "change a policy")?;
    Ok(manifests_of(&manifests, target)
        .into_iter()
        .map(|entry| ManifestEntry::tombstone(&entry, now))
        .collect())
}

/// Checks that no manifests are lost: what is not seen is not the same as what is not there.
pub(crate) fn check_readable(manifests: &Manifests, doing: &str) -> Result<(), RepoError> {
    match manifests.unreadable().first() {
        None => Ok(()),
        Some((content, why)) => Err(RepoError::new(
            RepoErrorKind::Damaged,
            format!("{doing}: the manifests in content {content} cannot be read ({why})"),
        )),
    }
}

fn manifests_of(manifests: &Manifests, target: &PolicyTarget) -> Vec<ManifestEntry> {
    let labels = target.labels();
    manifests
        .find(POLICY_TYPE, &[])
        .filter(|entry| entry.matches(&labels))
        .collect()
}

fn parse(entry: &ManifestEntry) -> Result<Policy, RepoError> {
    Policy::parse(entry.data.get()).map_err(|error| {
        RepoError::new(RepoErrorKind::Damaged, format!("read policy {}", entry.id)).caused_by(error)
    })
}
