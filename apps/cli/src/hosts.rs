//! From `--host` to a Hyper-V host: this machine, or a folder that plays one.

use std::path::Path;

use clap::Args;
use hyperv::SharedHypervHost;
use hyperv::sim::SimHost;

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
        match self.host.as_deref() {
            Some(name) => open(name, world),
            None if cfg!(windows) => open(HYPERV, world),
            None => Err(Failure::wrong_usage(
                "Hyper-V runs on Windows only: say --host sim:DIR for a simulated host",
            )),
        }
    }
}

fn open(name: &str, world: &World) -> Result<SharedHypervHost, Failure> {
    if let Some(folder) = name.strip_prefix(SIM).filter(|folder| !folder.is_empty()) {
        return Ok(std::sync::Arc::new(open_simulated(
            Path::new(folder),
            world,
        )?));
    }
    if name.eq_ignore_ascii_case(HYPERV) {
        return own::open(world);
    }
    Err(Failure::wrong_usage(format!(
        "{name:?} is no host: there are {HYPERV} and {SIM}DIR"
    )))
}

/// Opens the simulated host in a folder.
pub fn open_simulated(folder: &Path, world: &World) -> Result<SimHost, Failure> {
    if !folder.join("host.json").is_file() {
        return Err(Failure::wrong_usage(format!(
            "there is no simulated host in {}; `sim create` makes one",
            folder.display()
        )));
    }
    Ok(SimHost::open(
        folder,
        world.clock().clone(),
        world.chance().clone(),
    )?)
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

    use crate::failure::Failure;
    use crate::world::World;

    pub(super) fn open(world: &World) -> Result<SharedHypervHost, Failure> {
        if windows_host::elevation::is_elevated() == Ok(false) {
            eprintln!(
                "warning: this process is not elevated: Hyper-V shows its VMs to SYSTEM, to elevated administrators and to Hyper-V administrators alone, and disks are opened for the first two; start it from an elevated prompt or as SYSTEM"
            );
        }
        let host = WindowsHypervHost::connect(Parts {
            namespaces: Arc::new(ComNamespaces::default()),
            virtual_disks: Arc::new(Win32VirtualDisks::new(world.chance().clone())),
            volumes: Arc::new(SystemVolumes),
            clock: world.clock().clone(),
            beliefs: Beliefs::default(),
        })?;
        Ok(Arc::new(host.with_events(Arc::new(SystemEventChannels))))
    }
}

/// This machine has none.
#[cfg(not(windows))]
mod own {
    use hyperv::SharedHypervHost;

    use crate::failure::{Failure, FailureKind};
    use crate::world::World;

    pub(super) fn open(_: &World) -> Result<SharedHypervHost, Failure> {
        Err(Failure::new(
            FailureKind::Unsupported,
            "this machine has no Hyper-V, which runs on Windows only: say --host sim:DIR for a simulated host",
        ))
    }
}
