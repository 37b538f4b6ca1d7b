//! Writing: contents are hashed, deduplicated, compressed, sealed and packed by the threads that
//! bring them; other threads put full packs into the store.
//!
//! ```text
//! callers: hash four at a time ─► known? ─► compress ─► seal ─► open pack ─┐ full
//!                                                                          ▼
//!                                              bounded queue ─► upload threads ─► store
//! flush:   close packs ─► wait for uploads ─► index blob ─► marker goes
//! ```

mod flush;
mod lost_packs;
mod pack;
mod recovery;
mod session;
mod session_lock;
mod uploads;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use kopia::cipher::ContentCipher;
use kopia::compression::{CompressionAlgorithm, Compressor};
use kopia::content_id::ContentId;
use kopia::hash::HashOutput;
use kopia::record::ContentRecord;
use time_and_chance::StopSignal;

pub(crate) use self::flush::current_epoch;
pub(crate) use self::pack::SealedContent;
pub(crate) use self::recovery::local_index;
use self::session::Session;
use self::uploads::Uploads;
use crate::Repository;
use crate::error::{RepoError, RepoErrorKind};

/// Indexes are written at least this often, so that a crash loses little (DESIGN section 3).
const FLUSH_AGE_MAX: Duration = Duration::from_mins(5);
/// … or after this much content.
const FLUSH_BYTES_MAX: u64 = 1 << 30;
/// … or after so many contents: what is kept of each until then takes about 160 bytes.
const FLUSH_RECORDS_MAX: usize = 1 << 17;
/// Packs are closed at this length even where the repository allows longer ones: they are held
/// in memory until they are stored.
pub const PACK_BYTES_MAX: u64 = 20 << 20;

/// Writes to a repository; shared by everything in this process that writes to it.
#[derive(Debug)]
pub struct Writer {
    repo: Arc<Repository>,
    uploads: Uploads,
    state: Mutex<State>,
    /// Held while a flush runs, so that flushes end in the order in which they began.
    flushing: Mutex<()>,
    group: Mutex<FlushGroup>,
    upload_threads: usize,
}

#[derive(Debug, Default)]
struct State {
    session: Option<Session>,
    /// What the index does not tell yet: own contents of this and of unfinished flushes.
    pending: HashSet<ContentId>,
    /// Sessions taken out for a flush that failed; they come first next time.
    unfinished: Vec<Session>,
    stored_bytes: u64,
    /// Packs of all flushed sessions.
    flushed_packs: Vec<Arc<str>>,
}

/// Writers that finish at about the same time share a flush.
#[derive(Debug, Default)]
struct FlushGroup {
    active: usize,
    round: Round,
}

/// One shared flush and those who wait for it.
#[derive(Debug, Clone, Default)]
struct Round {
    waiting: usize,
    /// Thrown when nobody is left to be waited for.
    complete: StopSignal,
    outcome: Arc<OnceLock<Result<(), (RepoErrorKind, String)>>>,
}

impl FlushGroup {
    fn look_whether_complete(&self) {
        if self.round.waiting >= self.active {
            self.round.complete.stop();
        }
    }
}

/// What one thread needs to write contents: a compressor and scratch space.
#[derive(Debug)]
pub struct Encoder {
    compressor: Option<Compressor>,
    compressed: Vec<u8>,
    hashes: Vec<HashOutput>,
}

/// What became of a content that was handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// The content's id.
    pub id: ContentId,
    /// The bytes it takes in a pack if it was new, 0 if the repository had it.
    pub packed_bytes: u32,
}

/// One user of a writer, for as long as it works: flushes wait for those who are about to finish.
#[derive(Debug)]
pub struct WriterUse<'a> {
    writer: &'a Writer,
}

impl Drop for WriterUse<'_> {
    fn drop(&mut self) {
        let mut group = self.writer.lock_group();
        group.active -= 1;
        group.look_whether_complete();
    }
}

impl Encoder {
    /// Returns an encoder that compresses with `algorithm`, or not at all.
    pub fn new(algorithm: Option<CompressionAlgorithm>) -> Self {
        Self {
            compressor: algorithm.map(Compressor::new),
            compressed: Vec::new(),
            hashes: Vec::new(),
        }
    }

