//! Which disk of which VM a virtual disk file belongs to, and what lies beneath it.

use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::session::Session;
use super::state::{DiskRecord, VmRecord};
use crate::{CheckpointId, HypervError, HypervErrorKind, VmId, codes};

/// A disk of a VM that is here.
#[derive(Debug, Clone)]
pub(super) struct Owner {
    pub vm: VmId,
    /// Names the disk among those of its VM.
    pub key: Uuid,
    pub number: u32,
    pub place: Place,
}

/// What a file is to the disk it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// A checkpoint froze it.
    Frozen(CheckpointId),
    /// The guest writes to it.
    Leaf,
    /// It lies beneath others, and nobody holds on to it for its own sake.
    Beneath,
}

/// A virtual disk file that is there.
pub(super) struct FoundFile {
    /// None for a file that is no VM's.
    pub owner: Option<Owner>,
    /// The file and what lies beneath it, root first.
    pub chain: Vec<PathBuf>,
}

impl Session<'_> {
    /// Finds out what a file is on this host.
    ///
    /// # Errors
    /// `NotFound` if there is none, or if it went away with its VM.
    pub(super) fn find_file(&self, file: &Path) -> Result<FoundFile, HypervError> {
        let path = self.path(file);
        let gone = || {
            HypervError::new(
                HypervErrorKind::NotFound,
                format!("open {}: there is no such file", path.display()),
            )
            .with_code(codes::FILE_NOT_FOUND)
        };
        if !path.is_file() {
            return Err(gone());
        }
        let Some(vm) = self.state.vms.iter().find(|vm| vm.owns(file)) else {
            return Ok(FoundFile {
                owner: None,
                chain: vec![file.to_path_buf()],
            });
        };
        if vm.away {
            return Err(gone());
        }
        let found = vm.disks.iter().enumerate().find_map(|(number, disk)| {
            let (place, chain) = place_of_file(vm, disk, file)?;
            let owner = Owner {
                vm: vm.id,
                key: disk.key,
                number: number as u32,
                place,
            };
            Some(FoundFile {
                owner: Some(owner),
                chain,
            })
        });
        found.ok_or_else(gone)
    }
}

fn place_of_file(vm: &VmRecord, disk: &DiskRecord, file: &Path) -> Option<(Place, Vec<PathBuf>)> {
    for checkpoint in &vm.checkpoints {
        for frozen in &checkpoint.disks {
            if frozen.key == disk.key && frozen.frozen_file() == file {
                return Some((Place::Frozen(checkpoint.id), frozen.chain.clone()));
            }
        }
    }
    if disk.leaf() == file {
        return Some((Place::Leaf, disk.chain.clone()));
    }
    vm.chains(disk.key).find_map(|chain| {
        let depth = chain.iter().position(|known| known == file)?;
        Some((Place::Beneath, chain[..=depth].to_vec()))
    })
}
