//! Patterns and rules by tables, and the matcher beside a plain one.

use std::sync::Arc;

use kopia::policy::Policy;
use proptest::prelude::*;

use super::matching;
use super::pattern::{Pattern, PatternProblem};
use super::token::Token;
use super::{DotIgnoreFile, FolderRules, Found, Reason, Verdict, is_cache_tag};

/// Says whether a pattern names a path; a path that ends with a slash is a folder.
fn names(pattern: &str, folder: &str, path: &str) -> bool {
    let pattern = Pattern::parse(pattern, folder).unwrap_or_else(|_| panic!("{pattern}"));
    let is_folder = path.ends_with('/');
    let path: Vec<char> = path.trim_end_matches('/').chars().collect();
    pattern.names(&path, is_folder)
}

#[track_caller]
fn check(table: &[(&str, &[&str], &[&str])]) {
    for (pattern, named, others) in table {
        for path in *named {
            assert!(names(pattern, "", path), "{pattern} must name {path}");
        }
        for path in *others {
            assert!(!names(pattern, "", path), "{pattern} must not name {path}");
        }
    }
}

#[test]
fn a_name_alone_is_found_at_any_depth() {
    check(&[
        (
            "core",
            &["/core", "/a/b/core", "/core/"],
            &["/core/x", "/xcore", "/Core"],
        ),
        (
            "*.tmp",
            &["/a.tmp", "/d/.tmp", "/d/a.b.tmp"],
            &["/a.tmp/x", "/a.tmpx"],
        ),
        ("cache/", &["/cache/", "/a/cache/"], &["/cache", "/a/cache"]),
        ("*/", &["/a/", "/a/b/"], &["/a", "/a/b"]),
        ("?.c", &["/x.c", "/d/é.c"], &["/.c", "/xy.c"]),
    ]);
}

#[test]
fn a_slash_in_front_or_within_holds_a_pattern_to_its_folder() {
    check(&[
        ("/core", &["/core"], &["/a/core"]),
        ("a/core", &["/a/core"], &["/b/a/core", "/a/b/core"]),
        ("/*.c", &["/x.c"], &["/d/x.c"]),
        ("a/b/", &["/a/b/"], &["/a/b", "/x/a/b/"]),
        ("/", &[], &["/a", "/a/"]),
    ]);
    for (pattern, folder, path, expected) in [
        ("x", "/sub", "/sub/x", true),
        ("x", "/sub", "/sub/deep/x", true),
        ("x", "/sub", "/x", false),
        ("/x", "/sub", "/sub/x", true),
        ("/x", "/sub", "/sub/deep/x", false),
        ("a/x", "/sub", "/sub/a/x", true),
        ("a/x", "/sub", "/sub/b/a/x", false),
        ("**", "/sub", "/sub/a/b", true),
        ("**", "/sub", "/other", false),
        // The folder's own name is no pattern.
        ("x", "/s*b", "/s*b/x", true),
        ("x", "/s*b", "/sub/x", false),
    ] {
        assert_eq!(
            names(pattern, folder, path),
            expected,
            "{pattern} in {folder}: {path}"
        );
    }
}

#[test]
fn two_stars_are_any_number_of_folders() {
    check(&[
        ("**", &["/a", "/a/b/c"], &[]),
        ("**/x", &["/x", "/a/x", "/a/b/x"], &["/ax", "/x/a"]),
        ("a/**", &["/a/b", "/a/b/c"], &["/a", "/b/a/c"]),
        (
            "a/**/x",
            &["/a/x", "/a/b/x", "/a/b/c/x"],
            &["/a/bx", "/b/a/x"],
        ),
        (
            "a/**/b/**/x",
            &["/a/b/x", "/a/1/b/2/3/x", "/a/b/b/x"],
            &["/a/x", "/b/x"],
        ),
        // Only as a whole name; elsewhere they are one.
        ("a**x", &["/ax", "/a12x"], &["/a/1/x"]),
        ("b/a**", &["/b/a1"], &["/b/a/1"]),
        ("a***x", &["/a1x"], &[]),
    ]);
}