    /// Returns an encoder for lists, directories and manifests: Kopia's metadata compressor.
    pub fn metadata() -> Self {
        Self::new(Some(CompressionAlgorithm::ZstdFastest))
    }
}

impl Writer {
    /// Begins to write to `repo` with `upload_threads` requests in flight.
    ///
    /// # Errors
    /// `Unsupported` with the reason if this program does not write repositories of this kind.
    pub fn new(repo: &Arc<Repository>, upload_threads: usize) -> Result<Self, RepoError> {
        repo.check_may_write()?;
        let writer = Self {
            uploads: Uploads::start(repo, upload_threads),
            upload_threads,
            repo: Arc::clone(repo),
            state: Mutex::default(),
            flushing: Mutex::new(()),
            group: Mutex::default(),
        };
        writer.take_over_dead_sessions()?;
        Ok(writer)
    }

    /// Puts what dead sessions of ours stored into an index, so that it is not stored again.
    fn take_over_dead_sessions(&self) -> Result<(), RepoError> {
        let dead = recovery::find_dead_sessions(&self.repo)?;
        if dead.is_empty() {
            return Ok(());
        }
        self.lock().unfinished.extend(dead);
        self.flush()
    }

    /// Returns the repository this writes to.
    pub fn repository(&self) -> &Arc<Repository> {
        &self.repo
    }

