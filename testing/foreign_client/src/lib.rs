//! Another client of the same repository, as careless as stock Kopia may be told to be; used only in tests.
//!
//! Written from the format's specification: it sees a repository through the second reader, decides by Kopia spec 7 and 8 what
//! `kopia maintenance run --full --safety=none` would do, and does that at once, without any of the delays that guard other clients.
//! Where Kopia leaves a choice it takes the harsher one: the watermark covers every tombstone there is, and superseded index blobs go
//! at once. Only the encoding of what it writes is the product's; the second reader judges that.
//!
//! ```text
//! snapshots: add, delete, pin      maintenance: collect ─ rewrite ─ drop ─ delete packs ─ epochs
//!                     └────────────── session ──────────────┘
//! ```

mod epochs;
mod maintenance;
mod session;
mod snapshots;

use std::path::Path;

use blob::{BlobStore, FilesystemStore, PutOptions};
use kopia::cipher::ContentCipher;
use kopia::format_blob::{FormatBlob, RepositoryFormat};
use kopia::hash::ContentHasher;
use second_reader::SecondReader;
use time_and_chance::{Chance, SharedClock};

/// A client that keeps nothing between two calls but its keys.
pub struct ForeignClient {
    pub(crate) store: FilesystemStore,
    pub(crate) reader: SecondReader,
    pub(crate) format: RepositoryFormat,
    pub(crate) hasher: ContentHasher,
    pub(crate) cipher: ContentCipher,
    pub(crate) clock: SharedClock,
    pub(crate) chance: Chance,
}

impl ForeignClient {
    /// Opens the repository in `folder`.
    pub fn open(
        folder: &Path,
        password: &str,
        clock: SharedClock,
        chance: Chance,
    ) -> Result<Self, String> {
        let store = FilesystemStore::open(folder, chance.clone()).map_err(text)?;
        let blob =
            FormatBlob::parse(&store.get("kopia.repository").map_err(text)?).map_err(text)?;
        let format = blob
            .open(&blob.format_key(password).map_err(text)?)
            .map_err(text)?;
        Ok(Self {
            reader: SecondReader::open(folder, password)?,
            hasher: format.hasher().map_err(text)?,
            cipher: format.cipher().map_err(text)?,
            store,
            format,
            clock,
            chance,
        })
    }

    /// Returns the repository as it is now.
    pub fn read(&self) -> Result<SecondReader, String> {
        self.reader.reopen()
    }

    pub(crate) fn now_seconds(&self) -> i64 {
        self.clock.now().as_second()
    }

    pub(crate) fn put(&self, name: &str, bytes: &[u8]) -> Result<(), String> {
        self.store
            .put(name, &[bytes], &PutOptions::default())
            .map_err(text)
    }

    pub(crate) fn delete(&self, name: &str) -> Result<(), String> {
        self.store.delete(name).map_err(text)
    }

    pub(crate) fn names(&self, prefix: &str) -> Result<Vec<String>, String> {
        let blobs = self.store.list_all(prefix).map_err(text)?;
        Ok(blobs.into_iter().map(|blob| blob.name).collect())
    }
}

pub(crate) fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
