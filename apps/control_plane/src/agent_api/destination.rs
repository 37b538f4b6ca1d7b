//! Where a repository rests, with its secrets opened: what runs, commands and operations are handed.

use protocol::SecretText;
use protocol::next_run::Destination;

use crate::sealing::{Sealing, SealingError};
use crate::store::entity::{job, repository};

/// Returns where a repository rests.
pub(super) fn destination(
    sealing: &Sealing,
    repository: &repository::Model,
    job: Option<&job::Model>,
) -> Result<Destination, SealingError> {
    let password = sealing.open_text(
        &format!("repository/{}/password", repository.id),
        &repository.password_sealed,
    )?;
    let secret_key = match &repository.secret_key_sealed {
        Some(sealed) => {
            let of = format!("repository/{}/secret_key", repository.id);
            SecretText::new(sealing.open_text(&of, sealed)?.as_str())
        }
        None => SecretText::default(),
    };
    let limit = job.map_or(0, |job| job.bandwidth_kib_s);
    Ok(Destination {
        dest_type: repository.kind.clone(),
        dest_bucket_name: repository.bucket.clone(),
        dest_prefix: repository.prefix.clone(),
        dest_local_path: repository.path.clone(),
        dest_endpoint: repository.endpoint.clone(),
        dest_region: repository.region.clone(),
        dest_access_key: SecretText::new(&repository.access_key),
        dest_secret_key: secret_key,
        local_bandwidth_limit_kbps: u64::try_from(limit).unwrap_or(0),
        repository_id: Some(repository.id.clone()),
        repository_password: Some(SecretText::new(password.as_str())),
        repo_password_mode: "v2".to_owned(),
        payload_version: "v2".to_owned(),
    })
}
