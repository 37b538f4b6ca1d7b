//! What each Rust file must have and must not have: heads, names, sizes, attributes, loose ends; and files that tools
//! have left behind.

use super::crates::{MAY_BE_UNSAFE, may_be_unsafe};
use super::finding::Finding;
use super::source_text::{attributes, closing, code_only, words};
use super::tree::Tree;

/// Names that say nothing about what a file holds.
const BANNED_NAMES: [&str; 9] = [
    "util", "utils", "common", "base", "helpers", "misc", "manager", "data", "info",
];

const LINES_MAX: usize = 1000;

/// How the files end that merging, patching and editing leave behind.
const LEFT_BEHIND: [&str; 5] = [".orig", ".rej", ".bak", ".swp", "~"];

/// Checks all Rust files, and all programs and manifests for loose ends.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, source) in tree.rust() {
        let code = code_only(source);
        findings.extend(name(path));
        findings.extend(head(path, source));
        findings.extend(length(path, source));
        findings.extend(unsafe_code(path, source, &code));
        findings.extend(attribute_use(path, source, &code));
        findings.extend(unfinished_macros(path, source, &code));
    }
    for (path, _) in tree.files() {
        if let Some(end) = LEFT_BEHIND.iter().find(|end| path.ends_with(**end)) {
            let message = format!("a tool has left this `{end}` behind; remove it");
            findings.push(Finding::new(path, 1, message));
        }
    }
    for (path, text) in tree.texts() {
        let is_program = !path.contains('.') || path.starts_with(".ci/");
        if is_program
            || [".rs", ".toml", ".sh", ".py"]
                .iter()
                .any(|end| path.ends_with(end))
        {
            findings.extend(unfinished_marks(path, text));
        }
    }
    findings
}

fn name(path: &str) -> Option<Finding> {
    let banned = path
        .split('/')
        .map(|part| part.trim_end_matches(".rs"))
        .find(|part| BANNED_NAMES.contains(part))?;
    Some(Finding::new(
        path,
        1,
        format!("`{banned}` says nothing; name it after what it holds"),
    ))
}

/// A file opens with `//!`; only inner attributes such as `#![cfg(windows)]` may stand before.
fn head(path: &str, source: &str) -> Option<Finding> {
    let first = source
        .lines()
        .enumerate()
        .find(|(_, line)| !line.trim().is_empty() && !line.starts_with("#!["));
    match first {
        Some((_, line)) if line.starts_with("//!") => None,
        first => {
            let line = first.map_or(1, |(index, _)| index + 1);
            let message = "no module head; open with `//!`: what it is, what it doesn't know";
            Some(Finding::new(path, line, message))
        }
    }
}

fn length(path: &str, source: &str) -> Option<Finding> {
    let lines = source.lines().count();
    (lines > LINES_MAX).then(|| {
        Finding::new(
            path,
            LINES_MAX + 1,
            format!("{lines} lines; split it by noun below {LINES_MAX}"),
        )
    })
}

fn unsafe_code(path: &str, source: &str, code: &str) -> Vec<Finding> {
    if may_be_unsafe(path) {
        return Vec::new();
    }
    let message = format!(
        "`unsafe` stands only in {}; find a safe way",
        MAY_BE_UNSAFE.join(" and ")
    );
    words(code)
        .filter(|(_, word)| *word == "unsafe")
        .map(|(offset, _)| Finding::at(path, source, offset, message.clone()))
        .collect()
}

fn attribute_use(path: &str, source: &str, code: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (offset, attribute) in attributes(code) {
        for (at, word) in words(attribute) {
            let arguments = attribute[at + word.len()..].trim_start();
            let message = match word {
                "allow" if arguments.starts_with('(') => {
                    "a bare `allow`; use `expect(…, reason = \"…\")`, or mend it"
                }
                "expect" if arguments.starts_with('(') && !has_reason(arguments) => {
                    "an `expect` without a reason; add `reason = \"…\"`"
                }
                "ignore" if at == 0 => "an ignored test is no test; mend or remove it",
                _ => continue,
            };
            findings.push(Finding::at(path, source, offset, message));
        }
    }
    findings
}

fn has_reason(arguments: &str) -> bool {
    let end = closing(arguments, 0).unwrap_or(arguments.len());
    words(&arguments[..end]).any(|(_, word)| word == "reason")
}

