//! Which ranges of a frozen disk may hold something, by the block tables of its files
//! (Hyper-V spec 8, way C). Any doubt means "all of it".

use std::fs::File;
use std::path::PathBuf;

use disk::{ByteRange, Geometry};
use uuid::Uuid;
use vhdx::Chain;

/// The block tables of a chain, or nothing where they cannot be trusted.
#[derive(Debug)]
pub(super) struct Allocation {
    chain: Option<Chain<File>>,
    virtual_bytes: u64,
}

impl Allocation {
    /// Returns a map that says all is allocated.
    pub(super) fn everything(virtual_bytes: u64) -> Self {
        Self {
            chain: None,
            virtual_bytes,
        }
    }

    /// Reads the block tables of frozen files, the one written last first.
    ///
    /// They count only if every file can be read, none has a log to be replayed (RH-22), each is
    /// the parent of the one before it, and together they are the disk that virtdisk opened.
    pub(super) fn of(files: &[PathBuf], geometry: Geometry, virtual_disk_id: Uuid) -> Self {
        let opened: Result<Vec<File>, _> = files.iter().map(File::open).collect();
        let chain = opened.ok().and_then(|files| Chain::open(files).ok());
        let trusted = chain.filter(|chain| {
            let metadata = chain.metadata();
            chain.layers().iter().all(|layer| !layer.has_log())
                && metadata.virtual_disk_id == virtual_disk_id
                && metadata.virtual_size_bytes == geometry.virtual_bytes
                && metadata.logical_sector_bytes == geometry.logical_sector_bytes
        });
        Self {
            chain: trusted,
            virtual_bytes: geometry.virtual_bytes,
        }
    }

    /// Returns the first range from `from` on that may hold something other than zeros.
    pub(super) fn next(&self, from: u64) -> Option<ByteRange> {
        let rest = ByteRange::new(from, self.virtual_bytes)?;
        let Some(chain) = &self.chain else {
            return Some(rest);
        };
        match chain.allocated_ranges_from(from).next() {
            None => None,
            Some(Ok((offset, bytes))) => ByteRange::at(offset, bytes).or(Some(rest)),
            Some(Err(_)) => Some(rest),
        }
    }
}

#[cfg(test)]
mod tests {
    use vhdx::CreateOptions;

    use super::*;

    const BYTES: u64 = 64 << 20;
    const GEOMETRY: Geometry = Geometry {
        virtual_bytes: BYTES,
        logical_sector_bytes: 512,
        physical_sector_bytes: 4096,
    };

    fn everything() -> Option<ByteRange> {
        ByteRange::new(0, BYTES)
    }

    fn new_disk(path: &std::path::Path) {
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(path)
            .unwrap();
        let options = CreateOptions {
            virtual_size_bytes: BYTES,
            block_size_bytes: 1 << 20,
            logical_sector_bytes: 512,
            physical_sector_bytes: 4096,
            virtual_disk_id: Uuid::from_u128(7),
            file_write_guid: Uuid::from_u128(8),
            data_write_guid: Uuid::from_u128(9),
        };
        vhdx::create_dynamic(file, &options).unwrap();
    }

    #[test]
    fn an_empty_disk_has_nothing_and_any_doubt_everything() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk.vhdx");
        new_disk(&path);
        let files = [path.clone()];
        let id = Uuid::from_u128(7);
        assert_eq!(Allocation::of(&files, GEOMETRY, id).next(0), None);
        assert_eq!(
            Allocation::of(&files, GEOMETRY, Uuid::from_u128(6)).next(0),
            everything()
        );
        let larger = Geometry {
            virtual_bytes: 2 * BYTES,
            ..GEOMETRY
        };
        assert_eq!(
            Allocation::of(&files, larger, id).next(0),
            ByteRange::new(0, 2 * BYTES)
        );
        let missing = [path.clone(), folder.path().join("no.vhdx")];
        assert_eq!(Allocation::of(&missing, GEOMETRY, id).next(0), everything());
        std::fs::write(&path, b"vhdxfile?").unwrap();
        assert_eq!(
            Allocation::of(&files, GEOMETRY, id).next(BYTES - 1),
            ByteRange::new(BYTES - 1, BYTES)
        );
    }

    #[test]
    fn nothing_lies_behind_the_end() {
        assert_eq!(Allocation::everything(BYTES).next(BYTES), None);
        assert_eq!(Allocation::everything(BYTES).next(0), everything());
    }
}
