//! Planned VMs: from an import to a VM, or to nothing.

use std::path::{Path, PathBuf};

use super::SimHost;
use super::container;
use super::fault::Step;
use super::folder::{is_sparse, sparse_error};
use super::session::Session;
use super::state::{PlannedRecord, VmRecord};
use super::vm_configuration::{self, VmConfiguration, version_key};
use crate::{
    ConfigurationFile, FrozenDisk, HypervError, HypervErrorKind, PlannedVm, ValidationMessage,
    VmId, codes,
};

impl SimHost {
    /// Imports a VM's configuration under the name it has, to `folder` if that is on this host, else
    /// to a fresh one: what follows is told apart, as Windows' own interface does (Hyper-V spec 10.1
    /// step 3).
    pub fn import_definition(
        &self,
        configuration: &[ConfigurationFile],
        folder: Option<&Path>,
        new_id: bool,
    ) -> Result<PlannedVm, HypervError> {
        self.restore_call(Step::Import, |session| {
            let (known, _) = vm_configuration::decode(configuration)?;
            let folder = match folder.filter(|folder| self.inside(folder).is_ok()) {
                Some(folder) => folder.to_owned(),
                None => session.path(&self.fresh_vm_folder(&known.name)),
            };
            session.import_planned(configuration, &folder, &known.name, new_id)
        })
    }

    /// Gives a planned VM another name (step 4).
    pub fn rename_planned(&self, planned: VmId, name: &str) -> Result<(), HypervError> {
        let mut session = self.session()?;
        session.planned_mut(planned)?.name = name.to_owned();
        session.save()
    }

    /// Sets where a planned VM's files go (step 4).
    pub fn move_planned(&self, planned: VmId, folder: &Path) -> Result<(), HypervError> {
        let folder = self.inside(folder)?;
        let mut session = self.session()?;
        session.planned_mut(planned)?.folder = folder;
        session.save()
    }

    /// Points some disks of a planned VM to files, by their places, or takes them away (step 5).
    pub fn set_some_planned_disks(
        &self,
        planned: VmId,
        paths: &[(usize, Option<PathBuf>)],
    ) -> Result<(), HypervError> {
        self.restore_call(Step::SetDisks, |session| {
            for (disk, path) in paths {
                let path = match path {
                    Some(path) => Some(session.path(&self.inside(path)?)),
                    None => None,
                };
                let disks = &mut session.planned_mut(planned)?.disk_paths;
                let count = disks.len();
                *disks.get_mut(*disk).ok_or_else(|| {
                    HypervError::new(
                        HypervErrorKind::Invalid,
                        format!("point disk {disk} of a planned VM that has {count}"),
                    )
                    .with_code(codes::INVALID_PARAMETER)
                })? = path;
            }
            session.save()
        })
    }

    /// Takes a disk that cannot be there out of a planned VM (step 5).
    pub fn remove_planned_omitted_disk(
        &self,
        planned: VmId,
        name: &str,
    ) -> Result<(), HypervError> {
        let mut session = self.session()?;
        let omitted = &mut session.planned_mut(planned)?.configuration.omitted_disks;
        omitted.retain(|disk| disk.name != name);
        session.save()
    }
}

