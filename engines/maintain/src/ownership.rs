//! Who may do what only one client does: the owner of the repository's maintenance (Kopia spec 8.1).

use std::sync::Arc;

use kopia::maintenance::MaintenanceParameters;
use repo::{Repository, Writer, owner_name};

use crate::error::{MaintainError, MaintainErrorKind, repo_error};

const DOING: &str = "maintain the repository";

/// Makes sure that this client is the owner, and returns how the repository is maintained.
///
/// # Errors
/// `NotOwner` if it is not, and ownership is not to be taken.
pub fn be_owner(
    repo: &Arc<Repository>,
    take_ownership: bool,
    dry_run: bool,
) -> Result<MaintenanceParameters, MaintainError> {
    let me = owner_name(repo);
    let manifests = repo.manifests().map_err(repo_error(DOING))?;
    let known = manifests.maintenance().map_err(repo_error(DOING))?;
    if let Some(parameters) = known.as_ref().filter(|it| it.owner == me) {
        return Ok(parameters.clone());
    }
    if !take_ownership {
        let owner = known.map_or(String::new(), |it| it.owner);
        let whose = match owner.is_empty() {
            true => "nobody owns its maintenance".to_owned(),
            false => format!("{owner} owns its maintenance"),
        };
        return Err(MaintainError::new(
            MaintainErrorKind::NotOwner,
            format!("{DOING}: {whose}, and this is {me}"),
        ));
    }
    let parameters = match known {
        Some(known) => MaintenanceParameters { owner: me, ..known },
        None => MaintenanceParameters::new(me),
    };
    if !dry_run {
        let writer = Writer::new(repo, 1).map_err(repo_error(DOING))?;
        writer
            .set_maintenance(&parameters)
            .map_err(repo_error("take the maintenance over"))?;
    }
    Ok(parameters)
}
