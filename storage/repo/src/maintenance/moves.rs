//! Contents that maintenance buries, and contents that it gives another place.

use kopia::record::ContentRecord;

use crate::Writer;
use crate::error::{RepoError, store_error};
use crate::writer::SealedContent;

/// What became of contents that were to be moved.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Moved {
    /// How many were moved.
    pub contents: u64,
    /// Their packed bytes.
    pub bytes: u64,
    /// Those that are not what their ids say; they stay where they are, each with the reason.
    pub damaged: Vec<String>,
}

impl Writer {
    /// Marks a content deleted; visible after a flush. Nothing happens if it is not the record
    /// that is known any more.
    pub fn bury(&self, record: &ContentRecord) -> Result<(), RepoError> {
        self.flush_if_due()?;
        match self.is_current(record)? {
            true => self.delete_content(&record.id),
            false => Ok(()),
        }
    }

    /// Stores contents of one pack anew, alive, whether they were deleted or not; visible after a
    /// flush. Each is opened, and its hash compared, before it is moved.
    pub fn move_contents(&self, records: &[ContentRecord]) -> Result<Moved, RepoError> {
        let mut moved = Moved::default();
        for group in runs_of_one_pack(records) {
            self.flush_if_due()?;
            self.move_run(group, &mut moved)?;
        }
        Ok(moved)
    }

    fn move_run(&self, records: &[ContentRecord], moved: &mut Moved) -> Result<(), RepoError> {
        let repo = self.repository();
        let pack = &records[0].pack_blob;
        let ends =
            |record: &ContentRecord| u64::from(record.pack_offset) + u64::from(record.packed_bytes);
        let start = records.iter().map(|it| u64::from(it.pack_offset)).min();
        let (start, end) = (
            start.unwrap_or(0),
            records.iter().map(ends).max().unwrap_or(0),
        );
        let bytes = repo
            .store
            .get_range(pack, start, end - start)
            .map_err(store_error(format!("read pack {pack}")))?;
        for record in records {
            let from = (u64::from(record.pack_offset) - start) as usize;
            let sealed = &bytes[from..from + record.packed_bytes as usize];
            let sound = repo.unseal_content(record, sealed).and_then(|plain| {
                let id = repo.content_id(record.id.prefix(), &plain);
                (id == record.id).then_some(()).ok_or_else(|| {
                    RepoError::new(
                        crate::RepoErrorKind::Damaged,
                        format!("move content {}: its bytes have another hash", record.id),
                    )
                })
            });
            if let Err(error) = sound {
                moved.damaged.push(error.to_string());
                continue;
            }
            if self.is_current(record)? {
                self.append_moved(record, sealed)?;
                moved.contents += 1;
                moved.bytes += u64::from(record.packed_bytes);
            }
        }
        Ok(())
    }

    fn append_moved(&self, record: &ContentRecord, sealed: &[u8]) -> Result<(), RepoError> {
        let now = self.repository().clock().now().as_second();
        self.append(
            SealedContent {
                id: record.id,
                sealed: sealed.to_vec(),
                original_bytes: record.original_bytes,
                compression_header_id: record.compression_header_id,
                timestamp_seconds: now.max(record.timestamp_seconds + 1),
            },
            record.id.is_metadata(),
        )
    }

    fn is_current(&self, record: &ContentRecord) -> Result<bool, RepoError> {
        Ok(self.repository().find(&record.id)?.as_ref() == Some(record))
    }
}

/// Contents of one pack that lie no further apart than one request should read.
fn runs_of_one_pack(records: &[ContentRecord]) -> impl Iterator<Item = &[ContentRecord]> {
    const RUN_BYTES_MAX: u64 = 8 << 20;
    let mut rest = records;
    std::iter::from_fn(move || {
        let first = rest.first()?;
        let start = u64::from(first.pack_offset);
        let count = rest
            .iter()
            .take_while(|it| {
                let (from, bytes) = (u64::from(it.pack_offset), u64::from(it.packed_bytes));
                it.pack_blob == first.pack_blob
                    && from >= start
                    && from + bytes - start <= RUN_BYTES_MAX.max(u64::from(first.packed_bytes))
            })
            .count()
            .max(1);
        let (run, others) = rest.split_at(count);
        rest = others;
        Some(run)
    })
}
