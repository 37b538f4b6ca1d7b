//! Several tables seen as one: the rows of all, merged by Kopia spec 4.6.
//!
//! Tables are merged by size, as log-structured stores do: small ones often, large ones never,
//! so that a refresh rewrites little and a look-up still asks few tables.

use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::path::Path;
use std::sync::Arc;

use kopia::content_id::KEY_BYTES_MAX;

use super::table::{Cursor, Table, fields};
use super::table_writer::TableWriter;
use crate::error::{RepoError, RepoErrorKind};

/// So many small tables stay beside one another.
pub(crate) const SMALL_TABLES_MAX: usize = 8;
/// A table with this many records is large, and stays as it is: merging would cost more than
/// it saves.
const LARGE_RECORDS: u64 = 4 << 20;

/// Returns which of the tables, by how many records they have, are to be merged into one.
///
/// More than `small_tables_max` small ones are too many: the smallest are merged, and with them
/// every next larger one that is no larger than what is merged already. So each record is
/// rewritten a number of times that grows with the logarithm of the small tables' size.
pub(crate) fn tables_to_merge(records: &[u64], small_tables_max: usize) -> Vec<usize> {
    let mut small: Vec<usize> = (0..records.len())
        .filter(|place| records[*place] < LARGE_RECORDS)
        .collect();
    if small.len() <= small_tables_max {
        return Vec::new();
    }
    small.sort_by_key(|place| records[*place]);
    let mut count = small.len() - small_tables_max + 1;
    let mut merged: u64 = small[..count].iter().map(|place| records[*place]).sum();
    while let Some(next) = small.get(count).filter(|next| records[**next] <= merged) {
        merged += records[*next];
        count += 1;
    }
    small.truncate(count);
    small
}

/// Takes the place of a table and a row of it; says whether to go on.
pub(crate) type TakesRow<'a> = &'a mut dyn FnMut(usize, &[u8]) -> Result<bool, RepoError>;

/// Hands the winning row of each content whose key is not below `from` to `each`, with the place
/// of its table, in order of keys, until `each` says `false`.
pub(crate) fn merge(
    tables: &[Arc<Table>],
    from: &[u8],
    each: TakesRow<'_>,
) -> Result<(), RepoError> {
    let mut cursors: Vec<Cursor> = tables.iter().map(|table| table.cursor(from)).collect();
    let mut heads = BinaryHeap::with_capacity(cursors.len());
    for (place, cursor) in cursors.iter_mut().enumerate() {
        if cursor.step()? {
            heads.push(Head::of(cursor, &tables[place], place));
        }
    }
    let mut winner = Vec::new();
    while let Some(&Head { key, mut place }) = heads.peek() {
        winner.clear();
        winner.extend_from_slice(cursors[place].row());
        step(&mut heads, &mut cursors, tables)?;
        while let Some(other) = heads.peek().filter(|other| other.key == key) {
            let row = cursors[other.place].row();
            let record = tables[other.place].decode(row)?;
            if record.supersedes(&tables[place].decode(&winner)?) {
                place = other.place;
                winner.clear();
                winner.extend_from_slice(row);
            }
            step(&mut heads, &mut cursors, tables)?;
        }
        if !each(place, &winner)? {
            return Ok(());
        }
    }
    Ok(())
}

/// Where a cursor stands; the greatest is the one with the lowest key.
#[derive(PartialEq, Eq)]
struct Head {
    key: [u8; KEY_BYTES_MAX],
    place: usize,
}

impl Head {
    fn of(cursor: &Cursor, table: &Table, place: usize) -> Self {
        let mut key = [0; KEY_BYTES_MAX];
        let key_bytes = table.key_bytes();
        key[..key_bytes].copy_from_slice(&cursor.row()[..key_bytes]);
        Self { key, place }
    }
}

impl Ord for Head {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (other.key, other.place).cmp(&(self.key, self.place))
    }
}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// Moves the cursor that stands first on, and its head to where it belongs.
fn step(
    heads: &mut BinaryHeap<Head>,
    cursors: &mut [Cursor],
    tables: &[Arc<Table>],
) -> Result<(), RepoError> {
    let Some(mut head) = heads.peek_mut() else {
        return Ok(());
    };
    let place = head.place;
    if cursors[place].step()? {
        *head = Head::of(&cursors[place], &tables[place], place);
    } else {
        PeekMut::pop(head);
    }
    Ok(())
}

