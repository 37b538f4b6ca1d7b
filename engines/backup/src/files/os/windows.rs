//! Folders and files on Windows: entries are named by whole paths and asked what they are
//! themselves, so that links and junctions are never followed.
//!
//! ```text
//! has a reparse tag   what it is here
//! symbolic link       a link                      junction                          a link
//! mount point         a folder on another volume  read by a filter (dedup, cloud …)  a file or folder
//! another             left out, named             content not on this machine        left out, named
//! ```

use std::ffi::OsStr;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::ops::Range;
use std::os::windows::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use windows_host::files::{Attributes, Entry, FileId, ReparseTag, Target, reparse_target};
use windows_host::privileges::Privilege;

use super::{Facts, Found, Kind, Listing, Oddity, OpenFile, timestamp};

/// `FILE_READ_ATTRIBUTES`: nobody is kept from anything, and nothing is fetched.
const ACCESS_READ_ATTRIBUTES: u32 = 0x80;
/// `FILE_FLAG_BACKUP_SEMANTICS`: folders can be opened, and whoever may back up may read.
const FLAG_BACKUP_SEMANTICS: u32 = 0x0200_0000;
/// `FILE_FLAG_OPEN_REPARSE_POINT`: links are opened themselves, never followed.
const FLAG_OPEN_REPARSE_POINT: u32 = 0x0020_0000;
/// `FILE_FLAG_OPEN_NO_RECALL`: what is read from afar does not come to stay.
const FLAG_OPEN_NO_RECALL: u32 = 0x0010_0000;
/// Everyone else may go on reading, writing and deleting.
const SHARE_ALL: u32 = 7;
/// From 1601 to 1970, in units of 100 ns.
const EPOCH_TICKS: i64 = 116_444_736_000_000_000;
const TICKS_PER_SECOND: i64 = 10_000_000;

/// A folder.
#[derive(Debug)]
pub(in crate::files) struct FolderHandle {
    path: PathBuf,
    /// The volumes on the way here, this one last: one that is mounted in itself has no end.
    volumes: Vec<u64>,
}

impl FolderHandle {
    /// Opens the folder that the user named.
    pub fn named(path: &Path) -> io::Result<Self> {
        // Who has the right reads what access lists keep others from; who has not, goes on without.
        let _has_it = windows_host::privileges::enable(Privilege::Backup);
        // The long form, so that paths below may be of any length.
        let path = path.canonicalize()?;
        path.read_dir()?;
        let itself = Entry::of(&open_followed(&path)?)?;
        Ok(Self {
            path,
            volumes: vec![itself.id.volume],
        })
    }

