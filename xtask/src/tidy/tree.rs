//! The files of the repository: tracked ones, and new ones that are not ignored.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Paths from the root with their text. A file that is not UTF-8 is listed without text.
#[derive(Debug, Default)]
pub struct Tree {
    files: BTreeMap<String, Option<String>>,
}

impl Tree {
    /// Reads what git knows of under `root`.
    pub fn read(root: &Path) -> Result<Self> {
        let answer = Command::new("git")
            .args([
                "ls-files",
                "-z",
                "--cached",
                "--others",
                "--exclude-standard",
            ])
            .current_dir(root)
            .output()
            .context("failed to run git")?;
        ensure!(
            answer.status.success(),
            "failed to list files: {}",
            String::from_utf8_lossy(&answer.stderr).trim()
        );
        let paths = String::from_utf8(answer.stdout).context("a path is not UTF-8")?;
        let mut files = BTreeMap::new();
        for path in paths.split('\0').filter(|path| !path.is_empty()) {
            let full = root.join(path);
            // Deleted but still tracked, or a link: nothing to read.
            if full.symlink_metadata().is_ok_and(|entry| entry.is_file()) {
                let bytes =
                    std::fs::read(&full).with_context(|| format!("failed to read {path}"))?;
                files.insert(path.to_owned(), String::from_utf8(bytes).ok());
            }
        }
        Ok(Self { files })
    }

    /// Returns all paths in order, with their text.
    pub fn files(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.files
            .iter()
            .map(|(path, text)| (path.as_str(), text.as_deref()))
    }

    /// Returns all files that have text.
    pub fn texts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files().filter_map(|(path, text)| Some((path, text?)))
    }

    /// Returns all Rust files.
    pub fn rust(&self) -> impl Iterator<Item = (&str, &str)> {
        self.texts().filter(|(path, _)| path.ends_with(".rs"))
    }

    /// Returns one file's text.
    pub fn text(&self, path: &str) -> Option<&str> {
        self.files.get(path)?.as_deref()
    }

    /// Tells whether there is such a file.
    pub fn contains(&self, path: &str) -> bool {
        self.files.contains_key(path)
    }

    /// Returns a tree of the given files, for tests of rules.
    #[cfg(test)]
    pub fn of(files: &[(&str, &str)]) -> Self {
        let files = files
            .iter()
            .map(|(path, text)| ((*path).into(), Some((*text).into())));
        Self {
            files: files.collect(),
        }
    }
}
