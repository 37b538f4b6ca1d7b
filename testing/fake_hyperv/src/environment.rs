//! What the environment tells the DLLs that show the model to other programs.

use std::path::PathBuf;

use hyperv::sim::SimHost;
use time_and_chance::{Chance, SharedClock};

use crate::Manners;

/// Names the folder of the simulated host.
pub const HOST_VARIABLE: &str = "E3_FAKE_HYPERV";
/// Names the switches that differ from the default, as [`Manners`] reads them.
pub const MANNERS_VARIABLE: &str = "E3_FAKE_HYPERV_MANNERS";

/// Returns the folder of the simulated host, which is that of the machine's volumes as well; none
/// if the environment names none.
pub fn machine_folder() -> Option<PathBuf> {
    std::env::var_os(HOST_VARIABLE).map(PathBuf::from)
}

/// Returns the host and the manners that the environment names; none if there is no such host, or
/// a word is no switch.
pub fn from_environment(clock: SharedClock, chance: Chance) -> Option<(SimHost, Manners)> {
    let folder = machine_folder()?;
    let manners = std::env::var(MANNERS_VARIABLE).unwrap_or_default();
    let host = SimHost::open(&folder, clock, chance).ok()?;
    Some((host, manners.parse().ok()?))
}
