//! Manifests that no index named.

use std::collections::BTreeMap;

use kopia::maintenance::{MAINTENANCE_TYPE, MaintenanceParameters};
use kopia::manifest::{ManifestContents, ManifestEntry};
use kopia::record::ContentRecord;
use kopia::snapshot::{SNAPSHOT_TYPE, SnapshotManifest};
use progress::Progress;
use repo::Writer;

use super::mended::MendedKind;
use super::run::{DOING, Run};
use crate::bad::Bad;
use crate::error::{VerifyError, repo_error};
use crate::harm::{Harm, Window};
use crate::packs::Packs;
use crate::walk::Walk;

/// Why a manifest that no index named is not listed again.
const NOT_WHOLE: &str = "no index names it, and what it needs is not there";
/// Why one is listed though a deletion of it was found.
const DELETION_FOUND: &str = "it is listed, and a pack holds a deletion of it that no index names: it failed, or its index is lost; delete it again if it was deleted";

/// What becomes of a snapshot that needs contents that are marked deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deleted {
    /// It is not listed again: most likely it was deleted itself.
    IsGone,
    /// It is, and what can be read still is stored anew.
    IsThere,
}

impl Run<'_> {
    /// Lists manifests again that no index named, or that are marked deleted, so far as nothing speaks against it: none as new
    /// is known under the same id or was deleted, and what a snapshot names is there. A later edition
    /// of one that is listed, a pin perhaps, takes its place.
    pub(super) fn list_again(
        &mut self,
        records: Vec<ContentRecord>,
        deleted: Deleted,
    ) -> Result<(), VerifyError> {
        if records.is_empty() {
            return Ok(());
        }
        self.progress
            .phase("looking at manifests that no index named");
        let known = self.repo.manifests().map_err(repo_error(DOING))?;
        let is_owned = known.maintenance().is_ok_and(|it| it.is_some());
        let packs = Packs::list(self.repo.store())?;
        let mut found: Vec<(ContentRecord, Vec<ManifestEntry>)> = Vec::new();
        for record in records {
            match self.entries_in(&record)? {
                Some(entries) => found.push((record, entries)),
                None => self.left.push((
                    record.pack_blob.to_string(),
                    format!("the manifests in content {} cannot be read", record.id),
                )),
            }
        }
        let all = found.iter().flat_map(|(_, entries)| entries.clone());
        let mut back = Vec::new();
        let mut refused = BTreeMap::new();
        let latest = kopia::manifest::merge(all);
        // Nobody can tell a deletion whose index is lost from one that failed.
        for (_, entries) in &found {
            let deletions = entries.iter().filter(|it| it.deleted);
            for entry in deletions.filter(|it| !latest.contains_key(&it.id)) {
                if known.get(&entry.id).is_some_and(|it| !is_known(&it, entry)) {
                    refused.insert(entry.id.clone(), DELETION_FOUND);
                }
            }
        }
        for (id, entry) in latest {
            let is_second_owner = is_owned && entry.manifest_type() == Some(MAINTENANCE_TYPE);
            let is_known = known.get(&id).is_some_and(|it| is_known(&it, &entry));
            if is_known || is_second_owner {
                continue;
            }
            if self.is_whole(&entry, &packs, deleted)? {
                back.push(entry);
            } else {
                refused.insert(id, NOT_WHOLE);
            }
        }
        let mut ids: Vec<String> = back.iter().map(|entry| entry.id.clone()).collect();
        if let Some(writer) = &self.writer {
            let records = take_over(writer, found, back, &refused)?;
            writer.index_again(records).map_err(repo_error(DOING))?;
            self.flush()?;
            // A deletion that stands elsewhere prevails.
            let listed = self.repo.manifests().map_err(repo_error(DOING))?;
            ids.retain(|id| listed.get(id).is_some());
        }
        for id in ids {
            self.note(MendedKind::Manifest, id, 1);
        }
        let left = refused.into_iter();
        self.left.extend(left.map(|(id, why)| (id, why.to_owned())));
        Ok(())
    }

    /// Makes one of several statements of who maintains the repository: where the index was lost with
    /// the first, the maintenance was taken over as if there were none. Its settings stay.
    pub(super) fn join_owners(&self) -> Result<(), VerifyError> {
        let Some(writer) = &self.writer else {
            return Ok(());
        };
        let manifests = self.repo.manifests().map_err(repo_error(DOING))?;
        let mut known: Vec<ManifestEntry> = manifests.find(MAINTENANCE_TYPE, &[]).collect();
        known.sort_by_key(|entry| entry.modified);
        let parse = |entry: &ManifestEntry| MaintenanceParameters::parse(entry.data.get()).ok();
        if let [earlier @ .., last] = &known[..]
            && let (Some(settings), Some(last)) = (earlier.iter().find_map(parse), parse(last))
        {
            let joined = MaintenanceParameters {
                owner: last.owner,
                ..settings
            };
            writer.set_maintenance(&joined).map_err(repo_error(DOING))?;
        }
        Ok(())
    }

    fn entries_in(
        &self,
        record: &ContentRecord,
    ) -> Result<Option<Vec<ManifestEntry>>, VerifyError> {
        let plain = match self.repo.read_record(record) {
            Err(error) if error.kind().is_damage() => return Ok(None),
            plain => plain.map_err(repo_error(DOING))?,
        };
        Ok(ManifestContents::parse(&plain).ok().map(|it| it.entries))
    }

    fn is_whole(
        &self,
        entry: &ManifestEntry,
        packs: &Packs,
        deleted: Deleted,
    ) -> Result<bool, VerifyError> {
        if entry.manifest_type() != Some(SNAPSHOT_TYPE) {
            return Ok(true);
        }
        let root = SnapshotManifest::parse(entry.data.get())
            .ok()
            .and_then(|manifest| manifest.root_entry);
        let Some(root) = root else { return Ok(false) };
        let none_bad = Bad::telling(0);
        let nothing = Harm::within(Window {
            behind: None,
            max: 0,
        });
        let mut walk = Walk::new(self.repo, packs, &none_bad, nothing);
        walk.accepts_deleted = deleted == Deleted::IsThere;
        let mut is_whole = true;
        walk.tree(&root, false, &silent(self.progress), &mut |_, _, _| {
            is_whole = false;
        })?;
        Ok(is_whole)
    }
}

