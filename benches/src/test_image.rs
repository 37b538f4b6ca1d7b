//! Disks to measure with: zeros, random bytes and text in given shares, from a seed.
//!
//! The shares are those that stock Kopia was measured with. Content lies in extents of 64 KiB to
//! 4 MiB in no order, as files on a used disk do, so that borders of chunks fall everywhere.

use std::fs::File;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use time_and_chance::Chance;
use vhdx::{Chain, CreateOptions, ReadAt as _, ThinWriter, WriteAt, suggested_block_size_bytes};

/// Extents begin and end at multiples of this.
const UNIT_BYTES: u64 = 64 << 10;
/// The longest extent.
const EXTENT_UNITS_MAX: u64 = 64;
/// How many words texts are made of.
const WORDS: usize = 2048;

/// What an image consists of; what is neither zero nor random is text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mix {
    /// The share of zeros.
    pub zeros_percent: u64,
    /// The share of random bytes, which nothing compresses.
    pub random_percent: u64,
}

impl Mix {
    /// What stock Kopia's recorded figures are about.
    pub const HALF_ZEROS: Self = Self {
        zeros_percent: 53,
        random_percent: 27,
    };
    /// The same without its zeros.
    pub const DENSE: Self = Self {
        zeros_percent: 0,
        random_percent: 57,
    };
}

/// An image that follows from its description.
#[derive(Debug)]
pub struct TestImage {
    virtual_bytes: u64,
    seed: u64,
    extents: Vec<Extent>,
    words: Vec<Vec<u8>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Content {
    Zeros,
    Random,
    Text,
}

#[derive(Debug, Clone, Copy)]
struct Extent {
    start: u64,
    bytes: u64,
    content: Content,
}

impl TestImage {
    /// Returns the image of this length, a multiple of 64 KiB, in this mix.
    pub fn new(virtual_bytes: u64, mix: Mix, seed: u64) -> Self {
        let chance = Chance::from_seed(seed);
        Self {
            virtual_bytes,
            seed,
            extents: extents(virtual_bytes, mix, &chance),
            words: words(&chance),
        }
    }

    /// Returns its length.
    pub fn virtual_bytes(&self) -> u64 {
        self.virtual_bytes
    }

    /// Returns how much of it is not zeros.
    pub fn content_bytes(&self) -> u64 {
        let content = self
            .extents
            .iter()
            .filter(|it| it.content != Content::Zeros);
        content.map(|extent| extent.bytes).sum()
    }

    /// Writes it to a raw file with holes.
    pub fn write_raw(&self, path: &Path) -> Result<()> {
        let file =
            File::create(path).with_context(|| format!("failed to create {}", path.display()))?;
        file.set_len(self.virtual_bytes)
            .context("failed to size the image")?;
        self.for_each_piece(|offset, data| {
            WriteAt::write_all_at(&file, offset, data).context("failed to write the image")
        })
    }

    /// Writes it to a dynamic VHDX file.
    pub fn write_vhdx(&self, path: &Path) -> Result<()> {
        let file =
            File::create(path).with_context(|| format!("failed to create {}", path.display()))?;
        let chance = Chance::from_seed(self.seed);
        let options = CreateOptions {
            virtual_size_bytes: self.virtual_bytes,
            block_size_bytes: suggested_block_size_bytes(self.virtual_bytes),
            logical_sector_bytes: 512,
            physical_sector_bytes: 4096,
            virtual_disk_id: chance.uuid(),
            file_write_guid: chance.uuid(),
            data_write_guid: chance.uuid(),
        };
        let writer = ThinWriter::create(file, &options)?;
        self.for_each_piece(|offset, data| Ok(writer.write_at(offset, data)?))?;
        writer.finish()?;
        Ok(())
    }

    /// Returns part of its content; what lies behind its end is zeros.
    pub fn read(&self, offset: u64, bytes: u64) -> Vec<u8> {
        let mut read = vec![0; bytes as usize];
        let end = offset + bytes;
        let mut piece = Vec::new();
        let first = self
            .extents
            .partition_point(|extent| extent.start + extent.bytes <= offset);
        for extent in self.extents[first..].iter().take_while(|it| it.start < end) {
            self.fill(extent, &mut piece);
            let from = extent.start.max(offset);
            let until = (extent.start + extent.bytes).min(end);
            read[(from - offset) as usize..(until - offset) as usize].copy_from_slice(
                &piece[(from - extent.start) as usize..(until - extent.start) as usize],
            );
        }
        read
    }

    /// Makes sure that a raw file holds this image: a wrong restore has no speed.
    pub fn check_raw(&self, path: &Path) -> Result<()> {
        let file = open(path)?;
        self.check(path, |offset, buf| Ok(file.read_exact_at(offset, buf)?))
    }

    /// Makes sure that a VHDX file holds this image.
    pub fn check_vhdx(&self, path: &Path) -> Result<()> {
        let disk = Chain::open(vec![open(path)?])?;
        self.check(path, |offset, buf| Ok(disk.read_at(offset, buf)?))
    }

    fn check(&self, path: &Path, mut read: impl FnMut(u64, &mut [u8]) -> Result<()>) -> Result<()> {
        let (mut expected, mut found) = (Vec::new(), Vec::new());
        for extent in &self.extents {
            self.fill(extent, &mut expected);
            found.resize(expected.len(), 1);
            read(extent.start, &mut found)?;
            ensure!(
                found == expected,
                "{} differs from the image at offset {} or within {} bytes behind",
                path.display(),
                extent.start,
                extent.bytes
            );
        }
        Ok(())
    }

