//! Putting a VM onto the simulated host, and taking it away.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::SimHost;
use super::container::{self, Subformat};
use super::fault::Step;
use super::folder::{is_sparse, sparse_error};
use super::io_error::io_error;
use super::session::Session;
use super::sparse_file;
use super::state::{DiskRecord, VmRecord};
use super::vm_configuration::{self, VmConfiguration};
use crate::vm_folder::file_name;
use crate::{
    Controller, Generation, GuestSystem, HypervError, HypervErrorKind, NetworkAdapter, OmittedDisk,
    SECURE_BOOT, VmId, VmState, codes,
};

/// The configuration version whose VMs are never tracked (Hyper-V spec 3.6).
const UNTRACKED_VERSION: &str = "5.0";

/// What runs in a VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SimGuest {
    /// A Windows with working integration services.
    Windows,
    /// A Linux with `hv_vss_daemon`.
    Linux,
    /// Nothing that answers the host.
    None,
}

/// What a new disk holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SimDiskContent {
    /// A copy of a VHDX file, holes kept.
    CopyOf(PathBuf),
    /// Nothing yet.
    New {
        /// Its length.
        virtual_bytes: u64,
        /// 512 or 4096.
        logical_sector_bytes: u32,
        /// How its file is laid out.
        subformat: Subformat,
    },
}

/// A disk to be put into a VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SimDisk {
    /// What it holds.
    pub content: SimDiskContent,
    /// Whether it counts as shared between VMs.
    pub shared: bool,
    /// Whether changes are tracked; without, it behaves as an old-format VHD does.
    pub trackable: bool,
}

impl SimDisk {
    /// Returns an ordinary disk that holds a copy of a VHDX file.
    pub fn copy_of(path: impl Into<PathBuf>) -> Self {
        Self::holding(SimDiskContent::CopyOf(path.into()))
    }

    /// Returns an ordinary dynamic disk of 512-byte sectors.
    pub fn new(virtual_bytes: u64) -> Self {
        Self::holding(SimDiskContent::New {
            virtual_bytes,
            logical_sector_bytes: 512,
            subformat: Subformat::Dynamic,
        })
    }

    /// Returns an ordinary disk.
    pub fn holding(content: SimDiskContent) -> Self {
        Self {
            content,
            shared: false,
            trackable: true,
        }
    }
}

/// A VM to be put onto the simulated host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SimVm {
    /// Its name.
    pub name: String,
    /// First or second generation.
    pub generation: Generation,
    /// Its configuration version; the host's newest if `None`.
    pub version: Option<String>,
    /// What runs in it.
    pub guest: SimGuest,
    /// What it is doing.
    pub state: VmState,
    /// Its disks, in the order of their numbers.
    pub disks: Vec<SimDisk>,
    /// Names of physical disks passed through to it.
    pub pass_through: Vec<String>,
}

impl SimVm {
    /// Returns a running Windows VM of generation 2 with these disks.
    pub fn new(name: impl Into<String>, disks: Vec<SimDisk>) -> Self {
        Self {
            name: name.into(),
            generation: Generation::Two,
            version: None,
            guest: SimGuest::Windows,
            state: VmState::Running,
            disks,
            pass_through: Vec::new(),
        }
    }
}

impl SimHost {
    /// Puts a VM onto the host.
    ///
    /// # Errors
    /// `Failed` with 0xC03A001A if a disk file to copy carries the simulated sparse attribute;
    /// `Unsupported` if one is differencing.
    pub fn add_vm(&self, vm: &SimVm) -> Result<VmId, HypervError> {
        let mut session = self.session()?;
        let folder = self.fresh_vm_folder(&vm.name);
        session.add_vm(vm, folder, 1)
    }

    /// Defines a VM that is off and has neither disks nor network adapters. Its folder is made if it
    /// is not there.
    pub fn define_vm(
        &self,
        name: &str,
        generation: Generation,
        folder: Option<&Path>,
    ) -> Result<VmId, HypervError> {
        let vm = SimVm {
            generation,
            guest: SimGuest::None,
            state: VmState::Off,
            ..SimVm::new(name, Vec::new())
        };
        self.restore_call(Step::Realise, |session| {
            let folder = match folder {
                Some(folder) => self.inside(folder)?,
                None => self.fresh_vm_folder(name),
            };
            session.add_vm(&vm, folder, 0)
        })
    }

