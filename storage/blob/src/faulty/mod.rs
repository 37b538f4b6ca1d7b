//! A wrapper that fails on purpose: by a table of rules, or at random from a seed.
//!
//! For tests and simulated worlds. It breaks the port's promises in the ways in which real stores
//! do; what stands above must notice.

mod rule;

use std::sync::{Mutex, MutexGuard};

use time_and_chance::{Chance, SharedClock, StopSignal, Timestamp};

pub use self::rule::{Rule, Strike};
use crate::{
    BlobError, BlobErrorKind, BlobMetadata, BlobStore, Operation, PutOptions, SharedBlobStore,
    Space,
};

/// A store that fails as it is told.
#[derive(Debug)]
pub struct Faulty {
    inner: SharedBlobStore,
    script: Mutex<Script>,
    clock: SharedClock,
    stop: StopSignal,
}

#[derive(Debug, Default)]
struct Script {
    rules: Vec<Rule>,
    storm: Option<Storm>,
    struck: u64,
}

#[derive(Debug)]
struct Storm {
    chance: Chance,
    one_in: u64,
    strikes: Vec<Strike>,
}

/// A strike with the prefix of its rule.
type Hit = (Strike, String);

impl Faulty {
    /// Wraps a store; nothing goes wrong until a rule or a storm is added.
    pub fn new(inner: SharedBlobStore, clock: SharedClock, stop: StopSignal) -> Self {
        Self {
            inner,
            script: Mutex::default(),
            clock,
            stop,
        }
    }

    /// Adds a rule. Of several that hit a request, the oldest strikes.
    pub fn add(&self, rule: Rule) {
        self.lock().rules.push(rule);
    }

    /// Lets one request in `one_in`, drawn by `chance`, be hit by one of the strikes. Rules come
    /// first.
    ///
    /// # Panics
    /// If `one_in` is 0 or there are no strikes.
    pub fn storm(&self, chance: Chance, one_in: u64, strikes: Vec<Strike>) {
        assert!(one_in > 0 && !strikes.is_empty(), "a storm needs strikes");
        self.lock().storm = Some(Storm {
            chance,
            one_in,
            strikes,
        });
    }

    /// Forgets all rules and ends the storm.
    pub fn clear(&self) {
        let mut script = self.lock();
        script.rules.clear();
        script.storm = None;
    }

    /// Returns how many requests were hit.
    pub fn struck(&self) -> u64 {
        self.lock().struck
    }

    fn strike(&self, operation: Operation, name: &str) -> Option<Hit> {
        let mut script = self.lock();
        // Every rule counts the requests that match it, also those that another one hits.
        let mut hit = None;
        for rule in &mut script.rules {
            if rule.hits(operation, name) && hit.is_none() {
                hit = Some((rule.strike.clone(), rule.prefix.clone()));
            }
        }
        if hit.is_none()
            && let Some(storm) = &script.storm
            && storm.chance.below(storm.one_in) == 0
        {
            let drawn = storm.chance.below(storm.strikes.len() as u64);
            hit = Some((storm.strikes[drawn as usize].clone(), name.to_owned()));
        }
        script.struck += u64::from(hit.is_some());
        hit
    }

    fn read(
        &self,
        operation: Operation,
        name: &str,
        read: impl FnOnce() -> Result<Vec<u8>, BlobError>,
    ) -> Result<Vec<u8>, BlobError> {
        let Some((strike, _)) = self.strike(operation, name) else {
            return read();
        };
        let mut content = self.around(&strike, operation, name, read)?;
        match strike {
            Strike::Truncate(bytes) => {
                content.truncate(usize::try_from(bytes).unwrap_or(usize::MAX))
            }
            Strike::FlipBit(bit) => flip(&mut content, bit),
            _ => {}
        }
        Ok(content)
    }

