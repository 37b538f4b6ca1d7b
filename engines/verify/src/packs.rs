//! The packs that are in the store, and how long they are.

use std::collections::BTreeMap;

use blob::{BlobErrorKind, SharedBlobStore};
use kopia::record::ContentRecord;

use crate::error::{VerifyError, store_error};

/// What packs' names begin with: data, and metadata.
const PACK_PREFIXES: [&str; 2] = ["p", "q"];
const DOING: &str = "look for the packs in the store";

/// Why the bytes of a content cannot be where its record says.
#[derive(Debug)]
pub(crate) enum Objection {
    /// The pack is gone.
    Gone(String),
    /// The pack ends before.
    Short(String),
}

/// The packs of a store, as they were listed.
#[derive(Debug)]
pub(crate) struct Packs {
    store: SharedBlobStore,
    bytes: BTreeMap<String, u64>,
}

impl Packs {
    /// Lists the packs.
    pub(crate) fn list(store: &SharedBlobStore) -> Result<Self, VerifyError> {
        let mut bytes = BTreeMap::new();
        for prefix in PACK_PREFIXES {
            store
                .list(prefix, &mut |blob| {
                    bytes.insert(blob.name, blob.bytes);
                    Ok(())
                })
                .map_err(store_error(DOING))?;
        }
        Ok(Self {
            store: store.clone(),
            bytes,
        })
    }

    /// Returns the packs with their lengths.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.bytes
            .iter()
            .map(|(name, bytes)| (name.as_str(), *bytes))
    }

    /// Returns how long a pack is, if it is there.
    pub(crate) fn bytes_of(&self, pack: &str) -> Option<u64> {
        self.bytes.get(pack).copied()
    }

    /// Returns how many packs there are.
    pub(crate) fn count(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Returns why the record's bytes cannot be where it says, if they cannot.
    pub(crate) fn objection(
        &self,
        record: &ContentRecord,
    ) -> Result<Option<Objection>, VerifyError> {
        let bytes = match self.bytes.get(record.pack_blob.as_ref()) {
            Some(bytes) => *bytes,
            // Written since the packs were listed, perhaps.
            None => match self.store.metadata(&record.pack_blob) {
                Ok(found) => found.bytes,
                Err(error) if error.kind() == BlobErrorKind::NotFound => {
                    return Ok(Some(Objection::Gone(format!(
                        "content {} lies in pack {}, which is gone",
                        record.id, record.pack_blob
                    ))));
                }
                Err(error) => return Err(store_error(DOING)(error)),
            },
        };
        let end = u64::from(record.pack_offset) + u64::from(record.packed_bytes);
        Ok((end > bytes).then(|| {
            Objection::Short(format!(
                "content {} ends at {end} in pack {}, which has {bytes} bytes",
                record.id, record.pack_blob
            ))
        }))
    }
}
