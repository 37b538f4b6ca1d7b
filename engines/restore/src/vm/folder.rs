//! A VM as files in a folder: its disks, its configuration, its description.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::disk::BlockRead;
use point::{CONFIGURATION_FOLDER, DESCRIPTOR_NAME, OpenPoint, restored_file_names};
use progress::Progress;
use repo::Repository;

use crate::copy::DiskCopy;
use crate::disk::{missing_disk, open, write_file};
use crate::error::{RestoreError, RestoreErrorKind, file_error, point_error, stopped};
use crate::file_name;
use crate::new_file::{NewFile, check_free, remove_dead};
use crate::options::{DiskFormat, RestoreOptions, RestoredDisk};
use crate::os;
use crate::place::{check_room, refuse_simulated_host, unsuited};

/// Restores a VM to `folder`, which is made if it is not there: each disk as `<name>.vhdx`, the
/// configuration files in `config`, and `vm.json`. All files get their names together at the
/// end.
///
/// # Errors
/// `Exists` unless overwriting was asked for, before anything is read.
pub fn to_folder(
    repo: &Arc<Repository>,
    point: &OpenPoint,
    folder: &Path,
    options: &RestoreOptions,
    progress: &Progress,
) -> Result<Vec<RestoredDisk>, RestoreError> {
    refuse_simulated_host(folder)?;
    if folder.exists() && !folder.is_dir() {
        return Err(unsuited(folder, "that is not a folder"));
    }
    let disk_names = disk_names(point)?;
    let configuration = configuration(repo, point)?;
    let configuration_folder = folder.join(CONFIGURATION_FOLDER);
    let small: Vec<(PathBuf, Vec<u8>)> = configuration
        .into_iter()
        .map(|(name, bytes)| (configuration_folder.join(name), bytes))
        .chain([(folder.join(DESCRIPTOR_NAME), description(point))])
        .collect();
    let disks = disk_names.iter().map(|name| folder.join(name));
    for target in disks.chain(small.iter().map(|(path, _)| path.clone())) {
        check_free(&target, options.overwrite)?;
    }

    let mut made = MadeFolders::default();
    made.make(folder)?;
    made.make(&configuration_folder)?;
    for folder in [folder, &configuration_folder] {
        remove_dead(folder, None);
    }
    let (disks, mut files) = write_disks(repo, point, folder, &disk_names, options, progress)?;
    for (path, bytes) in &small {
        let new = NewFile::begin(path, options.overwrite, repo.chance())?;
        new.file()
            .write_all(bytes)
            .map_err(file_error("write", path))?;
        new.sync()?;
        files.push(new);
    }
    progress.stop.check().map_err(stopped)?;
    publish(&files, options)?;
    for folder in [&configuration_folder, folder] {
        os::sync_folder(folder).map_err(file_error("write", folder))?;
    }
    made.keep();
    Ok(disks)
}

/// Returns the names of the disks' files.
pub(super) fn disk_names(point: &OpenPoint) -> Result<Vec<String>, RestoreError> {
    let disks = &point.descriptor().disks;
    let names = restored_file_names(disks.iter().map(|disk| (disk.number, &*disk.original_path)));
    let mut seen = BTreeSet::new();
    for name in &names {
        file_name::check(name)?;
        if !seen.insert(name.to_lowercase()) {
            return Err(RestoreError::new(
                RestoreErrorKind::Damaged,
                format!(
                    "name the disks: two would be {name}; restore them one by one with `restore disk`"
                ),
            ));
        }
    }
    Ok(names)
}

/// Returns the configuration files.
pub(super) fn configuration(
    repo: &Arc<Repository>,
    point: &OpenPoint,
) -> Result<Vec<(String, Vec<u8>)>, RestoreError> {
    let files = point
        .configuration(repo)
        .map_err(point_error("read the VM's configuration"))?;
    for (name, _) in &files {
        file_name::check(name)?;
    }
    Ok(files)
}

fn description(point: &OpenPoint) -> Vec<u8> {
    serde_json::to_vec_pretty(point.descriptor()).expect("a descriptor has no maps with odd keys")
}

fn write_disks(
    repo: &Arc<Repository>,
    point: &OpenPoint,
    folder: &Path,
    names: &[String],
    options: &RestoreOptions,
    progress: &Progress,
) -> Result<(Vec<RestoredDisk>, Vec<NewFile>), RestoreError> {
    let mut sources = Vec::new();
    let mut needed_bytes = 0u64;
    for disk in &point.descriptor().disks {
        let object = point
            .disk_object(disk)
            .ok_or_else(|| missing_disk(disk.number, &disk.file))?;
        let source = open(repo, &object, disk.number)?;
        let copy = DiskCopy {
            source: &source,
            number: disk.number,
            workers: options.workers,
            progress,
        };
        needed_bytes = needed_bytes.saturating_add(copy.allocated_bytes()?);
        sources.push((disk.number, source));
    }
    check_room(folder, needed_bytes)?;
    let mut disks = Vec::new();
    let mut files = Vec::new();
    for ((number, source), name) in sources.iter().zip(names) {
        progress.phase(&format!("restoring disk {number} to {name}"));
        let path = folder.join(name);
        let copy = DiskCopy {
            source,
            number: *number,
            workers: options.workers,
            progress,
        };
        let (file, written_bytes) =
            write_file(repo, source, &copy, &path, DiskFormat::Vhdx, options)?;
        files.push(file);
        disks.push(RestoredDisk {
            number: *number,
            path,
            virtual_bytes: source.size_bytes(),
            written_bytes,
        });
    }
    Ok((disks, files))
}

/// Gives all files their names; if one cannot have it, those that are new go again.
fn publish(files: &[NewFile], options: &RestoreOptions) -> Result<(), RestoreError> {
    for (number, file) in files.iter().enumerate() {
        if let Err(error) = file.publish() {
            if !options.overwrite {
                for published in &files[..number] {
                    let _ = std::fs::remove_file(published.target());
                }
            }
            return Err(error);
        }
    }
    Ok(())
}

/// Folders that a restore made: they go again if it fails and they are empty.
#[derive(Debug, Default)]
struct MadeFolders {
    folders: Vec<PathBuf>,
}

impl MadeFolders {
    fn make(&mut self, folder: &Path) -> Result<(), RestoreError> {
        let missing: Vec<&Path> = folder
            .ancestors()
            .take_while(|ancestor| !ancestor.as_os_str().is_empty() && !ancestor.exists())
            .collect();
        for folder in missing.into_iter().rev() {
            std::fs::create_dir(folder).map_err(file_error("make", folder))?;
            self.folders.push(folder.to_owned());
        }
        Ok(())
    }

    fn keep(mut self) {
        self.folders.clear();
    }
}

impl Drop for MadeFolders {
    fn drop(&mut self) {
        for folder in self.folders.iter().rev() {
            let _ = std::fs::remove_dir(folder);
        }
    }
}
