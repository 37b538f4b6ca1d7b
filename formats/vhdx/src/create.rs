//! New files: empty dynamic and fixed disks, and children of a disk. Chooses no GUIDs.

use uuid::Uuid;

use crate::bat::{ENTRY_BYTES, PayloadState};
use crate::create_options::CreateOptions;
use crate::error::{Result, io_error, out_of_range};
use crate::file::{ReadAt, WriteAt};
use crate::frame::{BAT_OFFSET, Frame, set_new_len};
use crate::header::MIB;
use crate::locator::ParentLocator;
use crate::metadata::Metadata;
use crate::thin::ThinWriter;
use crate::vhdx::Vhdx;

/// How a new child names its parent; at least one path should be given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChildOptions {
    /// Any new one.
    pub file_write_guid: Uuid,
    /// Any new one.
    pub data_write_guid: Uuid,
    /// The parent's path as seen from the child's folder, such as `.\base.vhdx`.
    pub relative_path: Option<String>,
    /// The parent's full path.
    pub absolute_win32_path: Option<String>,
}

/// Makes an empty dynamic disk; the file's former content is lost.
///
/// # Errors
/// `OutOfRange` if the options are impossible, or `Io`.
pub fn create_dynamic<F: WriteAt>(file: F, options: &CreateOptions) -> Result<F> {
    ThinWriter::create(file, options)?.finish()
}

/// Makes a fixed disk full of zeros: all blocks present, one behind the other.
///
/// # Errors
/// `OutOfRange` if the options are impossible, or `Io`.
pub fn create_fixed<F: WriteAt>(file: F, options: &CreateOptions) -> Result<F> {
    let metadata = Metadata {
        leave_blocks_allocated: true,
        ..options.metadata()
    };
    let geometry = metadata.geometry();
    let frame = Frame::new(metadata)?;
    let payload = frame.payload_offset();
    let blocks = geometry.block_count();
    set_new_len(&file, payload + blocks * geometry.block_bytes())?;
    let entries = MIB / ENTRY_BYTES;
    let mut index = 0;
    while index < geometry.entry_count(false) {
        let mut table = vec![0; MIB as usize];
        for (number, bytes) in table.chunks_exact_mut(8).enumerate() {
            if let Some(crate::bat::Slot::Payload(block)) = geometry.slot(index + number as u64) {
                let offset = payload + block * geometry.block_bytes();
                let entry = PayloadState::FullyPresent { offset }.encode();
                bytes.copy_from_slice(&entry.to_le_bytes());
            }
        }
        file.write_all_at(BAT_OFFSET + index * ENTRY_BYTES, &table)
            .map_err(io_error("write the block table"))?;
        index += entries;
    }
    frame.write(&file)?;
    Ok(file)
}

/// Makes an empty child of `parent`: it has the parent's size, sectors, blocks and identity, and
/// reads as the parent does. From now on the parent must not change.
///
/// # Errors
/// `OutOfRange` if no path is given, one is too long, or the child's data write GUID is the
/// parent's, or `Io`.
pub fn create_differencing<F: WriteAt, P: ReadAt>(
    file: F,
    parent: &Vhdx<P>,
    options: &ChildOptions,
) -> Result<F> {
    if options.relative_path.is_none() && options.absolute_win32_path.is_none() {
        return Err(out_of_range("name the parent: no path was given"));
    }
    if options.data_write_guid == parent.metadata().data_write_guid {
        return Err(out_of_range(
            "tell child and parent apart: they have one data write GUID",
        ));
    }
    let metadata = Metadata {
        leave_blocks_allocated: false,
        parent: Some(ParentLocator {
            parent_linkage: parent.metadata().data_write_guid,
            parent_linkage2: None,
            relative_path: options.relative_path.clone(),
            absolute_win32_path: options.absolute_win32_path.clone(),
            volume_path: None,
        }),
        file_write_guid: options.file_write_guid,
        data_write_guid: options.data_write_guid,
        ..parent.metadata().clone()
    };
    let frame = Frame::new(metadata)?;
    set_new_len(&file, frame.payload_offset())?;
    frame.write(&file)?;
    Ok(file)
}
