//! Orphans: Rust files that no `mod` declaration reaches, so that nothing compiles them.

use std::collections::BTreeSet;

use super::crates::Crate;
use super::finding::Finding;
use super::source_text::{closing, code_only, words};
use super::tree::Tree;

/// Finds the files of each crate that none of its roots leads to.
pub fn check(tree: &Tree, crates: &[Crate]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for of in crates {
        let mut reached = BTreeSet::new();
        for (path, _) in tree.rust() {
            let Some(inside) = of.inside(path) else {
                continue;
            };
            if is_root(inside) || of.named_roots.iter().any(|root| root == path) {
                reach(tree, path, true, &mut reached);
            }
        }
        for (path, _) in tree.rust() {
            if of.inside(path).is_some() && !reached.contains(path) {
                let message = "no `mod` declaration reaches this file; declare or remove it";
                findings.push(Finding::new(path, 1, message));
            }
        }
    }
    findings
}

/// Tells whether cargo compiles this file of its own accord.
fn is_root(inside: &str) -> bool {
    let parts: Vec<&str> = inside.split('/').collect();
    matches!(
        parts.as_slice(),
        ["build.rs"]
            | ["src", "lib.rs" | "main.rs"]
            | ["src", "bin", _]
            | ["src", "bin", _, "main.rs"]
            | ["tests" | "benches" | "examples", _]
            | ["tests" | "benches" | "examples", _, "main.rs"]
    )
}

fn reach(tree: &Tree, path: &str, is_root: bool, reached: &mut BTreeSet<String>) {
    let Some(source) = tree.text(path) else {
        return;
    };
    if !reached.insert(path.to_owned()) {
        return;
    }
    let (folder, file) = path.rsplit_once('/').unwrap_or(("", path));
    let stem = file.trim_end_matches(".rs");
    let base = if is_root || file == "mod.rs" {
        folder.to_owned()
    } else {
        format!("{folder}/{stem}")
    };
    for declaration in declarations(source) {
        for candidate in declaration.candidates(folder, &base) {
            if tree.contains(&candidate) {
                reach(tree, &candidate, false, reached);
            }
        }
    }
}

/// `mod name;` as it stands in a file.
#[derive(Debug, Default, PartialEq, Eq)]
struct Declaration {
    /// Names of the inline modules around it, the outermost first.
    within: Vec<String>,
    name: String,
    /// What a `#[path = "…"]` before it says.
    path: Option<String>,
}

impl Declaration {
    /// Returns the files that may hold the module: `folder` is where the declaring file stands,
    /// `base` where its children do.
    fn candidates(&self, folder: &str, base: &str) -> Vec<String> {
        let mut place = base.to_owned();
        for module in &self.within {
            place = format!("{place}/{module}");
        }
        match &self.path {
            Some(path) if self.within.is_empty() => vec![normal(&format!("{folder}/{path}"))],
            Some(path) => vec![normal(&format!("{place}/{path}"))],
            None => {
                vec![
                    format!("{place}/{}.rs", self.name),
                    format!("{place}/{}/mod.rs", self.name),
                ]
            }
        }
    }
}

/// Resolves `.` and `..` in a path.
fn normal(path: &str) -> String {
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "." => {}
            ".." => {
                parts.pop();
            }
            _ => parts.push(part),
        }
    }
    parts.join("/")
}

/// Returns the modules a file declares without a body.
fn declarations(source: &str) -> Vec<Declaration> {
    let code = code_only(source);
    let mut found = Vec::new();
    let mut open: Vec<Option<String>> = Vec::new();
    let mut path = None;
    let mut at = 0;
    while let Some(character) = code[at..].chars().next() {
        let mut next = at + character.len_utf8();
        match character {
            '{' => open.push(None),
            '}' => {
                open.pop();
            }
            '#' if code[next..].starts_with('[') => {
                let end = closing(&code, next).unwrap_or(code.len());
                if words(&code[next..end])
                    .next()
                    .is_some_and(|(_, word)| word == "path")
                {
                    path = source[next..end].split('"').nth(1).map(str::to_owned);
                }
                next = end;
            }
            character if character.is_alphanumeric() || character == '_' => {
                let (_, word) = words(&code[at..]).next().expect("a word starts here");
                next = at + word.len();
                if word == "mod"
                    && let Some((offset, name)) = words(&code[next..]).next()
                {
                    let path = path.take();
                    let after = next + offset + name.len();
                    match code[after..].trim_start().chars().next() {
                        Some(';') => {
                            let within = open.iter().flatten().cloned().collect();
                            found.push(Declaration {
                                within,
                                name: name.to_owned(),
                                path,
                            });
                        }
                        Some('{') => {
                            open.push(Some(name.to_owned()));
                            next = code.len() - code[after..].trim_start().len() + 1;
                        }
                        _ => {}
                    }
                }
            }
            _ => {}
        }
        at = next;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn orphans(files: &[(&str, &str)]) -> Vec<String> {
        let mut all = vec![("a/b/Cargo.toml", "[package]\nname = \"b\"\n")];
        all.extend(files);
        let tree = Tree::of(&all);
        let (crates, _) = Crate::all(&tree);
        check(&tree, &crates)
            .into_iter()
            .map(|it| it.path)
            .collect()
    }

    #[test]
    fn files_are_reached_as_the_compiler_reaches_them() {
        let found = orphans(&[
            (
                "a/b/src/lib.rs",
                "pub(crate) mod one;\n// mod ghost;\n#[cfg(unix)]\nmod two { mod deep; }\nfn f() { if x { } }\nmod three;",
            ),
            ("a/b/src/one.rs", "mod child;"),
            ("a/b/src/one/child.rs", ""),
            ("a/b/src/two/deep.rs", ""),
            (
                "a/b/src/three/mod.rs",
                "mod four; #[path = \"../elsewhere.rs\"] mod five;",
            ),
            ("a/b/src/three/four.rs", ""),
            ("a/b/src/elsewhere.rs", ""),
            ("a/b/src/ghost.rs", ""),
            ("a/b/src/child.rs", ""),
            ("a/b/tests/story.rs", "mod world;"),
            ("a/b/tests/world/mod.rs", ""),
            ("a/b/tests/lost/mod.rs", ""),
            ("a/b/build.rs", ""),
        ]);
        assert_eq!(
            found,
            [
                "a/b/src/child.rs",
                "a/b/src/ghost.rs",
                "a/b/tests/lost/mod.rs"
            ]
        );
    }

    #[test]
    fn a_root_named_in_the_manifest_is_reached() {
        let manifest = "[package]\nname = \"b\"\n[[bin]]\nname = \"x\"\npath = \"programs/x.rs\"\n";
        let tree = Tree::of(&[
            ("a/b/Cargo.toml", manifest),
            ("a/b/programs/x.rs", "mod y;"),
            ("a/b/programs/y.rs", ""),
        ]);
        let (crates, _) = Crate::all(&tree);
        assert_eq!(check(&tree, &crates), []);
    }
}
