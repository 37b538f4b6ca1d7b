//! The open handles: what each may do, and what it answers. All errors are Win32 codes.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use disk::ByteRange;
use fake_hyperv::from_environment;
use fake_hyperv::virtdisk::{FakeVirtualDiskFile, FakeVirtualDisks};
use hyperv::query_loop::PartialAnswer;
use time_and_chance::{Chance, SystemClock};
use windows::Win32::Foundation::{
    ERROR_ACCESS_DENIED, ERROR_BAD_LENGTH, ERROR_DEV_NOT_EXIST, ERROR_INSUFFICIENT_BUFFER,
    ERROR_INVALID_HANDLE, ERROR_INVALID_PARAMETER, ERROR_NOT_READY, ERROR_NOT_SUPPORTED,
    ERROR_SHARING_VIOLATION, HANDLE,
};
use windows::Win32::System::Ioctl::{GET_DISK_ATTRIBUTES, SET_DISK_ATTRIBUTES};
use windows_host::virtdisk::{
    Access, NewVirtualDisk, Subtype, VirtualDiskError, VirtualDiskFile, VirtualDisks,
};

use crate::answer::Answer;
use crate::calls_of_the_system;
use crate::drive::Drive;
use crate::raw_image::{self, Identity};

const VHD_INVALID_TYPE: u32 = 0xC03A_001B;

/// How a disk is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attaching {
    pub read_only: bool,
    pub as_drive: bool,
}

struct Handle {
    path: PathBuf,
    access: Access,
    image: PathBuf,
    /// By what any handle of the image is known.
    identity: Option<Identity>,
    /// What answers while nothing is attached, where that holds no file open: nobody tells us when
    /// the program closes its handle.
    asked: Option<FakeVirtualDiskFile>,
    attached: Option<Attached>,
}

struct Attached {
    disk: FakeVirtualDiskFile,
    how: Attaching,
    drive: Option<Drive>,
}

static DISKS: OnceLock<Option<Disks>> = OnceLock::new();

/// The simulated host and what is open of it in this process.
pub struct Disks {
    disks: FakeVirtualDisks,
    /// Where images lie.
    images: PathBuf,
    next_image: AtomicU64,
    handles: Mutex<HashMap<isize, Handle>>,
}

