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
    /// Returns what `paths` select; no paths, or an empty one, select everything.
    pub fn of(paths: &[String]) -> Self {
        if paths.is_empty() {
            return Self::All;
        }
        let mut selection = Self::Some(BTreeMap::new());
        for path in paths {
            let names: Vec<&str> = path.split('/').filter(|name| !name.is_empty()).collect();
            selection.add(&names);
        }
        selection
    }

    fn add(&mut self, names: &[&str]) {
        let mut here = self;
        for name in names {
            match here {
                Self::All => return,
                Self::Some(wanted) => {
                    here = wanted
                        .entry((*name).to_owned())
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
        Selection::of(
            &paths
                .iter()
                .map(|path| (*path).to_owned())
                .collect::<Vec<_>>(),
        )
    }

    #[test]
    fn no_paths_and_the_empty_path_select_everything() {
        assert_eq!(of(&[]), Selection::All);
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
