//! Virtual disk files by their paths, as virtdisk.dll offers them (Hyper-V spec 7.1 and 8).
//!
//! Any disk file of the host can be opened: a frozen file of a checkpoint, what a guest writes
//! to, a file that a restore makes. The file's place in the host's state decides what lies
//! beneath it, what its tracking knows, and which faults strike.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use disk::{BlockRead, ByteRange, DiskError, DiskErrorKind, Geometry, UnknownReason};
use uuid::Uuid;
use vhdx::LiveDisk;

use super::SimHost;
use super::changes::{Enquiry, SimTracking};
use super::container::{self, ChainReader, Subformat};
use super::fault::{SimFault, Step};
use super::file_owner::{FoundFile, Owner, Place};
use super::folder::{is_sparse, sparse_error};
use super::session::Session;
use super::writing::FusedFile;
use crate::query_loop::PartialAnswer;
use crate::{HypervError, HypervErrorKind, NewDisk, VmId, VmState, codes};

/// What a virtual disk file is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SimAccess {
    /// Asking only: no content, no lock.
    Information,
    /// Reading and asking.
    Read,
    /// Writing, reading and asking; nobody else may have it open.
    Write,
}

/// What a virtual disk file says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SimDiskFacts {
    /// Size and sectors.
    pub geometry: Geometry,
    /// The block size of the file.
    pub block_bytes: u32,
    /// Its identity.
    pub virtual_disk_id: Uuid,
    /// Whether all blocks are in the file from the beginning.
    pub fixed: bool,
    /// The file beneath it, if it is a differencing disk.
    pub parent: Option<PathBuf>,
}

#[derive(Debug)]
enum Content {
    Closed,
    Reading(ChainReader),
    Writing(Box<LiveDisk<FusedFile>>),
}

/// An open virtual disk file. While its content can be reached, other processes find the files
/// of its chain in use.
#[derive(Debug)]
pub struct SimVirtualDisk {
    host: SimHost,
    owner: Option<Owner>,
    facts: SimDiskFacts,
    tracking: SimTracking,
    enquiry: Mutex<Option<Enquiry>>,
    content: Content,
    /// Whether faults were waiting for reads when it was opened.
    faulty: bool,
}

impl SimHost {
    /// Opens a virtual disk file by its path.
    ///
    /// # Errors
    /// With Windows' codes: 0x80070002 if there is none, 0x80070020 if it is in use in a way that
    /// does not go together with `access`, 0xC03A001A if it is sparse, 0xC03A0002 if it is
    /// damaged, 0xC03A000D if its parent is not here.
    pub fn open_virtual_disk(
        &self,
        path: &Path,
        access: SimAccess,
    ) -> Result<SimVirtualDisk, HypervError> {
        let file = self.inside(path)?;
        let mut session = self.session()?;
        match session.find_file(&file)?.owner {
            // That is a step of a backup, which faults may strike.
            Some(Owner {
                vm,
                place: Place::Frozen(_),
                ..
            }) if access == SimAccess::Read => session.vm_call(vm, Step::Open, |session| {
                session.open_virtual_disk(&file, access)
            }),
            _ => session.open_virtual_disk(&file, access),
        }
    }

    /// Makes a dynamic VHDX, empty.
    ///
    /// # Errors
    /// 0x80070050 if a file is there already, 0x80070003 if its folder is missing.
    pub fn create_virtual_disk(&self, path: &Path, disk: &NewDisk) -> Result<(), HypervError> {
        self.restore_call(Step::CreateDisk, |session| {
            let path = session.path(&self.inside(path)?);
            if !path.parent().is_some_and(Path::is_dir) {
                return Err(HypervError::new(
                    HypervErrorKind::Failed,
                    format!("make {}: its folder is missing", path.display()),
                )
                .with_code(codes::PATH_NOT_FOUND));
            }
            let options = container::create_options(
                disk.geometry,
                disk.block_bytes,
                disk.virtual_disk_id,
                &self.chance,
            );
            container::create(&path, &options, Subformat::Dynamic)
        })
    }
}