impl Disks {
    /// Returns those of the host that the environment names.
    pub fn get() -> Result<&'static Self, u32> {
        let opened = DISKS.get_or_init(|| {
            let (host, manners) = from_environment(SystemClock::new(), Chance::from_system())?;
            calls_of_the_system::take();
            Some(Self {
                images: host.folder().join("attached"),
                disks: FakeVirtualDisks::new(host, manners),
                next_image: AtomicU64::new(0),
                handles: Mutex::default(),
            })
        });
        opened.as_ref().ok_or(ERROR_NOT_SUPPORTED.0)
    }

    /// Returns them if the program has opened any.
    pub fn opened() -> Option<&'static Self> {
        DISKS.get()?.as_ref()
    }

    /// Opens a file. It is checked now, and held once it is attached.
    pub fn open(&self, path: &Path, access: Access) -> Result<HANDLE, u32> {
        let written = self.image_of_writing(path);
        self.take_in_abandoned(path, &written)?;
        let opened = self.disks.open_file(path, access).map_err(code)?;
        let holds_nothing =
            access == Access::Information && !self.disks.manners().information_is_like_reading;
        let asked = holds_nothing.then_some(opened);
        let image = match access {
            Access::Write if written.exists() => return Err(ERROR_SHARING_VIOLATION.0),
            Access::Write => written,
            Access::Information | Access::Read => self.image_of_reading(),
        };
        raw_image::sweep(&self.images);
        let raw = raw_image::make(&image)?;
        let handle = Handle {
            path: path.to_path_buf(),
            access,
            identity: raw_image::identity(raw),
            image,
            asked,
            attached: None,
        };
        // A number that comes again belonged to a handle that was closed.
        match self.handles().insert(raw.0 as isize, handle) {
            Some(mut closed) => closed.detach().map(|()| raw),
            None => Ok(raw),
        }
    }

    /// Makes a dynamic VHDX and opens it.
    pub fn create(&self, path: &Path, disk: &NewVirtualDisk) -> Result<HANDLE, u32> {
        self.disks.create(path, disk).map_err(code)?;
        self.open(path, Access::Information)
    }

    /// Attaches what a handle has open.
    pub fn attach(&self, handle: HANDLE, how: Attaching) -> Result<(), u32> {
        if let Some(refusal) = self.disks.manners().no_local_host_refused
            && !how.as_drive
        {
            return Err(refusal);
        }
        self.with(handle, |handle| {
            let access = match (handle.access, how.read_only) {
                (Access::Information, _) | (Access::Read, false) => {
                    return Err(ERROR_ACCESS_DENIED.0);
                }
                (Access::Read, true) | (Access::Write, true) => Access::Read,
                (Access::Write, false) => Access::Write,
            };
            if handle.attached.is_some() {
                return Err(ERROR_SHARING_VIOLATION.0);
            }
            let disk = self.disks.open_file(&handle.path, access).map_err(code)?;
            raw_image::fill(&handle.image, &disk).map_err(code)?;
            let online = self.disks.manners().drives_come_online;
            let drive = how.as_drive.then(|| Drive::shown(online, how.read_only));
            handle.attached = Some(Attached { disk, how, drive });
            Ok(())
        })
    }

    /// Detaches what a handle has attached.
    pub fn detach(&self, handle: HANDLE) -> Result<(), u32> {
        self.with(handle, |handle| match handle.attached {
            Some(_) => handle.detach(),
            None => Err(ERROR_NOT_READY.0),
        })
    }

    /// Returns what stands for the name of a drive.
    pub fn drive(&self, handle: HANDLE) -> Result<PathBuf, u32> {
        self.with(handle, |handle| match &handle.attached {
            Some(attached) if attached.how.as_drive => Ok(handle.image.clone()),
            _ => Err(ERROR_DEV_NOT_EXIST.0),
        })
    }

    /// Returns the code with which a write is refused because the handle is a drive's, if it is.
    pub fn refusal(&self, file: HANDLE, place: Option<u64>, bytes: u32) -> Option<u32> {
        self.with_drive(file, |image, drive, sector_bytes| {
            let range = place.and_then(|place| ByteRange::at(place, bytes.into()));
            let range = range.ok_or(ERROR_INVALID_PARAMETER.0)?;
            let whole = [range.start(), range.bytes()];
            if whole
                .iter()
                .any(|it| !it.is_multiple_of(sector_bytes.into()))
            {
                return Err(ERROR_INVALID_PARAMETER.0);
            }
            let table = raw_image::table(image)?;
            drive
                .refusal(&table, sector_bytes, range)
                .map_or(Ok(()), Err)
        })?
        .err()
    }

    /// Changes attributes of a drive, if the handle is one's; returns how long the answer is.
    pub fn set_attributes(
        &self,
        device: HANDLE,
        wanted: Option<&SET_DISK_ATTRIBUTES>,
    ) -> Option<Result<u32, u32>> {
        let refused = self.disks.manners().offline_refused;
        self.with_drive(device, |_, drive, _| {
            let wanted = wanted.ok_or(ERROR_BAD_LENGTH.0)?;
            if wanted.Version as usize != size_of_val(wanted) {
                return Err(ERROR_INVALID_PARAMETER.0);
            }
            match refused {
                Some(0) => {}
                Some(code) => return Err(code),
                None => drive.set(wanted.Attributes, wanted.AttributesMask),
            }
            Ok(0)
        })
    }

    /// Tells the attributes of a drive, if the handle is one's; returns how long the answer is.
    pub fn attributes(
        &self,
        device: HANDLE,
        place: Option<&mut GET_DISK_ATTRIBUTES>,
    ) -> Option<Result<u32, u32>> {
        self.with_drive(device, |_, drive, _| {
            let place = place.ok_or(ERROR_INSUFFICIENT_BUFFER.0)?;
            let bytes = size_of_val(place) as u32;
            *place = GET_DISK_ATTRIBUTES {
                Version: bytes,
                Reserved1: 0,
                Attributes: drive.attributes(),
            };
            Ok(bytes)
        })
    }

    /// Answers for one version of information.
    pub fn information(&self, handle: HANDLE, version: i32) -> Result<Answer, u32> {
        self.with_disk(handle, |disk| {
            Ok(match version {
                1 => Answer::Size(disk.size().map_err(code)?),
                3 => match disk.parent().map_err(code)? {
                    Some(parent) => Answer::Text(vec![1], parent.display().to_string()),
                    None => return Err(VHD_INVALID_TYPE),
                },
                6 => Answer::StorageType(disk.container().map_err(code)?),
                7 => Answer::Word(match disk.subtype().map_err(code)? {
                    Subtype::Fixed => 2,
                    Subtype::Dynamic => 3,
                    Subtype::Differencing => 4,
                    Subtype::Other(other) => other,
                }),
                10 => Answer::Word(disk.physical_sector_bytes().map_err(code)?),
                14 => Answer::Guid(disk.virtual_disk_id().map_err(code)?),
                15 => {
                    let tracking = disk.change_tracking().map_err(code)?;
                    let flags = vec![tracking.enabled.into(), tracking.newer_changes.into()];
                    Answer::Text(flags, tracking.most_recent_id)
                }
                _ => return Err(ERROR_INVALID_PARAMETER.0),
            })
        })
    }

    /// Answers a query for changes with at most `ranges_max` ranges.
    pub fn query_changes(
        &self,
        handle: HANDLE,
        id: &str,
        offset: u64,
        bytes: u64,
        ranges_max: usize,
    ) -> Result<PartialAnswer, u32> {
        let mut answer = self.with_disk(handle, |disk| {
            disk.query_changes(id, offset, bytes).map_err(code)
        })?;
        if answer.ranges.len() > ranges_max {
            answer.ranges.sort_by_key(|range| range.start());
            let next = answer.ranges[ranges_max];
            answer.ranges.truncate(ranges_max);
            answer.ranges.reverse();
            answer.processed_bytes = next.start() - offset;
        }
        Ok(answer)
    }

    fn with<T>(
        &self,
        handle: HANDLE,
        work: impl FnOnce(&mut Handle) -> Result<T, u32>,
    ) -> Result<T, u32> {
        let mut handles = self.handles();
        let handle = handles.get_mut(&(handle.0 as isize));
        work(handle.ok_or(ERROR_INVALID_HANDLE.0)?)
    }

    /// Works with the drive that a handle of the program is one of, with its image and how long its
    /// sectors are; none if it is no drive's.
    fn with_drive<T>(
        &self,
        handle: HANDLE,
        work: impl FnOnce(&Path, &mut Drive, u32) -> Result<T, u32>,
    ) -> Option<Result<T, u32>> {
        let mut handles = self.handles();
        let mut drives = handles.values_mut().filter_map(|handle| {
            let attached = handle.attached.as_mut()?;
            let drive = attached.drive.as_mut()?;
            Some((handle.identity?, &handle.image, &attached.disk, drive))
        });
        // Programs write to much that is no drive, so it is not asked what that is.
        let first = drives.next()?;
        let identity = raw_image::identity(handle)?;
        let mut drives = std::iter::once(first).chain(drives);
        let (_, image, disk, drive) = drives.find(|(known, ..)| *known == identity)?;
        let sector_bytes = disk.size().map_err(code).map(|size| size.sector_bytes);
        Some(sector_bytes.and_then(|bytes| work(image, drive, bytes)))
    }

    /// Asks the disk of a handle, attached or not.
    fn with_disk<T>(
        &self,
        handle: HANDLE,
        work: impl FnOnce(&FakeVirtualDiskFile) -> Result<T, u32>,
    ) -> Result<T, u32> {
        self.with(handle, |handle| match (&handle.attached, &handle.asked) {
            (Some(attached), _) => work(&attached.disk),
            (None, Some(asked)) => work(asked),
            (None, None) => work(
                &self
                    .disks
                    .open_file(&handle.path, Access::Information)
                    .map_err(code)?,
            ),
        })
    }

    fn handles(&self) -> MutexGuard<'_, HashMap<isize, Handle>> {
        self.handles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Brings in what a program wrote that died before it detached.
    fn take_in_abandoned(&self, path: &Path, image: &Path) -> Result<(), u32> {
        if !raw_image::is_abandoned(image) {
            return Ok(());
        }
        if !raw_image::is_empty(image) {
            let disk = self.disks.open_file(path, Access::Write).map_err(code)?;
            raw_image::fold(image, &disk).map_err(code)?;
        }
        std::fs::remove_file(image).map_err(|error| raw_image::code_of(&error))
    }

    fn image_of_reading(&self) -> PathBuf {
        let number = self.next_image.fetch_add(1, Ordering::Relaxed);
        let process = std::process::id();
        self.images.join(format!("{process}-{number}.raw"))
    }

    fn image_of_writing(&self, path: &Path) -> PathBuf {
        let mut hasher = DefaultHasher::new();
        path.hash(&mut hasher);
        let name = format!("{:016x}.{}", hasher.finish(), raw_image::WRITTEN);
        self.images.join(name)
    }
}

impl Handle {
    fn detach(&mut self) -> Result<(), u32> {
        let Some(attached) = self.attached.take() else {
            return Ok(());
        };
        if !attached.how.read_only {
            raw_image::fold(&self.image, &attached.disk).map_err(code)?;
        }
        raw_image::empty(&self.image);
        Ok(())
    }
}

fn code(error: VirtualDiskError) -> u32 {
    error.code
}
