//! A wrapper that spares the line: bytes per second each way, and requests at a time.
//!
//! Bytes are counted by whole blobs, not as they flow: a request starts once what earlier ones
//! moved is paid for. Over seconds that is the same; within one pack it is not.

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use time_and_chance::{SharedClock, StopSignal, Timestamp};

use crate::{
    BlobError, BlobErrorKind, BlobMetadata, BlobStore, PutOptions, SharedBlobStore, Space,
};

/// What may be used up unpaid after a quiet time.
const BURST: Duration = Duration::from_secs(1);
/// So often whoever waits looks whether the rate is another one by now.
const LOOK: Duration = Duration::from_secs(5);

/// How much a store may be used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ThrottleLimits {
    /// Bytes written per second; `None` and 0 mean no limit.
    pub upload_bytes_per_second: Option<u64>,
    /// Bytes read per second; `None` and 0 mean no limit.
    pub download_bytes_per_second: Option<u64>,
    /// Requests at a time; `None` and 0 mean no limit. Listings are not counted: who gets their
    /// blobs may ask the store in turn.
    pub requests_max: Option<usize>,
}

/// A store that is used no faster than its limits allow.
#[derive(Debug)]
pub struct Throttled {
    inner: SharedBlobStore,
    uploads: Vec<Arc<Bandwidth>>,
    download: Option<Bandwidth>,
    gate: Option<Gate>,
    clock: SharedClock,
    stop: StopSignal,
}

impl Throttled {
    /// Wraps a store; `stop` ends waits for bytes to be paid.
    pub fn new(
        inner: SharedBlobStore,
        limits: ThrottleLimits,
        clock: SharedClock,
        stop: StopSignal,
    ) -> Self {
        let fixed = |rate: Option<u64>| {
            let rate = rate.filter(|&rate| rate > 0)?;
            Some(Bandwidth::of(move || Some(rate)))
        };
        let upload = fixed(limits.upload_bytes_per_second);
        Self {
            inner,
            uploads: upload.map(Arc::new).into_iter().collect(),
            download: fixed(limits.download_bytes_per_second),
            gate: limits.requests_max.filter(|&max| max > 0).map(Gate::new),
            clock,
            stop,
        }
    }

    /// Counts what is written against a bandwidth besides, which other stores with the same clock
    /// may share.
    #[must_use]
    pub fn uploading_within(mut self, bandwidth: Arc<Bandwidth>) -> Self {
        self.uploads.push(bandwidth);
        self
    }

    fn pay(&self, bandwidth: &Bandwidth, bytes: u64) -> Result<(), BlobError> {
        while let Err(wait) = bandwidth.take(bytes, self.clock.monotonic()) {
            self.clock
                .sleep(wait.min(LOOK), &self.stop)
                .map_err(|stopped| {
                    BlobError::new(BlobErrorKind::Stopped, "wait for the bandwidth limit")
                        .caused_by(stopped)
                })?;
        }
        Ok(())
    }

    fn enter(&self) -> Option<Entered<'_>> {
        self.gate.as_ref().map(Gate::enter)
    }

    /// Reads, and counts what was read: only then is it known.
    fn download(
        &self,
        read: impl FnOnce() -> Result<Vec<u8>, BlobError>,
    ) -> Result<Vec<u8>, BlobError> {
        if let Some(bandwidth) = &self.download {
            self.pay(bandwidth, 0)?;
        }
        let content = {
            let _entered = self.enter();
            read()?
        };
        if let Some(bandwidth) = &self.download {
            bandwidth.owe(content.len() as u64, self.clock.monotonic());
        }
        Ok(content)
    }
}

impl BlobStore for Throttled {
    fn put(&self, name: &str, parts: &[&[u8]], options: &PutOptions) -> Result<(), BlobError> {
        let bytes = parts.iter().map(|part| part.len() as u64).sum();
        for bandwidth in &self.uploads {
            self.pay(bandwidth, bytes)?;
        }
        let _entered = self.enter();
        self.inner.put(name, parts, options)
    }

    fn get(&self, name: &str) -> Result<Vec<u8>, BlobError> {
        self.download(|| self.inner.get(name))
    }

    fn get_range(&self, name: &str, offset: u64, bytes: u64) -> Result<Vec<u8>, BlobError> {
        self.download(|| self.inner.get_range(name, offset, bytes))
    }