impl Session<'_> {
    pub(super) fn planned_mut(&mut self, planned: VmId) -> Result<&mut PlannedRecord, HypervError> {
        let index = self.planned_index(planned)?;
        Ok(&mut self.state.planned[index])
    }

    /// Imports a VM's configuration (Hyper-V spec 10.1 steps 3 and 4).
    pub(super) fn import_planned(
        &mut self,
        configuration: &[ConfigurationFile],
        folder: &Path,
        name: &str,
        new_id: bool,
    ) -> Result<PlannedVm, HypervError> {
        let (mut configuration, guest_state) = vm_configuration::decode(configuration)?;
        let folder = self.host.inside(folder)?;
        let ours = &self.state.configuration_version;
        if version_key(&configuration.version) > version_key(ours) {
            return Err(HypervError::new(
                HypervErrorKind::Unsupported,
                format!(
                    "import a VM of configuration version {}: this host runs {ours} at most",
                    configuration.version
                ),
            )
            .with_code(codes::NOT_SUPPORTED));
        }
        if new_id {
            configuration.id = VmId(self.host.chance.uuid());
        }
        let id = configuration.id;
        let known = self.state.vms.iter().any(|vm| vm.id == id && !vm.away)
            || self.state.planned.iter().any(|planned| planned.id == id);
        if known {
            return Err(HypervError::new(
                HypervErrorKind::Invalid,
                format!("import VM {id}: a VM with this id is here"),
            )
            .with_code(codes::FILE_IN_USE));
        }
        let disks = configuration.disks.iter().map(|disk| FrozenDisk {
            controller: disk.controller,
            controller_number: disk.controller_number,
            location: disk.location,
            path: disk.path.clone(),
            original_path: disk.original_path.clone(),
        });
        let planned = PlannedVm {
            id,
            disks: disks.collect(),
            network_adapters: configuration.network_adapters.clone(),
        };
        // An adapter whose switch is not here hangs on none.
        let mut network_adapters = configuration.network_adapters.clone();
        for adapter in &mut network_adapters {
            let here = |switch: &String| self.state.switches.contains(switch);
            adapter.switch = adapter.switch.take().filter(here);
        }
        self.state.planned.push(PlannedRecord {
            id,
            name: name.to_owned(),
            folder,
            guest_state,
            disk_paths: configuration
                .disks
                .iter()
                .map(|disk| Some(disk.path.clone()))
                .collect(),
            network_adapters,
            configuration,
            scsi_controllers: None,
        });
        self.save()?;
        Ok(planned)
    }

    fn planned_index(&self, planned: VmId) -> Result<usize, HypervError> {
        let found = self
            .state
            .planned
            .iter()
            .position(|known| known.id == planned);
        found.ok_or_else(|| {
            HypervError::new(
                HypervErrorKind::NotFound,
                format!("find planned VM {planned}"),
            )
        })
    }

    /// Points a planned VM's disks to files.
    pub(super) fn set_planned_disks(
        &mut self,
        planned: VmId,
        paths: &[Option<PathBuf>],
    ) -> Result<(), HypervError> {
        let index = self.planned_index(planned)?;
        let expected = self.state.planned[index].disk_paths.len();
        check_count("disks", expected, paths.len())?;
        let mut whole = Vec::new();
        for path in paths {
            whole.push(match path {
                Some(path) => Some(self.path(&self.host.inside(path)?)),
                None => None,
            });
        }
        self.state.planned[index].disk_paths = whole;
        self.save()
    }

    /// Connects a planned VM's network adapters.
    pub(super) fn set_planned_switches(
        &mut self,
        planned: VmId,
        switches: &[Option<String>],
    ) -> Result<(), HypervError> {
        let index = self.planned_index(planned)?;
        let expected = self.state.planned[index].network_adapters.len();
        check_count("network adapters", expected, switches.len())?;
        if let Some(unknown) = switches
            .iter()
            .flatten()
            .find(|switch| !self.state.switches.contains(switch))
        {
            return Err(HypervError::new(
                HypervErrorKind::Invalid,
                format!("connect to switch {unknown}: there is none"),
            )
            .with_code(codes::INVALID_PARAMETER));
        }
        let adapters = &mut self.state.planned[index].network_adapters;
        for (adapter, switch) in adapters.iter_mut().zip(switches) {
            adapter.switch.clone_from(switch);
        }
        self.save()
    }

    /// Tells what stands against realising a planned VM.
    pub(super) fn validate_planned(
        &self,
        planned: VmId,
    ) -> Result<Vec<ValidationMessage>, HypervError> {
        let record = &self.state.planned[self.planned_index(planned)?];
        let mut messages = Vec::new();
        let mut seen: Vec<&PathBuf> = Vec::new();
        for path in record.disk_paths.iter().flatten() {
            let twice = seen.contains(&path);
            seen.push(path);
            let fault = if twice {
                Some(format!("{} is named twice", path.display()))
            } else {
                self.check_disk_file(path)
                    .err()
                    .map(|error| error.to_string())
            };
            messages.extend(fault.map(|text| ValidationMessage { fatal: true, text }));
        }
        if seen.is_empty() {
            messages.push(warning("the VM has no disks".to_owned()));
        }
        for omitted in &record.configuration.omitted_disks {
            messages.push(warning(format!(
                "{} is not there ({})",
                omitted.name, omitted.reason
            )));
        }
        for adapter in record
            .network_adapters
            .iter()
            .filter(|adapter| adapter.switch.is_none())
        {
            messages.push(warning(format!("{} is not connected", adapter.name)));
        }
        Ok(messages)
    }

    /// Checks that a file may become a disk of a VM.
    pub(super) fn check_disk_file(&self, path: &Path) -> Result<(), HypervError> {
        let relative = self.host.inside(path)?;
        if !path.is_file() {
            return Err(HypervError::new(
                HypervErrorKind::Failed,
                format!("attach {}: there is no such file", path.display()),
            )
            .with_code(codes::FILE_NOT_FOUND));
        }
        if is_sparse(path) {
            return Err(sparse_error(path));
        }
        if let Some(owner) = self.state.vms.iter().find(|vm| vm.owns(&relative)) {
            return Err(HypervError::new(
                HypervErrorKind::InUse,
                format!("attach {}: VM {} uses it", path.display(), owner.name),
            )
            .with_code(codes::SHARING_VIOLATION));
        }
        container::check_closed(path)?;
        let facts = container::facts(path)?;
        if facts.differencing {
            return Err(HypervError::new(
                HypervErrorKind::Failed,
                format!("attach {}: its parent is not here", path.display()),
            )
            .with_code(codes::VHD_PARENT_NOT_FOUND));
        }
        if !facts
            .virtual_bytes
            .is_multiple_of(u64::from(facts.logical_sector_bytes))
        {
            return Err(HypervError::new(
                HypervErrorKind::Failed,
                format!(
                    "attach {}: its size is no multiple of its sectors",
                    path.display()
                ),
            )
            .with_code(codes::VHD_INVALID_SIZE));
        }
        Ok(())
    }

    /// Makes a planned VM a real one, switched off.
    pub(super) fn realise_planned(&mut self, planned: VmId) -> Result<VmId, HypervError> {
        let messages = self.validate_planned(planned)?;
        if let Some(fatal) = messages.into_iter().find(|message| message.fatal) {
            return Err(HypervError::new(
                HypervErrorKind::Failed,
                format!("realise VM {planned}: {}", fatal.text),
            )
            .with_code(codes::FAILED));
        }
        let record = self.state.planned[self.planned_index(planned)?].clone();
        let mut disks = Vec::new();
        for (disk, path) in record.configuration.disks.iter().zip(&record.disk_paths) {
            if let Some(path) = path {
                let place = (disk.controller, disk.controller_number, disk.location);
                disks.push(self.disk_record(&self.host.inside(path)?, place)?);
            }
        }
        let configuration = VmConfiguration {
            name: record.name,
            network_adapters: record.network_adapters,
            // What no backup could capture is not here.
            omitted_disks: Vec::new(),
            ..record.configuration
        };
        let (state, created) = (record.guest_state, self.host.clock.now());
        let mut vm = VmRecord::new(configuration, state, record.folder, created);
        vm.disks = disks;
        vm.sort_disks();
        self.state.planned.retain(|known| known.id != planned);
        // One that moved away and was restored here meanwhile is this one now.
        self.state.vms.retain(|known| known.id != planned);
        self.state.vms.push(vm);
        self.save()?;
        self.write_configuration(planned)?;
        Ok(planned)
    }

    /// Gives a planned VM up.
    pub(super) fn abort_planned(&mut self, planned: VmId) -> Result<(), HypervError> {
        let index = self.planned_index(planned)?;
        self.state.planned.remove(index);
        self.save()
    }
}

fn check_count(what: &str, expected: usize, given: usize) -> Result<(), HypervError> {
    if expected == given {
        return Ok(());
    }
    Err(HypervError::new(
        HypervErrorKind::Invalid,
        format!("set {given} {what} of a planned VM that has {expected}"),
    )
    .with_code(codes::INVALID_PARAMETER))
}

fn warning(text: String) -> ValidationMessage {
    ValidationMessage { fatal: false, text }
}
