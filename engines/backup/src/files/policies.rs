//! Which policies apply to a source and to what lies below it.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use kopia::policy::{Policy, PolicyTarget};
use kopia::snapshot::SnapshotSource;
use kopia::splitter::Splitter;
use repo::{Manifests, RepoError};
use snapshot::{effective_policy, policies};

use super::folder_policy::FolderPolicy;
use super::source::{FileSource, SourceContent, child_names};

/// The policies of a run.
#[derive(Debug)]
pub(super) struct Policies {
    /// That of the root.
    pub root: Arc<FolderPolicy>,
    /// Those of paths below it that have one of their own, or were named by the user.
    below: HashMap<String, PathPolicy>,
}

/// The policy of a path.
#[derive(Debug)]
pub(super) struct PathPolicy {
    /// What is said of that very path, not merged with others.
    pub own: Option<Policy>,
    /// All that applies.
    pub whole: Arc<FolderPolicy>,
}

impl Policies {
    /// Reads the policies that apply to a source. Those of paths count where the path is, whatever
    /// the snapshot is filed under.
    pub fn load(
        manifests: &Manifests,
        source: &FileSource,
        splitter: &Splitter,
    ) -> Result<Self, RepoError> {
        let FileSource { identity, content } = source;
        let whole = |path: &str| {
            let source = SnapshotSource {
                path: path.to_owned(),
                ..identity.clone()
            };
            let effective = effective_policy(manifests, &PolicyTarget::source(&source))?;
            FolderPolicy::new(effective, splitter)
        };
        let mut below = HashMap::new();
        let roots: Vec<(String, PathBuf)> = match content {
            SourceContent::One(path) => vec![(String::new(), path.clone())],
            SourceContent::Several(paths) => {
                child_names(paths).into_iter().zip(paths.clone()).collect()
            }
        };
        for (name, path) in &roots {
            if !name.is_empty() {
                let whole = whole(&path.to_string_lossy())?;
                below.insert(name.clone(), PathPolicy { own: None, whole });
            }
        }
        for (target, own) in policies(manifests)? {
            let labels = target.labels();
            let label = |label| labels.get(label).map_or("", String::as_str);
            if (label("hostname"), label("username")) != (&identity.host, &identity.user_name) {
                continue;
            }
            for (name, root) in &roots {
                let path = label("path");
                if let Some(relative) = path_below(&root.to_string_lossy(), path) {
                    let whole = whole(path)?;
                    let place = [name.as_str(), &relative].join("/");
                    let own = Some(own.clone());
                    let place = place.trim_start_matches('/').to_owned();
                    below.insert(place, PathPolicy { own, whole });
                }
            }
        }
        Ok(Self {
            root: whole(&identity.path)?,
            below,
        })
    }

    /// Returns the policy of exactly this path below the root, if it has one.
    pub fn of(&self, path: impl FnOnce() -> String) -> Option<&PathPolicy> {
        if self.below.is_empty() {
            return None;
        }
        self.below.get(&path())
    }
}

/// Returns where `path` is below `root`, its parts joined by slashes.
fn path_below(root: &str, path: &str) -> Option<String> {
    let is_separator = |letter: char| letter == '/' || (cfg!(windows) && letter == '\\');
    let rest = path.strip_prefix(root)?;
    if !root.ends_with(is_separator) && !rest.starts_with(is_separator) {
        return None;
    }
    let parts = rest.split(is_separator).filter(|part| !part.is_empty());
    let relative = parts.collect::<Vec<_>>().join("/");
    (!relative.is_empty()).then_some(relative)
}

#[cfg(test)]
mod tests {
    use super::path_below;

    #[test]
    fn only_what_lies_below_has_a_place_there() {
        for (root, path, relative) in [
            ("/data", "/data/a/b", Some("a/b")),
            ("/data", "/data", None),
            ("/data", "/database", None),
            ("/data", "/other/data", None),
            ("/", "/data", Some("data")),
            ("/", "/", None),
        ] {
            assert_eq!(path_below(root, path).as_deref(), relative, "{path}");
        }
    }
}