impl Session<'_> {
    /// Opens a virtual disk file of the host.
    pub(super) fn open_virtual_disk(
        &mut self,
        file: &Path,
        access: SimAccess,
    ) -> Result<SimVirtualDisk, HypervError> {
        if let Some(owner) = self.find_file(file)?.owner {
            self.finish_begun_merges(owner.vm)?;
        }
        let found = self.find_file(file)?;
        let path = self.path(file);
        let seen = container::facts(&path)?;
        if seen.differencing && found.chain.len() < 2 {
            return Err(HypervError::new(
                HypervErrorKind::Failed,
                format!("open {}: its parent is not here", path.display()),
            )
            .with_code(codes::VHD_PARENT_NOT_FOUND));
        }
        let content = self.open_content(&found, access)?;
        let parent = found.chain.len().checked_sub(2);
        let facts = SimDiskFacts {
            geometry: seen.geometry(),
            block_bytes: seen.block_bytes,
            virtual_disk_id: seen.virtual_disk_id,
            fixed: seen.fixed,
            parent: parent.map(|parent| self.path(&found.chain[parent])),
        };
        Ok(SimVirtualDisk {
            host: self.host.clone(),
            faulty: match &found.owner {
                Some(owner) => self.has_faults_of_reading(owner.vm)?,
                None => false,
            },
            tracking: match &found.owner {
                Some(owner) => self.tracking_of(owner)?,
                None => SimTracking::default(),
            },
            owner: found.owner,
            facts,
            enquiry: Mutex::new(None),
            content,
        })
    }

    fn open_content(&self, found: &FoundFile, access: SimAccess) -> Result<Content, HypervError> {
        let chain = self.paths(&found.chain);
        let path = chain.last().map_or(Path::new(""), PathBuf::as_path);
        if access == SimAccess::Information {
            return Ok(Content::Closed);
        }
        if let Some(sparse) = chain.iter().find(|file| is_sparse(file)) {
            return Err(sparse_error(sparse));
        }
        if let Some(owner) = &found.owner {
            // The worker process of a VM that is on has all files of its disks open: the leaf
            // for writing, what lies beneath for reading.
            let on = !matches!(self.vm(owner.vm)?.state, VmState::Off | VmState::Saved);
            if on && (access == SimAccess::Write || owner.place == Place::Leaf) {
                return Err(HypervError::new(
                    HypervErrorKind::InUse,
                    format!("open {}: its VM is on", path.display()),
                )
                .with_code(codes::SHARING_VIOLATION));
            }
        }
        Ok(match access {
            SimAccess::Write => Content::Writing(Box::new(self.host.open_for_writing(&chain)?)),
            _ => Content::Reading(ChainReader::open(&chain)?),
        })
    }

    fn has_faults_of_reading(&self, vm: VmId) -> Result<bool, HypervError> {
        Ok(self.vm(vm)?.faults.iter().any(|record| {
            matches!(
                record.fault,
                SimFault::Unreadable { .. } | SimFault::JobFailsAt { step: Step::Read }
            )
        }))
    }
}

impl SimVirtualDisk {
    /// Returns what the file says of itself.
    pub fn facts(&self) -> &SimDiskFacts {
        &self.facts
    }

    /// Returns what the disk's tracking said of itself when the file was opened.
    pub fn tracking(&self) -> &SimTracking {
        &self.tracking
    }

    /// Tells what was written between `base` and what the file holds, as far as one answer goes.
    ///
    /// # Errors
    /// The reason, with the host's code, if the disk cannot tell.
    pub fn query_changes(
        &self,
        base: &str,
        offset: u64,
        length: u64,
    ) -> Result<PartialAnswer, UnknownReason> {
        let mut enquiry = self.enquiry.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(enquiry) = enquiry
            .as_ref()
            .filter(|enquiry| enquiry.goes_on(base, offset))
        {
            return Ok(enquiry.answer(offset, length));
        }
        let mut session = self.host.session().map_err(|error| UnknownReason {
            code: error.code(),
            text: error.to_string(),
        })?;
        let begun = session.begin_enquiry(self.owner.as_ref(), base)?;
        Ok(enquiry.insert(begun).answer(offset, length))
    }

    /// Reads content.
    ///
    /// # Errors
    /// `Refused` if it was opened for information, else as [`BlockRead::read_at`].
    pub fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), DiskError> {
        if let Some(window) = ByteRange::at(offset, buf.len() as u64)
            && self.faulty
        {
            self.strike_read(window)?;
        }
        match &self.content {
            Content::Closed => Err(not_opened_for("read")),
            Content::Reading(reader) => reader.read_at(offset, buf),
            Content::Writing(disk) => disk.read_at(offset, buf).map_err(container::disk_error),
        }
    }

    /// Writes content.
    ///
    /// # Errors
    /// `Refused` unless it was opened for writing.
    pub fn write_at(&self, offset: u64, data: &[u8]) -> Result<(), DiskError> {
        match &self.content {
            Content::Writing(disk) => disk.write_at(offset, data).map_err(container::disk_error),
            _ => Err(not_opened_for("write")),
        }
    }

    /// Makes everything written so far durable.
    pub fn flush(&self) -> Result<(), DiskError> {
        match &self.content {
            Content::Writing(disk) => disk.flush().map_err(container::disk_error),
            _ => Err(not_opened_for("write")),
        }
    }

    /// Returns the first range at or after `from` that is not known to be zeros.
    pub fn next_allocated(&self, from: u64) -> Result<Option<ByteRange>, DiskError> {
        match &self.content {
            Content::Reading(reader) => reader.next_allocated(from),
            _ => Ok(ByteRange::new(from, self.facts.geometry.virtual_bytes)),
        }
    }

    fn strike_read(&self, window: ByteRange) -> Result<(), DiskError> {
        let Some(owner) = &self.owner else {
            return Ok(());
        };
        let matches = |fault: &SimFault| match *fault {
            SimFault::JobFailsAt { step } => step == Step::Read,
            SimFault::Unreadable { start, end, disk } => {
                disk.is_none_or(|disk| disk == owner.number)
                    && start < window.end()
                    && window.start() < end
            }
            _ => false,
        };
        let struck = self.host.session();
        match struck.and_then(|mut session| session.strike(owner.vm, matches)) {
            Ok(None) => Ok(()),
            Ok(Some(fault)) => Err(DiskError::new(
                DiskErrorKind::Unreadable,
                format!(
                    "read {} bytes at {}: {fault}",
                    window.bytes(),
                    window.start()
                ),
            )),
            Err(error) => {
                Err(DiskError::new(DiskErrorKind::Refused, "ask the host").caused_by(error))
            }
        }
    }
}

fn not_opened_for(what: &str) -> DiskError {
    DiskError::new(
        DiskErrorKind::Refused,
        format!("{what} a virtual disk that was not opened for it"),
    )
}
