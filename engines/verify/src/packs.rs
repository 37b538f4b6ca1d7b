//! The packs that are in the store, and how long they are.

use std::collections::HashMap;

use blob::{BlobErrorKind, SharedBlobStore};
use kopia::record::ContentRecord;

use crate::error::{VerifyError, VerifyErrorKind};

/// What packs' names begin with: data, and metadata.
const PACK_PREFIXES: [&str; 2] = ["p", "q"];

/// The packs of a store, as they were listed.
#[derive(Debug)]
pub(crate) struct Packs {
    store: SharedBlobStore,
    bytes: HashMap<String, u64>,
}

impl Packs {
    /// Lists the packs.
    pub(crate) fn list(store: &SharedBlobStore) -> Result<Self, VerifyError> {
        let mut bytes = HashMap::new();
        for prefix in PACK_PREFIXES {
            store
                .list(prefix, &mut |blob| {
                    bytes.insert(blob.name, blob.bytes);
                    Ok(())
                })
                .map_err(store_error)?;
        }
        Ok(Self {
            store: store.clone(),
            bytes,
        })
    }

    /// Returns how many packs there are.
    pub(crate) fn count(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Returns why the record's bytes cannot be where it says, if they cannot.
    pub(crate) fn objection(&self, record: &ContentRecord) -> Result<Option<String>, VerifyError> {
        let bytes = match self.bytes.get(record.pack_blob.as_ref()) {
            Some(bytes) => *bytes,
            // Written since the packs were listed, perhaps.
            None => match self.store.metadata(&record.pack_blob) {
                Ok(found) => found.bytes,
                Err(error) if error.kind() == BlobErrorKind::NotFound => {
                    return Ok(Some(format!(
                        "content {} lies in pack {}, which is gone",
                        record.id, record.pack_blob
                    )));
                }
                Err(error) => return Err(store_error(error)),
            },
        };
        let end = u64::from(record.pack_offset) + u64::from(record.packed_bytes);
        Ok((end > bytes).then(|| {
            format!(
                "content {} ends at {end} in pack {}, which has {bytes} bytes",
                record.id, record.pack_blob
            )
        }))
    }
}

fn store_error(error: blob::BlobError) -> VerifyError {
    let kind = match error.kind() {
        BlobErrorKind::Stopped => VerifyErrorKind::Stopped,
        kind => VerifyErrorKind::Repo(repo::RepoErrorKind::Store(kind)),
    };
    VerifyError::new(kind, "look for the packs in the store").caused_by(error)
}
