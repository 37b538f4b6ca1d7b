//! Locks by which a machine knows which of its sessions are alive.

use std::fs::{self, File};
use std::io;
use std::path::PathBuf;

use kopia::session::SessionId;

use crate::Repository;
use crate::error::{RepoError, local_error};

/// Held while a session is alive; the file goes away when the session ends well.
#[derive(Debug)]
pub(super) struct SessionLock {
    path: PathBuf,
    _file: File,
}

impl SessionLock {
    /// Takes the lock of a session that begins.
    pub(super) fn take(repo: &Repository, session: &SessionId) -> Result<Self, RepoError> {
        let path = lock_path(repo, session);
        let doing = || local_error(format!("lock {}", path.display()));
        fs::create_dir_all(path.parent().expect("a lock lies in a folder")).map_err(doing())?;
        let file = File::create(&path).map_err(doing())?;
        file.try_lock()
            .map_err(|error| doing()(io::Error::other(error)))?;
        Ok(Self { path, _file: file })
    }

    /// Takes the lock that a session left behind; `None` if it is not there or somebody holds it.
    pub(super) fn of_the_dead(repo: &Repository, session: &SessionId) -> Option<Self> {
        let path = lock_path(repo, session);
        let file = File::open(&path).ok()?;
        file.try_lock().ok()?;
        Some(Self { path, _file: file })
    }

    /// Notes that the session ended well.
    pub(super) fn end(self) {
        // One that stays is found dead later, and its session has no marker any more.
        let _ = fs::remove_file(&self.path);
    }
}

fn lock_path(repo: &Repository, session: &SessionId) -> PathBuf {
    repo.index_cache
        .folder()
        .join("sessions")
        .join(format!("{session}.lock"))
}