#[test]
fn sets_have_ranges_classes_and_no() {
    check(&[
        ("q[12].txt", &["/q1.txt"], &["/q3.txt", "/q12.txt"]),
        ("q[!12]", &["/q3"], &["/q1", "/q"]),
        ("[a-c]x", &["/bx"], &["/dx", "/-x"]),
        ("[a\\-c]x", &["/-x", "/ax"], &["/bx"]),
        ("[-ac]x", &["/-x"], &["/bx"]),
        ("[ac-]x", &["/-x"], &["/bx"]),
        ("[a-\\c]x", &["/bx"], &["/dx"]),
        ("[[]x", &["/[x"], &["/x"]),
        ("[[:]x", &["/:x", "/[x"], &["/x"]),
        ("[]]x", &[], &["/]x", "/x"]),
        ("x[!a]y", &["/xby", "/x/y"], &["/xay"]),
        ("[[:alpha:]]", &["/q", "/Б"], &["/3", "/_"]),
        ("[[:ALNUM:]]", &["/q", "/3"], &["/_"]),
        ("[[:digit:]]", &["/3", "/۳"], &["/q", "/½"]),
        ("[![:digit:]a]", &["/b"], &["/3", "/a"]),
        ("[[:upper:]]", &["/Q", "/Б"], &["/q", "/3"]),
        ("[[:lower:]]", &["/q", "/ε"], &["/Q"]),
        ("[[:space:]]x", &["/ x", "/\tx"], &["/x"]),
        ("[[:blank:]]x", &["/ x", "/\tx"], &["/\nx"]),
        ("[[:cntrl:]]x", &["/\u{1}x"], &["/ax"]),
        ("[[:punct:]]", &["/!", "/$", "/»"], &["/a"]),
        ("[[:graph:]]", &["/a", "/ "], &["/\n"]),
        ("[[:print:]]", &["/a", "/ "], &["/\n", "/\u{a0}"]),
        ("[[:xdigit:]]", &["/f", "/F", "/9"], &["/g"]),
        ("[[:ascii:]]", &["/a"], &["/é"]),
    ]);
}

#[test]
fn escapes_and_white_space() {
    check(&[
        ("\\#x", &["/#x"], &["/x"]),
        ("\\!x", &["/!x"], &["/x"]),
        ("a\\*", &["/a*"], &["/ab"]),
        ("a\\\\b", &["/a\\b"], &["/ab"]),
        ("  x  ", &["/x"], &["/ x"]),
        (" x\\ ", &["/x "], &["/x"]),
        ("a b", &["/a b"], &["/ab"]),
    ]);
}

/// What a reader of gitignore's manual would not expect, and Kopia does.
#[test]
fn kopias_own_ways_are_kept() {
    check(&[
        ("a*b", &["/ax/b"], &["/a/b", "/axx/cb"]),
        (
            "logfile[[:digit:]]",
            &["/logfile:]", "/logfiled]"],
            &["/logfile1"],
        ),
        ("[!a]x", &["//x"], &[]),
        ("!**/x", &["/a/x"], &["/a/b/x", "/x"]),
    ]);
}

#[test]
fn what_means_nothing_is_refused() {
    for (pattern, problem) in [
        ("x\\", PatternProblem::EndsAfterBackslash),
        ("x\\/", PatternProblem::EndsAfterBackslash),
        ("[a\\", PatternProblem::EndsAfterBackslash),
        ("[a", PatternProblem::SetWithoutEnd),
        ("[a-", PatternProblem::SetWithoutEnd),
        ("[[:alpha", PatternProblem::SetWithoutEnd),
        ("[[:alpha:]", PatternProblem::SetWithoutEnd),
        ("[", PatternProblem::SetWithoutEnd),
        (
            "[[:letter:]]",
            PatternProblem::UnknownClass("letter".to_owned()),
        ),
    ] {
        assert_eq!(
            Pattern::parse(pattern, "").unwrap_err(),
            problem,
            "{pattern}"
        );
    }
    let mut policy = Policy::default();
    policy.files.ignore = vec!["ok".to_owned(), "[a".to_owned()];
    let error = FolderRules::root(&policy, &[]).unwrap_err().to_string();
    assert!(error.contains("\"[a\" of the source's policy"), "{error}");
    let rules = root("{}");
    let bad = DotIgnoreFile {
        name: ".kopiaignore",
        content: b"ok\nx\\\n",
    };
    let sub = rules.below("sub", None).unwrap();
    let error = sub.with_dot_ignore_files(&[bad]).unwrap_err().to_string();
    assert!(error.contains("the file /sub/.kopiaignore"), "{error}");
}

