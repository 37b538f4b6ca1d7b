//! The whole index, walked record by record. The names of packs, of which there are few and which
//! lie all over the index, are read only where somebody asks.

use std::ops::{Index, IndexMut};
use std::sync::Arc;

use kopia::content_id::ContentId;
use kopia::record::ContentRecord;

use crate::Repository;
use crate::error::RepoError;
use crate::index::view::{IndexView, UnnamedRow};

/// The index as it was at one moment.
#[derive(Debug)]
pub struct IndexWalk {
    view: Arc<IndexView>,
}

/// Where the index names a pack. A pack has several places, one for each table that names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackPlace {
    table: usize,
    number: u32,
}

/// The record that counts of one content.
#[derive(Debug)]
pub struct IndexRow<'a> {
    view: &'a IndexView,
    row: UnnamedRow,
}

/// Something for each place at which the index names a pack.
#[derive(Debug)]
pub struct PerPack<T>(Vec<Vec<T>>);

impl Repository {
    /// Returns the index as this client sees it now, to be walked.
    pub fn walk_index(&self) -> IndexWalk {
        IndexWalk { view: self.view() }
    }
}

impl IndexWalk {
    /// Hands the record of every content to `each`, tombstones included, in the order of ids.
    pub fn for_each(
        &self,
        each: &mut dyn FnMut(&IndexRow<'_>) -> Result<(), RepoError>,
    ) -> Result<(), RepoError> {
        let view = &*self.view;
        view.for_each_unnamed(None, &mut |row| each(&IndexRow { view, row }))
    }

    /// Hands the name of every pack to `each`, once for each of its places.
    pub fn for_each_pack(
        &self,
        each: &mut dyn FnMut(PackPlace, &str) -> Result<(), RepoError>,
    ) -> Result<(), RepoError> {
        for (table, packs) in self.view.tables.iter().enumerate() {
            let mut number = 0;
            packs.for_each_pack_name(&mut |name| {
                number += 1;
                each(
                    PackPlace {
                        table,
                        number: number - 1,
                    },
                    name,
                )
            })?;
        }
        Ok(())
    }

    /// Returns one `T` for each place of a pack.
    pub fn per_pack<T: Clone + Default>(&self) -> PerPack<T> {
        let tables = self.view.tables.iter();
        PerPack(
            tables
                .map(|table| vec![T::default(); table.packs() as usize])
                .collect(),
        )
    }
}

impl IndexRow<'_> {
    /// Returns the content.
    pub fn id(&self) -> ContentId {
        self.row.record.id
    }

    /// Returns how much it takes in its pack.
    pub fn packed_bytes(&self) -> u64 {
        self.row.record.packed_bytes.into()
    }

    /// Returns when it was written.
    pub fn timestamp_seconds(&self) -> i64 {
        self.row.record.timestamp_seconds
    }

    /// Says whether it is deleted.
    pub fn is_deleted(&self) -> bool {
        self.row.record.deleted
    }

    /// Returns where the index names its pack.
    pub fn pack(&self) -> PackPlace {
        PackPlace {
            table: self.row.table,
            number: self.row.pack,
        }
    }

    /// Returns all of the record, the pack's name read.
    pub fn record(&self) -> Result<ContentRecord, RepoError> {
        self.view.name(&self.row)
    }
}

impl<T> Index<PackPlace> for PerPack<T> {
    type Output = T;

    fn index(&self, place: PackPlace) -> &T {
        &self.0[place.table][place.number as usize]
    }
}

impl<T> IndexMut<PackPlace> for PerPack<T> {
    fn index_mut(&mut self, place: PackPlace) -> &mut T {
        &mut self.0[place.table][place.number as usize]
    }
}