    /// Does what is asked, within the strikes that do not concern content.
    fn around<T>(
        &self,
        strike: &Strike,
        operation: Operation,
        name: &str,
        ask: impl FnOnce() -> Result<T, BlobError>,
    ) -> Result<T, BlobError> {
        let failed = |kind| {
            BlobError::new(
                kind,
                format!("{operation:?} {name}: struck by a fault test"),
            )
        };
        match strike {
            Strike::Fail(kind) | Strike::BreakOff { kind, .. } => Err(failed(*kind)),
            Strike::FailAfter(kind) => {
                ask()?;
                Err(failed(*kind))
            }
            Strike::Lose => Err(failed(BlobErrorKind::NotFound)),
            Strike::Slow(duration) => {
                self.clock
                    .sleep(*duration, &self.stop)
                    .map_err(|stopped| failed(BlobErrorKind::Stopped).caused_by(stopped))?;
                ask()
            }
            Strike::Truncate(_) | Strike::FlipBit(_) => ask(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Script> {
        self.script
            .lock()
            .expect("no thread panics while it holds the script")
    }
}

impl BlobStore for Faulty {
    fn put(&self, name: &str, parts: &[&[u8]], options: &PutOptions) -> Result<(), BlobError> {
        let Some((strike, _)) = self.strike(Operation::Put, name) else {
            return self.inner.put(name, parts, options);
        };
        let mut content = parts.concat();
        match strike {
            Strike::Lose => return Ok(()),
            Strike::Truncate(bytes) => {
                content.truncate(usize::try_from(bytes).unwrap_or(usize::MAX))
            }
            Strike::FlipBit(bit) => flip(&mut content, bit),
            _ => {}
        }
        self.around(&strike, Operation::Put, name, || {
            self.inner.put(name, &[&content], options)
        })
    }

    fn get(&self, name: &str) -> Result<Vec<u8>, BlobError> {
        self.read(Operation::Get, name, || self.inner.get(name))
    }

    fn get_range(&self, name: &str, offset: u64, bytes: u64) -> Result<Vec<u8>, BlobError> {
        self.read(Operation::GetRange, name, || {
            self.inner.get_range(name, offset, bytes)
        })
    }

    fn metadata(&self, name: &str) -> Result<BlobMetadata, BlobError> {
        let ask = || self.inner.metadata(name);
        match self.strike(Operation::Metadata, name) {
            Some((strike, _)) => self.around(&strike, Operation::Metadata, name, ask),
            None => ask(),
        }
    }

    fn list(
        &self,
        prefix: &str,
        each: &mut dyn FnMut(BlobMetadata) -> Result<(), BlobError>,
    ) -> Result<(), BlobError> {
        let hit = self.strike(Operation::List, prefix);
        let (ends, breaks, hides) = match &hit {
            None => return self.inner.list(prefix, each),
            Some((Strike::Truncate(count), _)) => (Some(*count), None, None),
            Some((Strike::BreakOff { after, kind }, _)) => (Some(*after), Some(*kind), None),
            Some((Strike::Lose, hidden)) => (None, None, Some(hidden.as_str())),
            Some((other, _)) => {
                return self.around(other, Operation::List, prefix, || {
                    self.inner.list(prefix, each)
                });
            }
        };
        let mut found = 0;
        self.inner.list(prefix, &mut |blob| {
            if hides.is_some_and(|hidden| blob.name.starts_with(hidden))
                || ends.is_some_and(|ends| found >= ends)
            {
                return Ok(());
            }
            found += 1;
            each(blob)
        })?;
        match breaks {
            Some(kind) => Err(BlobError::new(
                kind,
                format!("list {prefix}: struck by a fault test"),
            )),
            None => Ok(()),
        }
    }

    fn delete(&self, name: &str) -> Result<(), BlobError> {
        let ask = || self.inner.delete(name);
        match self.strike(Operation::Delete, name) {
            // What is lost already is deleted without complaint.
            Some((Strike::Lose, _)) => Ok(()),
            Some((strike, _)) => self.around(&strike, Operation::Delete, name, ask),
            None => ask(),
        }
    }

    fn extend_lock(&self, name: &str, mode: &str, until: Timestamp) -> Result<(), BlobError> {
        let ask = || self.inner.extend_lock(name, mode, until);
        match self.strike(Operation::ExtendLock, name) {
            Some((strike, _)) => self.around(&strike, Operation::ExtendLock, name, ask),
            None => ask(),
        }
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

fn flip(content: &mut [u8], bit: u64) {
    let bits = content.len() as u64 * 8;
    if bits > 0 {
        let bit = bit % bits;
        content[(bit / 8) as usize] ^= 1 << (bit % 8);
    }
}

#[cfg(test)]
mod tests;
