//! The list of all unsafe code, `docs/unsafe.md`: why each place is sound, and which test runs it.
//!
//! The reason is the `// SAFETY:` comment before the place (for an unsafe function its `# Safety`);
//! the tests are named in the head of the file, in a sentence that starts with
//! `Unsafe code is run by:`. Tests themselves are not listed: they are run by being tests.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::finding::Finding;
use super::source_text::{code_only, words};
use super::tree::Tree;

/// Where the list stands.
pub const LIST: &str = "docs/unsafe.md";

/// What the head of a file says before the tests' names.
const RUN_BY: &str = "Unsafe code is run by:";

const HEAD: &str = "\
# Unsafe code

Every place outside of tests that the compiler does not check, why it is sound, and the tests that run it (all run under Wine).
Written by `cargo xtask unsafe-list` from the sources; `cargo xtask tidy` fails when it is out of date.
";

/// A block, function or implementation that is unsafe.
struct Place {
    line: usize,
    /// The function it stands in or is.
    within: String,
    reason: Option<String>,
}

/// Returns what the list must say.
pub fn text(tree: &Tree) -> String {
    let mut list = HEAD.to_owned();
    for (path, source) in tree.rust().filter(|(path, _)| is_listed(path)) {
        let places = places(source);
        if places.is_empty() {
            continue;
        }
        let _ = write!(list, "\n## {path}\n\n");
        let _ = write!(list, "Run by {}.\n\n", quoted(&runners(source)));
        list.push_str("| in | why it is sound |\n|---|---|\n");
        for place in places {
            let reason = place.reason.unwrap_or_default().replace('|', "\\|");
            let _ = writeln!(list, "| `{}` | {reason} |", place.within);
        }
    }
    list
}

/// Finds unsafe code without a reason or a test, and a list that is out of date.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let tests = tests(tree);
    let mut findings = Vec::new();
    let mut any = false;
    for (path, source) in tree.rust().filter(|(path, _)| is_listed(path)) {
        let places = places(source);
        let Some(first) = places.first() else {
            continue;
        };
        any = true;
        let without = places.iter().filter(|place| place.reason.is_none());
        findings.extend(without.map(|place| {
            let message = "unsafe without a reason; say `// SAFETY: …` before it";
            Finding::new(path, place.line, message)
        }));
        let runners = runners(source);
        if runners.is_empty() {
            let message =
                format!("no test is named that runs it; say `//! {RUN_BY} `test`.` in the head");
            findings.push(Finding::new(path, first.line, message));
        }
        findings.extend(
            runners
                .iter()
                .filter(|name| !tests.contains(name.as_str()))
                .map(|name| Finding::new(path, 1, format!("there is no test `{name}`"))),
        );
    }
    if any && tree.text(LIST) != Some(text(tree).as_str()) {
        let message = "out of date; run `cargo xtask unsafe-list`";
        findings.push(Finding::new(LIST, 1, message));
    }
    findings
}

/// Tells whether a file's unsafe code is listed: that of all crates, but not of their tests.
fn is_listed(path: &str) -> bool {
    path.contains("/src/") && !path.starts_with("xtask/")
}

/// Returns the unsafe places before a file's own tests.
fn places(source: &str) -> Vec<Place> {
    let code = code_only(source);
    let end = code.find("#[cfg(test)]\nmod ").unwrap_or(code.len());
    let mut found: Vec<Place> = Vec::new();
    let mut within = String::from("the file");
    let mut before = 0;
    let mut last_is_fn = false;
    for (offset, word) in words(&code[..end]) {
        if last_is_fn {
            within = word.to_owned();
        }
        last_is_fn = word == "fn";
        if word != "unsafe" {
            continue;
        }
        let after = code[offset + word.len()..].trim_start();
        let named = ["fn ", "extern "]
            .iter()
            .any(|start| after.starts_with(start) && !after.starts_with("fn("));
        if after.starts_with("fn(") {
            continue; // A type, which is only a promise of whoever makes such a value.
        }
        let name = named.then(|| name_after(after)).flatten();
        let lines = &source[before..offset];
        let reason = match &name {
            Some(_) => safety_section(lines),
            None => safety_comment(lines),
        };
        found.push(Place {
            line: source[..offset].matches('\n').count() + 1,
            within: name.unwrap_or_else(|| within.clone()),
            reason,
        });
        before = offset;
    }
    found
}

/// Returns the name of the function that `unsafe` is followed by.
fn name_after(text: &str) -> Option<String> {
    let mut words = words(text).map(|(_, word)| word);
    words.find(|word| *word == "fn")?;
    words.next().map(str::to_owned)
}