    /// Opens a folder in this one.
    pub fn enter(&self, name: &OsStr) -> io::Result<Self> {
        let path = self.path.join(name);
        let found = look_at(&path, self.volume())?;
        if found.facts.kind != Kind::Folder {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        let volumes = match found.is_mounted {
            true => with_mounted(&self.volumes, found.facts.device)?,
            false => self.volumes.clone(),
        };
        Ok(Self { path, volumes })
    }

    /// Returns the volume that the folder is on.
    fn volume(&self) -> u64 {
        *self
            .volumes
            .last()
            .expect("the first is there from the start")
    }

    /// Returns what the folder itself is.
    pub fn facts(&self) -> io::Result<Facts> {
        let entry = Entry::of(&open_followed(&self.path)?)?;
        Ok(facts_of(&entry, Kind::Folder))
    }

    /// Returns what is in the folder; what vanishes meanwhile is not.
    pub fn list(&self) -> io::Result<Listing> {
        let mut listing = Listing::default();
        for entry in self.path.read_dir()? {
            let entry = entry?;
            let name = entry.file_name();
            match self.look(&name) {
                Ok(facts) => listing.found.push(Found { name, facts }),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => listing.failed.push((name, error)),
            }
        }
        Ok(listing)
    }

    /// Returns what the entry of this name is.
    pub fn look(&self, name: &OsStr) -> io::Result<Facts> {
        Ok(look_at(&self.path.join(name), self.volume())?.facts)
    }

    /// Opens a file to read it.
    pub fn open_file(&self, name: &OsStr) -> io::Result<OpenFile> {
        let path = self.path.join(name);
        let file = open_to_read(&path, FLAG_OPEN_REPARSE_POINT)?;
        let entry = Entry::of(&file)?;
        let is_read_through = entry.reparse_tag.is_some_and(ReparseTag::is_read_through);
        if !is_read_through || entry.attributes.is_elsewhere() {
            let kind = kind_of_data(&entry);
            let facts = facts_of(&entry, kind);
            return Ok(OpenFile { file, facts });
        }
        // Its filter brings the content only to who opens what it stands for.
        let file = open_to_read(&path, 0)?;
        let through = Entry::of(&file)?;
        if through.id != entry.id {
            return Err(io::Error::other("another file took its place"));
        }
        let facts = facts_of(&through, kind_of_data(&through));
        Ok(OpenFile { file, facts })
    }

    /// Reads the beginning of the file that a name stands for, be it through links; of what is
    /// no file, nothing.
    pub fn read_start(&self, name: &str, bytes_max: u64) -> io::Result<Vec<u8>> {
        let file = File::open(self.path.join(name))?;
        let mut start = Vec::new();
        if file.metadata()?.is_file() {
            file.take(bytes_max).read_to_end(&mut start)?;
        }
        Ok(start)
    }

    /// Returns where a symbolic link or junction leads.
    pub fn read_link(&self, name: &OsStr) -> io::Result<Vec<u8>> {
        match reparse_target(&open_itself(&self.path.join(name))?)? {
            Target::Path(path) => Ok(path.into_bytes()),
            Target::Volume(_) => Err(io::Error::other("a volume was mounted in its place")),
        }
    }
}

/// Returns the volumes on the way with one more, which must not be among them.
fn with_mounted(volumes: &[u64], mounted: u64) -> io::Result<Vec<u64>> {
    if volumes.contains(&mounted) {
        let reason = "a volume is mounted here that this folder lies in already";
        return Err(io::Error::other(reason));
    }
    Ok([volumes, &[mounted]].concat())
}

/// What a path names.
struct Looked {
    facts: Facts,
    /// Whether it is a folder in which a volume is mounted: the facts are of the volume's root.
    is_mounted: bool,
}

impl Looked {
    fn plain(facts: Facts) -> Self {
        Self {
            facts,
            is_mounted: false,
        }
    }
}

/// Looks at an entry of a folder on this volume.
fn look_at(path: &Path, volume: u64) -> io::Result<Looked> {
    let file = match open_itself(path) {
        Ok(file) => file,
        Err(error) => return look_from_afar(path, volume, error),
    };
    let entry = Entry::of(&file)?;
    match entry.reparse_tag {
        Some(ReparseTag::SYMBOLIC_LINK | ReparseTag::MOUNT_POINT) => {}
        _ => return Ok(Looked::plain(facts_of(&entry, kind_of_data(&entry)))),
    }
    match reparse_target(&file)? {
        Target::Path(target) => {
            let mut facts = facts_of(&entry, Kind::Symlink);
            facts.bytes = target.len() as u64;
            Ok(Looked::plain(facts))
        }
        Target::Volume(_) => Ok(Looked {
            facts: facts_of(&Entry::of(&open_followed(path)?)?, Kind::Folder),
            is_mounted: true,
        }),
    }
}

/// What is held so that nobody may open it, as the page file, is known from its folder alone;
/// `error` says why it could not be opened.
fn look_from_afar(path: &Path, volume: u64, error: io::Error) -> io::Result<Looked> {
    if error.kind() == io::ErrorKind::NotFound {
        return Err(error);
    }
    let metadata = match path.symlink_metadata() {
        Ok(metadata) if !metadata.is_symlink() => metadata,
        _ => return Err(error),
    };
    let entry = entry_from_afar(&metadata, volume);
    Ok(Looked::plain(facts_of(&entry, kind_of_data(&entry))))
}

fn entry_from_afar(metadata: &Metadata, volume: u64) -> Entry {
    let ticks = i64::try_from(metadata.last_write_time()).unwrap_or(i64::MAX);
    Entry {
        id: FileId { volume, number: 0 },
        attributes: Attributes(metadata.file_attributes()),
        reparse_tag: None,
        bytes: metadata.file_size(),
        names: 1,
        written_ticks: ticks,
        changed_ticks: ticks,
    }
}

/// Returns what something is that is no link.
fn kind_of_data(entry: &Entry) -> Kind {
    match entry.reparse_tag {
        _ if entry.attributes.is_elsewhere() => Kind::Other(Oddity::Elsewhere),
        Some(ReparseTag::SYMBOLIC_LINK | ReparseTag::MOUNT_POINT) => Kind::Symlink,
        Some(tag) if !tag.is_read_through() => Kind::Other(Oddity::Foreign(tag)),
        _ if entry.attributes.has(Attributes::FOLDER) => Kind::Folder,
        _ => Kind::File,
    }
}

fn facts_of(entry: &Entry, kind: Kind) -> Facts {
    let changed = match entry.changed_ticks {
        0 => entry.written_ticks,
        ticks => ticks,
    };
    Facts {
        kind,
        // What Go says of files on Windows.
        mode: match kind {
            Kind::Folder | Kind::Symlink => 0o777,
            _ if entry.attributes.has(Attributes::READ_ONLY) => 0o444,
            _ => 0o666,
        },
        bytes: match kind {
            Kind::File => entry.bytes,
            _ => 0,
        },
        mtime: time_of(entry.written_ticks),
        ctime: time_of(changed),
        uid: 0,
        gid: 0,
        device: entry.id.volume,
        inode: entry.id.number,
        links: entry.names.into(),
        has_holes: entry.attributes.has(Attributes::SPARSE),
    }
}

fn time_of(ticks: i64) -> time_and_chance::Timestamp {
    let ticks = ticks.saturating_sub(EPOCH_TICKS);
    timestamp(
        ticks.div_euclid(TICKS_PER_SECOND),
        ticks.rem_euclid(TICKS_PER_SECOND) * 100,
    )
}

/// Opens what a path names, be it a link, to ask what it is.
fn open_itself(path: &Path) -> io::Result<File> {
    open(path, FLAG_OPEN_REPARSE_POINT)
}

/// Opens what a path leads to, to ask what it is.
fn open_followed(path: &Path) -> io::Result<File> {
    open(path, 0)
}

fn open(path: &Path, flags: u32) -> io::Result<File> {
    OpenOptions::new()
        .access_mode(ACCESS_READ_ATTRIBUTES)
        .share_mode(SHARE_ALL)
        .custom_flags(FLAG_BACKUP_SEMANTICS | flags)
        .open(path)
}

fn open_to_read(path: &Path, flags: u32) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .share_mode(SHARE_ALL)
        .custom_flags(FLAG_BACKUP_SEMANTICS | FLAG_OPEN_NO_RECALL | flags)
        .open(path)
}

