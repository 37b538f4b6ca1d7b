//! Paths of the machine that someone happened to work on: the repository must stand alone.

use super::finding::Finding;
use super::tree::Tree;

/// Bytes that others wrote and that must stay as they are.
const FOREIGN: &str = "testdata/kopia/";

/// Finds them in every text. They are put together here so that this file has none.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let banned = [
        ["/wo", "rk/"].concat(),
        ["/ro", "ot/"].concat(),
        ["../sh", "ared"].concat(),
    ];
    let mut findings = Vec::new();
    for (path, text) in tree.texts().filter(|(path, _)| !path.starts_with(FOREIGN)) {
        for place in &banned {
            for (offset, _) in text.match_indices(place.as_str()) {
                // A longer path that merely contains the words is none of this machine's.
                let before = text[..offset].chars().next_back();
                if before.is_some_and(|it| it.is_alphanumeric() || matches!(it, '_' | '-' | '.')) {
                    continue;
                }
                let message = format!("`{place}` is a path of one machine; remove it");
                findings.push(Finding::at(path, text, offset, message));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machine_paths_are_found_where_they_start_a_path() {
        let (work, root) = (["/wo", "rk/x"].concat(), ["/ro", "ot/x"].concat());
        let table = [
            (format!("a\nsee {work}"), 1),
            (format!("`{root}`, {work}"), 2),
            (["../sh", "ared/x"].concat(), 1),
            (format!("src{work}"), 0),
            ("rootless/work".to_owned(), 0),
        ];
        for (text, count) in table {
            let found = check(&Tree::of(&[("docs/x.md", &text)]));
            assert_eq!(found.len(), count, "{text}");
            let tree = Tree::of(&[("testdata/kopia/x/fixture.json", text.as_str())]);
            assert_eq!(check(&tree), [], "{text}");
        }
        let found = check(&Tree::of(&[("docs/x.md", &format!("a\nsee {work}"))]));
        assert_eq!((found[0].path.as_str(), found[0].line), ("docs/x.md", 2));
    }
}
