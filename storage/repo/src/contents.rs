//! Reading contents: locate, fetch, open, decompress.

use kopia::compression;
use kopia::content_id::ContentId;
use kopia::record::ContentRecord;

use crate::Repository;
use crate::error::{RepoError, RepoErrorKind, store_error};

/// Neighbours in a pack are fetched with one request if no more than this lies between them.
const GAP_BYTES_MAX: u64 = 64 * 1024;
/// One request fetches at most this much.
const REQUEST_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// No content is longer than this (Kopia spec, layer overview).
const CONTENT_BYTES_MAX: usize = 256 * 1024 * 1024;

impl Repository {
    /// Reads one content.
    ///
    /// # Errors
    /// `NotFound` if the index does not know it, `Damaged` if it cannot be opened.
    pub fn read_content(&self, id: &ContentId) -> Result<Vec<u8>, RepoError> {
        let mut content = None;
        self.read_contents(std::slice::from_ref(id), &mut |_, bytes| {
            content = Some(bytes);
            Ok(())
        })?;
        Ok(content.expect("a successful read hands out every content"))
    }

    /// Reads contents and hands each to `each` with its place in `ids`, in the order in which
    /// they lie in their packs; neighbours come with one request.
    ///
    /// If maintenance moved a content meanwhile, the index is refreshed and the rest is read
    /// from where it is now (Kopia spec 8.4 rule 5).
    pub fn read_contents(
        &self,
        ids: &[ContentId],
        each: &mut dyn FnMut(usize, Vec<u8>) -> Result<(), RepoError>,
    ) -> Result<(), RepoError> {
        let mut done = vec![false; ids.len()];
        match self.read_located(ids, &mut done, each) {
            Err(error) if error.kind().is_gone() => {
                self.refresh()?;
                self.read_located(ids, &mut done, each)
            }
            other => other,
        }
    }

    fn read_located(
        &self,
        ids: &[ContentId],
        done: &mut [bool],
        each: &mut dyn FnMut(usize, Vec<u8>) -> Result<(), RepoError>,
    ) -> Result<(), RepoError> {
        self.check_may_go_on()?;
        let view = self.view();
        let mut located = Vec::with_capacity(ids.len());
        for (place, id) in ids.iter().enumerate().filter(|(place, _)| !done[*place]) {
            let record = view.find(id)?.ok_or_else(|| {
                RepoError::new(
                    RepoErrorKind::NotFound,
                    format!("read content {id}: the repository does not have it"),
                )
            })?;
            located.push((place, record));
        }
        located.sort_by(|(_, a), (_, b)| {
            (&a.pack_blob, a.pack_offset).cmp(&(&b.pack_blob, b.pack_offset))
        });
        let mut rest = &located[..];
        while let Some((_, first)) = rest.first() {
            let start = u64::from(first.pack_offset);
            let mut end = start + u64::from(first.packed_bytes);
            let near = rest[1..]
                .iter()
                .take_while(|(_, next)| {
                    let next_end = u64::from(next.pack_offset) + u64::from(next.packed_bytes);
                    let joins = next.pack_blob == first.pack_blob
                        && u64::from(next.pack_offset) <= end + GAP_BYTES_MAX
                        && next_end.max(end) - start <= REQUEST_BYTES_MAX;
                    if joins {
                        end = end.max(next_end);
                    }
                    joins
                })
                .count();
            let (group, others) = rest.split_at(near + 1);
            let bytes = self
                .store
                .get_range(&first.pack_blob, start, end - start)
                .map_err(store_error(format!("read pack {}", first.pack_blob)))?;
            for (place, record) in group {
                let from = (u64::from(record.pack_offset) - start) as usize;
                let sealed = &bytes[from..from + record.packed_bytes as usize];
                each(*place, self.unseal_content(record, sealed)?)?;
                done[*place] = true;
            }
            rest = others;
        }
        Ok(())
    }

    /// Opens the seal of a content and undoes its compression (Kopia spec 3.2, 3.3, 4.3).
    pub(crate) fn unseal_content(
        &self,
        record: &ContentRecord,
        sealed: &[u8],
    ) -> Result<Vec<u8>, RepoError> {
        let doing = format!(
            "read content {} from pack {} at {}",
            record.id, record.pack_blob, record.pack_offset
        );
        let damaged =
            |what: String| RepoError::new(RepoErrorKind::Damaged, format!("{doing}: {what}"));
        if record.encryption_key_id != 0 {
            return Err(damaged(format!(
                "it uses encryption key {}, which is unknown",
                record.encryption_key_id
            )));
        }
        let plain = self
            .opener
            .open(&record.pack_blob, &record.id.hash().iv(), sealed)
            .map_err(|error| error.while_doing(&doing))?;
        let original_bytes = record.original_bytes as usize;
        if record.compression_header_id == 0 {
            if plain.len() != original_bytes {
                return Err(damaged(format!(
                    "it has {} bytes instead of {original_bytes}",
                    plain.len()
                )));
            }
            return Ok(plain);
        }
        compression::decompress(
            record.compression_header_id,
            &plain,
            original_bytes,
            CONTENT_BYTES_MAX,
        )
        .map_err(|error| damaged(error.to_string()))
    }

    /// Reads a content and compares its hash with its id, which Kopia itself does not do.
    pub fn verify_content(&self, id: &ContentId) -> Result<(), RepoError> {
        let content = self.read_content(id)?;
        if self.content_id(id.prefix(), &content) != *id {
            return Err(RepoError::new(
                RepoErrorKind::Damaged,
                format!("verify content {id}: its bytes have another hash"),
            ));
        }
        Ok(())
    }
}
