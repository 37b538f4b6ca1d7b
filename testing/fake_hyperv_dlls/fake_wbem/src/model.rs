//! The one model of this process.

use std::path::PathBuf;
use std::sync::OnceLock;

use fake_hyperv::{FakeNamespaces, Manners};
use hyperv::sim::SimHost;
use time_and_chance::{Chance, SystemClock};

/// Names the folder of the simulated host.
const HOST: &str = "E3_FAKE_HYPERV";
/// Names switches of the model, with commas between them.
const MANNERS: &str = "E3_FAKE_HYPERV_MANNERS";

static MODEL: OnceLock<Option<FakeNamespaces>> = OnceLock::new();

/// Returns the model; none if the environment names no host, or switches that are none.
pub fn model() -> Option<&'static FakeNamespaces> {
    MODEL.get_or_init(make).as_ref()
}

fn make() -> Option<FakeNamespaces> {
    let folder = std::env::var_os(HOST).map(PathBuf::from)?;
    let manners: Manners = std::env::var(MANNERS).unwrap_or_default().parse().ok()?;
    let (clock, chance) = (SystemClock::new(), Chance::from_system());
    let host = SimHost::open(&folder, clock.clone(), chance.clone()).ok()?;
    Some(FakeNamespaces::new(host, manners, clock, chance))
}
