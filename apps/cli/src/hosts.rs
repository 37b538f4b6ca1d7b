//! From `--host` to a Hyper-V host: this machine, or a folder that plays one.

use std::path::Path;
use std::sync::Arc;

use clap::Args;
use hyperv::sim::SimHost;
use hyperv::{HypervError, SharedHypervHost};
use selftest::{Connect, Connected};
use time_and_chance::{Chance, SharedClock};
use windows_host::hyperv::Beliefs;

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
    /// Opens the host, believing what it answered to a self-test.
    pub fn open(&self, world: &World) -> Result<SharedHypervHost, Failure> {
        Ok(self.open_with_probes(world)?.host)
    }

    /// Opens the host so, together with what a self-test asks of it beside the port.
    pub fn open_with_probes(&self, world: &World) -> Result<Connected, Failure> {
        let state_folder = world.state_folder()?;
        connect(self.name(), &state_folder, world.clock(), world.chance())
    }

    /// Returns what opens the host with one belief and with another.
    pub fn connector(&self, world: &World) -> Result<Box<dyn Connect>, Failure> {
        connector(self.name(), world.clock(), world.chance())
    }

    fn name(&self) -> &str {
        self.host.as_deref().unwrap_or_default()
    }
}

/// Opens the host of this name; of none, this machine's own where it has one. What it answered
/// to a self-test, as the state folder has it, is believed.
pub fn open(
    name: &str,
    state_folder: &Path,
    clock: &SharedClock,
    chance: &Chance,
) -> Result<SharedHypervHost, Failure> {
    Ok(connect(name, state_folder, clock, chance)?.host)
}

fn connect(
    name: &str,
    state_folder: &Path,
    clock: &SharedClock,
    chance: &Chance,
) -> Result<Connected, Failure> {
    let connector = connector(name, clock, chance)?;
    let beliefs = match simulated(name) {
        Some(_) => Beliefs::default(),
        None => own::beliefs(state_folder)?,
    };
    Ok(connector.connect(&beliefs)?)
}

fn connector(
    name: &str,
    clock: &SharedClock,
    chance: &Chance,
) -> Result<Box<dyn Connect>, Failure> {
    if name.is_empty() && !cfg!(windows) {
        return Err(Failure::wrong_usage(
            "Hyper-V runs on Windows only: say --host sim:DIR for a simulated host",
        ));
    }
    if let Some(folder) = simulated(name) {
        let host = open_simulated(folder, clock, chance)?;
        return Ok(Box::new(Simulated(host)));
    }
    if name.is_empty() || name.eq_ignore_ascii_case(HYPERV) {
        return own::connector(clock, chance);
    }
    Err(Failure::wrong_usage(format!(
        "{name:?} is no host: there are {HYPERV} and {SIM}DIR"
    )))
}

/// Returns the folder of a simulated host, if the name is of one.
fn simulated(name: &str) -> Option<&Path> {
    let folder = name.strip_prefix(SIM).filter(|folder| !folder.is_empty());
    folder.map(Path::new)
}

/// Returns whether the name is of a simulated host.
pub fn is_simulated(name: &str) -> bool {
    simulated(name).is_some()
}

/// A simulated host, of which nothing has to be believed.
#[derive(Debug)]
struct Simulated(SimHost);

impl Connect for Simulated {
    fn connect(&self, _: &Beliefs) -> Result<Connected, HypervError> {
        Ok(Connected {
            host: Arc::new(self.0.clone()),
            probing: None,
        })
    }
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
    use std::path::Path;
    use std::sync::Arc;

    use hyperv::HypervError;
    use selftest::{Answers, Connect, Connected, Kept};
    use time_and_chance::{Chance, SharedClock};
    use windows_host::event_channel::SystemEventChannels;
    use windows_host::hyperv::{Beliefs, Parts, SystemVolumes, WindowsHypervHost, windows_version};
    use windows_host::virtdisk::win32::Win32VirtualDisks;
    use windows_host::wmi::com::ComNamespaces;

    use crate::failure::Failure;

    /// Returns what is believed of this machine's Hyper-V: what it answered to a self-test, if
    /// this Windows was asked.
    pub(super) fn beliefs(state_folder: &Path) -> Result<Beliefs, Failure> {
        let current = || windows_version(&ComNamespaces::default()).map_err(Failure::from);
        match Answers::kept(state_folder, current)? {
            Kept::Ours(answers) => Ok(answers.learned.beliefs()),
            Kept::None => Ok(Beliefs::default()),
            Kept::Others(others) => {
                eprintln!(
                    "note: the answers of an earlier self-test are of another Windows ({}) and are not used; `hyperv selftest` asks this one",
                    others.join("; ")
                );
                Ok(Beliefs::default())
            }
        }
    }

    pub(super) fn connector(
        clock: &SharedClock,
        chance: &Chance,
    ) -> Result<Box<dyn Connect>, Failure> {
        if windows_host::elevation::is_elevated() == Ok(false) {
            eprintln!(
                "warning: this process is not elevated: Hyper-V shows its VMs to SYSTEM, to elevated administrators and to Hyper-V administrators alone, and disks are opened for the first two; start it from an elevated prompt or as SYSTEM"
            );
        }
        Ok(Box::new(Own(Parts {
            namespaces: Arc::new(ComNamespaces::default()),
            virtual_disks: Arc::new(Win32VirtualDisks::new(chance.clone())),
            volumes: Arc::new(SystemVolumes),
            clock: clock.clone(),
            beliefs: Beliefs::default(),
        })))
    }

    #[derive(Debug)]
    struct Own(Parts);

    impl Connect for Own {
        fn connect(&self, beliefs: &Beliefs) -> Result<Connected, HypervError> {
            let parts = Parts {
                beliefs: beliefs.clone(),
                ..self.0.clone()
            };
            let host = WindowsHypervHost::connect(parts)?;
            let host = Arc::new(host.with_events(Arc::new(SystemEventChannels)));
            Ok(Connected {
                host: host.clone(),
                probing: Some(host),
            })
        }
    }
}

/// This machine has none.
#[cfg(not(windows))]
mod own {
    use std::path::Path;

    use selftest::Connect;
    use time_and_chance::{Chance, SharedClock};
    use windows_host::hyperv::Beliefs;

    use crate::failure::{Failure, FailureKind};

    pub(super) fn beliefs(_: &Path) -> Result<Beliefs, Failure> {
        Ok(Beliefs::default())
    }

    pub(super) fn connector(_: &SharedClock, _: &Chance) -> Result<Box<dyn Connect>, Failure> {
        Err(Failure::new(
            FailureKind::Unsupported,
            "this machine has no Hyper-V, which runs on Windows only: say --host sim:DIR for a simulated host",
        ))
    }
}