    /// Hands over everything that is not zeros, in order.
    fn for_each_piece(&self, mut take: impl FnMut(u64, &[u8]) -> Result<()>) -> Result<()> {
        let mut piece = Vec::new();
        for extent in &self.extents {
            if extent.content != Content::Zeros {
                self.fill(extent, &mut piece);
                take(extent.start, &piece)?;
            }
        }
        Ok(())
    }

    fn fill(&self, extent: &Extent, piece: &mut Vec<u8>) {
        piece.clear();
        piece.resize(extent.bytes as usize, 0);
        // Each extent has a stream of its own, so that no two hold the same.
        let chance = Chance::from_seed(self.seed ^ (extent.start + 1).rotate_left(20));
        match extent.content {
            Content::Zeros => {}
            Content::Random => chance.fill(piece),
            Content::Text => self.fill_with_text(&chance, piece),
        }
    }

    /// Fills a piece with words, frequent ones more often, as in logs and sources.
    fn fill_with_text(&self, chance: &Chance, piece: &mut [u8]) {
        let mut draws = [0; 4096];
        let mut at = 0;
        while at < piece.len() {
            chance.fill(&mut draws);
            for draw in draws.chunks_exact(4) {
                let number = u32::from_le_bytes([draw[0], draw[1], draw[2], draw[3]]) as usize;
                let word = &self.words[(number % WORDS).min((number / WORDS) % WORDS)];
                let room = &mut piece[at..];
                let take = word.len().min(room.len());
                room[..take].copy_from_slice(&word[..take]);
                at += take;
            }
        }
    }
}

fn open(path: &Path) -> Result<File> {
    File::open(path).with_context(|| format!("failed to open {}", path.display()))
}

/// Draws extents until each kind has exactly its share.
fn extents(virtual_bytes: u64, mix: Mix, chance: &Chance) -> Vec<Extent> {
    let units = virtual_bytes / UNIT_BYTES;
    let zeros = units * mix.zeros_percent / 100;
    let random = units * mix.random_percent / 100;
    let mut left = [
        (Content::Zeros, zeros),
        (Content::Random, random),
        (Content::Text, units - zeros - random),
    ];
    let mut extents = Vec::new();
    let mut start = 0;
    while start < units {
        let mut drawn = chance.below(units - start);
        let (content, units_left) = left
            .iter_mut()
            .find(|(_, units)| match drawn.checked_sub(*units) {
                Some(rest) => {
                    drawn = rest;
                    false
                }
                None => true,
            })
            .expect("what is left of all kinds adds up to the rest of the image");
        let length = (1 + chance.below(EXTENT_UNITS_MAX)).min(*units_left);
        *units_left -= length;
        extents.push(Extent {
            start: start * UNIT_BYTES,
            bytes: length * UNIT_BYTES,
            content: *content,
        });
        start += length;
    }
    extents
}

fn words(chance: &Chance) -> Vec<Vec<u8>> {
    const ENDS: &[u8; 16] = b"          \n,.=/:";
    let letter = || b"etaoinshrdlucmfwypvbgkjqxz0123456789_"[chance.below(37) as usize];
    let word = |_| {
        let mut word: Vec<u8> = (0..2 + chance.below(9)).map(|_| letter()).collect();
        word.push(ENDS[chance.below(16) as usize]);
        word
    };
    (0..WORDS).map(word).collect()
}

/// Returns different places of 64 KiB that make up `one_in`th of a disk, in the order of offsets.
pub fn scattered_places(virtual_bytes: u64, one_in: u64, seed: u64) -> Vec<u64> {
    let chance = Chance::from_seed(seed);
    let units = virtual_bytes / UNIT_BYTES;
    let mut places = std::collections::BTreeSet::new();
    while (places.len() as u64) < units / one_in {
        places.insert(chance.below(units) * UNIT_BYTES);
    }
    places.into_iter().collect()
}

/// Returns what a guest writes to one of [`scattered_places`].
pub fn scattered_write(place: u64, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; UNIT_BYTES as usize];
    Chance::from_seed(seed ^ place.rotate_left(16)).fill(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_has_its_shares_and_both_files_hold_it() {
        let folder = tempfile::tempdir().unwrap();
        let (raw, vhdx) = (folder.path().join("i.raw"), folder.path().join("i.vhdx"));
        let image = TestImage::new(100 * UNIT_BYTES, Mix::HALF_ZEROS, 7);
        assert_eq!(image.content_bytes(), 47 * UNIT_BYTES);
        image.write_raw(&raw).unwrap();
        image.write_vhdx(&vhdx).unwrap();
        image.check_raw(&raw).unwrap();
        image.check_vhdx(&vhdx).unwrap();
        let whole = std::fs::read(&raw).unwrap();
        let (from, until) = (3 * UNIT_BYTES - 5, 99 * UNIT_BYTES + 7);
        assert!(whole[from as usize..until as usize] == image.read(from, until - from));
        let other = TestImage::new(100 * UNIT_BYTES, Mix::HALF_ZEROS, 8);
        assert!(other.check_raw(&raw).is_err());
        assert!(other.check_vhdx(&vhdx).is_err());
    }

    #[test]
    fn scattered_places_are_as_many_as_asked_for_and_differ_by_seed() {
        let places = scattered_places(4 << 30, 100, 1);
        assert_eq!(places.len(), 655);
        assert!(places.is_sorted_by(|one, next| one < next));
        assert_ne!(places, scattered_places(4 << 30, 100, 2));
        assert_ne!(scattered_write(places[0], 1), scattered_write(places[1], 1));
    }
}
