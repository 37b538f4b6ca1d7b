//! Threads that put packs into the store, behind a queue that holds writers back.

use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, unbounded};

use super::pack::FullPack;
use crate::Repository;
use crate::error::{RepoError, RepoErrorKind};

/// Buffers of stored packs wait here to be filled again, so that memory is not given back to
/// the system and asked for anew for every chunk.
#[derive(Debug, Default)]
pub(super) struct BufferPool {
    buffers: Mutex<Vec<Vec<u8>>>,
}

/// As many buffers as three packs of small chunks hold; more are given back to the system.
const POOLED_BUFFERS_MAX: usize = 256;
/// Larger buffers are not kept: the pool must stay small whatever is written.
const POOLED_BUFFER_BYTES_MAX: usize = 512 << 10;

impl BufferPool {
    /// Returns an empty buffer with room for `bytes`.
    pub(super) fn take(&self, bytes: usize) -> Vec<u8> {
        let mut buffer = self.lock().pop().unwrap_or_default();
        buffer.reserve(bytes);
        buffer
    }

    fn give_back(&self, buffers: Vec<Vec<u8>>) {
        let mut pool = self.lock();
        let room = POOLED_BUFFERS_MAX.saturating_sub(pool.len());
        let fit = buffers
            .into_iter()
            .filter(|buffer| buffer.capacity() <= POOLED_BUFFER_BYTES_MAX);
        pool.extend(fit.take(room).map(|mut buffer| {
            buffer.clear();
            buffer
        }));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Vec<u8>>> {
        self.buffers
            .lock()
            .expect("no thread panics while it holds the pool")
    }
}

/// Puts packs into a store with several requests in flight.
///
/// While `threads` packs are being put and one waits, nobody begins to seal another content, so
/// memory is bounded whatever the line does and however many threads write.
#[derive(Debug)]
pub(super) struct Uploads {
    room: Arc<Room>,
    queue: Option<Sender<(FullPack, Arc<UploadGroup>)>>,
    threads: Vec<JoinHandle<()>>,
    pool: Arc<BufferPool>,
}

/// How many packs were handed over and are not stored yet.
#[derive(Debug)]
struct Room {
    packs: Mutex<usize>,
    packs_max: usize,
    changed: Condvar,
}

impl Room {
    fn lock(&self) -> std::sync::MutexGuard<'_, usize> {
        self.packs
            .lock()
            .expect("no thread panics while it counts packs")
    }
}

/// The uploads of one session: how many are under way, and whether one failed.
#[derive(Debug, Default)]
pub(super) struct UploadGroup {
    state: Mutex<GroupState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct GroupState {
    under_way: usize,
    stored_bytes: u64,
    failure: Option<(RepoErrorKind, String)>,
}

impl Uploads {
    /// Starts `threads` threads that put into the repository's store.
    pub(super) fn start(repo: &Arc<Repository>, threads: usize) -> Self {
        let (queue, packs) = unbounded();
        let room = Arc::new(Room {
            packs: Mutex::new(0),
            packs_max: threads.max(1) + 1,
            changed: Condvar::new(),
        });
        let pool = Arc::<BufferPool>::default();
        let threads = (0..threads.max(1))
            .map(|number| {
                let (repo, packs, pool) = (Arc::clone(repo), packs.clone(), Arc::clone(&pool));
                let room = Arc::clone(&room);
                std::thread::Builder::new()
                    .name(format!("upload-{number}"))
                    .spawn(move || upload_all(&repo, &packs, &pool, &room))
                    .expect("the system can start a thread")
            })
            .collect();
        Self {
            room,
            queue: Some(queue),
            threads,
            pool,
        }
    }

    /// Returns the buffers that stored packs left.
    pub(super) fn pool(&self) -> &BufferPool {
        &self.pool
    }

    /// Waits until fewer packs are handed over than may lie in memory.
    pub(super) fn wait_for_room(&self) {
        let packs = self.room.lock();
        drop(
            self.room
                .changed
                .wait_while(packs, |packs| *packs >= self.room.packs_max)
                .expect("no thread panics while it counts packs"),
        );
    }

    /// Hands a pack over.
    pub(super) fn submit(&self, pack: FullPack, group: &Arc<UploadGroup>) {
        group.lock().under_way += 1;
        *self.room.lock() += 1;
        self.queue
            .as_ref()
            .expect("the queue is open until drop")
            .send((pack, Arc::clone(group)))
            .expect("upload threads live until the queue is closed");
    }
}

impl Drop for Uploads {
    fn drop(&mut self) {
        self.queue = None;
        for thread in self.threads.drain(..) {
            // A panic in an upload thread has been reported through its group already.
            let _ = thread.join();
        }
    }
}

impl UploadGroup {
    /// Waits until nothing is under way.
    ///
    /// # Errors
    /// What the first failed upload said.
    pub(super) fn wait(&self) -> Result<(), RepoError> {
        let state = self
            .changed
            .wait_while(self.lock(), |state| state.under_way > 0)
            .expect("no thread panics while it holds the group");
        state.result()
    }

    /// Returns what the first failed upload said, without waiting.
    pub(super) fn check(&self) -> Result<(), RepoError> {
        self.lock().result()
    }

    /// Returns how much was stored.
    pub(super) fn stored_bytes(&self) -> u64 {
        self.lock().stored_bytes
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, GroupState> {
        self.state
            .lock()
            .expect("no thread panics while it holds the group")
    }

    fn end(&self, result: Result<u64, RepoError>) {
        let mut state = self.lock();
        state.under_way -= 1;
        match result {
            Ok(bytes) => state.stored_bytes += bytes,
            Err(error) => {
                state
                    .failure
                    .get_or_insert((error.kind(), error.to_string()));
            }
        }
        self.changed.notify_all();
    }
}

impl GroupState {
    fn result(&self) -> Result<(), RepoError> {
        match &self.failure {
            Some((kind, message)) => Err(RepoError::new(*kind, message.clone())),
            None => Ok(()),
        }
    }
}

fn upload_all(
    repo: &Repository,
    packs: &Receiver<(FullPack, Arc<UploadGroup>)>,
    pool: &BufferPool,
    room: &Room,
) {
    for (pack, group) in packs {
        let parts: Vec<&[u8]> = pack.parts.iter().map(Vec::as_slice).collect();
        let bytes = parts.iter().map(|part| part.len() as u64).sum();
        let doing = format!("write pack {}", pack.name);
        // A store that panics must not leave the session waiting for ever.
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            repo.store
                .put(&pack.name, &parts, &repo.put_options(&pack.name))
        }));
        pool.give_back(pack.parts);
        *room.lock() -= 1;
        room.changed.notify_all();
        group.end(match outcome {
            Ok(Ok(())) => Ok(bytes),
            Ok(Err(error)) => Err(crate::error::store_error(doing)(error)),
            Err(_) => Err(RepoError::new(
                RepoErrorKind::Invalid,
                format!("{doing}: the store panicked"),
            )),
        });
    }
}
