//! Looking contents up, and the lists that make large objects of them.

use anyhow::Result;
use kopia::content_id::ContentId;
use kopia::indirect::{self, IndirectEntry, ListWriter};
use kopia::object_id::ObjectId;
use repo::{Encoder, Writer};

use super::{CHUNK_BYTES, Feed, Meter};
use crate::small_repository;
use crate::table::Table;

/// The index has one content for so many bytes of what stages are fed with.
const BYTES_PER_CONTENT: usize = 1024;
/// How many entries the list of a slot has.
const LIST_ENTRIES: usize = 128;

pub(super) fn measure(meter: &Meter, feed: &Feed<'_>, table: &mut Table) -> Result<()> {
    let contents = feed.random.len() / BYTES_PER_CONTENT;
    let repository = small_repository::in_memory(&feed.folder.join("cache-index"), &meter.clock)?;
    let writer = Writer::new(&repository, 2)?;
    let mut encoder = Encoder::new(None);
    let numbers: Vec<[u8; 8]> = (0..contents as u64).map(u64::to_le_bytes).collect();
    let mut known: Vec<ContentId> = Vec::with_capacity(contents);
    for group in numbers.chunks(64) {
        let group: Vec<&[u8]> = group.iter().map(|number| &number[..]).collect();
        let written = writer.write_contents(&mut encoder, None, &group)?;
        known.extend(written.iter().map(|written| written.id));
    }
    writer.flush()?;
    repository.refresh()?;
    let foreign: Vec<ContentId> = (0..contents as u64)
        .map(|number| repository.content_id(None, format!("not there {number}").as_bytes()))
        .collect();
    for (name, ids, expected) in [("found", &known, true), ("not there", &foreign, false)] {
        let name = format!("look up among {contents}, {name}");
        meter.count(table, &name, "look-ups", || {
            for id in ids {
                anyhow::ensure!(
                    repository.find(id)?.is_some() == expected,
                    "the index answers wrongly about {id}"
                );
            }
            Ok(ids.len() as u64)
        })?;
    }
    lists(meter, &known, table)
}

fn lists(meter: &Meter, ids: &[ContentId], table: &mut Table) -> Result<()> {
    let encode = |ids: &[ContentId], out: &mut Vec<u8>| -> Result<()> {
        let mut list = ListWriter::begin(out);
        for (number, id) in (0..).zip(ids) {
            let entry = IndirectEntry {
                start: number * CHUNK_BYTES as u64,
                bytes: CHUNK_BYTES as u64,
                object: ObjectId::direct(*id),
            };
            list.entry(out, &entry)?;
        }
        list.end(out)?;
        Ok(())
    };
    let mut out = Vec::new();
    meter.count(table, "encode lists", "entries", || {
        for ids in ids.chunks(LIST_ENTRIES) {
            out.clear();
            encode(ids, &mut out)?;
        }
        Ok(ids.len() as u64)
    })?;
    let lists: Vec<Vec<u8>> = ids
        .chunks(LIST_ENTRIES)
        .map(|ids| {
            let mut out = Vec::new();
            encode(ids, &mut out).map(|()| out)
        })
        .collect::<Result<_>>()?;
    meter.count(table, "parse lists", "entries", || {
        let mut entries = 0;
        for list in &lists {
            entries += indirect::parse(list)?.len() as u64;
        }
        Ok(entries)
    })
}
