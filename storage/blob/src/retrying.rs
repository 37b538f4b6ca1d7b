//! A wrapper that tries again when a store does not answer.
//!
//! Only `Unavailable` is tried again: the other kinds say that trying again is useless. Every
//! operation of the port may be repeated, so one whose outcome is unknown is repeated too.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use time_and_chance::{Chance, SharedClock, StopSignal, Timestamp};

use crate::{
    BlobError, BlobErrorKind, BlobMetadata, BlobStore, PutOptions, SharedBlobStore, Space,
};

/// The shortest wait: full jitter may draw nothing at all, which would be no wait.
const WAIT_MIN: Duration = Duration::from_millis(1);

/// An outage is told of this often, however many threads meet it.
const TELL_EVERY: Duration = Duration::from_mins(1);

/// Hears of an outage that is waited for: what the store said, and for how long it is tried.
pub type OutageListener = Arc<dyn Fn(&BlobError, Duration) + Send + Sync>;

/// How long and how often to try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryLimits {
    /// The bound of the first wait; it doubles with every further one.
    pub first_wait: Duration,
    /// The bound that waits never exceed.
    pub wait_max: Duration,
    /// When to give up, counted from the first attempt; an attempt under way is not cut short.
    pub total_max: Duration,
}

impl Default for RetryLimits {
    /// Outlasts a server's restart: 15 minutes.
    fn default() -> Self {
        Self {
            first_wait: Duration::from_secs(1),
            wait_max: Duration::from_secs(60),
            total_max: Duration::from_secs(15 * 60),
        }
    }
}

/// A store that is asked again after growing waits of random length ("full jitter").
///
/// The first attempt is always made, even after the stop signal: cleaning up after a stop needs
/// the store. The signal only ends the waiting.
pub struct Retrying {
    inner: SharedBlobStore,
    limits: RetryLimits,
    clock: SharedClock,
    chance: Chance,
    stop: StopSignal,
    listener: Option<OutageListener>,
    told_at: Mutex<Option<Duration>>,
}

impl fmt::Debug for Retrying {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retrying")
            .field("inner", &self.inner)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

impl Retrying {
    /// Wraps a store.
    pub fn new(
        inner: SharedBlobStore,
        limits: RetryLimits,
        clock: SharedClock,
        chance: Chance,
        stop: StopSignal,
    ) -> Self {
        Self {
            inner,
            limits,
            clock,
            chance,
            stop,
            listener: None,
            told_at: Mutex::new(None),
        }
    }

    /// Tells `listener` of outages, at most once a minute: waiting must not look like hanging.
    #[must_use]
    pub fn telling(mut self, listener: OutageListener) -> Self {
        self.listener = Some(listener);
        self
    }

    fn tell(&self, error: &BlobError) {
        let Some(listener) = &self.listener else {
            return;
        };
        let now = self.clock.monotonic();
        let mut told_at = self
            .told_at
            .lock()
            .expect("no thread panics while it looks at a time");
        if told_at.is_none_or(|told| now.saturating_sub(told) >= TELL_EVERY) {
            *told_at = Some(now);
            drop(told_at);
            listener(error, self.limits.total_max);
        }
    }

    fn persist<T>(
        &self,
        mut attempt: impl FnMut() -> Result<T, BlobError>,
    ) -> Result<T, BlobError> {
        let started = self.clock.monotonic();
        let mut bound = self.limits.first_wait;
        for attempts in 1_u32.. {
            let error = match attempt() {
                Err(error) if error.kind() == BlobErrorKind::Unavailable => error,
                other => return other,
            };
            let wait = self.draw_wait(bound);
            bound = bound.saturating_mul(2).min(self.limits.wait_max);
            let passed = self.clock.monotonic().saturating_sub(started);
            if passed.saturating_add(wait) > self.limits.total_max {
                let message = format!(
                    "reach the store: gave up at attempt {attempts} after {} s",
                    passed.as_secs()
                );
                return Err(BlobError::new(BlobErrorKind::Unavailable, message).caused_by(error));
            }
            self.tell(&error);
            if self.clock.sleep(wait, &self.stop).is_err() {
                let message = "wait for the store: told to stop";
                return Err(BlobError::new(BlobErrorKind::Stopped, message).caused_by(error));
            }
        }
        unreachable!("the waits add up long before the attempts run out")
    }

    fn draw_wait(&self, bound: Duration) -> Duration {
        let bound_us = u64::try_from(bound.as_micros()).unwrap_or(u64::MAX).max(1);
        Duration::from_micros(self.chance.below(bound_us)).max(WAIT_MIN)
    }
}

impl BlobStore for Retrying {
    fn put(&self, name: &str, parts: &[&[u8]], options: &PutOptions) -> Result<(), BlobError> {
        self.persist(|| self.inner.put(name, parts, options))
    }

