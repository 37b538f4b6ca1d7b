//! How often somebody may try to sign in. Pure: time is an argument.
//!
//! | wrong tries are counted by | how many | then |
//! |---|---|---|
//! | person and address | 10 in an hour | nobody tries as this person from this address for a quarter of an hour |
//! | address | 100 in an hour | nobody tries from this address for a quarter of an hour |
//! | person | 10 in an hour | tries from addresses that the person never signed in from wait before they are looked at |
//! | person whose password was right, second factor | 10 codes in an hour | none is looked at from such addresses for a quarter of an hour |
//!
//! So nobody keeps a person out of where they sign in from usually, and from elsewhere only whoever knows the password.
//! Each [`Door`] counts for itself.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};

/// Wrong tries of a person from one address, and wrong codes of a person, before the lock.
pub const TRIES_MAX: i64 = 10;

/// Wrong tries from one address, whoever was meant, before the lock.
pub const ADDRESS_TRIES_MAX: i64 = 100;

/// How long a lock lasts.
pub const LOCK_MS: i64 = 15 * 60_000;

/// How long wrong tries are counted together.
const WINDOW_MS: i64 = 60 * 60_000;

/// The longest that a try waits before it is looked at.
const DELAY_MAX_MS: i64 = 20_000;

/// Where somebody tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Door {
    /// People sign in.
    People,
    /// Somebody who is signed in gives the password again: with the session, whatever the address.
    Account,
    /// An agent is signed in.
    Agents,
}

/// Somebody who tries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trier {
    /// Where.
    pub door: Door,
    /// As whom: a hash that is another one when the person has another password, so that a new one is a new beginning.
    pub person: String,
    /// From where.
    pub address: Option<IpAddr>,
    /// Whether the person has signed in from there before.
    pub is_known: bool,
}

impl Trier {
    fn pair(&self) -> (Door, String, Option<IpAddr>) {
        let network = self.address.map(network);
        (self.door, self.person.clone(), network)
    }

    fn person(&self) -> (Door, String) {
        (self.door, self.person.clone())
    }

    fn address(&self) -> Option<(Door, IpAddr)> {
        Some((self.door, network(self.address?)))
    }
}

/// Wrong tries that are counted together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tries {
    begun_ms: i64,
    failed: i64,
    locked_until: Option<i64>,
}

impl Tries {
    /// The error says until when nobody may try.
    fn may(self, now_ms: i64) -> Result<(), i64> {
        match self.locked_until {
            Some(until) if now_ms < until => Err(until),
            _ => Ok(()),
        }
    }

    fn is_over(self, now_ms: i64) -> bool {
        // A lock that is over is a new beginning.
        self.locked_until.is_some_and(|until| until <= now_ms)
            || now_ms - self.begun_ms >= WINDOW_MS
    }

    fn counted(self, now_ms: i64, tries_max: i64) -> Self {
        let before = match self.failed == 0 || self.is_over(now_ms) {
            true => Self {
                begun_ms: now_ms,
                ..Self::default()
            },
            false => self,
        };
        let failed = before.failed + 1;
        Self {
            failed,
            locked_until: (failed >= tries_max).then_some(now_ms + LOCK_MS),
            ..before
        }
    }

    fn taken_back(self) -> Self {
        Self {
            failed: (self.failed - 1).max(0),
            locked_until: None,
            ..self
        }
    }

    /// Of what is remembered, the least goes first.
    fn age(&self) -> i64 {
        self.locked_until.unwrap_or(self.begun_ms)
    }
}

/// Counts wrong tries.
#[derive(Debug)]
pub struct Counts {
    pairs: Bounded<(Door, String, Option<IpAddr>), Tries>,
    addresses: Bounded<(Door, IpAddr), Tries>,
    people: Bounded<(Door, String), Tries>,
    codes: Bounded<(Door, String), Tries>,
}

impl Counts {
    /// Returns one that remembers `entries_max` of each kind.
    pub fn new(entries_max: usize) -> Self {
        Self {
            pairs: Bounded::new(entries_max),
            addresses: Bounded::new(entries_max),
            people: Bounded::new(entries_max),
            codes: Bounded::new(entries_max),
        }
    }