    /// Puts a disk file that is there into a VM that is off.
    ///
    /// # Errors
    /// `Busy` if the VM is not off, `Invalid` if the place is taken, whatever stands against the file.
    pub fn attach_disk(
        &self,
        vm: VmId,
        path: &Path,
        place: (Controller, u32, u32),
    ) -> Result<(), HypervError> {
        self.restore_call(Step::SetDisks, |session| {
            let record = session.vm(vm)?;
            if record.state != VmState::Off {
                let message = "put a disk into a VM: it is not off";
                return Err(HypervError::new(HypervErrorKind::Busy, message)
                    .with_code(codes::INVALID_STATE));
            }
            if record.disks.iter().any(|disk| disk.place() == place) {
                let message = "put a disk into a VM: its place is taken";
                return Err(HypervError::new(HypervErrorKind::Invalid, message)
                    .with_code(codes::INVALID_PARAMETER));
            }
            let is_trackable = record.version != UNTRACKED_VERSION;
            session.check_disk_file(path)?;
            let mut new = session.disk_record(&self.inside(path)?, place)?;
            new.trackable = is_trackable;
            let record = session.vm_mut(vm)?;
            record.disks.push(new);
            record.sort_disks();
            session.save()?;
            session.write_configuration(vm)
        })
    }

    /// Takes a VM away; its disk files stay if asked for.
    ///
    /// # Errors
    /// `InUse` if one of its disk files is held open.
    pub fn delete_vm(&self, vm: VmId, keep_disk_files: bool) -> Result<(), HypervError> {
        let mut session = self.session()?;
        let index = session.index(vm)?;
        let record = session.state.vms[index].clone();
        let mut files = Vec::new();
        for disk in &record.disks {
            for file in record.chains(disk.key).flatten() {
                container::check_closed(&session.path(file))?;
                files.push(file.clone());
            }
            files.push(disk.tracking_file());
        }
        if keep_disk_files {
            let first_of = |disk: &DiskRecord| disk.tracking_file();
            files = record.disks.iter().map(first_of).collect();
        }
        for checkpoint in &record.checkpoints {
            files.extend(checkpoint.configuration_files.iter().cloned());
        }
        let machines = record.folder.join("Virtual Machines");
        files.extend(["vmcx", "vmrs", "vmgs"].map(|end| machines.join(format!("{vm}.{end}"))));
        session.state.vms.remove(index);
        session.doom(files);
        session.finish()?;
        // Empty folders go, others stay: foreign files are not ours to remove.
        for folder in [machines, record.folder.join("Snapshots"), record.folder] {
            if let Err(error) = fs::remove_dir(self.root.join(&folder)) {
                let expected = [
                    std::io::ErrorKind::NotFound,
                    std::io::ErrorKind::DirectoryNotEmpty,
                ];
                if !expected.contains(&error.kind()) {
                    return Err(io_error("remove", &folder, error));
                }
            }
        }
        Ok(())
    }
}

