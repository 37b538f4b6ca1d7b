//! How often agents may call (contract 1.3): a burst per agent and one per address, within a second, counted by each
//! instance for itself.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Mutex;
use std::time::Duration;

use crate::agent_api::memory::make_room;

/// Calls of one agent within a second.
const AGENT_BURST: u32 = 8;
/// Calls from one address within a second.
const ADDRESS_BURST: u32 = 60;
const WINDOW: Duration = Duration::from_secs(1);

/// Counts calls.
#[derive(Debug, Default)]
pub(super) struct Paces {
    agents: Mutex<Counts<String>>,
    addresses: Mutex<Counts<IpAddr>>,
}

impl Paces {
    /// Counts a call of an agent; tells whether it may.
    pub(super) fn agent_may(&self, id: &str, now: Duration) -> bool {
        let mut counts = self.agents.lock().expect("counting does not panic");
        counts.may(id.to_owned(), AGENT_BURST, now)
    }

    /// Counts a call from an address; tells whether it may.
    pub(super) fn address_may(&self, address: IpAddr, now: Duration) -> bool {
        let mut counts = self.addresses.lock().expect("counting does not panic");
        counts.may(address, ADDRESS_BURST, now)
    }
}

/// When a key's second began, and how many calls there were in it.
#[derive(Debug)]
struct Counts<K>(HashMap<K, (Duration, u32)>);

impl<K> Default for Counts<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Eq + Hash> Counts<K> {
    fn may(&mut self, key: K, burst: u32, now: Duration) -> bool {
        make_room(&mut self.0, &key, |(begun, _)| {
            now.saturating_sub(*begun) < WINDOW
        });
        let (begun, count) = self.0.entry(key).or_insert((now, 0));
        if now.saturating_sub(*begun) >= WINDOW {
            (*begun, *count) = (now, 0);
        }
        *count = count.saturating_add(1);
        *count <= burst
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent_api::memory::CALLERS_MAX;

    #[test]
    fn a_burst_passes_and_the_next_second_is_a_new_one() {
        let paces = Paces::default();
        let at = Duration::from_millis;
        for call in 1..=20 {
            assert_eq!(paces.agent_may("a", at(call)), call <= 8, "{call}");
        }
        assert!(paces.agent_may("b", at(20)), "each agent for itself");
        assert!(paces.agent_may("a", at(1_001)));
        let address = IpAddr::from([192, 0, 2, 1]);
        let passed = (0..100).filter(|_| paces.address_may(address, at(5)));
        assert_eq!(passed.count(), 60);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut counts = Counts::default();
        for key in 0..100_000_u32 {
            assert!(counts.may(key, 8, Duration::from_millis(1)));
            assert!(counts.0.len() <= CALLERS_MAX);
        }
    }
}