    fn metadata(&self, name: &str) -> Result<BlobMetadata, BlobError> {
        let _entered = self.enter();
        self.inner.metadata(name)
    }

    fn list(
        &self,
        prefix: &str,
        each: &mut dyn FnMut(BlobMetadata) -> Result<(), BlobError>,
    ) -> Result<(), BlobError> {
        self.inner.list(prefix, each)
    }

    fn delete(&self, name: &str) -> Result<(), BlobError> {
        let _entered = self.enter();
        self.inner.delete(name)
    }

    fn extend_lock(&self, name: &str, mode: &str, until: Timestamp) -> Result<(), BlobError> {
        let _entered = self.enter();
        self.inner.extend_lock(name, mode, until)
    }

    fn time(&self) -> Result<Option<Timestamp>, BlobError> {
        self.inner.time()
    }

    fn location(&self) -> String {
        self.inner.location()
    }

    fn space(&self) -> Result<Option<Space>, BlobError> {
        self.inner.space()
    }
}

/// Bytes per second, as much as there may be at the moment: the rate is asked for whenever bytes are
/// counted, and those who wait look for another one.
pub struct Bandwidth {
    rate: Box<dyn Fn() -> Option<u64> + Send + Sync>,
    account: Mutex<Account>,
}

/// What was taken and is not paid yet, in bytes times nanoseconds; less than nothing after a quiet
/// time.
#[derive(Debug, Default)]
struct Account {
    owed: i128,
    settled_at: Duration,
    /// The rate of that moment, by which the time since then counts.
    rate: Option<i128>,
}

impl std::fmt::Debug for Bandwidth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bandwidth").finish_non_exhaustive()
    }
}

impl Bandwidth {
    /// Returns a bandwidth of as many bytes per second as `rate` says at the time; `None` and 0 mean
    /// no limit.
    pub fn of(rate: impl Fn() -> Option<u64> + Send + Sync + 'static) -> Self {
        Self {
            rate: Box::new(rate),
            account: Mutex::default(),
        }
    }

    /// Takes `bytes` if what was taken before is paid; else returns how long that takes at the rate
    /// of now.
    fn take(&self, bytes: u64, now: Duration) -> Result<(), Duration> {
        self.settled(now, |account, rate| {
            if account.owed > 0 {
                let wait_ns = (account.owed + rate - 1) / rate;
                return Err(Duration::from_nanos(
                    u64::try_from(wait_ns).unwrap_or(u64::MAX),
                ));
            }
            account.owed += price(bytes);
            Ok(())
        })
        .unwrap_or(Ok(()))
    }

    /// Counts bytes that were used.
    fn owe(&self, bytes: u64, now: Duration) {
        self.settled(now, |account, _| account.owed += price(bytes));
    }

    /// Does something with the account as it stands now; nothing if there is no limit now.
    fn settled<T>(&self, now: Duration, doing: impl FnOnce(&mut Account, i128) -> T) -> Option<T> {
        let rate = (self.rate)().filter(|&rate| rate > 0);
        let mut account = self
            .account
            .lock()
            .expect("no thread panics while it counts");
        let passed = now.saturating_sub(account.settled_at);
        account.settled_at = account.settled_at.max(now);
        let before = std::mem::replace(&mut account.rate, rate.map(i128::from));
        let Some(rate) = account.rate else {
            account.owed = 0;
            return None;
        };
        let ns = |time: Duration| i128::try_from(time.as_nanos()).unwrap_or(i64::MAX.into());
        let paid = before.unwrap_or(rate).saturating_mul(ns(passed));
        let credit_max = rate.saturating_mul(ns(BURST));
        account.owed = account.owed.saturating_sub(paid).max(-credit_max);
        Some(doing(&mut account, rate))
    }
}

fn price(bytes: u64) -> i128 {
    i128::from(bytes) * 1_000_000_000
}

/// Lets a number of threads in.
#[derive(Debug)]
struct Gate {
    free: Mutex<usize>,
    left: Condvar,
}

impl Gate {
    fn new(max: usize) -> Self {
        Self {
            free: Mutex::new(max),
            left: Condvar::new(),
        }
    }

    fn enter(&self) -> Entered<'_> {
        let free = self.free.lock().expect("no thread panics while it counts");
        let waited = self.left.wait_while(free, |free| *free == 0);
        *waited.expect("no thread panics while it counts") -= 1;
        Entered { gate: self }
    }
}