/// Returns the last `// SAFETY:` comment, its lines put together.
fn safety_comment(text: &str) -> Option<String> {
    let start = text.rfind("// SAFETY:")?;
    let lines = text[start..].lines().map(str::trim);
    let lines = lines.map_while(|line| line.strip_prefix("//"));
    let reason = lines.map(str::trim).collect::<Vec<_>>().join(" ");
    Some(reason.trim_start_matches("SAFETY:").trim().to_owned())
}

/// Returns the last `# Safety` section of a function's docs: what callers must promise.
fn safety_section(text: &str) -> Option<String> {
    let start = text.rfind("/// # Safety")?;
    let lines = text[start..].lines().skip(1).map(str::trim);
    let lines = lines.map_while(|line| line.strip_prefix("///"));
    let reason = lines.map(str::trim).collect::<Vec<_>>().join(" ");
    Some(format!("Callers promise: {}", reason.trim()))
}

/// Returns the tests that the head of a file names.
fn runners(source: &str) -> Vec<String> {
    let head = source
        .lines()
        .skip_while(|line| !line.starts_with("//!"))
        .map_while(|line| line.strip_prefix("//!"));
    let head = head.map(str::trim).collect::<Vec<_>>().join(" ");
    let Some((_, names)) = head.split_once(RUN_BY) else {
        return Vec::new();
    };
    let names = names.split('.').next().unwrap_or_default();
    let names = names.split('`').skip(1).step_by(2);
    names.map(str::to_owned).collect()
}

fn quoted(names: &[String]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    names.join(", ")
}

/// Returns the names of all tests.
fn tests(tree: &Tree) -> BTreeSet<&str> {
    let mut found = BTreeSet::new();
    for (_, source) in tree.rust() {
        for (offset, _) in source.match_indices("#[test]") {
            let mut words = words(&source[offset + "#[test]".len()..]).map(|(_, word)| word);
            if words.next() == Some("fn") {
                found.extend(words.next());
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "a/b/src/x.rs";
    const SOURCE: &str = "//! Head.\n//!\n//! Unsafe code is run by: `it_runs`.\n\n\
        fn one() {\n    // SAFETY: first\n    // line.\n    unsafe { f() }\n}\n\n\
        /// Does.\n///\n/// # Safety\n/// The pointer is\n/// good.\nunsafe fn two() {\n    \
        // SAFETY: the caller's | promise.\n    let x = unsafe { g() };\n}\n\n\
        #[cfg(test)]\nmod tests {\n    #[test]\n    fn it_runs() { unsafe { f() } }\n}\n";

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let tree = Tree::of(files);
        check(&tree).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_list_names_each_place_with_its_reason_and_tests() {
        let list = text(&Tree::of(&[(FILE, SOURCE)]));
        let expected = format!(
            "{HEAD}\n## {FILE}\n\nRun by `it_runs`.\n\n| in | why it is sound |\n|---|---|\n\
             | `one` | first line. |\n| `two` | Callers promise: The pointer is good. |\n\
             | `two` | the caller's \\| promise. |\n"
        );
        assert_eq!(list, expected);
        assert_eq!(found(&[(FILE, SOURCE), (LIST, &list)]), [""; 0]);
    }

    #[test]
    fn a_list_that_is_out_of_date_is_found() {
        for files in [vec![(FILE, SOURCE)], vec![(FILE, SOURCE), (LIST, HEAD)]] {
            let found = found(&files);
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(found[0].contains("out of date"), "{found:?}");
        }
    }

    #[test]
    fn a_place_without_reason_or_test_is_found() {
        let table = [
            (
                SOURCE.replace("// SAFETY: first\n", "// It is.\n"),
                "a reason",
            ),
            (SOURCE.replace("/// # Safety\n", "///\n"), "a reason"),
            (
                SOURCE.replace("//! Unsafe code is run", "//! It is run"),
                "no test is named",
            ),
            (
                SOURCE.replace("by: `it_runs`", "by: `it_walks`"),
                "no test `it_walks`",
            ),
        ];
        for (source, message) in table {
            let list = text(&Tree::of(&[(FILE, &source)]));
            let found = found(&[(FILE, &source), (LIST, &list)]);
            assert_eq!(found.len(), 1, "{message}: {found:?}");
            assert!(found[0].contains(message), "{found:?}");
        }
    }

    #[test]
    fn a_tree_without_unsafe_code_needs_no_list() {
        let source = "//! Never unsafe.\nfn f() {}\n";
        assert_eq!(found(&[(FILE, source)]), [""; 0]);
    }
}
