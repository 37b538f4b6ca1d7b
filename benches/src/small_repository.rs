//! Repositories of this program itself, for what is measured without the executable.

use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use blob::{MemoryStore, SharedBlobStore};
use repo::{CreateOptions, Identity, Repository, Surroundings, create};
use time_and_chance::{Chance, SharedClock, StopSignal};

use crate::agent::PASSWORD;

/// Makes a repository in memory, with its index cache in `folder`.
pub fn in_memory(folder: &Path, clock: &SharedClock) -> Result<Arc<Repository>> {
    let store: SharedBlobStore = Arc::new(MemoryStore::new(clock.clone()));
    let surroundings = Surroundings {
        cache_folder: folder.to_owned(),
        identity: Identity {
            username: "agent".into(),
            hostname: "bench".into(),
        },
        clock: clock.clone(),
        chance: Chance::from_system(),
        stop: StopSignal::new(),
    };
    Ok(create(
        store,
        PASSWORD,
        &CreateOptions::default(),
        surroundings,
    )?)
}
