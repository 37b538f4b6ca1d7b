//! Dependencies that nobody uses, and dependencies that nobody gave a reason for.

use std::collections::BTreeSet;

use toml::{Table, Value};

use super::crates::{Crate, Kind, ROOT_MANIFEST, line_of};
use super::finding::Finding;
use super::source_text::{code_only, words};
use super::tree::Tree;

/// The page that gives each dependency's reason.
const REASONS: &str = "docs/decisions/dependencies.md";

/// Checks every crate's dependencies against its sources, and the workspace's against both.
pub fn check(tree: &Tree, crates: &[Crate]) -> Vec<Finding> {
    let mut findings: Vec<_> = crates.iter().flat_map(|of| unused(tree, of)).collect();
    findings.extend(workspace(tree, crates));
    findings
}

/// Finds dependencies whose name never occurs where they could be used.
fn unused(tree: &Tree, of: &Crate) -> Vec<Finding> {
    let (mut own, mut build, mut any) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for (path, source) in tree.rust() {
        let Some(inside) = of.inside(path) else {
            continue;
        };
        let code = code_only(source);
        let found: Vec<String> = words(&code).map(|(_, word)| word.to_owned()).collect();
        any.extend(found.iter().cloned());
        if inside == "build.rs" {
            build.extend(found);
        } else if inside.starts_with("src/") || of.named_roots.iter().any(|root| root == path) {
            own.extend(found);
        }
    }
    let mut findings = Vec::new();
    for dependency in &of.dependencies {
        let used_in = match dependency.kind {
            Kind::Normal => &own,
            Kind::Build => &build,
            Kind::Dev => &any,
        };
        if !used_in.contains(&dependency.name.replace('-', "_")) {
            let message = format!(
                "dependency `{}` is never named where it would be used; remove or move it",
                dependency.name
            );
            findings.push(Finding::new(&of.manifest(), dependency.line, message));
        }
    }
    findings
}

/// Finds entries of the workspace's list that no crate takes, and foreign ones without a reason.
fn workspace(tree: &Tree, crates: &[Crate]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let Some(text) = tree.text(ROOT_MANIFEST) else {
        return findings;
    };
    let manifest: Table = match text.parse() {
        Ok(manifest) => manifest,
        Err(error) => {
            return vec![Finding::new(
                ROOT_MANIFEST,
                1,
                format!("not readable: {error}"),
            )];
        }
    };
    let listed = manifest
        .get("workspace")
        .and_then(|workspace| workspace.get("dependencies"))
        .and_then(Value::as_table);
    let reasons = tree.text(REASONS).unwrap_or_default();
    for (name, value) in listed.into_iter().flatten() {
        let line = line_of(text, "dependencies", name);
        if !crates
            .iter()
            .any(|of| of.dependencies.iter().any(|it| it.name == *name))
        {
            let message = format!("no crate takes `{name}`; remove it");
            findings.push(Finding::new(ROOT_MANIFEST, line, message));
        }
        if value.get("path").is_none() && !reasons.contains(&format!("`{name}`")) {
            let message = format!("`{name}` has no reason; give it a line in {REASONS}");
            findings.push(Finding::new(ROOT_MANIFEST, line, message));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(files: &[(&str, &str)]) -> Vec<String> {
        let tree = Tree::of(files);
        let (crates, findings) = Crate::all(&tree);
        assert_eq!(findings, []);
        check(&tree, &crates)
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn a_dependency_counts_as_used_only_where_its_kind_reaches() {
        let manifest = "[package]\nname = \"b\"\n[dependencies]\nin-src = \"1\"\nin_test = \"1\"\n\
            in_comment = \"1\"\n[dev-dependencies]\ndev = \"1\"\n[build-dependencies]\nbuilder = \"1\"\n";
        let found = messages(&[
            ("a/b/Cargo.toml", manifest),
            ("a/b/src/lib.rs", "use in_src::X; // in_comment"),
            ("a/b/tests/t.rs", "use in_test::X; use dev::X;"),
            ("a/b/build.rs", "fn main() {}"),
            (
                "a/bb/src/lib.rs",
                "use in_test::X; use in_comment::X; use builder::X;",
            ),
        ]);
        let expected = [(6, "in_comment"), (5, "in_test"), (10, "builder")].map(|(line, name)| {
            format!(
                "a/b/Cargo.toml:{line}: dependency `{name}` is never named where it would be \
                 used; remove or move it"
            )
        });
        assert_eq!(found, expected);
    }

    #[test]
    fn the_workspaces_list_is_used_and_explained() {
        let found = messages(&[
            (
                "Cargo.toml",
                "[workspace.dependencies]\nours = { path = \"a/ours\" }\nserde = \"1\"\nidle = \"1\"\n",
            ),
            (
                "a/b/Cargo.toml",
                "[package]\nname = \"b\"\n[dependencies]\nours.workspace = true\nserde.workspace = true\n",
            ),
            ("a/b/src/lib.rs", "use ours::X; use serde::Y;"),
            (REASONS, "| `idle` | for rest |"),
        ]);
        assert_eq!(
            found,
            [
                "Cargo.toml:4: no crate takes `idle`; remove it",
                &format!("Cargo.toml:3: `serde` has no reason; give it a line in {REASONS}"),
            ]
        );
    }
}
