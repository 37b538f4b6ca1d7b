//! The few pages of the block table and the sector bitmaps that are in use, in memory. The table
//! of a large disk takes half a GiB; it is never held whole.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::Result;
use crate::file::{ReadAt, WriteAt};
use crate::replayed::Replayed;

pub(crate) const PAGE_BYTES: u64 = 64 << 10;

/// 4 MiB per file.
const PAGES_MAX: usize = 64;

/// Beyond this many changed pages, a writer should write them.
pub(crate) const CHANGED_PAGES_MAX: usize = 48;

pub(crate) type Page = Arc<[u8]>;

/// A cache of pages, each a piece of the file on a 64 KiB border.
#[derive(Debug, Default)]
pub(crate) struct Pages {
    held: Mutex<HashMap<u64, Held>>,
}

#[derive(Debug)]
struct Held {
    page: Page,
    is_changed: bool,
}

impl Pages {
    /// Returns the page that holds the byte at `offset` of the file.
    pub fn get<F: ReadAt>(&self, file: &Replayed<F>, offset: u64) -> Result<Page> {
        let start = offset - offset % PAGE_BYTES;
        if let Some(held) = self.lock().get(&start) {
            return Ok(Arc::clone(&held.page));
        }
        let mut bytes = vec![0; PAGE_BYTES as usize];
        file.read(start, &mut bytes)?;
        let page: Page = bytes.into();
        let mut held = self.lock();
        make_room(&mut held);
        // Another reader may have been faster; a writer holds all readers off.
        let entry = held.entry(start).or_insert(Held {
            page,
            is_changed: false,
        });
        Ok(Arc::clone(&entry.page))
    }

    /// Changes bytes of one page in memory; [`Self::write`] brings them to the file.
    pub fn change<F: ReadAt>(
        &mut self,
        file: &Replayed<F>,
        offset: u64,
        change: impl FnOnce(&mut [u8]),
    ) -> Result<()> {
        let page = self.get(file, offset)?;
        let mut bytes = page.to_vec();
        change(&mut bytes[(offset % PAGE_BYTES) as usize..]);
        let held = Held {
            page: bytes.into(),
            is_changed: true,
        };
        self.lock().insert(offset - offset % PAGE_BYTES, held);
        Ok(())
    }

    pub fn changed_count(&self) -> usize {
        self.lock().values().filter(|held| held.is_changed).count()
    }

    /// Writes the changed pages that `chosen` names by their offset.
    pub fn write<F: WriteAt>(
        &mut self,
        file: &Replayed<F>,
        chosen: impl Fn(u64) -> bool,
    ) -> Result<()> {
        let mut held = self.lock();
        let mut changed: Vec<_> = held
            .iter_mut()
            .filter(|(start, held)| held.is_changed && chosen(**start))
            .collect();
        changed.sort_unstable_by_key(|(start, _)| **start);
        for (start, held) in changed {
            file.write(*start, &held.page)?;
            held.is_changed = false;
        }
        Ok(())
    }

    /// Forgets all pages, which must be written.
    pub fn forget(&mut self) {
        self.lock().clear();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Drops half of the unchanged pages when there are too many.
fn make_room(held: &mut HashMap<u64, Held>) {
    if held.len() < PAGES_MAX {
        return;
    }
    let mut nth = 0;
    held.retain(|_, held| {
        nth += 1;
        held.is_changed || nth % 2 == 0
    });
}
