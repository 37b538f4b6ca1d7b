//! What is backed up, and under which name: pure functions of paths.

use std::collections::{BTreeMap, HashSet};
use std::path::{Component, Path, PathBuf};

use kopia::snapshot::SnapshotSource;
use serde_json::Value;

/// What a snapshot of several sources is called at its root (control-plane API 9.5).
pub(super) const SEVERAL_NAME: &str = "sources";
/// What a source is called that has no name, as the root of a file system.
const ROOT_NAME: &str = "root";

/// What one snapshot is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSource {
    /// Whose snapshots these are, of which host, and the path they are filed under.
    pub identity: SnapshotSource,
    /// What is read.
    pub content: SourceContent,
}

/// What is read for one snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceContent {
    /// A folder or a file, which becomes the snapshot's root.
    One(PathBuf),
    /// Several folders and files, which become the children of a root folder.
    Several(Vec<PathBuf>),
}

impl FileSource {
    /// Returns the source that a path is by itself, filed under that path as Kopia does.
    pub fn one(user: &str, host: &str, absolute: &Path) -> Self {
        let path = cleaned(absolute);
        Self {
            identity: SnapshotSource {
                host: host.to_owned(),
                user_name: user.to_owned(),
                path: path.to_string_lossy().into_owned(),
            },
            content: SourceContent::One(path),
        }
    }

    /// Returns the source that several paths are together, filed under `name`.
    pub fn several(user: &str, host: &str, name: &str, absolute: &[PathBuf]) -> Self {
        Self {
            identity: SnapshotSource {
                host: host.to_owned(),
                user_name: user.to_owned(),
                path: name.to_owned(),
            },
            content: SourceContent::Several(absolute.iter().map(|path| cleaned(path)).collect()),
        }
    }
}

/// The member of a manifest that says which path each child of the root is of.
const PATHS_MEMBER: &str = "e3Paths";

impl FileSource {
    /// Returns what a snapshot's manifest says beside Kopia's own members. Names of several sources
    /// depend on their order: only this tells which path a name stood for.
    pub(super) fn manifest_members(&self) -> BTreeMap<String, Value> {
        let SourceContent::Several(paths) = &self.content else {
            return BTreeMap::new();
        };
        let names = child_names(paths).into_iter();
        let paths = paths
            .iter()
            .map(|path| Value::from(path.to_string_lossy().into_owned()));
        let members = Value::Object(names.zip(paths).collect());
        BTreeMap::from([(PATHS_MEMBER.to_owned(), members)])
    }

    /// Returns whether every name means in an earlier snapshot what it means now, given what
    /// its manifest says.
    pub(super) fn means_the_same(&self, earlier: &BTreeMap<String, Value>) -> bool {
        // A path that is no text is filed under that of others, too.
        let is_text = |path: &PathBuf| path.to_str().is_some();
        let all_are_text = match &self.content {
            SourceContent::One(path) => is_text(path),
            SourceContent::Several(paths) => paths.iter().all(is_text),
        };
        if !all_are_text {
            return false;
        }
        let now = self.manifest_members();
        let Some(Value::Object(now)) = now.get(PATHS_MEMBER) else {
            return true;
        };
        let Some(Value::Object(earlier)) = earlier.get(PATHS_MEMBER) else {
            return false;
        };
        now.iter()
            .all(|(name, path)| earlier.get(name).is_none_or(|before| before == path))
    }
}

/// Returns an absolute path without `.`, `..` and doubled separators, by its text alone.
fn cleaned(absolute: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for part in absolute.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                clean.pop();
            }
            part => clean.push(part),
        }
    }
    clean
}

/// Returns what the root of a path's snapshot is called.
pub(super) fn base_name(path: &Path) -> String {
    match path.file_name() {
        Some(name) => super::os::name_text(name),
        None => ROOT_NAME.to_owned(),
    }
}

/// Returns what paths are called side by side: by their base names, `_2`, `_3` and so on behind
/// those that are taken.
pub(super) fn child_names(paths: &[PathBuf]) -> Vec<String> {
    let mut taken = HashSet::new();
    paths
        .iter()
        .map(|path| {
            let base = base_name(path);
            let mut name = base.clone();
            let mut number = 2;
            while !taken.insert(name.clone()) {
                name = format!("{base}_{number}");
                number += 1;
            }
            name
        })
        .collect()
}

// Paths here are those of Unix.
#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_filed_under_its_clean_text() {
        for (path, clean) in [
            ("/data", "/data"),
            ("/data/", "/data"),
            ("//data/./x/../y", "/data/y"),
            ("/..", "/"),
            ("/", "/"),
        ] {
            let source = FileSource::one("u", "h", Path::new(path));
            assert_eq!(source.identity.path, clean);
            assert_eq!(source.content, SourceContent::One(clean.into()));
        }
    }

    #[test]
    fn an_earlier_snapshot_of_a_path_that_is_no_text_may_be_another_paths() {
        use std::ffi::OsStr;
        use std::os::unix::ffi::OsStrExt as _;
        let source = |path: &[u8]| FileSource::one("u", "h", Path::new(OsStr::from_bytes(path)));
        let (one, other) = (source(b"/a\xff"), source(b"/a\xfe"));
        assert_eq!(one.identity, other.identity);
        assert!(!one.means_the_same(&other.manifest_members()));
        let several = FileSource::several(
            "u",
            "h",
            "all",
            &[Path::new(OsStr::from_bytes(b"/a\xff")).into()],
        );
        assert!(!several.means_the_same(&several.manifest_members()));
    }

    #[test]
    fn equal_base_names_are_numbered() {
        let paths: Vec<PathBuf> = ["/a/data", "/b/data", "/c/data_2", "/data", "/"]
            .map(PathBuf::from)
            .into();
        assert_eq!(
            child_names(&paths),
            ["data", "data_2", "data_2_2", "data_3", "root"]
        );
    }

    #[test]
    fn an_earlier_snapshot_counts_only_if_names_meant_the_same_paths() {
        let several = |paths: &[&str]| {
            let paths: Vec<PathBuf> = paths.iter().map(PathBuf::from).collect();
            FileSource::several("u", "h", "all", &paths)
        };
        let before = several(&["/a/data", "/b/data"]).manifest_members();
        for (paths, means_the_same) in [
            (&["/a/data", "/b/data"][..], true),
            (&["/a/data"], true),
            (&["/a/data", "/b/data", "/c"], true),
            (&["/b/data", "/a/data"], false),
            (&["/b/data"], false),
        ] {
            let source = several(paths);
            assert_eq!(source.means_the_same(&before), means_the_same, "{paths:?}");
            assert!(!source.means_the_same(&BTreeMap::new()));
        }
        let one = FileSource::one("u", "h", Path::new("/a"));
        assert!(one.manifest_members().is_empty() && one.means_the_same(&BTreeMap::new()));
    }
}