impl OpenFile {
    /// Returns what the file is now.
    pub fn facts_now(&self) -> io::Result<Facts> {
        let entry = Entry::of(&self.file)?;
        Ok(facts_of(&entry, kind_of_data(&entry)))
    }
}

/// Does nothing: Windows has no such limit.
pub(in crate::files) fn allow_many_open_files() {}

/// Reads into `buf` from `offset` on; fewer bytes than fit only at the end.
pub(in crate::files) fn read_at(file: &File, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buf.len() {
        match file.seek_read(&mut buf[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(bytes) => filled += bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Returns where the next data at or behind `offset` stands, or `None` if a hole reaches to the
/// end. Where the file system does not tell, everything is data.
pub(in crate::files) fn next_data(file: &File, offset: u64) -> Option<Range<u64>> {
    windows_host::files::next_data(file, offset)
}

/// Returns the bytes of a name.
pub(in crate::files) fn path_bytes(name: &OsStr) -> &[u8] {
    name.as_encoded_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(attributes: u32, tag: Option<u32>) -> Entry {
        Entry {
            attributes: Attributes(attributes),
            reparse_tag: tag.map(ReparseTag),
            changed_ticks: 0,
            written_ticks: EPOCH_TICKS + 1,
            ..entry_from_afar(&Path::new(".").metadata().unwrap(), 1)
        }
    }

    #[test]
    fn attributes_and_tags_say_what_an_entry_is() {
        let foreign = |tag| Kind::Other(Oddity::Foreign(ReparseTag(tag)));
        for (attributes, tag, kind) in [
            (0x20, None, Kind::File),
            (0x10, None, Kind::Folder),
            (0x420, Some(0x8000_0013), Kind::File),
            (0x410, Some(0x9000_601A), Kind::Folder),
            (0x420, Some(0x9000_601A), Kind::File),
            (
                0x0040_0420,
                Some(0x9000_601A),
                Kind::Other(Oddity::Elsewhere),
            ),
            (0x1020, None, Kind::Other(Oddity::Elsewhere)),
            (0x420, Some(0x8000_001B), foreign(0x8000_001B)),
            (0x410, Some(0x4321), foreign(0x4321)),
        ] {
            assert_eq!(kind_of_data(&entry(attributes, tag)), kind, "{tag:X?}");
        }
    }

    #[test]
    fn a_file_system_without_times_of_change_tells_that_of_writing() {
        let facts = facts_of(&entry(0x21, None), Kind::File);
        assert_eq!(facts.mtime.as_nanosecond(), 100);
        assert_eq!(facts.ctime, facts.mtime);
        assert_eq!(facts.mode, 0o444);
    }

    #[test]
    fn what_nobody_may_open_is_on_the_volume_of_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("page file");
        std::fs::write(&path, b"held").unwrap();
        let held = || io::Error::from_raw_os_error(32);
        let facts = look_from_afar(&path, 7, held()).unwrap().facts;
        assert_eq!((facts.device, facts.bytes, facts.kind), (7, 4, Kind::File));
        std::fs::remove_file(&path).unwrap();
        assert!(look_from_afar(&path, 7, held()).is_err());
    }

    #[test]
    fn a_volume_that_is_mounted_in_itself_has_an_end() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("in")).unwrap();
        let outer = FolderHandle::named(folder.path()).unwrap();
        let inner = outer.enter(OsStr::new("in")).unwrap();
        assert_eq!(inner.volumes, [outer.facts().unwrap().device]);
        assert_eq!(with_mounted(&[1], 2).unwrap(), [1, 2]);
        assert!(with_mounted(&[1, 2], 1).is_err());
    }
}
