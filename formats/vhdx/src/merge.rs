//! Brings a child's content into its parent, which then takes the child's place in the chain.

use crate::chain::check_link;
use crate::error::Result;
use crate::file::{ReadAt, WriteAt};
use crate::header::MIB;
use crate::live::{LiveDisk, Mark};
use crate::resolve::Extent;
use crate::vhdx::Vhdx;

impl<F: WriteAt> LiveDisk<F> {
    /// Merges `child`, made from this disk as it is now, into it.
    ///
    /// At the very end the disk takes the child's data write GUID: whatever was made from the
    /// child now fits this disk. Stopped before that, the child still fits, reads as before, and
    /// can be merged again; merging a child whose place was taken already does nothing.
    ///
    /// # Errors
    /// `ParentMismatch` if the child was not made from this disk; what reads and writes fail with.
    pub fn merge_child<C: ReadAt>(&self, child: &Vhdx<C>) -> Result<()> {
        let mut written = self.writing();
        if written.disk.metadata.data_write_guid == child.metadata().data_write_guid {
            return Ok(());
        }
        check_link(child.metadata(), &written.disk.metadata)?;
        written.mark(Mark::FileWritten)?;
        if child.size_bytes() > written.disk.size_bytes() {
            written.resize(child.size_bytes())?;
        }
        let mut buf = vec![0; MIB as usize];
        for piece in child.resolve(0, child.size_bytes())? {
            let piece = piece?;
            match piece.extent {
                Extent::Parent => {}
                Extent::Zero => written.zero(self.parents(), piece.offset, piece.length_bytes)?,
                Extent::File { file_offset } => {
                    let mut done = 0;
                    while done < piece.length_bytes {
                        let len = (piece.length_bytes - done).min(MIB);
                        let part = &mut buf[..len as usize];
                        child.read_file_at(file_offset + done, part)?;
                        written.write(self.parents(), piece.offset + done, part)?;
                        done += len;
                    }
                }
            }
        }
        written.flush()?;
        written.take_place_of(child.metadata().data_write_guid)
    }
}
