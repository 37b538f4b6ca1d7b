//! From `--host` to a Hyper-V host: this machine, or a folder that plays one.

use std::path::Path;
use std::sync::Arc;

use clap::Args;
use hyperv::SharedHypervHost;
use hyperv::sim::SimHost;
use time_and_chance::{Chance, SharedClock};

use crate::failure::Failure;
use crate::world::World;

/// What the name of a simulated host begins with.
const SIM: &str = "sim:";
/// The name of this machine's Hyper-V.
const HYPERV: &str = "hyperv:";

/// Which host.
#[derive(Debug, Args)]
pub struct HostArguments {
    /// The Hyper-V host: `hyperv:` (this machine) or `sim:DIR` (a simulated one).
    #[arg(long, value_name = "HOST")]
    pub host: Option<String>,
}

impl HostArguments {
    /// Opens the host.
    pub fn open(&self, world: &World) -> Result<SharedHypervHost, Failure> {
        let name = self.host.as_deref().unwrap_or_default();
        open(name, world.clock(), world.chance())
    }
}

/// Opens the host of this name; of none, this machine's own where it has one.
pub fn open(name: &str, clock: &SharedClock, chance: &Chance) -> Result<SharedHypervHost, Failure> {
    if name.is_empty() && !cfg!(windows) {
        return Err(Failure::wrong_usage(
            "Hyper-V runs on Windows only: say --host sim:DIR for a simulated host",
        ));
    }
    if let Some(folder) = name.strip_prefix(SIM).filter(|folder| !folder.is_empty()) {
        return Ok(Arc::new(open_simulated(Path::new(folder), clock, chance)?));
    }
    if name.is_empty() || name.eq_ignore_ascii_case(HYPERV) {
        return own::open(clock, chance);
    }
    Err(Failure::wrong_usage(format!(
        "{name:?} is no host: there are {HYPERV} and {SIM}DIR"
    )))
}

/// Opens the simulated host in a folder.
pub fn open_simulated(
    folder: &Path,
    clock: &SharedClock,
    chance: &Chance,
) -> Result<SimHost, Failure> {
    if !folder.join("host.json").is_file() {
        return Err(Failure::wrong_usage(format!(
            "there is no simulated host in {}; `sim create` makes one",
            folder.display()
        )));
    }
    Ok(SimHost::open(folder, clock.clone(), chance.clone())?)
}

/// This machine's own Hyper-V.
#[cfg(windows)]
mod own {
    use std::sync::Arc;

    use hyperv::SharedHypervHost;
    use windows_host::event_channel::SystemEventChannels;
    use windows_host::hyperv::{Beliefs, Parts, SystemVolumes, WindowsHypervHost};
    use windows_host::virtdisk::win32::Win32VirtualDisks;
    use windows_host::wmi::com::ComNamespaces;

    use time_and_chance::{Chance, SharedClock};

    use crate::failure::Failure;

    pub(super) fn open(clock: &SharedClock, chance: &Chance) -> Result<SharedHypervHost, Failure> {
        if windows_host::elevation::is_elevated() == Ok(false) {
            eprintln!(
                "warning: this process is not elevated: Hyper-V shows its VMs to SYSTEM, to elevated administrators and to Hyper-V administrators alone, and disks are opened for the first two; start it from an elevated prompt or as SYSTEM"
            );
        }
        let host = WindowsHypervHost::connect(Parts {
            namespaces: Arc::new(ComNamespaces::default()),
            virtual_disks: Arc::new(Win32VirtualDisks::new(chance.clone())),
            volumes: Arc::new(SystemVolumes),
            clock: clock.clone(),
            beliefs: Beliefs::default(),
        })?;
        Ok(Arc::new(host.with_events(Arc::new(SystemEventChannels))))
    }
}

/// This machine has none.
#[cfg(not(windows))]
mod own {
    use hyperv::SharedHypervHost;

    use time_and_chance::{Chance, SharedClock};

    use crate::failure::{Failure, FailureKind};

    pub(super) fn open(_: &SharedClock, _: &Chance) -> Result<SharedHypervHost, Failure> {
        Err(Failure::new(
            FailureKind::Unsupported,
            "this machine has no Hyper-V, which runs on Windows only: say --host sim:DIR for a simulated host",
        ))
    }
}