    fn get(&self, name: &str) -> Result<Vec<u8>, BlobError> {
        self.persist(|| self.inner.get(name))
    }

    fn get_range(&self, name: &str, offset: u64, bytes: u64) -> Result<Vec<u8>, BlobError> {
        self.persist(|| self.inner.get_range(name, offset, bytes))
    }

    fn metadata(&self, name: &str) -> Result<BlobMetadata, BlobError> {
        self.persist(|| self.inner.metadata(name))
    }

    /// Begins anew after a failure, and passes over what was handed out before.
    fn list(
        &self,
        prefix: &str,
        each: &mut dyn FnMut(BlobMetadata) -> Result<(), BlobError>,
    ) -> Result<(), BlobError> {
        let mut handed = HashSet::new();
        let mut refused = None;
        let listed = self.persist(|| {
            self.inner.list(prefix, &mut |blob| {
                if !handed.insert(blob.name.clone()) {
                    return Ok(());
                }
                each(blob).map_err(|error| {
                    // The caller's own error, which is nothing to try again for.
                    refused = Some(error);
                    BlobError::new(BlobErrorKind::Stopped, "go on listing")
                })
            })
        });
        match refused {
            Some(error) => Err(error),
            None => listed,
        }
    }

    fn delete(&self, name: &str) -> Result<(), BlobError> {
        self.persist(|| self.inner.delete(name))
    }

    fn extend_lock(&self, name: &str, mode: &str, until: Timestamp) -> Result<(), BlobError> {
        self.persist(|| self.inner.extend_lock(name, mode, until))
    }

    fn time(&self) -> Result<Option<Timestamp>, BlobError> {
        self.persist(|| self.inner.time())
    }

    fn location(&self) -> String {
        self.inner.location()
    }

    fn space(&self) -> Result<Option<Space>, BlobError> {
        self.persist(|| self.inner.space())
    }
}

#[cfg(test)]
mod tests {

    use time_and_chance::{Clock, ManualClock, Timestamp};

    use super::*;
    use crate::{Faulty, MemoryStore, Operation, Rule, Strike, contract};

    struct World {
        clock: Arc<ManualClock>,
        stop: StopSignal,
        faulty: Arc<Faulty>,
        store: Retrying,
    }

    fn world(seed: u64) -> World {
        let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
        let stop = StopSignal::new();
        let faulty = Arc::new(Faulty::new(
            Arc::new(MemoryStore::new(clock.clone())),
            clock.clone(),
            stop.clone(),
        ));
        let store = Retrying::new(
            faulty.clone(),
            RetryLimits::default(),
            clock.clone(),
            Chance::from_seed(seed),
            stop.clone(),
        );
        World {
            clock,
            stop,
            faulty,
            store,
        }
    }

    fn unavailable(operation: Operation, times: u64) -> Rule {
        Rule::on(operation, Strike::Fail(BlobErrorKind::Unavailable)).times(times)
    }

    #[test]
    fn a_retried_store_keeps_the_contract_even_in_a_storm() {
        let world = world(1);
        world.faulty.storm(
            Chance::from_seed(2),
            5,
            vec![
                Strike::Fail(BlobErrorKind::Unavailable),
                Strike::FailAfter(BlobErrorKind::Unavailable),
            ],
        );
        contract::check_all(&world.store);
        assert!(world.faulty.struck() > 100);
    }

    #[test]
    fn every_operation_outlasts_an_outage() {
        let World { faulty, store, .. } = world(1);
        store.put("a", &[b"x"], &PutOptions::default()).unwrap();
        for operation in [
            Operation::Put,
            Operation::Get,
            Operation::GetRange,
            Operation::Metadata,
            Operation::List,
            Operation::Delete,
        ] {
            faulty.add(unavailable(operation, 4));
        }
        store.put("a", &[b"y"], &PutOptions::default()).unwrap();
        assert_eq!(store.get("a").unwrap(), b"y");
        assert_eq!(store.get_range("a", 0, 1).unwrap(), b"y");
        assert_eq!(store.metadata("a").unwrap().bytes, 1);
        assert_eq!(store.list_all("").unwrap().len(), 1);
        store.delete("a").unwrap();
        assert_eq!(faulty.struck(), 24);
    }