    /// Counts a try before it is looked at: as wrong, until it turned out to be right, so that a thousand at once are
    /// no more than ten. Returns how many milliseconds it waits; the error says until when nobody may try.
    pub fn begin(&mut self, trier: &Trier, now_ms: i64) -> Result<i64, i64> {
        let pair = self.pairs.get(&trier.pair()).unwrap_or_default();
        pair.may(now_ms)?;
        if let Some(key) = trier.address() {
            let tries = self.addresses.get(&key).unwrap_or_default();
            tries.may(now_ms)?;
            let counted = tries.counted(now_ms, ADDRESS_TRIES_MAX);
            self.addresses.set(key, counted, Tries::age);
        }
        let counted = pair.counted(now_ms, TRIES_MAX);
        self.pairs.set(trier.pair(), counted, Tries::age);
        let before = self.wrong_tries(trier, now_ms);
        let person = self.people.get(&trier.person()).unwrap_or_default();
        let counted = person.counted(now_ms, i64::MAX);
        self.people.set(trier.person(), counted, Tries::age);
        Ok(match trier.is_known {
            true => 0,
            false => delay_ms(before),
        })
    }

    /// Counts a code of the second factor, before it is looked at, of somebody whose password was right.
    pub fn begin_code(&mut self, trier: &Trier, now_ms: i64) -> Result<(), i64> {
        if trier.is_known {
            return Ok(());
        }
        let tries = self.codes.get(&trier.person()).unwrap_or_default();
        tries.may(now_ms)?;
        let counted = tries.counted(now_ms, TRIES_MAX);
        self.codes.set(trier.person(), counted, Tries::age);
        Ok(())
    }

    /// Takes back what [`Self::begin`] counted: nothing was tried after all.
    pub fn take_back(&mut self, trier: &Trier) {
        let back = |tries: Option<Tries>| tries.map(Tries::taken_back);
        if let Some(tries) = back(self.pairs.get(&trier.pair())) {
            self.pairs.set(trier.pair(), tries, Tries::age);
        }
        if let Some(tries) = back(self.people.get(&trier.person())) {
            self.people.set(trier.person(), tries, Tries::age);
        }
        self.take_back_address(trier);
    }

    fn take_back_address(&mut self, trier: &Trier) {
        if let Some(key) = trier.address()
            && let Some(tries) = self.addresses.get(&key)
        {
            self.addresses.set(key, tries.taken_back(), Tries::age);
        }
    }

    /// Forgets the wrong tries of somebody who was right. Those of others from the same address stay.
    pub fn right(&mut self, trier: &Trier) {
        self.pairs.forget(&trier.pair());
        self.people.forget(&trier.person());
        self.codes.forget(&trier.person());
        self.take_back_address(trier);
    }

    /// Returns how many wrong tries as this person are counted, from wherever.
    pub fn wrong_tries(&self, trier: &Trier, now_ms: i64) -> i64 {
        let tries = self.people.get(&trier.person()).unwrap_or_default();
        match tries.is_over(now_ms) {
            true => 0,
            false => tries.failed,
        }
    }
}

