//! The ports over the folder.

use std::io;
use std::path::PathBuf;

use disk::{BlockRead, ByteRange};
use time_and_chance::StopSignal;
use uuid::Uuid;

use super::{PARTITION_START, SimContent, SimVolume, SimVolumeHost, SimWriterStep};
use crate::{
    Announce, Disk, Extent, Freeze, FrozenVolumes, Partition, PartitionTable, RawDevice, Shadow,
    ShadowSet, ShadowSetId, StorageLayout, Volume, VolumeError, VolumeErrorKind, VolumeHost,
    WriterOutcome, Writers,
};

const STEPS: [SimWriterStep; 5] = [
    SimWriterStep::PrepareBackup,
    SimWriterStep::PrepareSnapshot,
    SimWriterStep::Freeze,
    SimWriterStep::Thaw,
    SimWriterStep::PostSnapshot,
];

impl StorageLayout for SimVolumeHost {
    fn volumes(&self) -> Result<Vec<Volume>, VolumeError> {
        let all = self.all().map_err(|error| failed("list volumes", error))?;
        Ok(all.iter().enumerate().map(volume).collect())
    }

    fn disks(&self) -> Result<Vec<Disk>, VolumeError> {
        let all = self.all().map_err(|error| failed("list disks", error))?;
        let devices = all.iter().enumerate();
        Ok(devices
            .filter_map(|(number, volume)| Some(self.disk(number, range_of(volume)?)))
            .collect())
    }
}

/// A volume that reads as a device is the only partition of a disk of its own.
fn range_of(volume: &SimVolume) -> Option<ByteRange> {
    match volume.content {
        SimContent::Device { bytes } => ByteRange::at(PARTITION_START, bytes),
        SimContent::Files => None,
    }
}

fn volume((number, volume): (usize, &SimVolume)) -> Volume {
    let range = range_of(volume);
    Volume {
        name: volume.name.clone(),
        mount_points: vec![PathBuf::from(&volume.mount_point)],
        file_system: Some("simulated".to_owned()),
        label: None,
        total_bytes: range.map_or(0, |range| range.bytes()),
        free_bytes: None,
        extents: range
            .map(|range| Extent {
                disk: disk_name(number),
                range,
            })
            .into_iter()
            .collect(),
    }
}

fn disk_name(number: usize) -> String {
    format!("PhysicalDrive{number}")
}

impl SimVolumeHost {
    fn disk(&self, number: usize, range: ByteRange) -> Disk {
        Disk {
            name: disk_name(number),
            device: self.content(number),
            model: Some("simulated".to_owned()),
            serial: None,
            total_bytes: range.end() + PARTITION_START,
            logical_sector_bytes: 512,
            physical_sector_bytes: 4096,
            table: Some(PartitionTable::Gpt),
            partitions: vec![Partition { number: 1, range }],
        }
    }

    /// Returns the names of the volumes that are meant.
    fn named(&self, what: &Freeze) -> Result<Vec<String>, VolumeError> {
        let mut names: Vec<String> = Vec::new();
        for wanted in &what.volumes {
            let found = self.find(wanted);
            let found = found.map_err(|error| failed("look for volumes", error))?;
            let Some(volume) = found else {
                let message = format!("freeze {wanted}: there is no such volume");
                return Err(VolumeError::new(VolumeErrorKind::NotFound, message));
            };
            if names.contains(&volume.name) {
                let message = format!("freeze {wanted}: it is named twice");
                return Err(VolumeError::new(VolumeErrorKind::Invalid, message));
            }
            names.push(volume.name);
        }
        match names.is_empty() {
            true => Err(VolumeError::new(
                VolumeErrorKind::Invalid,
                "freeze no volume at all",
            )),
            false => Ok(names),
        }
    }

    fn ask_writers(&self, writers: Writers) -> Result<Vec<WriterOutcome>, VolumeError> {
        if writers == Writers::None {
            return Ok(Vec::new());
        }
        let all = self
            .writers()
            .map_err(|error| failed("ask writers", error))?;
        let outcomes = all.into_iter().map(|writer| {
            let mut code = None;
            for step in STEPS {
                let failed = self.step(writer.id, step);
                code = code.or(failed.map_err(|error| self::failed("ask writers", error))?);
            }
            Ok(WriterOutcome {
                id: writer.id,
                name: writer.name,
                left_out: code.map(|code| format!("it failed (0x{code:08X})")),
            })
        });
        let outcomes: Vec<_> = outcomes.collect::<Result<_, VolumeError>>()?;
        let failing = outcomes.iter().find(|it| it.left_out.is_some());
        match failing {
            Some(writer) if writers == Writers::Require => Err(VolumeError::new(
                VolumeErrorKind::WriterFailed,
                format!("have {} bring its files in order", writer.name),
            )),
            _ => Ok(outcomes),
        }
    }
}