    /// Counts the caller among those whose end a shared flush waits for.
    pub fn begin_use(&self) -> WriterUse<'_> {
        self.lock_group().active += 1;
        WriterUse { writer: self }
    }

    /// Returns how many bytes of packs were stored so far.
    pub fn stored_bytes(&self) -> u64 {
        let state = self.lock();
        let open = state
            .session
            .iter()
            .chain(&state.unfinished)
            .map(|session| session.uploads.stored_bytes());
        state.stored_bytes + open.sum::<u64>()
    }

    /// Stores one content.
    pub fn write_content(
        &self,
        encoder: &mut Encoder,
        prefix: Option<u8>,
        content: &[u8],
    ) -> Result<Written, RepoError> {
        Ok(self.write_contents(encoder, prefix, &[content])?[0])
    }

    /// Stores contents; those of equal length are hashed side by side.
    ///
    /// What the repository has already is not stored again. Nothing is visible to others before
    /// [`flush`](Self::flush).
    pub fn write_contents(
        &self,
        encoder: &mut Encoder,
        prefix: Option<u8>,
        contents: &[&[u8]],
    ) -> Result<Vec<Written>, RepoError> {
        self.flush_if_due()?;
        self.uploads.wait_for_room();
        encoder.hashes.clear();
        self.repo.hasher.hash_many(contents, &mut encoder.hashes);
        let ids: Vec<ContentId> = encoder
            .hashes
            .iter()
            .map(|hash| ContentId::new(prefix, *hash))
            .collect();
        let mut written = Vec::with_capacity(contents.len());
        for (id, content) in ids.into_iter().zip(contents) {
            let packed_bytes = match self.claim(&id)? {
                None => 0,
                Some(timestamp_seconds) => {
                    match self.seal_and_append(encoder, id, content, timestamp_seconds) {
                        Ok(packed_bytes) => packed_bytes,
                        Err(error) => {
                            self.lock().pending.remove(&id);
                            return Err(error);
                        }
                    }
                }
            };
            written.push(Written { id, packed_bytes });
        }
        Ok(written)
    }

    /// Returns `None` if the content need not be stored, or else the timestamp its record gets;
    /// it then counts as being stored by the caller.
    fn claim(&self, id: &ContentId) -> Result<Option<i64>, RepoError> {
        if self.lock().pending.contains(id) {
            return Ok(None);
        }
        let known = self.repo.view().newest(id)?;
        let now = self.repo.clock().now().as_second();
        let timestamp = match known {
            Some(record) if !record.deleted && !self.repo.is_lost(&record) => {
                return Ok(None);
            }
            // A rewritten content must win over what made it unusable (Kopia spec 4.6).
            Some(record) => now.max(record.timestamp_seconds + 1),
            None => now,
        };
        let mut state = self.lock();
        if state.pending.contains(id) {
            return Ok(None);
        }
        state.pending.insert(*id);
        Ok(Some(timestamp))
    }

    fn seal_and_append(
        &self,
        encoder: &mut Encoder,
        id: ContentId,
        content: &[u8],
        timestamp_seconds: i64,
    ) -> Result<u32, RepoError> {
        let original_bytes = u32::try_from(content.len())
            .ok()
            .filter(|bytes| *bytes < 1 << 28)
            .ok_or_else(|| {
                RepoError::new(RepoErrorKind::Invalid, "store a content of 256 MiB or more")
            })?;
        let (plain, compression_header_id) = encoder.compress(content)?;
        let mut sealed = self
            .uploads
            .pool()
            .take(plain.len() + ContentCipher::OVERHEAD_BYTES);
        self.repo.cipher.seal_into(
            &id.hash().iv(),
            self.repo.chance().bytes(),
            plain,
            &mut sealed,
        );
        let packed_bytes = sealed.len() as u32;
        let metadata = id.prefix().is_some();
        let content = SealedContent {
            id,
            sealed,
            original_bytes,
            compression_header_id,
            timestamp_seconds,
        };
        self.append(content, metadata)?;
        Ok(packed_bytes)
    }

    pub(crate) fn append(&self, content: SealedContent, metadata: bool) -> Result<(), RepoError> {
        let mut state = self.lock();
        if state.session.is_none() {
            state.session = Some(Session::begin(&self.repo)?);
        }
        let session = state.session.as_mut().expect("a session was begun above");
        session.uploads.check()?;
        session.content_bytes += content.sealed.len() as u64;
        let pack = session.pack(metadata, &self.repo);
        let record = pack.append(content);
        let full = pack.is_full();
        session.records.push(record);
        let full = if full {
            let place = if metadata {
                &mut session.metadata_pack
            } else {
                &mut session.data_pack
            };
            let group = Arc::clone(&session.uploads);
            place.take().map(|pack| (pack, group))
        } else {
            None
        };
        drop(state);
        if let Some((pack, group)) = full {
            self.uploads.submit(pack.finish(&self.repo)?, &group);
        }
        Ok(())
    }

    /// Adds a tombstone for a content; for superseded manifests, and for what maintenance buries
    /// (Kopia spec 4.7).
    pub(crate) fn delete_content(&self, id: &ContentId) -> Result<(), RepoError> {
        let Some(record) = self.repo.find(id)?.filter(|record| !record.deleted) else {
            return Ok(());
        };
        let now = self.repo.clock().now().as_second();
        self.add_record(ContentRecord {
            deleted: true,
            timestamp_seconds: now.max(record.timestamp_seconds + 1),
            ..record
        })
    }

    /// Puts a record of a content that lies somewhere already into the next index blob.
    pub(crate) fn add_record(&self, record: ContentRecord) -> Result<(), RepoError> {
        let mut state = self.lock();
        if state.session.is_none() {
            state.session = Some(Session::begin(&self.repo)?);
        }
        let session = state.session.as_mut().expect("a session was begun above");
        session.records.push(record);
        Ok(())
    }

    /// Keeps to what a writer owes other clients: indexes soon, and look-ups in a fresh one.
    pub(crate) fn flush_if_due(&self) -> Result<(), RepoError> {
        let due = self.lock().session.as_ref().is_some_and(|session| {
            session.content_bytes >= FLUSH_BYTES_MAX
                || session.records.len() >= FLUSH_RECORDS_MAX
                || self.repo.clock().monotonic() - session.begun >= FLUSH_AGE_MAX
        });
        if due {
            self.flush()?;
        }
        self.repo.refresh_if_old()
    }

    /// Makes everything written so far durable and visible to every client.
    pub fn flush(&self) -> Result<(), RepoError> {
        let _in_order = self
            .flushing
            .lock()
            .expect("no thread panics while it flushes");
        let mut sessions = {
            let mut state = self.lock();
            let mut sessions = std::mem::take(&mut state.unfinished);
            sessions.extend(state.session.take());
            sessions
        };
        sessions.reverse();
        while let Some(mut session) = sessions.pop() {
            let ids: Vec<ContentId> = session.records.iter().map(|record| record.id).collect();
            if let Err(error) = self.flush_session(&mut session) {
                sessions.push(session);
                sessions.reverse();
                let mut state = self.lock();
                // Whoever wrote manifests is told that they are not published, so a later flush
                // must not publish them; data serves whoever needs it next.
                for session in &mut sessions {
                    for id in session.forget_manifests() {
                        state.pending.remove(&id);
                    }
                }
                sessions.append(&mut state.unfinished);
                state.unfinished = sessions;
                return Err(error);
            }
            let mut state = self.lock();
            for id in &ids {
                state.pending.remove(id);
            }
            state.stored_bytes += session.uploads.stored_bytes();
            state.flushed_packs.append(&mut session.packs);
            drop(state);
            session.lock.end();
        }
        Ok(())
    }

    fn flush_session(&self, session: &mut Session) -> Result<(), RepoError> {
        self.repo.check_may_write()?;
        for pack in [session.data_pack.take(), session.metadata_pack.take()]
            .into_iter()
            .flatten()
        {
            self.uploads
                .submit(pack.finish(&self.repo)?, &session.uploads);
        }
        session.uploads.wait()?;
        flush::publish_index(&self.repo, session, self.upload_threads)
    }

    /// Like [`flush`](Self::flush), but waits up to `patience` for others who are about to
    /// finish, so that they share one; returns only when the caller's writes are visible.
    pub fn flush_together(&self, patience: Duration) -> Result<(), RepoError> {
        let round = {
            let mut group = self.lock_group();
            group.round.waiting += 1;
            group.look_whether_complete();
            group.round.clone()
        };
        // Whether all are in or patience is at an end: now is the time.
        let _ = self.repo.clock().sleep(patience, &round.complete);
        let mut group = self.lock_group();
        // The first to come here flushes for everyone of the round; the others wait for the lock.
        let outcome = round.outcome.get_or_init(|| {
            group.round = Round::default();
            round.complete.stop();
            self.flush()
                .map_err(|error| (error.kind(), error.to_string()))
        });
        outcome
            .clone()
            .map_err(|(kind, message)| RepoError::new(kind, message))
    }

    /// Asks the store whether every pack this writer published is still there, and forgets those
    /// that are not: their contents count as missing and are stored again when they are written.
    ///
    /// Returns how many were gone. That happens only if another client's maintenance runs
    /// without its safety margins.
    pub fn find_lost_packs(&self) -> Result<usize, RepoError> {
        let packs = self.lock().flushed_packs.clone();
        let lost = lost_packs::find(&self.repo, &packs, self.upload_threads)?;
        let count = lost.len();
        let mut state = self.lock();
        state.flushed_packs.retain(|pack| !lost.contains(pack));
        drop(state);
        lost.into_iter().for_each(|pack| self.repo.mark_lost(pack));
        Ok(count)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("no thread panics while it holds the writer's state")
    }

    fn lock_group(&self) -> MutexGuard<'_, FlushGroup> {
        self.group
            .lock()
            .expect("no thread panics while it holds the flush group")
    }
}

impl Encoder {
    /// Returns what is to be sealed and the id of its compression header, 0 for none.
    fn compress<'a>(&'a mut self, content: &'a [u8]) -> Result<(&'a [u8], u32), RepoError> {
        let Some(compressor) = &mut self.compressor else {
            return Ok((content, 0));
        };
        self.compressed.clear();
        let smaller = compressor
            .compress(content, &mut self.compressed)
            .map_err(|error| {
                RepoError::new(RepoErrorKind::Invalid, "compress a content").caused_by(error)
            })?;
        Ok(if smaller {
            (&self.compressed, compressor.algorithm().header_id())
        } else {
            (content, 0)
        })
    }
}