/// Returns how long a try from an unknown address waits behind so many wrong ones: a second, and twice as long with every
/// five more.
fn delay_ms(failed: i64) -> i64 {
    match failed - TRIES_MAX {
        ..=0 => 0,
        more @ 1..=25 => (1_000 << ((more - 1) / 5)).min(DELAY_MAX_MS),
        _ => DELAY_MAX_MS,
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

/// The pace of each address. Of IPv6, a network of 64 bits is one address: whoever has one has them all.
#[derive(Debug)]
pub struct Pace {
    /// Tries at once.
    burst: i64,
    /// After that, one in this time.
    each_ms: i64,
    /// When the address would have used up its tries at an even pace.
    due_ms: Bounded<IpAddr, i64>,
}

impl Pace {
    /// Returns one that lets `burst` tries of an address pass at once, and then one in `each_ms` milliseconds; it
    /// remembers `addresses_max` addresses.
    pub fn new(burst: i64, each_ms: i64, addresses_max: usize) -> Self {
        Self {
            burst,
            each_ms,
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
        let early_ms = due_ms - now_ms - (self.burst - 1) * self.each_ms;
        if early_ms > 0 {
            return Err(early_ms);
        }
        self.due_ms.set(network, due_ms + self.each_ms, |due| *due);
        Ok(())
    }
}

/// Returns what stands for an address wherever callers are counted: itself, or the network of an IPv6 address.
pub fn network(address: IpAddr) -> IpAddr {
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
    use std::net::Ipv4Addr;

    use super::*;

    fn trier(address: &str, is_known: bool) -> Trier {
        Trier {
            door: Door::People,
            person: "ann".to_owned(),
            address: Some(address.parse().expect("an address")),
            is_known,
        }
    }

    #[test]
    fn the_tenth_wrong_try_of_a_pair_locks_that_pair_for_a_quarter_of_an_hour() {
        let mut counts = Counts::new(100);
        let there = trier("192.0.2.1", true);
        for n in 1..=TRIES_MAX {
            assert_eq!(counts.begin(&there, n), Ok(0), "{n}");
        }
        let until = TRIES_MAX + LOCK_MS;
        assert_eq!(counts.begin(&there, until - 1), Err(until));
        let others = [
            trier("192.0.2.2", true),
            Trier {
                person: "bob".to_owned(),
                ..there.clone()
            },
            Trier {
                door: Door::Agents,
                ..there.clone()
            },
        ];
        for other in others {
            assert_eq!(counts.begin(&other, 20), Ok(0), "{other:?}");
        }
        for n in 0..TRIES_MAX {
            assert_eq!(counts.begin(&there, until + n), Ok(0), "a new beginning");
        }
        assert!(counts.begin(&there, until + TRIES_MAX).is_err());
    }

    #[test]
    fn what_was_no_try_and_what_was_right_is_not_counted() {
        let mut counts = Counts::new(100);
        let there = trier("192.0.2.1", false);
        for n in 0..1_000 {
            assert_eq!(counts.begin(&there, n), Ok(0), "{n}");
            match n % 2 {
                0 => counts.take_back(&there),
                _ => counts.right(&there),
            }
        }
        // The tenth, which would lock, is taken back as well.
        for n in 0..TRIES_MAX {
            counts.begin(&there, n).expect("not yet");
        }
        counts.take_back(&there);
        counts.begin(&there, 20).expect("the tenth once more");
        assert!(counts.begin(&there, 21).is_err());
    }

    #[test]
    fn a_person_is_slowed_where_they_never_were_and_never_refused() {
        let mut counts = Counts::new(10_000);
        let mut waits = Vec::new();
        for n in 0..1_000_u32 {
            let address = Ipv4Addr::from(0x0a00_0000 + n).to_string();
            let wait = counts.begin(&trier(&address, false), 0);
            waits.push(wait.expect("not refused"));
        }
        assert!(waits[..=10].iter().all(|wait| *wait == 0), "{waits:?}");
        assert!(waits.is_sorted(), "{waits:?}");
        assert_eq!(
            (waits[11], waits[16], waits[999]),
            (1_000, 2_000, DELAY_MAX_MS)
        );
        assert_eq!(counts.begin(&trier("192.0.2.1", true), 0), Ok(0));
        assert_eq!(counts.begin(&trier("192.0.2.2", false), WINDOW_MS), Ok(0));
    }

    #[test]
    fn an_address_that_tries_everybody_is_locked() {
        let mut counts = Counts::new(10_000);
        let as_nth = |n: i64| Trier {
            person: n.to_string(),
            ..trier("2001:db8::1", false)
        };
        for n in 0..ADDRESS_TRIES_MAX {
            assert_eq!(counts.begin(&as_nth(n), 0), Ok(0), "{n}");
        }
        assert_eq!(counts.begin(&as_nth(-1), 0), Err(LOCK_MS));
        let neighbour = trier("2001:db8::2", false);
        assert_eq!(counts.begin(&neighbour, 0), Err(LOCK_MS), "one network");
        assert_eq!(counts.begin(&trier("2001:db8:0:1::1", false), 0), Ok(0));
    }

    #[test]
    fn codes_are_counted_by_person_where_they_never_were() {
        let mut counts = Counts::new(100);
        for n in 0..TRIES_MAX {
            let from = trier(&format!("192.0.2.{n}"), false);
            counts.begin_code(&from, 0).expect("looked at");
        }
        let next = trier("192.0.2.99", false);
        assert_eq!(counts.begin_code(&next, 1), Err(LOCK_MS));
        assert_eq!(counts.begin_code(&trier("192.0.2.99", true), 1), Ok(()));
    }

    #[test]
    fn an_address_has_a_burst_and_then_a_pace() {
        const BURST: i64 = 20;
        const PACE_MS: i64 = 3_000;
        let mut pace = Pace::new(BURST, PACE_MS, 2);
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