impl VolumeHost for SimVolumeHost {
    fn freeze(
        &self,
        what: &Freeze,
        announce: Announce<'_>,
        stop: &StopSignal,
    ) -> Result<Box<dyn FrozenVolumes>, VolumeError> {
        let names = self.named(what)?;
        let stopped = |_| VolumeError::new(VolumeErrorKind::Stopped, "freeze volumes: stopped");
        stop.check().map_err(stopped)?;
        let id = ShadowSetId(self.chance.uuid());
        announce(id).map_err(|error| failed("note the shadow set before it is made", error))?;
        let writers = self.ask_writers(what.writers)?;
        let shadows: Vec<(Uuid, String)> = names
            .into_iter()
            .map(|name| (self.chance.uuid(), name))
            .collect();
        self.take(id, &shadows)
            .map_err(|error| failed("freeze volumes", error))?;
        let shadow = |((id, _), volume): (&(Uuid, String), &String)| Shadow {
            id: *id,
            volume: volume.clone(),
            device: self.shadow_path(*id),
            files: self.shadow_path(*id),
        };
        Ok(Box::new(SimFrozen {
            id,
            shadows: shadows.iter().zip(&what.volumes).map(shadow).collect(),
            writers,
            host: Some(self.clone()),
        }))
    }

    fn shadow_sets(&self) -> Result<Vec<ShadowSet>, VolumeError> {
        let shadows = self.shadows();
        let shadows = shadows.map_err(|error| failed("list shadow sets", error))?;
        let mut sets: Vec<ShadowSet> = Vec::new();
        for shadow in shadows {
            let id = ShadowSetId(shadow.set);
            match sets.iter_mut().find(|set| set.id == id) {
                Some(set) => set.volumes.push(shadow.volume),
                None => sets.push(ShadowSet {
                    id,
                    frozen_at: shadow.frozen_at,
                    volumes: vec![shadow.volume],
                }),
            }
        }
        Ok(sets)
    }

    fn remove_shadow_set(&self, id: ShadowSetId) -> Result<(), VolumeError> {
        let removed = self.remove(id);
        match removed.map_err(|error| failed("remove a shadow set", error))? {
            0 => Err(VolumeError::new(
                VolumeErrorKind::NotFound,
                format!("remove the shadow set {id}: it is not there"),
            )),
            _ => Ok(()),
        }
    }
}

/// Frozen volumes of a folder.
#[derive(Debug)]
struct SimFrozen {
    id: ShadowSetId,
    shadows: Vec<Shadow>,
    writers: Vec<WriterOutcome>,
    /// None once they are released.
    host: Option<SimVolumeHost>,
}

impl FrozenVolumes for SimFrozen {
    fn id(&self) -> ShadowSetId {
        self.id
    }

    fn shadows(&self) -> &[Shadow] {
        &self.shadows
    }

    fn writers(&self) -> &[WriterOutcome] {
        &self.writers
    }

    fn open(&self, shadow: &Shadow) -> Result<Box<dyn BlockRead + '_>, VolumeError> {
        match RawDevice::open_file(&shadow.device) {
            Ok(device) => Ok(Box::new(device)),
            Err(error) => Err(failed("open a shadow", error)),
        }
    }

    fn release(mut self: Box<Self>) -> Result<(), VolumeError> {
        match self.host.take() {
            Some(host) => host.remove_shadow_set(self.id),
            None => Ok(()),
        }
    }
}

impl Drop for SimFrozen {
    fn drop(&mut self) {
        if let Some(host) = self.host.take() {
            // What stays is found among the shadow sets.
            let _ = host.remove(self.id);
        }
    }
}

fn failed(doing: &str, error: io::Error) -> VolumeError {
    let kind = match error.kind() {
        io::ErrorKind::NotFound => VolumeErrorKind::NotFound,
        io::ErrorKind::PermissionDenied => VolumeErrorKind::Denied,
        io::ErrorKind::StorageFull => VolumeErrorKind::Full,
        _ => VolumeErrorKind::Failed,
    };
    VolumeError::new(kind, doing).caused_by(error)
}
