//! Advancing epochs and compacting their indexes (Kopia spec 5.5), at once and without margins.

use std::collections::BTreeMap;

use kopia::content_id::ContentId;
use kopia::record::ContentRecord;

use crate::maintenance::convert;
use crate::{ForeignClient, text};

impl ForeignClient {
    /// The epoch that index blobs are written into.
    pub(crate) fn write_epoch(&self) -> Result<u64, String> {
        Ok(self.numbers("xe")?.into_iter().max().unwrap_or(0))
    }

    /// Begins the next epoch, which any client may do.
    pub fn advance_epoch(&self) -> Result<(), String> {
        self.put(&format!("xe{}", self.write_epoch()? + 1), b"epoch-marker")
    }

    /// Compacts every settled epoch, begins a new one, compacts all settled ones to a range if there are enough, and deletes what is
    /// superseded.
    pub fn compact_epochs(&self) -> Result<(), String> {
        let chained = self.range_end()?;
        let current = self.write_epoch()?;
        let settled = current.saturating_sub(1);
        for epoch in chained..settled {
            let blobs = self.names(&format!("xn{epoch}_"))?;
            if self.names(&format!("xs{epoch}_"))?.is_empty() && !blobs.is_empty() {
                self.compact(&blobs, &format!("xs{epoch}"))?;
            }
        }
        self.advance_epoch()?;
        let per_range = self.format.epoch_parameters.full_checkpoint_frequency;
        if (settled.saturating_sub(1)).saturating_sub(chained) >= per_range as u64 && settled > 0 {
            let last = settled - 1;
            let mut blobs = Vec::new();
            for epoch in chained..=last {
                let single = self.names(&format!("xs{epoch}_"))?;
                blobs.extend(if single.is_empty() {
                    self.names(&format!("xn{epoch}_"))?
                } else {
                    single
                });
            }
            self.compact(&blobs, &format!("xr{chained}_{last}"))?;
        }
        self.delete_superseded()
    }

    /// Merges index blobs into one of the given name, tombstones included.
    fn compact(&self, blobs: &[String], stem: &str) -> Result<(), String> {
        let reader = self.read()?;
        let mut merged: BTreeMap<ContentId, ContentRecord> = BTreeMap::new();
        for blob in blobs {
            let records = reader
                .index_records(blob)
                .ok_or_else(|| format!("index blob {blob} is gone"))?;
            for record in records {
                let record = convert(record)?;
                match merged.get(&record.id) {
                    Some(known) if !record.supersedes(known) => {}
                    _ => {
                        merged.insert(record.id, record);
                    }
                }
            }
        }
        if merged.is_empty() {
            return Ok(());
        }
        let payload = self.index(&merged.into_values().collect::<Vec<_>>())?;
        let hash = self.hasher.hash(&payload).to_hex();
        let set: String = self
            .chance
            .bytes::<8>()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        self.put_sealed(&format!("{stem}_{hash}-s{set}-c1"), &payload)
    }

    fn delete_superseded(&self) -> Result<(), String> {
        let chained = self.range_end()?;
        let current = self.write_epoch()?;
        for epoch in 0..current.saturating_sub(1) {
            let covered = epoch < chained;
            if covered || !self.names(&format!("xs{epoch}_"))?.is_empty() {
                for name in self.names(&format!("xn{epoch}_"))? {
                    self.delete(&name)?;
                }
            }
            if covered {
                for name in self.names(&format!("xs{epoch}_"))? {
                    self.delete(&name)?;
                }
            }
            self.delete(&format!("xe{epoch}"))?;
        }
        let mut watermarks = self.numbers("xw")?;
        watermarks.sort_unstable();
        watermarks.pop();
        for seconds in watermarks {
            self.delete(&format!("xw{seconds}"))?;
        }
        Ok(())
    }

    /// The first epoch that no range covers; ranges are made by this client alone, one after another.
    fn range_end(&self) -> Result<u64, String> {
        let mut end = 0;
        for name in self.names("xr")? {
            let last = name.split('_').nth(1).ok_or("a range without an end")?;
            end = end.max(last.parse::<u64>().map_err(text)? + 1);
        }
        Ok(end)
    }

    fn numbers(&self, prefix: &str) -> Result<Vec<u64>, String> {
        let names = self.names(prefix)?;
        Ok(names
            .iter()
            .filter_map(|name| name[prefix.len()..].parse().ok())
            .collect())
    }
}