    #[test]
    fn only_unavailable_is_tried_again() {
        for kind in [
            BlobErrorKind::NotFound,
            BlobErrorKind::Denied,
            BlobErrorKind::Full,
            BlobErrorKind::Unsupported,
            BlobErrorKind::Invalid,
            BlobErrorKind::Stopped,
        ] {
            let World {
                clock,
                faulty,
                store,
                ..
            } = world(1);
            faulty.add(Rule::on(Operation::Get, Strike::Fail(kind)));
            assert_eq!(store.get("a").unwrap_err().kind(), kind);
            assert_eq!(
                (faulty.struck(), clock.monotonic()),
                (1, Duration::ZERO),
                "{kind:?}"
            );
        }
    }

    #[test]
    fn it_gives_up_within_its_time_with_the_cause() {
        for seed in 0..20 {
            let World {
                clock,
                faulty,
                store,
                ..
            } = world(seed);
            faulty.add(unavailable(Operation::Put, u64::MAX));
            let error = store.put("a", &[], &PutOptions::default()).unwrap_err();
            assert_eq!(error.kind(), BlobErrorKind::Unavailable);
            assert!(error.to_string().contains("gave up"), "{error}");
            assert!(std::error::Error::source(&error).is_some());
            let passed = clock.monotonic();
            let limits = RetryLimits::default();
            assert!(
                passed <= limits.total_max && passed + limits.wait_max >= limits.total_max,
                "{passed:?}"
            );
            assert!((15..200).contains(&faulty.struck()), "{}", faulty.struck());
        }
    }

    #[test]
    fn an_outage_is_told_once_a_minute() {
        let World {
            clock,
            faulty,
            store,
            ..
        } = world(3);
        let told = Arc::new(Mutex::new(Vec::new()));
        let heard = told.clone();
        let store = store.telling(Arc::new(move |error, _| {
            heard.lock().unwrap().push(error.kind());
        }));
        faulty.add(unavailable(Operation::Put, u64::MAX));
        store.put("a", &[], &PutOptions::default()).unwrap_err();
        let minutes = clock.monotonic().as_secs() / 60;
        let told = told.lock().unwrap();
        assert!(told.iter().all(|kind| *kind == BlobErrorKind::Unavailable));
        // A wait is at most as long as the pause between two tellings.
        let times = told.len() as u64;
        assert!(
            (minutes / 2..=minutes + 1).contains(&times),
            "{times} in {minutes} minutes"
        );
    }

    #[test]
    fn waits_are_spread() {
        let waits: HashSet<_> = (0..50)
            .map(|seed| {
                let World {
                    clock,
                    faulty,
                    store,
                    ..
                } = world(seed);
                faulty.add(unavailable(Operation::Delete, 1));
                store.delete("a").unwrap();
                clock.monotonic()
            })
            .collect();
        assert!(
            waits.len() > 40,
            "fifty writers come back at {} moments",
            waits.len()
        );
        assert!(waits.iter().all(|wait| *wait <= Duration::from_secs(1)));
    }

    #[test]
    fn stopping_ends_the_waiting_but_not_the_first_attempt() {
        let World {
            stop,
            faulty,
            store,
            ..
        } = world(1);
        stop.stop();
        store.put("a", &[b"x"], &PutOptions::default()).unwrap();
        faulty.add(unavailable(Operation::Delete, 1));
        assert_eq!(
            store.delete("a").unwrap_err().kind(),
            BlobErrorKind::Stopped
        );
    }

    #[test]
    fn a_listing_that_breaks_off_neither_loses_nor_repeats() {
        let World { faulty, store, .. } = world(1);
        for number in 0..100 {
            store
                .put(&format!("a{number}"), &[], &PutOptions::default())
                .unwrap();
        }
        faulty.add(
            Rule::on(
                Operation::List,
                Strike::BreakOff {
                    after: 60,
                    kind: BlobErrorKind::Unavailable,
                },
            )
            .times(2),
        );
        let names: Vec<_> = store
            .list_all("a")
            .unwrap()
            .into_iter()
            .map(|blob| blob.name)
            .collect();
        assert_eq!(names.len(), 100);
        assert_eq!(names.iter().collect::<HashSet<_>>().len(), 100);
        assert_eq!(faulty.struck(), 2);
    }

    #[test]
    fn the_callers_own_error_is_handed_back_untouched() {
        let World { store, faulty, .. } = world(1);
        store.put("a", &[], &PutOptions::default()).unwrap();
        let error = store
            .list("", &mut |_| {
                Err(BlobError::new(BlobErrorKind::Unavailable, "the caller's"))
            })
            .unwrap_err();
        assert_eq!(error.kind(), BlobErrorKind::Unavailable);
        assert_eq!(error.to_string(), "the caller's");
        assert_eq!(faulty.struck(), 0);
    }
}
