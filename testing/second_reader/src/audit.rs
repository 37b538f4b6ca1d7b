//! The audit: everything a writer was obliged to do and did not. Here: blobs, indexes, contents, manifests.

use std::collections::BTreeMap;

use crate::active_index::epoch_state;
use crate::blob_name::{BlobName, is_session_id};
use crate::compression::{CONTENT_BYTES_MAX, gunzip};
use crate::crypto::open_aes;
use crate::json::Json;
use crate::manifest;
use crate::reader::SecondReader;

impl SecondReader {
    /// Judges the whole repository; an empty list means that nothing was found wrong.
    pub fn audit(&self) -> Vec<String> {
        let mut violations = self.violations.clone();
        self.audit_blobs(&mut violations);
        self.audit_indexes(&mut violations);
        self.audit_packs(&mut violations);
        self.audit_contents(&mut violations);
        self.audit_manifests(&mut violations);
        self.audit_trees(&mut violations);
        violations
    }

    fn audit_blobs(&self, violations: &mut Vec<String>) {
        let upgraded = !self.format.enable_password_change;
        for (id, _) in self.blobs.blobs() {
            let mut damage = Vec::new();
            let checked = match self.name_of(id) {
                None => Err("is alien: its name fits no pattern".to_owned()),
                Some(BlobName::SessionMarker) => Err("is a session marker left over".to_owned()),
                Some(BlobName::FormatBackup) => Err("is left over from an upgrade".to_owned()),
                Some(BlobName::EpochMarker) => self.check_body(id, b"epoch-marker"),
                Some(BlobName::DeletionWatermark) => self.check_body(id, b"deletion-watermark"),
                Some(BlobName::MaintenanceSchedule) => self.check_maintenance_schedule(id),
                Some(BlobName::ClientLog) => self
                    .open_blob(id, &mut damage)
                    .and_then(|payload| gunzip(&payload, CONTENT_BYTES_MAX))
                    .map(drop),
                Some(
                    BlobName::LegacyIndex | BlobName::LegacyCompactionLog | BlobName::LegacyCleanup,
                ) if self.format.epochs && !upgraded => {
                    Err("is a legacy index blob in a repository with epochs".to_owned())
                }
                Some(
                    BlobName::UncompactedIndex { .. }
                    | BlobName::SingleEpochIndex
                    | BlobName::RangeIndex,
                ) if !self.format.epochs => {
                    Err("is an epoch's index blob in a repository without epochs".to_owned())
                }
                Some(_) => Ok(()),
            };
            let wrong = checked.err().into_iter().chain(damage);
            violations.extend(wrong.map(|error| format!("blob {id}: {error}")));
        }
    }

    fn check_body(&self, id: &str, body: &[u8]) -> Result<(), String> {
        if self.blobs.read(id)? == body {
            Ok(())
        } else {
            Err("has a wrong body".to_owned())
        }
    }

    fn check_maintenance_schedule(&self, id: &str) -> Result<(), String> {
        let plain = open_aes(
            &self.format.maintenance_key,
            b"maintenance",
            &self.blobs.read(id)?,
        )?;
        let json = Json::parse(&plain)?;
        json.fields(
            "schedule",
            &["nextFullMaintenance", "nextQuickMaintenance", "runs"],
        )
        .map(drop)
    }

    fn audit_indexes(&self, violations: &mut Vec<String>) {
        let ids: Vec<&str> = self.blobs.blobs().map(|(id, _)| id).collect();
        let write_epoch = epoch_state(&ids).write_epoch;
        let mut shards_seen: BTreeMap<(u64, String, u64), u64> = BTreeMap::new();
        for (id, index) in &self.indexes {
            let mut wrong = |what: String| violations.push(format!("blob {id}: {what}"));
            if index.suffix_bytes != 0 && index.suffix_bytes != 32 {
                wrong(format!("index is followed by {} bytes", index.suffix_bytes));
            }
            for record in &index.records {
                if u64::from(record.format_version) > self.format.version.max(3) {
                    wrong(format!(
                        "record of {} has a format version of the future",
                        record.id
                    ));
                }
            }
            let Some(BlobName::UncompactedIndex {
                epoch,
                session,
                shards,
            }) = self.name_of(id)
            else {
                continue;
            };
            if epoch > write_epoch + 1 {
                wrong("belongs to an epoch that nobody reads yet".to_owned());
            }
            if self.format.enable_password_change && !is_session_id(&session) {
                wrong("is not named after a session, and no upgrade wrote it".to_owned());
            }
            let of_session = |pack: &str| {
                pack.split_once('-')
                    .is_some_and(|(_, suffix)| suffix == session)
            };
            if is_session_id(&session) {
                for record in index
                    .records
                    .iter()
                    .filter(|record| !record.deleted && !of_session(&record.pack))
                {
                    wrong(format!(
                        "record of {} names a pack of another session",
                        record.id
                    ));
                }
            }
            *shards_seen.entry((epoch, session, shards)).or_default() += 1;
            let mut residues = index
                .records
                .iter()
                .map(|record| u64::from(fnv1a(&record.id)) % shards);
            let first = residues.next();
            if residues.any(|residue| Some(residue) != first) {
                wrong("holds records of several shards".to_owned());
            }
            for record in &index.records {
                if self
                    .merged
                    .get(&record.id)
                    .is_none_or(|winner| winner.rank() < record.rank())
                {
                    wrong(format!(
                        "is read by nobody, and its record of {} is lost",
                        record.id
                    ));
                }
            }
        }
        for ((epoch, session, shards), seen) in shards_seen {
            if seen < shards
                && self
                    .active
                    .iter()
                    .any(|id| id.starts_with(&format!("xn{epoch}_")))
            {
                violations.push(format!(
                    "index of session {session} has {seen} of {shards} shards"
                ));
            }
        }
    }

    fn audit_contents(&self, violations: &mut Vec<String>) {
        for record in self.contents() {
            let mut damage = Vec::new();
            let opened = self
                .blobs
                .read_range(
                    &record.pack,
                    record.pack_offset.into(),
                    record.packed_length.into(),
                )
                .and_then(|sealed| self.open_content(record, &sealed, &mut damage));
            violations.extend(
                damage
                    .into_iter()
                    .map(|damage| format!("content {}: {damage}", record.id)),
            );
            let mut wrong = |what: &str| violations.push(format!("content {} {what}", record.id));
            match opened {
                Err(error) => wrong(&error),
                Ok(_) if record.compression == 0 => {}
                Ok(opened) => {
                    if opened.stored_bytes >= opened.plain.len() {
                        wrong("is compressed but not smaller");
                    }
                    if self.format.index_version < 2 {
                        wrong("is compressed where contents may not be");
                    }
                }
            }
        }
    }

    fn audit_manifests(&self, violations: &mut Vec<String>) {
        let mut maintenance = 0;
        for manifest in self.manifests() {
            if let Err(error) = manifest::check_other(manifest) {
                violations.push(format!("manifest {}: {error}", manifest.id));
            }
            maintenance += u32::from(manifest.labels["type"] == "maintenance");
        }
        if maintenance > 1 {
            violations.push(format!("there are {maintenance} maintenance manifests"));
        }
    }
}

/// FNV-1a, 32 bits.
fn fnv1a(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn fnv_gives_the_specifications_vector() {
        assert_eq!(super::fnv1a(&format!("k{}", "f".repeat(32))), 2_566_671_018);
    }
}
