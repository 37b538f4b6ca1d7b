//! Small files of one folder, one for each thing that must survive a crash.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::log::Log;

const EXTENSION: &str = "json";

/// A record's file: its name without extension, where it is, and what it holds.
pub type Record = (String, PathBuf, Vec<u8>);

/// Returns where the record of this name lies.
pub fn path(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.{EXTENSION}"))
}

/// Makes the folder if there is none, and reads every record in it. Other files, such as what a
/// replacement that was cut short left, are none; what cannot be read is logged and left there.
pub fn read_all(folder: &Path, log: &Log) -> io::Result<Vec<Record>> {
    local_file::create_private_folders(folder)?;
    let mut records = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_none_or(|it| it != EXTENSION) {
            continue;
        }
        let Some(name) = path.file_stem().and_then(|it| it.to_str()) else {
            continue;
        };
        match fs::read(&path) {
            Ok(bytes) => records.push((name.to_owned(), path, bytes)),
            Err(error) => log.error(&format!(
                "failed to read {}, which stays there: {error}",
                path.display()
            )),
        }
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use time_and_chance::{ManualClock, Timestamp};

    use super::*;
    use crate::log::Level;

    #[test]
    fn what_a_replacement_left_when_it_was_cut_short_is_no_record() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(path(folder.path(), "a"), "1").unwrap();
        fs::write(folder.path().join(".tmpAb12"), "2").unwrap();
        fs::create_dir(path(folder.path(), "folder")).unwrap();
        let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
        let log = Log::nowhere(Level::Error, false, clock);
        let read = read_all(folder.path(), &log).unwrap();
        assert_eq!(
            read,
            [("a".to_owned(), path(folder.path(), "a"), b"1".to_vec())]
        );
    }
}
