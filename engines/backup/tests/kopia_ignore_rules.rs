//! What stock Kopia took of a tree with every kind of rule is what our rules take of it.

#![expect(clippy::unwrap_used, reason = "a panic in a test is its failure")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use backup::files::rules::{DotIgnoreFile, FolderRules, Found, Verdict};
use kopia::object_id::ObjectId;
use kopia::policy::Policy;
use kopia_fixtures::Fixture;
use serde_json::Value;

/// The tree as it lay on disk, and the files of patterns in it.
struct Source {
    /// Paths without a slash at the end; whether each is a folder.
    entries: BTreeMap<String, bool>,
    contents: BTreeMap<String, Vec<u8>>,
}

impl Source {
    fn of(fixture: &Fixture) -> Self {
        let paths = fixture.expected["source_paths"].as_array().unwrap().iter();
        let entries = paths
            .map(|path| path.as_str().unwrap())
            .map(|path| (path.trim_end_matches('/').to_owned(), path.ends_with('/')))
            .collect();
        let records = fixture.records();
        let contents = taken(fixture)
            .filter(|(path, _)| path.ends_with("ignore"))
            .map(|(path, entry)| {
                let id: ObjectId = entry["object_id"].as_str().unwrap().parse().unwrap();
                (path.to_owned(), fixture.object(&records, &id))
            })
            .collect();
        Self { entries, contents }
    }

    /// Returns what lies in a folder, by name.
    fn within<'s>(&'s self, folder: &'s str) -> impl Iterator<Item = (&'s str, bool)> {
        let lies_here = move |path: &'s str| {
            let (place, name) = path.rsplit_once('/').unwrap_or(("", path));
            (place == folder).then_some(name)
        };
        self.entries
            .iter()
            .filter_map(move |(path, is_folder)| Some((lies_here(path)?, *is_folder)))
    }
}

/// Returns what Kopia took, by path.
fn taken(fixture: &Fixture) -> impl Iterator<Item = (&str, &Value)> {
    let entries = fixture.expected["snapshots"][0]["entries"].as_array();
    entries
        .unwrap()
        .iter()
        .map(|entry| (entry["path"].as_str().unwrap(), entry))
}

/// Walks the tree; the lengths of files that Kopia did not take are not known, but for one's.
fn walk(source: &Source, folder: &str, rules: Arc<FolderRules>, kept: &mut BTreeSet<String>) {
    let path_of = |name: &str| match folder {
        "" => name.to_owned(),
        folder => format!("{folder}/{name}"),
    };
    if source
        .within(folder)
        .any(|(name, _)| name == "CACHEDIR.TAG")
        && rules.leaves_out_caches()
    {
        return;
    }
    let names = rules.dot_ignore_names().to_vec();
    let files: Vec<_> = names
        .iter()
        .filter_map(|name| {
            let content = source.contents.get(&path_of(name))?;
            Some(DotIgnoreFile { name, content })
        })
        .collect();
    let rules = rules.with_dot_ignore_files(&files).unwrap();
    for (name, is_folder) in source.within(folder) {
        let bytes = if name == "big.bin" { 20_001 } else { 20_000 };
        let found = Found {
            name,
            is_folder,
            bytes,
            on_other_file_system: false,
        };
        if !matches!(rules.verdict(found), Verdict::Keep) {
            continue;
        }
        kept.insert(path_of(name));
        if is_folder {
            walk(
                source,
                &path_of(name),
                rules.below(name, None).unwrap(),
                kept,
            );
        }
    }
}

#[test]
fn every_file_that_kopia_took_is_taken_and_no_other() {
    let fixture = Fixture::named("ignore-rules");
    let source = Source::of(&fixture);
    assert_eq!(source.contents.len(), 4);
    let policy = Policy::parse(&fixture.expected["effective_policy"].to_string()).unwrap();
    let rules = FolderRules::root(&policy, &[]).unwrap();

    let mut kept = BTreeSet::new();
    walk(&source, "", rules, &mut kept);
    let taken: BTreeSet<String> = taken(&fixture)
        .map(|(path, _)| path.to_owned())
        .filter(|path| !path.is_empty())
        .collect();
    assert_eq!(kept, taken);
}
