//! The audit of packs (Kopia spec 2.6, 4.4): what lies around the contents, and whether indexes and packs agree.

use std::collections::BTreeMap;

use crate::blob_name::BlobName;
use crate::crypto::hmac_sha256;
use crate::index::{ContentRecord, IndexFile};
use crate::json::Json;
use crate::reader::SecondReader;

const PREAMBLE_BYTES: usize = 32;
const SUFFIX_BYTES: usize = 32;
const PADDING_BYTES: u64 = 4096;

impl SecondReader {
    pub(crate) fn audit_packs(&self, violations: &mut Vec<String>) {
        let mut indexed: BTreeMap<&str, Vec<&ContentRecord>> = BTreeMap::new();
        for record in self
            .active
            .iter()
            .filter_map(|id| self.indexes.get(id))
            .flat_map(|index| &index.records)
        {
            indexed.entry(&record.pack).or_default().push(record);
        }
        for (id, _) in self.blobs.blobs() {
            let Some(BlobName::Pack { metadata }) = self.name_of(id) else {
                continue;
            };
            let named = indexed.remove(id).unwrap_or_default();
            let mut found = Vec::new();
            if let Err(error) = self.audit_pack(id, metadata, &named, &mut found) {
                found.push(error);
            }
            violations.extend(
                found
                    .into_iter()
                    .map(|violation| format!("pack {id}: {violation}")),
            );
        }
        for (pack, records) in indexed {
            for record in records {
                if self
                    .content_record(&record.id)
                    .is_some_and(|winner| winner.pack == pack)
                {
                    violations.push(format!(
                        "content {} lies in pack {pack}, which does not exist",
                        record.id
                    ));
                }
            }
        }
    }

    fn audit_pack(
        &self,
        id: &str,
        metadata: bool,
        named: &[&ContentRecord],
        violations: &mut Vec<String>,
    ) -> Result<(), String> {
        let pack = self.blobs.read(id)?;
        let postamble = Postamble::parse(&pack)?;
        if postamble.iv.len() != self.format.hash.length_bytes {
            violations.push("postamble has an iv of a wrong length".to_owned());
        }
        let local = self
            .format
            .sealer
            .open(&postamble.iv, postamble.sealed_index, violations)?;
        if self.format.hash.of(&local) != postamble.iv {
            violations.push("local index has another hash than its iv".to_owned());
        }
        let local = IndexFile::parse(
            &local,
            self.format.hash.length_bytes,
            self.format.sealer.ecc.is_some(),
        )?;
        violations.extend(
            local
                .violations
                .iter()
                .map(|violation| format!("local index: {violation}")),
        );
        if local.suffix_bytes != SUFFIX_BYTES {
            violations.push(format!(
                "local index is followed by {} bytes",
                local.suffix_bytes
            ));
        }

        let (own, others): (Vec<_>, Vec<_>) =
            local.records.iter().partition(|record| record.pack == id);
        if others.iter().any(|record| !record.deleted) {
            violations.push("local index has live records of other packs".to_owned());
        }
        if own.is_empty() {
            violations.push("holds no contents".to_owned());
        }
        let replica_bytes = if self.format.enable_password_change {
            0
        } else {
            self.replica_bytes(&pack)?
        };
        let start = replica_bytes + PREAMBLE_BYTES;
        violations.extend(wrong_layout(
            &own,
            start,
            postamble.offset,
            self.format.max_pack_bytes,
        ));
        for record in &own {
            if record.id.len().is_multiple_of(2) == metadata {
                violations.push(format!(
                    "content {} is in a pack of the wrong class",
                    record.id
                ));
            }
        }
        self.compare_with_indexes(&local, &own, named, violations);
        Ok(())
    }

    fn compare_with_indexes(
        &self,
        local: &IndexFile,
        own: &[&ContentRecord],
        named: &[&ContentRecord],
        violations: &mut Vec<String>,
    ) {
        for record in named {
            let Some(stored) = own.iter().find(|stored| stored.id == record.id) else {
                violations.push(format!(
                    "an index has content {} here, the local index not",
                    record.id
                ));
                continue;
            };
            let place = |record: &ContentRecord| (record.pack_offset, record.packed_length);
            let form = |record: &ContentRecord| {
                (
                    record.original_length,
                    record.compression,
                    record.format_version,
                )
            };
            let same_form = local.version == 1 || form(stored) == form(record);
            if place(stored) != place(record)
                || !same_form
                || stored.timestamp_s > record.timestamp_s
            {
                violations.push(format!(
                    "index and local index disagree about content {}",
                    record.id
                ));
            }
        }
        if !self.format.epochs {
            return;
        }
        for stored in &local.records {
            if self
                .merged
                .get(&stored.id)
                .is_none_or(|winner| winner.rank() < stored.rank())
            {
                violations.push(format!(
                    "the local index has content {}, no index knows it",
                    stored.id
                ));
            }
        }
    }

    /// The length of the format blob's replica at the head of a pack.
    fn replica_bytes(&self, pack: &[u8]) -> Result<usize, String> {
        let cut_off = || "format replica is cut off".to_owned();
        let (prefix, rest) = pack.split_first_chunk::<2>().ok_or_else(cut_off)?;
        let (body, rest) = rest
            .split_at_checked(usize::from(u16::from_le_bytes(*prefix)))
            .ok_or_else(cut_off)?;
        let (blob, mac) = body.split_last_chunk::<32>().ok_or_else(cut_off)?;
        if !rest.starts_with(prefix) || hmac_sha256(b"kopia-repository", blob) != mac {
            return Err("format replica is broken".to_owned());
        }
        if Json::parse(blob)?
            .loose_fields("format replica")?
            .bytes("uniqueID")?
            != self.format.unique_id
        {
            return Err("format replica is another repository's".to_owned());
        }
        Ok(body.len() + 4)
    }
}