impl Session<'_> {
    /// Adds a VM whose files go to a folder of the host.
    fn add_vm(
        &mut self,
        vm: &SimVm,
        folder: PathBuf,
        network_adapters: usize,
    ) -> Result<VmId, HypervError> {
        let whole = self.path(&folder);
        if !whole.exists() {
            self.intend(std::slice::from_ref(&folder))?;
        }
        fs::create_dir_all(&whole).map_err(|error| io_error("make", &whole, error))?;

        let version = vm.version.clone();
        let version = version.unwrap_or_else(|| self.state.configuration_version.clone());
        let mut disks = Vec::new();
        for (number, disk) in vm.disks.iter().enumerate() {
            let number = number as u32;
            let path = self.make_disk_file(&folder, &vm.name, number, &disk.content)?;
            let place = place_of(vm.generation, number);
            let mut record = self.disk_record(&path, place)?;
            record.shared = disk.shared;
            record.trackable = disk.trackable && version != UNTRACKED_VERSION;
            disks.push(record);
        }
        let id = VmId(self.host.chance.uuid());
        let adapters = (0..network_adapters).map(|_| {
            let mac = self.host.chance.bytes::<3>();
            NetworkAdapter {
                name: "Network Adapter".to_owned(),
                mac_address: format!("00155D{:02X}{:02X}{:02X}", mac[0], mac[1], mac[2]),
                switch: self.state.switches.first().cloned(),
            }
        });
        let network_adapters = adapters.collect();
        let omitted_disks = vm.pass_through.iter().map(|name| OmittedDisk {
            name: name.clone(),
            reason: "pass-through".to_owned(),
        });
        let configuration = VmConfiguration {
            id,
            name: vm.name.clone(),
            generation: vm.generation,
            version,
            guest: guest_system(vm.guest),
            firmware: match vm.generation {
                Generation::One => "BIOS".to_owned(),
                Generation::Two => format!("UEFI, {SECURE_BOOT}"),
            },
            processors: 2,
            memory_bytes: 4 << 30,
            network_adapters,
            disks: Vec::new(),
            omitted_disks: omitted_disks.collect(),
        };
        let guest_state = self.host.chance.uuid().simple().to_string();
        let created = self.host.clock.now();
        let mut record = VmRecord::new(configuration, guest_state, folder.clone(), created);
        record.state = vm.state;
        record.disks = disks;
        record.sort_disks();
        self.state.vms.push(record);
        self.spare(&[folder]);
        self.save()?;
        self.write_configuration(id)?;
        Ok(id)
    }

    /// Makes the file of a new disk in a VM's folder and returns its path.
    pub(super) fn make_disk_file(
        &self,
        folder: &Path,
        vm_name: &str,
        number: u32,
        content: &SimDiskContent,
    ) -> Result<PathBuf, HypervError> {
        self.host.fuse.burn()?;
        match content {
            SimDiskContent::CopyOf(source) => {
                if is_sparse(source) {
                    return Err(sparse_error(source));
                }
                // Held until the copy is made: nobody writes to the source meanwhile.
                let _held = container::open_shared(source)?;
                let facts = container::facts(source)?;
                if facts.differencing {
                    return Err(HypervError::new(
                        HypervErrorKind::Unsupported,
                        format!("add {}: it is a differencing disk", source.display()),
                    )
                    .with_code(codes::VHD_INVALID_TYPE));
                }
                let stem = source
                    .file_stem()
                    .and_then(|stem| stem.to_str())
                    .unwrap_or(vm_name);
                let path = self.free_disk_path(folder, stem);
                sparse_file::copy(source, &self.path(&path))?;
                Ok(path)
            }
            &SimDiskContent::New {
                virtual_bytes,
                logical_sector_bytes,
                subformat,
            } => {
                let stem = match number {
                    0 => file_name(vm_name),
                    _ => format!("{}-{number}", file_name(vm_name)),
                };
                let path = self.free_disk_path(folder, &stem);
                let geometry = disk::Geometry {
                    virtual_bytes,
                    logical_sector_bytes,
                    physical_sector_bytes: 4096,
                };
                let chance = &self.host.chance;
                let options = container::create_options(geometry, None, chance.uuid(), chance);
                container::create(&self.path(&path), &options, subformat)?;
                Ok(path)
            }
        }
    }

    fn free_disk_path(&self, folder: &Path, stem: &str) -> PathBuf {
        let stem = file_name(stem);
        let mut path = folder.join(format!("{stem}.vhdx"));
        let mut number = 2u64;
        while self.path(&path).exists() {
            path = folder.join(format!("{stem} ({number}).vhdx"));
            number += 1;
        }
        path
    }

    /// Returns the record of a disk file that is not yet anyone's.
    pub(super) fn disk_record(
        &self,
        path: &Path,
        (controller, controller_number, location): (Controller, u32, u32),
    ) -> Result<DiskRecord, HypervError> {
        let whole = self.path(path);
        let facts = container::facts(&whole)?;
        Ok(DiskRecord {
            key: self.host.chance.uuid(),
            controller,
            controller_number,
            location,
            chain: vec![path.to_path_buf()],
            virtual_disk_id: facts.virtual_disk_id,
            virtual_bytes: facts.virtual_bytes,
            block_bytes: facts.block_bytes,
            logical_sector_bytes: facts.logical_sector_bytes,
            physical_sector_bytes: facts.physical_sector_bytes,
            shared: false,
            trackable: true,
            tracking: None,
            lost_tracking: Vec::<(Uuid, u32)>::new(),
            marks: [(path.to_path_buf(), container::mark(&whole)?)].into(),
        })
    }

    /// Writes a VM's own configuration files anew. They follow from the state, so one that was
    /// lost in a crash is only late.
    pub(super) fn write_configuration(&self, vm: VmId) -> Result<(), HypervError> {
        let configuration = self.configuration_of(vm)?;
        let record = self.vm(vm)?;
        let files = vm_configuration::encode(&configuration, &record.guest_state, &vm.to_string())?;
        let folder = self.path(&record.folder.join("Virtual Machines"));
        fs::create_dir_all(&folder).map_err(|error| io_error("make", &folder, error))?;
        for file in files {
            let path = folder.join(&file.name);
            fs::write(&path, &file.content).map_err(|error| io_error("write", &path, error))?;
        }
        Ok(())
    }
}

/// Returns where the disk of this number hangs: generation 1 fills its IDE controllers first.
pub(super) fn place_of(generation: Generation, number: u32) -> (Controller, u32, u32) {
    match (generation, number) {
        // The second controller's last place is the DVD drive's.
        (Generation::One, 0..3) => (Controller::Ide, number / 2, number % 2),
        (Generation::One, _) => (Controller::Scsi, (number - 3) / 64, (number - 3) % 64),
        (Generation::Two, _) => (Controller::Scsi, number / 64, number % 64),
    }
}

pub(super) fn guest_system(guest: SimGuest) -> Option<GuestSystem> {
    let (windows, name) = match guest {
        SimGuest::Windows => (true, "Windows Server 2022 Standard"),
        SimGuest::Linux => (false, "Debian GNU/Linux"),
        SimGuest::None => return None,
    };
    Some(GuestSystem {
        windows,
        name: name.to_owned(),
    })
}