#[derive(Debug)]
struct Entered<'a> {
    gate: &'a Gate,
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        if let Ok(mut free) = self.gate.free.lock() {
            *free += 1;
        }
        self.gate.left.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use time_and_chance::{Clock, ManualClock, Timestamp};

    use super::*;
    use crate::{Faulty, MemoryStore, Operation, Rule, Strike, contract};

    fn throttled(limits: ThrottleLimits) -> (Arc<ManualClock>, StopSignal, Throttled) {
        let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
        let stop = StopSignal::new();
        let inner = Arc::new(MemoryStore::new(clock.clone()));
        let store = Throttled::new(inner, limits, clock.clone(), stop.clone());
        (clock, stop, store)
    }

    #[test]
    fn a_throttled_store_keeps_the_contract() {
        let (_, _, store) = throttled(ThrottleLimits {
            upload_bytes_per_second: Some(1_000_000),
            download_bytes_per_second: Some(1_000_000),
            requests_max: Some(1),
        });
        contract::check_all(&store);
    }

    #[test]
    fn bytes_take_their_time_each_way() {
        let (clock, _, store) = throttled(ThrottleLimits {
            upload_bytes_per_second: Some(1_000),
            download_bytes_per_second: Some(500),
            requests_max: None,
        });
        for _ in 0..20 {
            store
                .put("a", &[&[0; 600], &[0; 400]], &PutOptions::default())
                .unwrap();
        }
        // The first second's worth is free, the last put is not waited for.
        assert_eq!(clock.monotonic(), Duration::from_secs(19));
        for _ in 0..10 {
            store.get("a").unwrap();
            store.get_range("a", 0, 500).unwrap();
        }
        let reading = clock.monotonic() - Duration::from_secs(19);
        assert!((27..=30).contains(&reading.as_secs()), "{reading:?}");
    }

    #[test]
    fn a_quiet_hour_buys_no_flood() {
        let (clock, _, store) = throttled(ThrottleLimits {
            upload_bytes_per_second: Some(1_000),
            ..ThrottleLimits::default()
        });
        clock.advance(Duration::from_secs(3600));
        for _ in 0..10 {
            store
                .put("a", &[&[0; 1_000]], &PutOptions::default())
                .unwrap();
        }
        let passed = clock.monotonic() - Duration::from_secs(3600);
        assert_eq!(passed, Duration::from_secs(8));
    }

    #[test]
    fn a_rate_that_changes_holds_for_those_who_wait_too() {
        let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
        let at = clock.clone();
        // Ten bytes a second for a minute, then a hundred, and no limit after two minutes.
        let bandwidth = Arc::new(Bandwidth::of(move || match at.monotonic().as_secs() {
            ..60 => Some(10),
            60..120 => Some(100),
            _ => None,
        }));
        let inner = Arc::new(MemoryStore::new(clock.clone()));
        let store = Throttled::new(
            inner,
            ThrottleLimits::default(),
            clock.clone(),
            StopSignal::new(),
        )
        .uploading_within(bandwidth);
        let put = |bytes: usize| {
            store
                .put("a", &[&vec![0; bytes]], &PutOptions::default())
                .unwrap();
            clock.monotonic().as_secs()
        };
        assert_eq!(put(1_600), 0);
        // 600 are paid within the first minute, the rest within ten seconds of the second.
        assert_eq!(put(1_000_000), 70);
        // What is still owed when the limit goes is forgiven.
        assert_eq!(put(5_000), 120);
        assert_eq!(put(5_000), 120);
    }

    #[test]
    fn stores_share_a_bandwidth_and_the_lower_limit_wins() {
        let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
        let shared = Arc::new(Bandwidth::of(|| Some(1_000)));
        let store = |own: u64| {
            let inner = Arc::new(MemoryStore::new(clock.clone()));
            let limits = ThrottleLimits {
                upload_bytes_per_second: Some(own),
                ..ThrottleLimits::default()
            };
            Throttled::new(inner, limits, clock.clone(), StopSignal::new())
                .uploading_within(Arc::clone(&shared))
        };
        let put_ten = |store: &Throttled| {
            let begun = clock.monotonic();
            for _ in 0..10 {
                store
                    .put("a", &[&[0; 1_000]], &PutOptions::default())
                    .unwrap();
            }
            (clock.monotonic() - begun).as_secs()
        };
        let (fast, other, slow) = (store(5_000), store(0), store(100));
        assert_eq!(put_ten(&fast), 9);
        // What the first one took is paid by the second.
        assert_eq!(put_ten(&other), 10);
        // Its first second's worth is free.
        assert_eq!(put_ten(&slow), 89);
    }

    #[test]
    fn stopping_ends_the_wait() {
        let (_, stop, store) = throttled(ThrottleLimits {
            upload_bytes_per_second: Some(1),
            ..ThrottleLimits::default()
        });
        store
            .put("a", &[&[0; 100]], &PutOptions::default())
            .unwrap();
        stop.stop();
        let error = store.put("a", &[b"x"], &PutOptions::default()).unwrap_err();
        assert_eq!(error.kind(), BlobErrorKind::Stopped);
    }

    #[test]
    fn no_more_requests_run_at_a_time_than_allowed() {
        let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
        let watch = Arc::new(Watch::default());
        let limits = ThrottleLimits {
            requests_max: Some(3),
            ..ThrottleLimits::default()
        };
        let store = Throttled::new(watch.clone(), limits, clock, StopSignal::new());
        thread::scope(|scope| {
            for _ in 0..12 {
                scope.spawn(|| (0..50).for_each(|_| drop(store.get("a"))));
            }
        });
        let most = *watch.most.lock().unwrap();
        assert!((1..=3).contains(&most), "{most}");
    }

    #[test]
    fn a_listings_reader_may_use_the_store() {
        let (_, _, store) = throttled(ThrottleLimits {
            requests_max: Some(1),
            ..ThrottleLimits::default()
        });
        store.put("a", &[], &PutOptions::default()).unwrap();
        store
            .list("", &mut |blob| store.delete(&blob.name))
            .unwrap();
        assert!(store.list_all("").unwrap().is_empty());
    }

    #[test]
    fn a_failed_request_leaves_the_gate() {
        let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
        let inner = Arc::new(MemoryStore::new(clock.clone()));
        let faulty = Faulty::new(inner, clock.clone(), StopSignal::new());
        faulty.add(Rule::on(Operation::Put, Strike::Fail(BlobErrorKind::Unavailable)).times(2));
        let limits = ThrottleLimits {
            requests_max: Some(1),
            ..ThrottleLimits::default()
        };
        let store = Throttled::new(Arc::new(faulty), limits, clock, StopSignal::new());
        assert!(store.put("a", &[], &PutOptions::default()).is_err());
        assert!(store.put("a", &[], &PutOptions::default()).is_err());
        store.put("a", &[], &PutOptions::default()).unwrap();
    }

    /// Counts who is inside at once.
    #[derive(Debug, Default)]
    struct Watch {
        inside: Mutex<usize>,
        most: Mutex<usize>,
    }

    impl BlobStore for Watch {
        fn get(&self, _: &str) -> Result<Vec<u8>, BlobError> {
            let inside = {
                let mut inside = self.inside.lock().unwrap();
                *inside += 1;
                *inside
            };
            let mut most = self.most.lock().unwrap();
            *most = inside.max(*most);
            drop(most);
            thread::yield_now();
            *self.inside.lock().unwrap() -= 1;
            Ok(Vec::new())
        }

        fn put(&self, _: &str, _: &[&[u8]], _: &PutOptions) -> Result<(), BlobError> {
            unreachable!("only read")
        }

        fn get_range(&self, _: &str, _: u64, _: u64) -> Result<Vec<u8>, BlobError> {
            unreachable!("only read")
        }

        fn metadata(&self, _: &str) -> Result<BlobMetadata, BlobError> {
            unreachable!("only read")
        }

        fn list(
            &self,
            _: &str,
            _: &mut dyn FnMut(BlobMetadata) -> Result<(), BlobError>,
        ) -> Result<(), BlobError> {
            unreachable!("only read")
        }

        fn delete(&self, _: &str) -> Result<(), BlobError> {
            unreachable!("only read")
        }

        fn location(&self) -> String {
            unreachable!("only read")
        }

        fn space(&self) -> Result<Option<Space>, BlobError> {
            unreachable!("only read")
        }
    }
}
