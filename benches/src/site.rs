//! A place to measure in: an image, a simulated host with a VM that has it as its disk, and
//! what stock Kopia needs to be given the same.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use hyperv::HypervHost as _;
use hyperv::sim::SimHost;
use time_and_chance::Chance;

use crate::agent::Agent;
use crate::options::Options;
use crate::test_image::{Mix, TestImage, scattered_places, scattered_write};

/// The VM's name.
pub const VM: &str = "vm";
/// The repository, from the site's folder.
pub const REPOSITORY: &str = "repository";
/// One in so many bytes changes between two backups.
pub const CHANGED_ONE_IN: u64 = 100;

/// An image on a simulated host, in a folder of its own.
#[derive(Debug)]
pub struct Site {
    /// The executable, at home in the site's folder.
    pub agent: Agent,
    /// The VM's disk, as it was at first.
    pub image: TestImage,
    folder: PathBuf,
    has_raw: bool,
    changes: u64,
}

impl Site {
    /// Makes a VM with an image in this mix in `folder`, which is made.
    pub fn with_image(
        options: &Options,
        folder: PathBuf,
        virtual_bytes: u64,
        mix: Mix,
    ) -> Result<Self> {
        let image = TestImage::new(virtual_bytes, mix, 1);
        std::fs::create_dir_all(folder.join("kopia-source")).context("failed to make a folder")?;
        let site = Self {
            agent: Agent::new(&options.agent, &folder, &options.clock),
            image,
            has_raw: options.kopia.is_some(),
            folder,
            changes: 0,
        };
        if site.has_raw {
            site.image.write_raw(&site.raw())?;
        }
        site.image.write_vhdx(&site.agent.path("image.vhdx"))?;
        site.agent.run(&["sim", "create", "host"])?;
        site.agent.run(&[
            "sim",
            "add-vm",
            "host",
            "--name",
            VM,
            "--disk",
            "image.vhdx",
        ])?;
        site.agent.remove("image.vhdx")?;
        Ok(site)
    }

    /// Returns the folder whose only file is the disk, for stock Kopia.
    pub fn kopia_source(&self) -> PathBuf {
        self.folder.join("kopia-source")
    }

    /// Returns stock Kopia's own folder.
    pub fn kopia_folder(&self) -> PathBuf {
        self.folder.join("kopia")
    }

    fn raw(&self) -> PathBuf {
        self.kopia_source().join("image.raw")
    }

    /// Returns the command that backs the VM up.
    pub fn backup_command(repository: &str) -> [&str; 9] {
        [
            "backup",
            "vm",
            VM,
            "--repo",
            repository,
            "--host",
            "sim:host",
            "--min-free-gib",
            "1",
        ]
    }

    /// Lets the guest write to places of 64 KiB all over the disk, others each time; returns how
    /// many bytes that was.
    pub fn change(&mut self) -> Result<u64> {
        self.changes += 1;
        let virtual_bytes = self.image.virtual_bytes();
        let places = scattered_places(virtual_bytes, CHANGED_ONE_IN, self.changes);
        let clock = time_and_chance::SystemClock::new();
        let host = SimHost::open(&self.folder.join("host"), clock, Chance::from_system())?;
        let vms = host.vms()?;
        let vm = vms.first().context("the host lost its VM")?.id;
        let raw = match self.has_raw {
            true => Some(std::fs::OpenOptions::new().write(true).open(self.raw())?),
            false => None,
        };
        let mut written = 0;
        for place in places {
            let bytes = scattered_write(place, self.changes);
            host.write(vm, 0, place, &bytes)?;
            if let Some(raw) = &raw {
                vhdx::WriteAt::write_all_at(raw, place, &bytes)
                    .context("failed to change Kopia's copy of the image")?;
            }
            written += bytes.len() as u64;
        }
        Ok(written)
    }

    /// Removes everything.
    pub fn remove(self) -> Result<()> {
        std::fs::remove_dir_all(&self.folder).context("failed to remove what was measured")
    }
}
