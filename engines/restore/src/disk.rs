//! One stored disk into one file.

use std::path::Path;
use std::sync::Arc;

use ::disk::BlockRead;
use image::ImageReader;
use kopia::directory::{DirectoryEntry, EntryType};
use kopia::object_id::ObjectId;
use point::{Point, restored_file_names};
use progress::Progress;
use repo::Repository;
use snapshot::read_directory;
use vhdx::{CreateOptions, ThinWriter, suggested_block_size_bytes};

use crate::copy::DiskCopy;
use crate::error::{
    RestoreError, RestoreErrorKind, file_error, image_error, point_error, repo_error, vhdx_error,
};
use crate::new_file::{NewFile, check_free, remove_dead};
use crate::options::{DiskFormat, RestoreOptions, RestoredDisk};
use crate::os;
use crate::place::{check_room, folder_of, refuse_simulated_host};

/// Returns the disks of a point: number, file name and object. Of the older agent's snapshots
/// these are the VHDX file that is the root, or those that lie in the root folder.
///
/// # Errors
/// `Unsupported` if the snapshot is neither: it is a tree of files.
pub fn disk_objects(
    repo: &Arc<Repository>,
    point: &Point<'_>,
) -> Result<Vec<(u32, String, ObjectId)>, RestoreError> {
    let root = point
        .root()
        .map_err(point_error("find the point's disks"))?;
    if root.entry_type == EntryType::File {
        return Ok(vec![(0, root.name.clone(), root.object)]);
    }
    if point.point().is_none() {
        let containers = containers_in(repo, root)?;
        if !containers.is_empty() {
            return Ok(containers);
        }
        return Err(RestoreError::new(
            RestoreErrorKind::Unsupported,
            format!(
                "find the disks of snapshot {}: it holds files, not a VM; restore them with `restore files`",
                point.id()
            ),
        ));
    }
    let open = point
        .open(repo)
        .map_err(point_error("find the point's disks"))?;
    let disks = &open.descriptor().disks;
    let names = restored_file_names(disks.iter().map(|disk| (disk.number, &*disk.original_path)));
    disks
        .iter()
        .zip(names)
        .map(|(disk, name)| match open.disk_object(disk) {
            Some(object) => Ok((disk.number, name, object)),
            None => Err(missing_disk(disk.number, &disk.file)),
        })
        .collect()
}

/// Returns the VHDX files that lie in a folder, numbered in its order.
fn containers_in(
    repo: &Arc<Repository>,
    folder: &DirectoryEntry,
) -> Result<Vec<(u32, String, ObjectId)>, RestoreError> {
    let directory = read_directory(repo, &folder.object)
        .map_err(repo_error("look for disks in the snapshot's root folder"))?;
    let is_container = |entry: &DirectoryEntry| {
        let name = entry.name.to_lowercase();
        entry.entry_type == EntryType::File && name.ends_with(".vhdx")
    };
    let entries = directory.entries.into_iter().filter(is_container);
    Ok((0..)
        .zip(entries)
        .map(|(number, entry)| (number, entry.name, entry.object))
        .collect())
}

pub(crate) fn missing_disk(number: u32, file: &str) -> RestoreError {
    RestoreError::new(
        RestoreErrorKind::Damaged,
        format!("find disk {number} in the point: there is no {file}"),
    )
}

/// Restores a stored disk to `file`.
///
/// # Errors
/// `Exists` unless overwriting was asked for; `TargetFull` or `TargetUnsuited` if the place
/// cannot hold it. Whatever goes wrong, nothing half is left under the file's name.
pub fn to_file(
    repo: &Arc<Repository>,
    object: &ObjectId,
    number: u32,
    file: &Path,
    format: DiskFormat,
    options: &RestoreOptions,
    progress: &Progress,
) -> Result<RestoredDisk, RestoreError> {
    let folder = folder_of(file)?;
    refuse_simulated_host(&folder)?;
    check_free(file, options.overwrite)?;
    remove_dead(&folder, file.file_name().and_then(|name| name.to_str()));
    let source = open(repo, object, number)?;
    let copy = DiskCopy {
        source: &source,
        number,
        workers: options.workers,
        progress,
    };
    check_room(&folder, copy.allocated_bytes()?)?;
    let (new, written_bytes) = write_file(repo, &source, &copy, file, format, options)?;
    new.publish()?;
    os::sync_folder(&folder).map_err(file_error("write", &folder))?;
    Ok(RestoredDisk {
        number,
        path: file.to_owned(),
        virtual_bytes: source.size_bytes(),
        written_bytes,
    })
}

/// Opens a stored disk.
pub(crate) fn open(
    repo: &Arc<Repository>,
    object: &ObjectId,
    number: u32,
) -> Result<ImageReader, RestoreError> {
    ImageReader::open(repo, object).map_err(image_error(format!("open disk {number}")))
}

/// Writes a disk into a file that still has its temporary name; returns how much was written.
pub(crate) fn write_file(
    repo: &Arc<Repository>,
    source: &ImageReader,
    copy: &DiskCopy<'_>,
    file: &Path,
    format: DiskFormat,
    options: &RestoreOptions,
) -> Result<(NewFile, u64), RestoreError> {
    let new = NewFile::begin(file, options.overwrite, repo.chance())?;
    let written_bytes = match format {
        DiskFormat::Vhdx => write_vhdx(repo, source, copy, &new)?,
        DiskFormat::Raw => write_raw(source, copy, &new)?,
    };
    new.sync()?;
    Ok((new, written_bytes))
}

fn write_vhdx(
    repo: &Repository,
    source: &ImageReader,
    copy: &DiskCopy<'_>,
    new: &NewFile,
) -> Result<u64, RestoreError> {
    let geometry = source.geometry();
    let options = CreateOptions {
        virtual_size_bytes: geometry.virtual_bytes,
        block_size_bytes: suggested_block_size_bytes(geometry.virtual_bytes),
        logical_sector_bytes: geometry.logical_sector_bytes,
        physical_sector_bytes: geometry.physical_sector_bytes,
        virtual_disk_id: source.virtual_disk_id(),
        file_write_guid: repo.chance().uuid(),
        data_write_guid: repo.chance().uuid(),
    };
    let target = new.target();
    let writer =
        ThinWriter::create(new.uncached()?, &options).map_err(vhdx_error("write", target))?;
    let written = copy.run(&|offset, data| {
        writer
            .write_at(offset, data)
            .map_err(vhdx_error("write", target))
    })?;
    writer.finish().map_err(vhdx_error("write", target))?;
    Ok(written)
}

fn write_raw(
    source: &ImageReader,
    copy: &DiskCopy<'_>,
    new: &NewFile,
) -> Result<u64, RestoreError> {
    let (file, target) = (new.uncached()?, new.target());
    file.file()
        .set_len(source.size_bytes())
        .map_err(file_error("write", target))?;
    copy.run(&|offset, data| {
        file.write_all_at(offset, data)
            .map_err(file_error("write", target))
    })
}
