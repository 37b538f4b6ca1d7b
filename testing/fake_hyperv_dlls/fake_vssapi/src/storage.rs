//! The simulated machine's disks and volumes as WMI's storage namespace shows them, with the types
//! in which COM carries them: 64-bit numbers as text.

use std::sync::Arc;

use volume::sim::SimVolumeHost;
use volume::{Disk, Partition, PartitionTable, StorageLayout as _, Volume, VolumeError};
use windows_host::wmi::{
    EmbeddedSource, Namespaces, TextForm, Value, WmiError, WmiObject, WmiSession,
};

/// `WBEM_E_INVALID_NAMESPACE`, `WBEM_E_INVALID_QUERY`, `WBEM_E_NOT_SUPPORTED`, `WBEM_E_FAILED`.
const INVALID_NAMESPACE: u32 = 0x8004_100E;
const INVALID_QUERY: u32 = 0x8004_1017;
const NOT_SUPPORTED: u32 = 0x8004_100C;
const FAILED: u32 = 0x8004_1001;

/// The namespace of a simulated machine.
#[derive(Debug, Clone)]
pub struct FakeStorage {
    host: SimVolumeHost,
}

impl FakeStorage {
    /// Shows a machine.
    pub fn new(host: SimVolumeHost) -> Self {
        Self { host }
    }
}

impl Namespaces for FakeStorage {
    fn connect(&self, namespace: &str) -> Result<Arc<dyn WmiSession>, WmiError> {
        match namespace.eq_ignore_ascii_case(r"root\Microsoft\Windows\Storage") {
            true => Ok(Arc::new(self.clone())),
            false => Err(WmiError::call("connect to a namespace", INVALID_NAMESPACE)),
        }
    }
}

fn failed(error: VolumeError) -> WmiError {
    WmiError::call(error.to_string(), FAILED)
}

impl WmiSession for FakeStorage {
    fn query(&self, wql: &str) -> Result<Vec<WmiObject>, WmiError> {
        let disks = || self.host.disks().map_err(failed);
        let volumes = || self.host.volumes().map_err(failed);
        match wql.strip_prefix("SELECT * FROM ") {
            Some("MSFT_Disk") => Ok(disks()?.iter().map(disk_row).collect()),
            Some("MSFT_Volume") => Ok(volumes()?.iter().map(volume_row).collect()),
            Some("MSFT_Partition") => {
                let volumes = volumes()?;
                let rows = disks()?.into_iter().flat_map(|disk| {
                    let rows = disk.partitions.iter();
                    rows.map(|partition| partition_row(&disk, partition, &volumes))
                        .collect::<Vec<_>>()
                });
                Ok(rows.collect())
            }
            _ => Err(WmiError::call("query", INVALID_QUERY)),
        }
    }

    fn get(&self, _: &str) -> Result<WmiObject, WmiError> {
        Err(WmiError::call("get an object", NOT_SUPPORTED))
    }

    fn class_properties(&self, _: &str) -> Result<Vec<String>, WmiError> {
        Err(WmiError::call("get a class", NOT_SUPPORTED))
    }

    fn call(&self, _: &str, _: &str, _: &[(&str, Value)]) -> Result<WmiObject, WmiError> {
        Err(WmiError::call("call a method", NOT_SUPPORTED))
    }

    fn embedded_as(
        &self,
        _: TextForm,
        _: EmbeddedSource<'_>,
        _: &[(&str, Value)],
    ) -> Result<String, WmiError> {
        Err(WmiError::call("embed an object", NOT_SUPPORTED))
    }
}

fn row(class: &str, properties: Vec<(&str, Value)>) -> WmiObject {
    let mut row = WmiObject {
        class: class.to_owned(),
        ..WmiObject::default()
    };
    for (name, value) in properties {
        row.set(name, value);
    }
    row
}

fn number_of(disk: &str) -> Value {
    let digits = disk.trim_start_matches(|letter: char| !letter.is_ascii_digit());
    Value::u32(digits.parse().unwrap_or(u32::MAX))
}

fn text(text: Option<&String>) -> Value {
    text.map_or(Value::Null, Value::text)
}

fn disk_row(disk: &Disk) -> WmiObject {
    let style: u16 = match disk.table {
        None => 0,
        Some(PartitionTable::Mbr) => 1,
        Some(PartitionTable::Gpt) => 2,
    };
    row(
        "MSFT_Disk",
        vec![
            ("Number", number_of(&disk.name)),
            ("FriendlyName", text(disk.model.as_ref())),
            // Windows fills what a disk does not tell with blanks.
            ("SerialNumber", Value::text("    ")),
            ("Size", Value::decimal(disk.total_bytes)),
            ("LogicalSectorSize", Value::u32(disk.logical_sector_bytes)),
            ("PhysicalSectorSize", Value::u32(disk.physical_sector_bytes)),
            ("PartitionStyle", style.into()),
        ],
    )
}

fn partition_row(disk: &Disk, partition: &Partition, volumes: &[Volume]) -> WmiObject {
    let holds = |volume: &&Volume| {
        let mut extents = volume.extents.iter();
        extents.any(|it| it.disk == disk.name && it.range == partition.range)
    };
    let paths = volumes.iter().find(holds).map(|volume| {
        let points = volume.mount_points.iter();
        let points = points.map(|point| point.display().to_string());
        points.chain([volume.name.clone()]).collect::<Vec<_>>()
    });
    row(
        "MSFT_Partition",
        vec![
            ("DiskNumber", number_of(&disk.name)),
            ("PartitionNumber", Value::u32(partition.number)),
            ("Offset", Value::decimal(partition.range.start())),
            ("Size", Value::decimal(partition.range.bytes())),
            // Partitions that no volume is on have no paths at all.
            ("AccessPaths", paths.map_or(Value::Null, Value::texts)),
        ],
    )
}

fn volume_row(volume: &Volume) -> WmiObject {
    row(
        "MSFT_Volume",
        vec![
            ("Path", Value::text(&volume.name)),
            ("FileSystem", text(volume.file_system.as_ref())),
            ("FileSystemLabel", Value::text("")),
            ("Size", Value::decimal(volume.total_bytes)),
            ("SizeRemaining", Value::decimal(0u64)),
        ],
    )
}
