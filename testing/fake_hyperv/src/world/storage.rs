//! What `root\Microsoft\Windows\Storage` shows of the machine's disks, partitions and volumes.

use volume::{Disk, Partition, PartitionTable, Volume};
use windows_host::wmi::Value;

use super::{Subject, World};

/// The drive letter, if a volume is mounted by one.
fn letter(volume: Option<&Volume>) -> Value {
    let points = volume.map(|volume| volume.mount_points.as_slice());
    let mut points = points.unwrap_or_default().iter();
    let letter = points.find_map(|point| {
        let point = point.to_str()?.as_bytes();
        match point {
            [letter, b':'] | [letter, b':', b'\\'] if letter.is_ascii_alphabetic() => Some(*letter),
            _ => None,
        }
    });
    letter.map_or(Value::Null, |letter| Value::I16(i16::from(letter)))
}

/// The number that stands in a disk's name.
fn number_of(disk: &str) -> Value {
    let digits = disk.trim_start_matches(|letter: char| !letter.is_ascii_digit());
    Value::u32(digits.parse().expect("the model numbers its disks"))
}

fn text(text: Option<&String>) -> Value {
    text.map_or(Value::Null, Value::text)
}

/// The id of an object, of the form that real ones have.
fn object_id(host: &str, kind: &str, own: &str) -> Value {
    Value::text(format!(
        r#"{{1}}\\{host}\root/Microsoft/Windows/Storage/Providers_v2\WSP_{kind}.ObjectId="{own}""#
    ))
}

/// Adds what there is.
pub(super) fn add(world: &mut World<'_>, disks: &[Disk], volumes: &[Volume]) {
    for disk in disks {
        add_disk(world, disk);
        for partition in &disk.partitions {
            add_partition(world, disk, partition, volumes);
        }
    }
    for volume in volumes {
        add_volume(world, volume);
    }
}

fn add_disk(world: &mut World<'_>, disk: &Disk) {
    let style: u16 = match disk.table {
        None => 0,
        Some(PartitionTable::Mbr) => 1,
        Some(PartitionTable::Gpt) => 2,
    };
    let id = object_id(world.host_name(), "Disk", &disk.name);
    let partitions = u32::try_from(disk.partitions.len()).expect("they are few");
    world.add(
        "MSFT_Disk",
        Subject::Thing,
        vec![
            ("ObjectId", id),
            ("Number", number_of(&disk.name)),
            ("FriendlyName", text(disk.model.as_ref())),
            ("Model", text(disk.model.as_ref())),
            // Windows fills what a disk does not tell with blanks.
            ("SerialNumber", Value::text("    ")),
            ("Size", Value::decimal(disk.total_bytes)),
            ("LogicalSectorSize", Value::u32(disk.logical_sector_bytes)),
            ("PhysicalSectorSize", Value::u32(disk.physical_sector_bytes)),
            ("PartitionStyle", style.into()),
            ("NumberOfPartitions", Value::u32(partitions)),
            // Online.
            ("OperationalStatus", Value::Array(vec![0xD010u16.into()])),
            ("HealthStatus", 0u16.into()),
            ("IsOffline", false.into()),
            ("IsReadOnly", false.into()),
        ],
    );
}

fn add_partition(world: &mut World<'_>, disk: &Disk, partition: &Partition, volumes: &[Volume]) {
    let holds = |volume: &&Volume| {
        let mut extents = volume.extents.iter();
        extents.any(|it| it.disk == disk.name && it.range == partition.range)
    };
    let volume = volumes.iter().find(holds);
    let paths = volume.map(|volume| {
        let points = volume.mount_points.iter();
        let points = points.map(|point| point.display().to_string());
        points.chain([volume.name.clone()]).collect::<Vec<_>>()
    });
    let own = format!("{}:{}", disk.name, partition.range.start());
    let id = object_id(world.host_name(), "Partition", &own);
    let disk_id = object_id(world.host_name(), "Disk", &disk.name);
    world.add(
        "MSFT_Partition",
        Subject::Thing,
        vec![
            ("ObjectId", id),
            ("DiskId", disk_id),
            ("DiskNumber", number_of(&disk.name)),
            ("PartitionNumber", Value::u32(partition.number)),
            ("DriveLetter", letter(volume)),
            ("Offset", Value::decimal(partition.range.start())),
            ("Size", Value::decimal(partition.range.bytes())),
            // Partitions that no volume is on have no paths at all.
            ("AccessPaths", paths.map_or(Value::Null, Value::texts)),
            ("IsHidden", false.into()),
        ],
    );
}

fn add_volume(world: &mut World<'_>, volume: &Volume) {
    let id = object_id(world.host_name(), "Volume", &volume.name);
    world.add(
        "MSFT_Volume",
        Subject::Thing,
        vec![
            ("ObjectId", id),
            ("DriveLetter", letter(Some(volume))),
            ("Path", Value::text(&volume.name)),
            ("FileSystem", text(volume.file_system.as_ref())),
            ("FileSystemLabel", Value::text("")),
            ("Size", Value::decimal(volume.total_bytes)),
            (
                "SizeRemaining",
                Value::decimal(volume.free_bytes.unwrap_or_default()),
            ),
            // Fixed.
            ("DriveType", Value::u32(3)),
            // OK.
            ("OperationalStatus", Value::Array(vec![2u16.into()])),
            ("HealthStatus", 0u16.into()),
        ],
    );
}
