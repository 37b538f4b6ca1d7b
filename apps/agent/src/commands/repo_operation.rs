//! Operations on repositories that the control plane queues: retention, maintenance, and, our own alone,
//! verification and lists of points.

use protocol::repo_operations::{OperationKind, OperationResult, RepoOperation};
use repo::Repository;

use super::failed;
use super::list_points::list_points;
use super::maintenance::maintain;
use super::verify_points::verify_points;
use crate::cancellation::Cancellation;
use crate::credentials::S3Keys;
use crate::destination::Destination;
use crate::parts::Parts;
use crate::repositories::Absent;
use crate::retention::Retaining;

/// Carries an operation out, on a repository that a run of this agent has used before: operations
/// are of any agent of the client, and name neither prefix nor password.
pub fn carry_out(parts: &Parts, operation: &RepoOperation) -> Result<OperationResult, String> {
    let kind = operation.kind().ok_or_else(|| {
        format!(
            "{:?} is no operation that this version knows",
            operation.op_type
        )
    })?;
    let place = parts.repositories.place_of(&operation.repository_id);
    let location = place.ok_or(
        "this agent has not used the repository, so it knows neither its prefix nor its password; the agent that backs up to it can do this",
    )?;
    let keys = match operation.dest_access_key.is_empty() || operation.dest_secret_key.is_empty() {
        true => None,
        false => Some(S3Keys {
            access_key_id: operation.dest_access_key.reveal().to_owned(),
            secret_access_key: operation.dest_secret_key.reveal().to_owned(),
        }),
    };
    let destination = Destination::known(location, operation.bucket_name.clone(), keys);
    let cancellation = Cancellation::below(&parts.stop);
    let lease = parts
        .repositories
        .open(&destination, Absent::IsAnError, 0, &cancellation)
        .map_err(failed)?;
    match kind {
        OperationKind::RetentionApply => {
            let retaining = Retaining {
                repository: lease.repository(),
                state: &parts.state,
                time_zone: &parts.ports.time_zone,
            };
            let policy = &operation.effective_policy;
            let retained = retaining.of_repository(policy).map_err(failed)?;
            retained.warnings.iter().for_each(|it| parts.log.warn(it));
            Ok(OperationResult {
                deleted_count: Some(retained.deleted_count),
                sources_count: Some(retained.sources_count),
                removed_points: retained.removed_points,
                ..OperationResult::default()
            })
        }
        OperationKind::MaintenanceQuick | OperationKind::MaintenanceFull => {
            let full = kind == OperationKind::MaintenanceFull;
            maintain(parts, lease.repository(), full, &cancellation)?;
            Ok(OperationResult {
                stored_bytes: stored_bytes(lease.repository()),
                ..OperationResult::default()
            })
        }
        OperationKind::Verify => {
            let percent = operation.effective_policy.percent.unwrap_or(0.0);
            verify_points(parts, lease.repository(), percent, &cancellation)
        }
        OperationKind::ListPoints => {
            list_points(lease.repository(), &operation.effective_policy.after)
        }
    }
}

/// Returns what all blobs take; `None` if they cannot be listed, which makes work that is done no failure.
fn stored_bytes(repository: &Repository) -> Option<u64> {
    let mut bytes = 0;
    let listed = repository.store().list("", &mut |blob| {
        bytes += blob.bytes;
        Ok(())
    });
    listed.ok().map(|()| bytes)
}
