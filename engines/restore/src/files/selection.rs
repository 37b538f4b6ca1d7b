//! Which entries of a tree are wanted.

use std::collections::BTreeMap;

/// What is wanted of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Selection {
    /// Everything.
    All,
    /// These names only.
    Some(BTreeMap<String, Selection>),
}

impl Selection {
    /// Returns what selects nothing yet.
    pub fn none() -> Self {
        Self::Some(BTreeMap::new())
    }

    /// Adds what is at a path, with all below it; the empty path is everything.
    pub fn add(&mut self, path: &str) {
        let mut here = self;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            match here {
                Self::All => return,
                Self::Some(wanted) => {
                    here = wanted
                        .entry(name.to_owned())
                        .or_insert_with(|| Self::Some(BTreeMap::new()))
                }
            }
        }
        *here = Self::All;
    }

    /// Returns what is wanted of the entry called `name`.
    pub fn below(&self, name: &str) -> Option<Self> {
        match self {
            Self::All => Some(Self::All),
            Self::Some(wanted) => wanted.get(name).cloned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(paths: &[&str]) -> Selection {
        let mut selection = Selection::none();
        for path in paths {
            selection.add(path);
        }
        selection
    }

    #[test]
    fn the_empty_path_selects_everything() {
        assert_eq!(of(&[]).below("a"), None);
        assert_eq!(of(&["a/b", ""]), Selection::All);
        assert_eq!(of(&["/"]), Selection::All);
    }

    #[test]
    fn a_path_selects_all_below_it_and_nothing_beside_it() {
        for paths in [&["a/b", "c"][..], &["c/d", "a/b", "a/b/x", "/c/"]] {
            let selection = of(paths);
            let a = selection.below("a").unwrap();
            assert_eq!(a.below("b"), Some(Selection::All));
            assert_eq!(a.below("c"), None);
            assert_eq!(selection.below("c"), Some(Selection::All));
            assert_eq!(selection.below("d"), None);
        }
    }
}
