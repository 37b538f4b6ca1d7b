//! The one model of this process.

use std::sync::OnceLock;

use fake_hyperv::{FakeNamespaces, from_environment};
use time_and_chance::{Chance, SystemClock};

static MODEL: OnceLock<Option<FakeNamespaces>> = OnceLock::new();

/// Returns the model; none if the environment names no host, or switches that are none.
pub fn model() -> Option<&'static FakeNamespaces> {
    MODEL.get_or_init(make).as_ref()
}

fn make() -> Option<FakeNamespaces> {
    let (clock, chance) = (SystemClock::new(), Chance::from_system());
    let (host, manners) = from_environment(clock.clone(), chance.clone())?;
    Some(FakeNamespaces::new(host, manners, clock, chance))
}