/// Says whether what is known is at least as new as an entry of the same id.
fn is_known(known: &ManifestEntry, entry: &ManifestEntry) -> bool {
    known.modified >= entry.modified
}

/// Writes manifests that come `back`, unless a content that was `found` holds nothing else: that one
/// is indexed as it was. Returns the records to be indexed: those, and, as in a compaction of
/// manifests, tombstones of the others. What holds something that was refused is left alone.
fn take_over(
    writer: &Writer,
    found: Vec<(ContentRecord, Vec<ManifestEntry>)>,
    mut back: Vec<ManifestEntry>,
    refused: &BTreeMap<String, &str>,
) -> Result<Vec<ContentRecord>, VerifyError> {
    let now = writer.repository().clock().now().as_second();
    let mut records = Vec::new();
    let mut others = Vec::new();
    for (record, entries) in found {
        if entries.iter().all(|entry| back.contains(entry)) {
            back.retain(|entry| !entries.contains(entry));
            records.push(alive(record, now));
        } else if !record.deleted && !entries.iter().any(|it| refused.contains_key(&it.id)) {
            others.push(record);
        }
    }
    if !back.is_empty() {
        writer.write_manifests(back).map_err(repo_error(DOING))?;
    }
    records.extend(others.into_iter().map(|record| ContentRecord {
        deleted: true,
        timestamp_seconds: now.max(record.timestamp_seconds + 1),
        ..record
    }));
    Ok(records)
}

/// Returns the record that brings a content back if it is marked deleted.
fn alive(record: ContentRecord, now_seconds: i64) -> ContentRecord {
    match record.deleted {
        false => record,
        true => ContentRecord {
            deleted: false,
            timestamp_seconds: now_seconds.max(record.timestamp_seconds + 1),
            ..record
        },
    }
}

fn silent(progress: &Progress) -> Progress {
    Progress {
        stop: progress.stop.clone(),
        ..Progress::silent()
    }
}
