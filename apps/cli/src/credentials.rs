//! Where this machine keeps what opens repositories.

use std::sync::Arc;

use agent::credentials::Keeper;
use blob::Location;
use secrets::SecretStore;

use crate::failure::Failure;
use crate::world::World;

/// Returns what is remembered of the repository at `location`; `None` where this system has
/// nothing that could protect it.
pub fn keeper(world: &World, location: &Location) -> Result<Option<Keeper>, Failure> {
    let store = store(world)?;
    Ok(store.map(|store| Keeper::new(store, location)))
}

/// Returns what keeps secrets on this machine, if anything does.
#[cfg(unix)]
pub fn store(world: &World) -> Result<Option<Arc<dyn SecretStore>>, Failure> {
    let folder = world.state_folder()?.join("credentials");
    Ok(Some(Arc::new(secrets::PrivateFiles::new(folder))))
}

/// Returns what keeps secrets on this machine, if anything does.
#[cfg(windows)]
pub fn store(world: &World) -> Result<Option<Arc<dyn SecretStore>>, Failure> {
    let folder = world.state_folder()?.join("credentials");
    Ok(Some(Arc::new(windows_host::MachineSecrets::new(folder))))
}

/// Returns what keeps secrets on this machine, if anything does.
#[cfg(not(any(unix, windows)))]
pub fn store(_: &World) -> Result<Option<Arc<dyn SecretStore>>, Failure> {
    Ok(None)
}
