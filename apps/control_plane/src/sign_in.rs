//! How often somebody may try to sign in: lock-out for a person, a pace for an address. Pure: time is an argument.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};

/// Wrong tries in a row after which nobody may sign in as a person for a while.
pub const TRIES_MAX: i64 = 10;

/// How long that is.
pub const LOCK_MS: i64 = 15 * 60_000;

/// What is remembered of a person's tries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tries {
    /// Wrong ones since the last right one.
    pub failed: i64,
    /// Until when nobody may try (milliseconds since 1970, UTC).
    pub locked_until: Option<i64>,
}

impl Tries {
    /// Returns what is to be remembered before a try is looked at: it counts as wrong until it turned out to be
    /// right, so a thousand tries at once are no more than ten. The error says until when nobody may try.
    pub fn begin(self, now_ms: i64) -> Result<Self, i64> {
        if let Some(until) = self.locked_until.filter(|until| now_ms < *until) {
            return Err(until);
        }
        // A lock that is over is a new beginning.
        let failed = match self.locked_until {
            Some(_) => 1,
            None => self.failed + 1,
        };
        Ok(Self {
            failed,
            locked_until: (failed >= TRIES_MAX).then_some(now_ms + LOCK_MS),
        })
    }
}

/// A map that keeps a bounded number of things.
#[derive(Debug)]
pub struct Bounded<K, V> {
    entries: HashMap<K, V>,
    entries_max: usize,
}

impl<K: Hash + Eq + Clone, V: Copy> Bounded<K, V> {
    /// Returns an empty map that holds `entries_max` entries at most.
    pub fn new(entries_max: usize) -> Self {
        Self {
            entries: HashMap::new(),
            entries_max,
        }
    }

    /// Returns what is kept under `key`.
    pub fn get(&self, key: &K) -> Option<V> {
        self.entries.get(key).copied()
    }

    /// Keeps `value`. When there is no room, what `age` calls least goes.
    pub fn set<A: Ord>(&mut self, key: K, value: V, age: impl Fn(&V) -> A) {
        if self.entries.len() >= self.entries_max && !self.entries.contains_key(&key) {
            let oldest = self
                .entries
                .iter()
                .min_by_key(|(_, value)| age(value))
                .map(|(key, _)| key.clone());
            if let Some(oldest) = oldest {
                self.entries.remove(&oldest);
            }
        }
        self.entries.insert(key, value);
    }

    /// Forgets `key`.
    pub fn forget(&mut self, key: &K) {
        self.entries.remove(key);
    }
}

/// Tries of one address at once.
const BURST: i64 = 20;

/// After that, one in this time.
const PACE_MS: i64 = 3_000;

/// The pace of each address. Of IPv6, a network of 64 bits is one address: whoever has one has them all.
#[derive(Debug)]
pub struct Pace {
    /// When the address would have used up its tries at an even pace.
    due_ms: Bounded<IpAddr, i64>,
}

impl Pace {
    /// Returns one that remembers `addresses_max` addresses.
    pub fn new(addresses_max: usize) -> Self {
        Self {
            due_ms: Bounded::new(addresses_max),
        }
    }

    /// Counts a try of `address`. The error says how many milliseconds to wait before the next.
    pub fn count(&mut self, address: IpAddr, now_ms: i64) -> Result<(), i64> {
        let network = network(address);
        let due_ms = self
            .due_ms
            .get(&network)
            .map_or(now_ms, |due| due.max(now_ms));
        let early_ms = due_ms - now_ms - (BURST - 1) * PACE_MS;
        if early_ms > 0 {
            return Err(early_ms);
        }
        self.due_ms.set(network, due_ms + PACE_MS, |due| *due);
        Ok(())
    }
}

fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tenth_wrong_try_locks_for_a_quarter_of_an_hour() {
        let mut tries = Tries::default();
        for n in 1..TRIES_MAX {
            tries = tries.begin(n).expect("allowed");
            assert_eq!((tries.failed, tries.locked_until), (n, None));
        }
        tries = tries.begin(100).expect("the tenth is looked at");
        assert_eq!(tries.locked_until, Some(100 + LOCK_MS));
        assert_eq!(tries.begin(100 + LOCK_MS - 1), Err(100 + LOCK_MS));
        let again = tries.begin(100 + LOCK_MS).expect("a new beginning");
        assert_eq!((again.failed, again.locked_until), (1, None));
    }

    #[test]
    fn an_address_has_a_burst_and_then_a_pace() {
        let mut pace = Pace::new(2);
        let address = |text: &str| text.parse::<IpAddr>().expect("an address");
        for _ in 0..BURST {
            pace.count(address("2001:db8::1"), 0).expect("the burst");
        }
        assert_eq!(pace.count(address("2001:db8::2"), 0), Err(PACE_MS));
        assert_eq!(pace.count(address("2001:db8:0:1::2"), 0), Ok(()));
        assert_eq!(pace.count(address("2001:db8::2"), PACE_MS), Ok(()));
        assert_eq!(pace.count(address("2001:db8::2"), PACE_MS), Err(PACE_MS));
        // A third address takes the place of the one with the most left.
        assert_eq!(pace.count(address("192.0.2.1"), PACE_MS), Ok(()));
        assert_eq!(pace.count(address("2001:db8::2"), PACE_MS), Err(PACE_MS));
    }
}
