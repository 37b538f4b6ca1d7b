//! What this crate needs of a file: reads and writes at offsets. Knows no paths and opens nothing.

use std::fs::File;
use std::io;
use std::sync::Arc;

use local_file::UncachedFile;

/// Something that is read at offsets, from several threads at once.
#[expect(
    clippy::len_without_is_empty,
    reason = "whether a file is empty interests nobody"
)]
pub trait ReadAt: Send + Sync {
    /// Fills `buf` with what stands at `offset`, or fails; never less, never zeros instead.
    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()>;

    /// Returns the length in bytes.
    fn len(&self) -> io::Result<u64>;
}

/// Something that is written at offsets, from several threads at once.
///
/// What lies between the old end and a place written or a length set later reads as zeros.
pub trait WriteAt: ReadAt {
    /// Writes all of `data` at `offset`, making the file longer if need be.
    fn write_all_at(&self, offset: u64, data: &[u8]) -> io::Result<()>;

    /// Cuts or extends the file to `len_bytes`.
    fn set_len(&self, len_bytes: u64) -> io::Result<()>;

    /// Makes everything written so far durable.
    fn sync(&self) -> io::Result<()>;
}

impl<T: ReadAt + ?Sized> ReadAt for &T {
    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        (**self).read_exact_at(offset, buf)
    }

    fn len(&self) -> io::Result<u64> {
        (**self).len()
    }
}

impl<T: WriteAt + ?Sized> WriteAt for &T {
    fn write_all_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        (**self).write_all_at(offset, data)
    }

    fn set_len(&self, len_bytes: u64) -> io::Result<()> {
        (**self).set_len(len_bytes)
    }

    fn sync(&self) -> io::Result<()> {
        (**self).sync()
    }
}

macro_rules! through_pointer {
    ($pointer:ident) => {
        impl<T: ReadAt + ?Sized> ReadAt for $pointer<T> {
            fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
                (**self).read_exact_at(offset, buf)
            }

            fn len(&self) -> io::Result<u64> {
                (**self).len()
            }
        }

        impl<T: WriteAt + ?Sized> WriteAt for $pointer<T> {
            fn write_all_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
                (**self).write_all_at(offset, data)
            }

            fn set_len(&self, len_bytes: u64) -> io::Result<()> {
                (**self).set_len(len_bytes)
            }

            fn sync(&self) -> io::Result<()> {
                (**self).sync()
            }
        }
    };
}

through_pointer!(Arc);
through_pointer!(Box);

impl ReadAt for File {
    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        local_file::read_exact_at(self, offset, buf)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }
}

impl WriteAt for File {
    fn write_all_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        local_file::write_all_at(self, offset, data)
    }

    fn set_len(&self, len_bytes: u64) -> io::Result<()> {
        File::set_len(self, len_bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_all()
    }
}

impl ReadAt for UncachedFile {
    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        UncachedFile::read_exact_at(self, offset, buf)
    }

    fn len(&self) -> io::Result<u64> {
        ReadAt::len(self.file())
    }
}

impl WriteAt for UncachedFile {
    fn write_all_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        UncachedFile::write_all_at(self, offset, data)
    }

    fn set_len(&self, len_bytes: u64) -> io::Result<()> {
        self.file().set_len(len_bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.file().sync_all()
    }
}
