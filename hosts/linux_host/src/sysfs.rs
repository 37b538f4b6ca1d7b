//! Small files of `/sys`, each with one value.

use std::fs;
use std::io;
use std::path::Path;

/// `/sys` counts in these, whatever the sectors of the disk.
const UNIT_BYTES: u64 = 512;

/// Returns a text that says something; none if there is no such file.
pub fn text(path: &Path) -> io::Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text.trim().to_owned()).filter(|text| !text.is_empty())),
        // No such file, or a value where a folder would be.
        Err(error) => match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Ok(None),
            _ => Err(error),
        },
    }
}

/// Returns a number; none if there is no such file.
pub fn number(path: &Path) -> io::Result<Option<u64>> {
    let Some(text) = text(path)? else {
        return Ok(None);
    };
    let number = text.parse().map_err(|_| {
        let message = format!("{} holds {text:?}, which is no number", path.display());
        io::Error::new(io::ErrorKind::InvalidData, message)
    })?;
    Ok(Some(number))
}

/// Returns a number that must be there.
pub fn required(path: &Path) -> io::Result<u64> {
    number(path)?.ok_or_else(|| {
        let message = format!("{} is not there", path.display());
        io::Error::new(io::ErrorKind::NotFound, message)
    })
}

/// Returns a number of 512-byte units in bytes.
pub fn units(path: &Path) -> io::Result<u64> {
    Ok(required(path)?.saturating_mul(UNIT_BYTES))
}
