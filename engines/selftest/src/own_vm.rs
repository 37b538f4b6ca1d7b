//! A VM that a self-test makes for itself: small, off, with one disk; gone when that is over.
//!
//! `selftest/own.json` in the state folder says what it is called and where its files go before
//! anything is made. Its name is nobody else's, nor is its folder.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use backup::BackupErrorKind;
use backup::vm::{SELF_TEST_VM, StateFolder};
use disk::Geometry;
use hyperv::{HypervError, HypervErrorKind, HypervHost, NewDisk, VmId};
use serde::{Deserialize, Serialize};
use time_and_chance::{Chance, SharedClock, Timestamp};
use windows_host::hyperv::OwnVm;

use crate::cleaning::{clean, remove_named};
use crate::error::{SelfTestError, SelfTestErrorKind, backup_error, host_error, state_error};
use crate::journal::{FOLDER, Journals};
use crate::options::{Connect, Connected};
use crate::texts::{FORMS, in_form};

const NOTES: &str = "Made by e3-backup-agent for a self-test, which removes it; so does `e3-backup-agent host clean`.";
/// So long after the host was asked for a VM it may come: twice as long as a job may take, which is told
/// to end then.
const COMES_WITHIN_SECONDS: i64 = 20 * 60;
const DISK_BYTES: u64 = 16 << 20;
/// What is written to the disk: so much at its beginning and in its middle.
const WRITTEN_BYTES: usize = 1 << 20;

/// The VM there is, or was to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Own {
    name: String,
    folder: PathBuf,
    /// Its GUID, once that is known.
    vm: Option<VmId>,
    /// When the host was asked for it, unless the host said no.
    #[serde(default)]
    asked_at: Option<Timestamp>,
}

impl Own {
    /// Returns whether the host may still be making the VM, which it was asked for and does not list.
    fn may_come(&self, now: Timestamp) -> bool {
        let asked_at = self.asked_at.filter(|_| self.vm.is_none());
        asked_at.is_some_and(|asked_at| {
            let waited = now.as_second().saturating_sub(asked_at.as_second());
            waited < COMES_WITHIN_SECONDS
        })
    }
}

/// What self-tests left of VMs of their own, and what became of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CleanedVms {
    /// VMs that were removed with their files (or would be, in a dry run).
    pub vms: Vec<VmId>,
    /// What stays for now, and why.
    pub warnings: Vec<String>,
}

/// Removes the VM that a killed self-test had made, and its files. One that a self-test works with
/// right now is no leftover; one that bears such a name and is written down nowhere is told of.
///
/// # Errors
/// `Host` if the host cannot be asked; what is written down stays then, and the next attempt goes on.
pub fn clean_vms(
    on: &Connected,
    state_folder: &Path,
    now: Timestamp,
    dry_run: bool,
) -> Result<CleanedVms, SelfTestError> {
    if on.probing.is_none() {
        return Ok(CleanedVms::default());
    }
    let state = StateFolder::open(state_folder).map_err(backup_error("begin"))?;
    let _lock = match state.lock_self_test() {
        Ok(lock) => lock,
        Err(error) if error.kind() == BackupErrorKind::Locked => return Ok(CleanedVms::default()),
        Err(error) => return Err(backup_error("begin")(error)),
    };
    let mut cleaned = remove(on, &state, state_folder, now, dry_run)?;
    let vms = on.host.vms();
    let vms = vms.map_err(host_error("look for VMs of self-tests"))?;
    let others = vms
        .iter()
        .filter(|vm| vm.name.starts_with(SELF_TEST_VM) && !cleaned.vms.contains(&vm.id));
    let told = others.map(|vm| {
        format!(
            "{} was made by a self-test that the state folder knows nothing of; if none is at work, remove it with its files",
            vm.name
        )
    });
    cleaned.warnings.extend(told);
    Ok(cleaned)
}

/// Removes the VM and its files; says why, if they have to stay for now. The caller holds the lock.
pub(crate) fn remove(
    on: &Connected,
    state: &StateFolder,
    state_folder: &Path,
    now: Timestamp,
    dry_run: bool,
) -> Result<CleanedVms, SelfTestError> {
    let mut cleaned = CleanedVms::default();
    // A simulated host knows nothing of this machine's VMs.
    let (Some(own), Some(probing)) = (read(state_folder)?, &on.probing) else {
        return Ok(cleaned);
    };
    if !dry_run {
        give_up_copies(&*on.host, &own)?;
    }
    let vms = on.host.vms();
    let mut vms = vms.map_err(host_error("look for the VM of a self-test"))?;
    vms.retain(|vm| vm.name == own.name || Some(vm.id) == own.vm);
    if vms.is_empty() && own.may_come(now) {
        cleaned.warnings.push(format!(
            "the host may still be making the VM {} of a self-test, and does not list it: what is known of it is kept for {} minutes after it was asked for",
            own.name,
            COMES_WITHIN_SECONDS / 60
        ));
    }
    for vm in vms.into_iter().map(|vm| vm.id) {
        cleaned.vms.push(vm);
        if dry_run {
            continue;
        }
        let _lock = match state.lock(vm) {
            Ok(lock) => lock,
            Err(error) if error.kind() == BackupErrorKind::Locked => {
                let why = format!("could not remove the VM of a self-test yet: {error}");
                cleaned.warnings.push(why);
                continue;
            }
            Err(error) => return Err(backup_error("remove its VM")(error)),
        };
        let of_vm = clean(&*on.host, state_folder, vm, false)?;
        if Journals::new(state_folder).read(vm)?.is_some() {
            cleaned.warnings.extend(of_vm.warnings);
            continue;
        }
        match probing.destroy_vm(vm) {
            Ok(()) => {}
            Err(error) if error.kind() == HypervErrorKind::NotFound => {}
            Err(error)
                if matches!(error.kind(), HypervErrorKind::InUse | HypervErrorKind::Busy) =>
            {
                let why = format!("could not remove the VM of a self-test yet: {error}");
                cleaned.warnings.push(why);
            }
            Err(error) => return Err(host_error("remove the VM of a self-test")(error)),
        }
    }
    if dry_run || !cleaned.warnings.is_empty() {
        return Ok(cleaned);
    }
    // A VM that went without us has left its journal.
    if let Some(vm) = own.vm {
        Journals::new(state_folder).clear(vm)?;
    }
    match remove_named(&own.name, &own.folder) {
        Ok(()) => forget(state_folder)?,
        Err(error) => cleaned.warnings.push(format!(
            "could not remove the files of a self-test's VM in {} yet: {error}",
            own.folder.display()
        )),
    }
    Ok(cleaned)
}

