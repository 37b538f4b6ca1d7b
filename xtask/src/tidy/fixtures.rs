//! Fixtures that no test lists: a folder written by Kopia that nothing reads proves nothing.

use std::collections::BTreeSet;

use super::finding::Finding;
use super::tree::Tree;

const FIXTURES: &str = "testdata/kopia/";

/// Finds each fixture folder whose name stands quoted in no test source.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let folders: BTreeSet<&str> = tree
        .files()
        .filter_map(|(path, _)| Some(path.strip_prefix(FIXTURES)?.split_once('/')?.0))
        .collect();
    let sources: Vec<&str> = tree
        .rust()
        .filter(|(path, text)| is_test(path, text))
        .map(|(_, text)| text)
        .collect();
    folders
        .into_iter()
        .filter(|folder| {
            let quoted = format!("\"{folder}\"");
            !sources.iter().any(|source| source.contains(&quoted))
        })
        .map(|folder| {
            let path = format!("{FIXTURES}{folder}");
            Finding::new(
                &path,
                1,
                "no test names this fixture; list it in the test that reads it",
            )
        })
        .collect()
}

/// Tells whether a source holds tests. Those of tidy itself read no fixtures, they only name some.
fn is_test(path: &str, text: &str) -> bool {
    !path.starts_with("xtask/")
        && (path.starts_with("testing/") || path.contains("/tests/") || text.contains("#[test]"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fixture_counts_as_listed_only_when_a_test_source_quotes_its_name() {
        let tree = Tree::of(&[
            ("testdata/kopia/README.md", "`default` `ecc-5`"),
            ("testdata/kopia/default/fixture.json", "{}"),
            ("testdata/kopia/ecc-5/repo/x.f", ""),
            ("testdata/kopia/ecc-20/repo/x.f", ""),
            (
                "storage/repo/tests/fixtures.rs",
                "const ALL: [&str; 1] = [\"default\"];",
            ),
            ("storage/repo/src/lib.rs", "const NAME: &str = \"ecc-5\";"),
            ("testing/scenarios/src/lib.rs", "// ecc-20"),
            (
                "xtask/src/tidy/fixtures.rs",
                "#[test] fn f() { \"ecc-20\" }",
            ),
        ]);
        let found: Vec<_> = check(&tree).into_iter().map(|it| it.path).collect();
        assert_eq!(found, ["testdata/kopia/ecc-20", "testdata/kopia/ecc-5"]);
    }
}
