//! A folder that plays a machine with volumes.
//!
//! ```text
//! volumes.json          volumes, writers, shadows: all that is not content
//! volumes/<n>           a volume: a file, which reads as a device, or a folder with its files
//! shadows/<id>          a frozen volume: a copy of that file or folder
//! ```
//!
//! A volume is one or the other: no system shows one path as a device and as a folder. Freezing
//! copies, so what is written afterwards is not in the shadow. The sets of a process that died
//! stay, which Windows promises to clear away: nobody should rely on that without looking.

mod port;
mod state;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use time_and_chance::{Chance, SharedClock};
use uuid::Uuid;

pub use state::{SimContent, SimShadow, SimVolume, SimWriter, SimWriterFailure, SimWriterStep};

use crate::ShadowSetId;
use state::State;

/// Where the content of the only partition of a simulated disk begins.
const PARTITION_START: u64 = 1 << 20;

/// A simulated machine; clones share it.
#[derive(Debug, Clone)]
pub struct SimVolumeHost {
    folder: PathBuf,
    clock: SharedClock,
    chance: Chance,
    /// Held through each change; the state itself lies in the folder, for other processes to see.
    turn: Arc<Mutex<()>>,
}

impl SimVolumeHost {
    /// Takes a folder, which may hold a machine already.
    pub fn new(folder: &Path, clock: SharedClock, chance: Chance) -> Self {
        Self {
            folder: folder.to_path_buf(),
            clock,
            chance,
            turn: Arc::default(),
        }
    }

    /// Puts up a volume of zeros that reads as a device of `bytes`, mounted at `mount_point`, and
    /// returns its name.
    ///
    /// # Errors
    /// What the file system says, here and in all that follows.
    pub fn add_volume(&self, mount_point: &str, bytes: u64) -> io::Result<String> {
        self.add(mount_point, SimContent::Device { bytes }, |path| {
            fs::File::create(path)?.set_len(bytes)
        })
    }

    /// Puts up an empty volume whose files are read, mounted at `mount_point`, and returns its
    /// name.
    pub fn add_volume_of_files(&self, mount_point: &str) -> io::Result<String> {
        self.add(mount_point, SimContent::Files, |path| fs::create_dir(path))
    }

    fn add(
        &self,
        mount_point: &str,
        content: SimContent,
        make: impl FnOnce(&Path) -> io::Result<()>,
    ) -> io::Result<String> {
        let name = format!("\\\\?\\Volume{{{}}}\\", self.chance.uuid());
        self.change(|state| {
            let number = state.volumes.len();
            fs::create_dir_all(self.folder.join("volumes"))?;
            make(&self.content(number))?;
            state.volumes.push(SimVolume {
                name: name.clone(),
                mount_point: mount_point.to_owned(),
                content,
            });
            Ok(())
        })?;
        Ok(name)
    }

    /// Writes to a volume that reads as a device.
    pub fn write(&self, volume: &str, offset: u64, data: &[u8]) -> io::Result<()> {
        let path = self.path_of(volume)?;
        let file = fs::File::options().write(true).open(path)?;
        local_file::write_all_at(&file, offset, data)
    }

    /// Writes a file of a volume whose files are read.
    pub fn write_file(&self, volume: &str, name: &str, data: &[u8]) -> io::Result<()> {
        fs::write(self.path_of(volume)?.join(name), data)
    }

    /// Has a program write to the volumes that knows how to bring its files in order.
    pub fn add_writer(&self, id: Uuid, name: &str) -> io::Result<()> {
        self.change(|state| {
            state.writers.push(SimWriter {
                id,
                instance: self.chance.uuid(),
                name: name.to_owned(),
                failure: None,
            });
            Ok(())
        })
    }

    /// Has a writer fail from now on.
    pub fn fail_writer(&self, id: Uuid, failure: SimWriterFailure) -> io::Result<()> {
        self.change(|state| {
            for writer in state.writers.iter_mut().filter(|writer| writer.id == id) {
                writer.failure = Some(failure);
            }
            Ok(())
        })
    }

    /// Returns the volume that people call `name`, by its name or its mount point.
    pub fn find(&self, name: &str) -> io::Result<Option<SimVolume>> {
        let state = self.state()?;
        let found = state.volumes.into_iter().find(|it| it.is_called(name));
        Ok(found)
    }

    /// Returns all volumes.
    pub fn all(&self) -> io::Result<Vec<SimVolume>> {
        Ok(self.state()?.volumes)
    }

    /// Returns all writers.
    pub fn writers(&self) -> io::Result<Vec<SimWriter>> {
        Ok(self.state()?.writers)
    }

    /// Has a writer do a step; returns the code with which it fails.
    pub fn step(&self, id: Uuid, step: SimWriterStep) -> io::Result<Option<u32>> {
        self.change(|state| {
            let writer = state.writers.iter_mut().find(|writer| writer.id == id);
            let failure = writer.and_then(|writer| writer.failure.as_mut());
            let failing = failure.filter(|failure| failure.at == step && failure.times > 0);
            Ok(failing.map(|failure| {
                failure.times -= 1;
                failure.code
            }))
        })
    }

    /// Freezes volumes: each gets the shadow of the id that stands before its name.
    pub fn take(&self, set: ShadowSetId, volumes: &[(Uuid, String)]) -> io::Result<()> {
        let frozen_at = self.clock.now();
        fs::create_dir_all(self.folder.join("shadows"))?;
        for (id, name) in volumes {
            copy(&self.path_of(name)?, &self.shadow_path(*id))?;
        }
        self.change(|state| {
            state
                .shadows
                .extend(volumes.iter().map(|(id, name)| SimShadow {
                    id: *id,
                    set: set.0,
                    volume: name.clone(),
                    frozen_at,
                }));
            Ok(())
        })
    }

    /// Returns all shadows.
    pub fn shadows(&self) -> io::Result<Vec<SimShadow>> {
        Ok(self.state()?.shadows)
    }

    /// Removes the shadows of a set and returns how many there were.
    pub fn remove(&self, set: ShadowSetId) -> io::Result<usize> {
        let gone = self.change(|state| {
            let of_set = |shadow: &mut SimShadow| shadow.set == set.0;
            Ok(state.shadows.extract_if(.., of_set).collect::<Vec<_>>())
        })?;
        for shadow in &gone {
            let path = self.shadow_path(shadow.id);
            match path.is_dir() {
                true => fs::remove_dir_all(path)?,
                false => fs::remove_file(path)?,
            }
        }
        Ok(gone.len())
    }

    /// Returns what is opened to read a shadow.
    pub fn shadow_path(&self, id: Uuid) -> PathBuf {
        self.folder.join("shadows").join(id.to_string())
    }

    fn content(&self, number: usize) -> PathBuf {
        self.folder.join("volumes").join(number.to_string())
    }

    fn path_of(&self, name: &str) -> io::Result<PathBuf> {
        let state = self.state()?;
        let number = state.volumes.iter().position(|it| it.is_called(name));
        number.map(|number| self.content(number)).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::NotFound,
                format!("there is no volume {name}"),
            )
        })
    }

    fn state(&self) -> io::Result<State> {
        State::read(&self.folder)
    }

    fn change<T>(&self, work: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let mut state = self.state()?;
        let done = work(&mut state)?;
        state.write(&self.folder)?;
        Ok(done)
    }
}

/// Copies a file, or a folder with all below it.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    if !from.is_dir() {
        return fs::copy(from, to).map(drop);
    }
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        copy(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(())
}