/// Gives planned VMs up that were imported of the VM and bear its name still.
fn give_up_copies(host: &dyn HypervHost, own: &Own) -> Result<(), SelfTestError> {
    let planned = host.planned_vms();
    for (id, name) in planned.map_err(host_error("look for planned VMs"))? {
        if name == own.name {
            host.abort_planned(id)
                .map_err(host_error("give a planned VM up"))?;
        }
    }
    Ok(())
}

/// Makes the VM, with a disk that holds something. What was made of it before an error is removed as
/// after a kill.
pub(crate) fn make(
    on: &Connected,
    connect: &dyn Connect,
    state_folder: &Path,
    (clock, chance): (&SharedClock, &Chance),
) -> Result<VmId, SelfTestError> {
    let name = format!("{SELF_TEST_VM}{}", chance.uuid());
    let folder = on.host.default_vm_folder(&name);
    let folder = folder.map_err(host_error("ask where VMs go"))?;
    let mut own = Own {
        name,
        folder,
        vm: None,
        asked_at: None,
    };
    write(state_folder, &own)?;
    let disk = own.folder.join("disk.vhdx");
    make_disk(on, &disk, chance).map_err(host_error("make a disk for its own VM"))?;
    let vm = OwnVm {
        name: own.name.clone(),
        notes: NOTES.to_owned(),
        folder: own.folder.clone(),
        disk,
    };
    own.asked_at = Some(clock.now());
    write(state_folder, &own)?;
    let id = match define(connect, &vm) {
        Ok(id) => id,
        Err(error) => {
            if error.kind() != HypervErrorKind::OutcomeUnknown {
                own.asked_at = None;
                write(state_folder, &own)?;
            }
            return Err(host_error("make a VM of its own")(error));
        }
    };
    own.vm = Some(id);
    write(state_folder, &own)?;
    Ok(id)
}

/// Defines the VM in the first form of texts that the host takes (RH-17).
fn define(connect: &dyn Connect, vm: &OwnVm) -> Result<VmId, HypervError> {
    let mut refused = None;
    for form in FORMS {
        let on = connect.connect(&in_form(form))?;
        let Some(probing) = &on.probing else { continue };
        match probing.make_vm(vm) {
            Err(error) if error.kind() == HypervErrorKind::Invalid => {
                // What was defined and got no disk is in the way of the next.
                for half in on.host.vms()?.iter().filter(|half| half.name == vm.name) {
                    probing.destroy_vm(half.id)?;
                }
                refused.get_or_insert(error);
            }
            other => return other,
        }
    }
    Err(refused.unwrap_or_else(|| {
        HypervError::new(
            HypervErrorKind::Unsupported,
            "only this machine's own Hyper-V can be asked for a VM: name one with --vm",
        )
    }))
}

fn make_disk(on: &Connected, path: &Path, chance: &Chance) -> Result<(), HypervError> {
    let new = NewDisk {
        geometry: Geometry {
            virtual_bytes: DISK_BYTES,
            logical_sector_bytes: 512,
            physical_sector_bytes: 4096,
        },
        block_bytes: Some(WRITTEN_BYTES as u32),
        virtual_disk_id: chance.uuid(),
    };
    let disk = on.host.create_disk(path, &new)?;
    let content: Vec<u8> = (0..WRITTEN_BYTES).map(|at| (at % 251) as u8).collect();
    let written = disk
        .write_at(0, &content)
        .and_then(|()| disk.write_at(DISK_BYTES / 2, &content))
        .and_then(|()| disk.flush());
    written.map_err(|error| {
        HypervError::new(HypervErrorKind::Failed, "write to a new disk").caused_by(error)
    })
}

fn path(state_folder: &Path) -> PathBuf {
    state_folder.join(FOLDER).join("own.json")
}

fn read(state_folder: &Path) -> Result<Option<Own>, SelfTestError> {
    let path = path(state_folder);
    match fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|error| state_error("understand", &path)(error.into())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(state_error("read", &path)(error)),
    }
}

fn write(state_folder: &Path, own: &Own) -> Result<(), SelfTestError> {
    let folder = state_folder.join(FOLDER);
    local_file::create_private_folders(&folder).map_err(state_error("create", &folder))?;
    let bytes = serde_json::to_vec_pretty(own).expect("it has no odd keys");
    let path = path(state_folder);
    local_file::replace(&path, &bytes).map_err(state_error("write", &path))
}

fn forget(state_folder: &Path) -> Result<(), SelfTestError> {
    let path = path(state_folder);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(state_error("delete", &path)(error))
        }
        _ => Ok(()),
    }
}

/// Returns the error of a host that makes no VMs.
pub(crate) fn makes_none() -> SelfTestError {
    SelfTestError::new(
        SelfTestErrorKind::Host(HypervErrorKind::Unsupported),
        "make a VM of its own: only this machine's own Hyper-V does; name one with --vm",
    )
}