/// Writes one table of what `tables` say together, under `path` in `folder`.
///
/// Pack names are put one table behind the other, not sorted out: a pack is in the index of the
/// session that wrote it, so small tables hardly share any, and memory need not hold them.
pub(crate) fn write_merged(
    tables: &[Arc<Table>],
    key_bytes: usize,
    folder: &Path,
    path: &Path,
) -> Result<Table, RepoError> {
    let mut first_packs = Vec::with_capacity(tables.len());
    let mut packs = 0u32;
    for table in tables {
        first_packs.push(packs);
        packs = packs.checked_add(table.packs()).ok_or_else(|| {
            RepoError::new(
                RepoErrorKind::Local,
                "merge cached index tables: they name more packs than a table can number",
            )
        })?;
    }
    let mut writer = TableWriter::create(folder, key_bytes)?;
    merge(tables, &[], &mut |place, row| {
        let (key, fields) = row.split_at(key_bytes);
        let mut fields: [u8; fields::BYTES] = fields.try_into().expect("rows have this size");
        let pack = fields::pack_number(&fields);
        if pack >= tables[place].packs() {
            return Err(RepoError::new(
                RepoErrorKind::Local,
                "merge cached index tables: one is damaged; delete the cache folder",
            ));
        }
        fields::renumber(&mut fields, first_packs[place] + pack);
        writer.push(key, &fields).map(|()| true)
    })?;
    let mut blobs: Vec<String> = tables
        .iter()
        .flat_map(|table| table.blobs().iter().cloned())
        .collect();
    blobs.sort();
    writer.finish(path, &blobs, &|each| {
        tables
            .iter()
            .try_for_each(|table| table.for_each_pack(each))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use kopia::content_id::ContentId;
    use kopia::hash::HashOutput;
    use kopia::record::ContentRecord;
    use time_and_chance::Chance;

    use super::*;
    use crate::index::index_blob::{IndexPayload, write_table};
    use crate::index::view::IndexView;

    fn id(number: u64) -> ContentId {
        let mut hash = [0; 16];
        hash[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
        hash[12..].copy_from_slice(&(number as u32).to_be_bytes());
        let prefix = [None, Some(b'k'), Some(b'x')][(number % 3) as usize];
        ContentId::new(prefix, HashOutput::new(&hash).unwrap())
    }

    fn any_record(number: u64, chance: &Chance) -> ContentRecord {
        ContentRecord {
            id: id(number),
            pack_blob: format!("p{:032x}-s1", chance.below(5)).into(),
            pack_offset: chance.below(1000) as u32,
            packed_bytes: 128,
            original_bytes: 100,
            timestamp_seconds: 1_700_000_000 + chance.below(3) as i64,
            deleted: chance.below(4) == 0,
            compression_header_id: 0x1101,
            format_version: 3,
            encryption_key_id: 0,
        }
    }

    /// Returns the table of an index blob with these records, as the cache writes it.
    fn table(
        blob: &str,
        records: &BTreeMap<ContentId, ContentRecord>,
        folder: &Path,
    ) -> Arc<Table> {
        let records: Vec<ContentRecord> = records.values().cloned().collect();
        let payload = kopia::index::write_index(2, &records).unwrap();
        let payload = IndexPayload::Memory(payload.into());
        let path = folder.join(format!("{blob}.index"));
        Arc::new(write_table(blob, &payload, 17, folder, &path).unwrap())
    }

    fn keep_winner(model: &mut BTreeMap<ContentId, ContentRecord>, record: &ContentRecord) {
        let kept = model.entry(record.id).or_insert_with(|| record.clone());
        if record.supersedes(kept) {
            *kept = record.clone();
        }
    }

    /// Equal in rank means equal in meaning: where the same pack is named twice with different
    /// places, either may win.
    fn rank(record: &ContentRecord) -> (ContentId, i64, bool, String) {
        (
            record.id,
            record.timestamp_seconds,
            record.deleted,
            record.pack_blob.to_string(),
        )
    }

    #[test]
    fn any_grouping_of_tables_says_what_a_map_of_all_records_says() {
        for seed in 0..20 {
            let folder = tempfile::tempdir().unwrap();
            let chance = Chance::from_seed(seed);
            let mut model = BTreeMap::new();
            let mut tables = Vec::new();
            for blob in 0..chance.below(9) + 1 {
                let mut records = BTreeMap::new();
                for _ in 0..chance.below(700) + 1 {
                    let record = any_record(chance.below(900), &chance);
                    keep_winner(&mut records, &record);
                }
                records
                    .values()
                    .for_each(|record| keep_winner(&mut model, record));
                tables.push(table(&format!("b{blob}"), &records, folder.path()));
            }
            let blobs = tables.len();
            // Some are merged, and some of those again, in an order that chance draws.
            for round in 0..chance.below(4) {
                let split = chance.below(tables.len() as u64) as usize;
                let chosen = tables.split_off(split);
                let path = folder.path().join(format!("merged-{round}.index"));
                let merged = write_merged(&chosen, 17, folder.path(), &path).unwrap();
                tables.insert(0, Arc::new(merged));
            }
            let held: usize = tables.iter().map(|table| table.blobs().len()).sum();
            assert_eq!(held, blobs, "seed {seed}: every blob is held once");
            let view = IndexView {
                tables,
                watermark_seconds: 1_700_000_001,
            };
            let forgotten = |record: &ContentRecord| record.is_hidden_by(1_700_000_001);
            for number in 0..1000 {
                let newest = view.newest(&id(number)).unwrap();
                let expected = model.get(&id(number));
                assert_eq!(newest.as_ref().map(rank), expected.map(rank), "seed {seed}");
                let found = view.find(&id(number)).unwrap();
                let expected = expected.filter(|record| !forgotten(record));
                assert_eq!(found.as_ref().map(rank), expected.map(rank), "seed {seed}");
            }
            for prefix in [None, Some(0), Some(b'k'), Some(b'x'), Some(b'm')] {
                let mut walked = Vec::new();
                view.for_each(prefix, &mut |record| {
                    walked.push(rank(&record));
                    Ok(())
                })
                .unwrap();
                let expected: Vec<_> = model
                    .values()
                    .filter(|record| !forgotten(record))
                    .filter(|record| {
                        prefix.is_none_or(|prefix| record.id.prefix().unwrap_or(0) == prefix)
                    })
                    .map(rank)
                    .collect();
                assert_eq!(walked, expected, "seed {seed}, prefix {prefix:?}");
            }
        }
    }

    #[test]
    fn few_small_tables_stay_and_large_ones_are_never_merged() {
        let large = LARGE_RECORDS;
        for (records, merged) in [
            (&[][..], &[][..]),
            (&[5, 1, 9], &[]),
            (&[5, 1, 9, 2], &[1, 3]),
            (&[5, 1, 3, 2], &[1, 3, 2, 0]),
            (&[100, 1, 1, 1], &[1, 2, 3]),
            (&[large, large, large, large, 7, 8, 9], &[]),
            (&[large, 7, 8, large, 9, 6], &[5, 1, 2, 4]),
        ] {
            assert_eq!(tables_to_merge(records, 3), merged, "{records:?}");
        }
    }

    #[test]
    fn a_record_is_rewritten_few_times_however_many_tables_come() {
        let mut tables: Vec<u64> = Vec::new();
        let mut rewritten = 0;
        let new = 10_000u64;
        for _ in 0..new {
            tables.push(1);
            let merged = tables_to_merge(&tables, SMALL_TABLES_MAX);
            if merged.is_empty() {
                continue;
            }
            let sum: u64 = merged.iter().map(|place| tables[*place]).sum();
            rewritten += sum;
            let kept = (0..tables.len()).filter(|place| !merged.contains(place));
            tables = kept.map(|place| tables[place]).collect();
            tables.push(sum);
            assert!(tables.len() <= SMALL_TABLES_MAX);
        }
        assert!(
            rewritten <= 14 * new,
            "{rewritten} for {new}: the logarithm of 10,000 is 14"
        );
    }
}