fn unfinished_macros(path: &str, source: &str, code: &str) -> Vec<Finding> {
    words(code)
        .filter(|(offset, word)| {
            matches!(*word, "todo" | "unimplemented")
                && code[offset + word.len()..].starts_with('!')
        })
        .map(|(offset, word)| {
            Finding::at(
                path,
                source,
                offset,
                format!("`{word}!` is unfinished; finish or remove it"),
            )
        })
        .collect()
}

/// Marks of unfinished work in comments. They are put together here so that this file has none.
fn unfinished_marks(path: &str, text: &str) -> Vec<Finding> {
    let marks = [["TO", "DO"].concat(), ["FIX", "ME"].concat()];
    words(text)
        .filter(|(_, word)| marks.iter().any(|mark| mark == word))
        .map(|(offset, word)| {
            Finding::at(
                path,
                text,
                offset,
                format!("{word}: do it now, or say plainly what is missing"),
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks one file and returns the lines and messages of what is found.
    fn found(path: &str, text: &str) -> Vec<String> {
        check(&Tree::of(&[(path, text)]))
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn a_file_in_order_is_not_found() {
        let text = "#![cfg(windows)]\n//! Head: never unsafe, never todo!().\n\
            #[expect(dead_code, reason = \"ignore this\")]\nfn allow() { x.expect(\"a\"); }\n";
        assert_eq!(found("a/b/src/checkpoint.rs", text), Vec::<String>::new());
    }

    #[test]
    fn each_offence_is_found_on_its_line() {
        let mark = ["TO", "DO"].concat();
        let marked = format!("//! Head\n// {mark}: later");
        let long = format!("//! Head\n{}", "\n".repeat(1000));
        let table = [
            ("a/b/src/x.rs", "", 1, "module head"),
            ("a/b/src/x.rs", "\n// plain\n", 2, "module head"),
            ("a/b/src/utils.rs", "//! Head", 1, "`utils`"),
            ("a/b/tests/common/mod.rs", "//! Head", 1, "`common`"),
            ("a/b/src/x.rs", long.as_str(), 1001, "1001 lines"),
            (
                "a/b/src/x.rs",
                "//! Head\nfn f() {\n unsafe { g() } }",
                3,
                "`unsafe`",
            ),
            (
                "a/b/src/x.rs",
                "//! Head\n#[allow(dead_code)]\nfn f() {}",
                2,
                "bare `allow`",
            ),
            (
                "a/b/src/x.rs",
                "//! Head\n#![allow(dead_code, reason = \"x\")]",
                2,
                "bare `allow`",
            ),
            (
                "a/b/src/x.rs",
                "//! Head\n#[cfg_attr(unix, allow(x))]",
                2,
                "bare `allow`",
            ),
            (
                "a/b/src/x.rs",
                "//! Head\n#[expect(dead_code)]",
                2,
                "without a reason",
            ),
            (
                "a/b/src/x.rs",
                "//! Head\n#[test]\n#[ignore = \"slow\"]\nfn f() {}",
                3,
                "ignored",
            ),
            ("a/b/src/x.rs", "//! Head\nfn f() { todo!() }", 2, "`todo!`"),
            (
                "a/b/src/x.rs",
                "//! Head\nfn f() { unimplemented!(\"x\") }",
                2,
                "`unimplemented!`",
            ),
            ("a/b/src/x.rs", marked.as_str(), 2, mark.as_str()),
            ("check", marked.as_str(), 2, mark.as_str()),
            ("a/b/src/x.rs.orig", "//! Head", 1, "left this"),
            ("docs/x.md~", "x", 1, "left this"),
        ];
        for (path, text, line, message) in table {
            let found = found(path, text);
            assert_eq!(found.len(), 1, "{path} {message}: {found:?}");
            assert!(
                found[0].starts_with(&format!("{path}:{line}: ")),
                "{found:?}"
            );
            assert!(found[0].contains(message), "{found:?}");
        }
    }

    #[test]
    fn the_windows_crates_alone_may_hold_unsafe() {
        let text = "//! Head\nfn f() { unsafe { g() } }";
        for folder in MAY_BE_UNSAFE {
            let path = format!("{folder}/src/call.rs");
            assert_eq!(found(&path, text), Vec::<String>::new());
        }
        assert_eq!(found("hosts/windows_hosts/src/call.rs", text).len(), 1);
    }
}