/// Contents lie back to back behind the preamble; padding reaches to the next multiple of 4096.
fn wrong_layout(
    own: &[&ContentRecord],
    start: usize,
    index_start: usize,
    max_pack_bytes: u64,
) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut by_offset = own.to_vec();
    by_offset.sort_by_key(|record| record.pack_offset);
    let (start, index_start) = (start as u64, index_start as u64);
    let mut next = start;
    for record in by_offset {
        let offset = u64::from(record.pack_offset);
        if offset != next {
            wrong.push(format!(
                "content {} begins at {offset} instead of {next}",
                record.id
            ));
        }
        if offset >= max_pack_bytes && offset > start {
            wrong.push(format!("content {} was added to a full pack", record.id));
        }
        next = offset + u64::from(record.packed_length);
    }
    let padding_fits = index_start
        .checked_sub(next)
        .is_some_and(|padding| (1..=PADDING_BYTES).contains(&padding));
    if !index_start.is_multiple_of(PADDING_BYTES) || !padding_fits {
        wrong.push(format!(
            "local index begins at {index_start}, contents end at {next}"
        ));
    }
    wrong
}

/// What closes a pack.
struct Postamble<'a> {
    iv: Vec<u8>,
    offset: usize,
    sealed_index: &'a [u8],
}

impl Postamble<'_> {
    fn parse(pack: &[u8]) -> Result<Postamble<'_>, String> {
        let cut_off = || "postamble is cut off".to_owned();
        let (&length, rest) = pack.split_last().ok_or_else(cut_off)?;
        let start = rest.len().checked_sub(length.into()).ok_or_else(cut_off)?;
        let (body, crc) = rest[start..].split_last_chunk::<4>().ok_or_else(cut_off)?;
        if crc32fast::hash(body).to_be_bytes() != *crc {
            return Err("postamble has a wrong checksum".to_owned());
        }
        let mut body = body;
        if uvarint(&mut body)? != 1 {
            return Err("postamble has an unknown version".to_owned());
        }
        let iv_bytes = uvarint(&mut body)?;
        let (iv, mut body) = body.split_at_checked(iv_bytes).ok_or_else(cut_off)?;
        let (offset, length) = (uvarint(&mut body)?, uvarint(&mut body)?);
        if !body.is_empty() || offset.checked_add(length) != Some(start) {
            return Err("postamble does not follow the local index".to_owned());
        }
        Ok(Postamble {
            iv: iv.to_vec(),
            offset,
            sealed_index: &pack[offset..start],
        })
    }
}

/// Takes one LEB128 number in its shortest form.
fn uvarint(bytes: &mut &[u8]) -> Result<usize, String> {
    let mut value = 0;
    for shift in (0..35).step_by(7) {
        let (&byte, rest) = bytes.split_first().ok_or("postamble is cut off")?;
        *bytes = rest;
        value |= usize::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return if byte == 0 && shift > 0 {
                Err("postamble has a padded number".to_owned())
            } else {
                Ok(value)
            };
        }
    }
    Err("postamble has a number out of range".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob_name::from_hex;

    #[test]
    fn gaps_overlaps_wrong_padding_and_overfull_packs_are_seen() {
        let record = |pack_offset, packed_length| ContentRecord {
            id: "00".repeat(16),
            pack: "p".to_owned(),
            pack_offset,
            packed_length,
            original_length: packed_length - 28,
            timestamp_s: 1,
            deleted: false,
            compression: 0,
            format_version: 3,
            encryption_key_id: 0,
        };
        let check = |places: &[(u32, u32)], index_start| {
            let records: Vec<_> = places
                .iter()
                .map(|&(offset, length)| record(offset, length))
                .collect();
            wrong_layout(&records.iter().collect::<Vec<_>>(), 32, index_start, 5000).len()
        };
        assert_eq!(check(&[(32, 100), (132, 50)], 4096), 0);
        assert_eq!(check(&[(132, 50), (32, 100)], 4096), 0);
        assert_eq!(check(&[(32, 4064)], 8192), 0);
        assert_eq!(check(&[(32, 4968), (5000, 50)], 8192), 1);
        assert_eq!(check(&[(0, 100)], 4096), 1);
        assert_eq!(check(&[(32, 100), (133, 50)], 4096), 1);
        assert_eq!(check(&[(32, 100), (131, 50)], 4096), 1);
        assert_eq!(check(&[(32, 100)], 8192), 1);
        assert_eq!(check(&[(32, 100)], 4000), 1);
        assert_eq!(check(&[(32, 4064)], 4096), 1);
    }

    #[test]
    fn the_specifications_postamble_is_read() {
        let mut pack = vec![7; 4096 + 500];
        pack.extend(from_hex("0110000102030405060708090a0b0c0d0e0f8020f4034d9789e81a").unwrap());
        let postamble = Postamble::parse(&pack).unwrap();
        assert_eq!(
            (postamble.offset, postamble.sealed_index.len()),
            (4096, 500)
        );
        assert_eq!(postamble.iv, (0..16).collect::<Vec<u8>>());
        for at in 4596..pack.len() {
            let mut changed = pack.clone();
            changed[at] ^= 1;
            assert!(Postamble::parse(&changed).is_err(), "byte {at}");
        }
        assert!(Postamble::parse(&pack[1..]).is_err());
    }
}