fn policy(files: &str) -> Policy {
    Policy::parse(&format!(r#"{{"files":{files}}}"#)).unwrap()
}

fn root(files: &str) -> Arc<FolderRules> {
    FolderRules::root(&policy(files), &[]).unwrap()
}

fn with_file(rules: Arc<FolderRules>, content: &str) -> Arc<FolderRules> {
    let content = content.as_bytes();
    rules
        .with_dot_ignore_files(&[DotIgnoreFile {
            name: ".kopiaignore",
            content,
        }])
        .unwrap()
}

fn found(name: &str) -> Found<'_> {
    Found {
        name: name.trim_end_matches('/'),
        is_folder: name.ends_with('/'),
        bytes: 1,
        on_other_file_system: false,
    }
}

fn keeps(rules: &FolderRules, name: &str) -> bool {
    matches!(rules.verdict(found(name)), Verdict::Keep)
}

#[test]
fn the_last_rule_that_applies_decides() {
    let rules = with_file(
        root(r#"{"ignore":["*.log"]}"#),
        "# a comment\r\n\n  \n!keep.log\r\nkeep.log\n!keep.*\n",
    );
    assert!(keeps(&rules, "keep.log"));
    assert!(!keeps(&rules, "other.log"));
    let all_but = with_file(root("{}"), "*\n!*.txt  \n!*/\nAB/");
    for (name, expected) in [
        ("a.png", false),
        ("a.txt", true),
        ("d/", true),
        ("AB/", false),
    ] {
        assert_eq!(keeps(&all_but, name), expected, "{name}");
    }
}

#[test]
fn rules_below_may_take_back_what_rules_above_exclude() {
    let top = with_file(root("{}"), "*.txt\nAB/\n");
    let sub = with_file(top.below("sub", None).unwrap(), "!a.txt\n!/AB/\nown\n");
    let deep = sub.below("deep", None).unwrap();
    assert!(!keeps(&top, "a.txt"));
    assert!(keeps(&sub, "a.txt") && keeps(&deep, "a.txt"));
    assert!(!keeps(&sub, "b.txt"));
    assert!(keeps(&sub, "AB/") && !keeps(&deep, "AB/"));
    assert!(!keeps(&deep, "own") && keeps(&top, "own"));
}

#[test]
fn a_policy_of_a_folder_below_adds_its_patterns_and_replaces_the_rest() {
    let top = root(
        r#"{"ignore":["*.a"],"ignoreDotFiles":[".x",".y",".x"],"maxFileSize":5,
            "oneFileSystem":true,"ignoreCacheDirs":false}"#,
    );
    assert_eq!(top.dot_ignore_names(), [".x", ".y"]);
    let plain = top.below("plain", None).unwrap();
    assert_eq!(plain.dot_ignore_names(), top.dot_ignore_names());
    assert!(!plain.leaves_out_caches());

    let own = policy(r#"{"ignore":["/b"],"noParentIgnore":true,"noParentDotFiles":true}"#);
    let sub = top.below("sub", Some(&own)).unwrap();
    assert!(!keeps(&sub, "1.a") && !keeps(&sub, "b") && keeps(&top, "b"));
    assert!(sub.dot_ignore_names().is_empty());
    assert!(sub.leaves_out_caches());
    let elsewhere = Found {
        on_other_file_system: true,
        ..found("m/")
    };
    assert!(matches!(sub.verdict(elsewhere), Verdict::Keep));
    assert!(matches!(
        plain.verdict(elsewhere),
        Verdict::Excluded(Reason::OtherFileSystem)
    ));
    let long = Found {
        bytes: 6,
        ..found("long")
    };
    assert!(matches!(
        sub.verdict(long),
        Verdict::Excluded(Reason::Longer { bytes_max: 5 })
    ));
    let of_a_folder = Found {
        is_folder: true,
        ..long
    };
    assert!(matches!(sub.verdict(of_a_folder), Verdict::Keep));
    let larger = policy(r#"{"maxFileSize":6}"#);
    let larger = top.below("sub", Some(&larger)).unwrap();
    assert!(matches!(larger.verdict(long), Verdict::Keep));
}

#[test]
fn a_verdict_says_which_pattern_it_was_and_where_it_stands() {
    let patterns = ["*.iso".to_owned()];
    let rules = FolderRules::root(&policy(r#"{"ignore":["*.tmp"]}"#), &patterns).unwrap();
    let rules = with_file(rules, "*.bak");
    for (name, pattern, origin) in [
        ("a.tmp", "*.tmp", "the source's policy"),
        ("a.iso", "*.iso", "the command"),
        ("a.bak", "*.bak", "the file /.kopiaignore"),
    ] {
        let Verdict::Excluded(Reason::Rule(rule)) = rules.verdict(found(name)) else {
            panic!("{name} is kept");
        };
        assert_eq!(
            (rule.pattern(), rule.origin().to_string().as_str()),
            (pattern, origin)
        );
    }
}

#[test]
fn a_file_of_patterns_ends_where_kopia_stops_reading() {
    let long = "x".repeat(64 << 10);
    let rules = with_file(root("{}"), &format!("before\n{long}\nafter\n"));
    assert!(!keeps(&rules, "before") && keeps(&rules, "after"));
    let rules = with_file(root("{}"), &format!("{}\nafter\n", &long[1..]));
    assert!(!keeps(&rules, "after"));
}

#[test]
fn a_cache_is_known_by_its_signature() {
    assert!(is_cache_tag(b"Signature: 8a477f597d28d172789f06886806bc55"));
    assert!(is_cache_tag(
        b"Signature: 8a477f597d28d172789f06886806bc55\n# more"
    ));
    assert!(!is_cache_tag(b"Signature: 8a477f597d28d172789f06886806bc5"));
    assert!(!is_cache_tag(
        b" Signature: 8a477f597d28d172789f06886806bc55"
    ));
}

#[test]
fn patterns_that_could_be_tried_in_endless_ways_are_answered_at_once() {
    let path = format!("/{}", "a".repeat(4000));
    for pattern in ["a*".repeat(2000) + "b*a", "**/".repeat(500) + "a*b*a"] {
        assert!(!names(&pattern, "", &path));
    }
    let deep = "/a".repeat(2000);
    assert!(!names(&("**/a*/".repeat(300) + "b*a"), "", &deep));
    assert!(names(&"**/".repeat(300), "", &(deep + "/")));
}

/// How Kopia goes about it: every attempt anew.
#[derive(PartialEq)]
enum Tried {
    Match,
    Miss,
    EndOfPath,
    Crossed,
}

fn tried(tokens: &[Token], path: &[char]) -> Tried {
    let mut place = 0;
    let mut number = 0;
    while let Some(token) = tokens.get(number) {
        let rest = path.get(place..).unwrap_or_default();
        let slash = rest.iter().position(|&letter| letter == '/');
        if !token.is_star() {
            match rest.first() {
                None => return Tried::EndOfPath,
                Some(&letter) if token.takes(letter) => place += 1,
                Some(_) => return Tried::Miss,
            }
            number += 1;
            continue;
        }
        let double = *token == Token::DoubleStar;
        let behind = &tokens[number + 1..];
        if behind.is_empty() {
            let stops = !double && slash.is_some();
            return if stops { Tried::Miss } else { Tried::Match };
        }
        let before_slash = behind[0] == Token::Separator;
        if double && before_slash && behind.len() > 1 && tried(&behind[1..], rest) == Tried::Match {
            return Tried::Match;
        }
        if !double && before_slash {
            match slash {
                None => return Tried::Miss,
                Some(0) if place == 0 => return Tried::Miss,
                Some(distance) => place += distance,
            }
            number += 1;
            continue;
        }
        let mut seen = rest.first();
        for start in 0..rest.len() {
            match tried(behind, &rest[start..]) {
                Tried::Miss if !double && seen == Some(&'/') => return Tried::Crossed,
                Tried::Miss => {}
                Tried::Crossed if double => {}
                ended => return ended,
            }
            seen = Some(&rest[start]);
        }
        return Tried::EndOfPath;
    }
    if place == path.len() {
        Tried::Match
    } else {
        Tried::Miss
    }
}

fn token() -> impl Strategy<Value = Token> {
    prop_oneof![
        3 => prop_oneof![Just('a'), Just('b')].prop_map(Token::Letter),
        2 => Just(Token::Separator),
        1 => Just(Token::Any),
        2 => Just(Token::Star),
        2 => Just(Token::DoubleStar),
        1 => Just(Token::Set { items: Vec::new(), negated: true }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_matcher_answers_what_plain_trying_answers(
        tokens in prop::collection::vec(token(), 0..9),
        path in prop::collection::vec(prop_oneof![Just('a'), Just('b'), Just('/')], 0..10),
    ) {
        prop_assert_eq!(
            matching::matches(&tokens, &path),
            tried(&tokens, &path) == Tried::Match
        );
    }

    #[test]
    fn no_text_is_too_odd_for_a_pattern(text in "[ab/*?\\[\\]!:\\\\ -]{0,12}", path in "/[ab/]{0,9}") {
        if let Ok(pattern) = Pattern::parse(&text, "/a") {
            let path: Vec<char> = path.chars().collect();
            pattern.names(&path, true);
        }
    }
}
