//! Opening what a shadow is read from.

use std::fs::File;
use std::io;
use std::path::Path;

use volume::RawDevice;

/// Opens a device. What is a plain file, which devices of models are, is as long as the file;
/// of others Windows tells the length.
pub(super) fn open(path: &Path) -> io::Result<RawDevice> {
    let file = File::open(path)?;
    let bytes = match file.metadata() {
        Ok(metadata) if metadata.is_file() && metadata.len() > 0 => metadata.len(),
        _ => device_bytes(&file)?,
    };
    Ok(RawDevice::new(path, file, bytes))
}

#[cfg(windows)]
fn device_bytes(file: &File) -> io::Result<u64> {
    crate::raw_devices::open_to_the_end(file);
    crate::raw_devices::length(file)
}

#[cfg(not(windows))]
fn device_bytes(_: &File) -> io::Result<u64> {
    Err(io::ErrorKind::Unsupported.into())
}
