//! Arrows run down only: which crate may name which.
//!
//! ```text
//! apps ─► engines ─► storage | hosts ─► formats ─► ground        testing and benches name all;
//!                                                                 only tests name them
//!         backup, restore, verify, maintain, selftest ─► image, point, export ─► progress
//! ```

use super::crates::{Crate, Dependency, Kind};
use super::finding::Finding;

/// Wings by floor, the lowest first. Two wings on one floor never name each other.
const WINGS: [(&str, u8); 8] = [
    ("ground", 0),
    ("formats", 1),
    ("storage", 2),
    ("hosts", 2),
    ("engines", 3),
    ("apps", 4),
    ("testing", 5),
    ("benches", 6),
];

/// Wings that are no part of the product: only tests may name them.
const BESIDE_THE_PRODUCT: [&str; 2] = ["testing", "benches"];

/// Floors within the engines' wing; an engine names only lower ones.
const ENGINES: [(&str, u8); 9] = [
    ("progress", 0),
    ("image", 1),
    ("point", 1),
    ("export", 1),
    ("backup", 2),
    ("restore", 2),
    ("maintain", 2),
    ("verify", 3),
    ("selftest", 3),
];

/// Checks every dependency of one of our crates on another.
pub fn check(crates: &[Crate]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for from in crates {
        for dependency in &from.dependencies {
            let Some(to) = crates.iter().find(|it| it.name == dependency.package) else {
                continue;
            };
            if let Some(wrong) = refusal(from, dependency.kind, to) {
                findings.push(finding(from, dependency, wrong));
            }
        }
    }
    findings
}

fn finding(from: &Crate, dependency: &Dependency, wrong: String) -> Finding {
    Finding::new(&from.manifest(), dependency.line, wrong)
}

/// Returns why `from` may not name `to`, if it may not.
fn refusal(from: &Crate, kind: Kind, to: &Crate) -> Option<String> {
    if from.wing() == "xtask" {
        return None;
    }
    if BESIDE_THE_PRODUCT.contains(&to.wing()) {
        let allowed = kind == Kind::Dev || from.wing() == to.wing();
        return (!allowed).then(|| {
            format!(
                "`{}` names `{}`; only tests may name {}: make it a dev-dependency",
                from.name,
                to.name,
                to.wing()
            )
        });
    }
    let (Some(from_floor), Some(to_floor)) = (floor(&WINGS, from.wing()), floor(&WINGS, to.wing()))
    else {
        return Some(format!(
            "`{}` or `{}` stands in no known wing; move it into one",
            from.name, to.name
        ));
    };
    if from.wing() == to.wing() {
        return (kind != Kind::Dev).then(|| within_wing(from, to)).flatten();
    }
    (to_floor >= from_floor).then(|| {
        format!(
            "`{}` in {} names `{}` in {}; arrows run down only: join them in a higher wing",
            from.name,
            from.wing(),
            to.name,
            to.wing()
        )
    })
}

/// Engines have floors of their own; in the other wings cargo itself refuses circles.
fn within_wing(from: &Crate, to: &Crate) -> Option<String> {
    if from.wing() != "engines" {
        return None;
    }
    match (floor(&ENGINES, &from.name), floor(&ENGINES, &to.name)) {
        (Some(from_floor), Some(to_floor)) if to_floor < from_floor => None,
        (Some(_), Some(_)) => Some(format!(
            "engine `{}` names `{}`, which is not below it; move what both need down",
            from.name, to.name
        )),
        _ => Some(format!(
            "engine `{}` or `{}` has no floor; give it one in xtask/src/tidy/arrows.rs",
            from.name, to.name
        )),
    }
}

fn floor(floors: &[(&str, u8)], name: &str) -> Option<u8> {
    floors
        .iter()
        .find(|(of, _)| *of == name)
        .map(|&(_, floor)| floor)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(from: &str, kind: Kind, to: &str) -> bool {
        let of = |folder: &str| Crate {
            folder: folder.to_owned(),
            name: folder.rsplit('/').next().unwrap().to_owned(),
            workspace_lints: true,
            dependencies: Vec::new(),
            named_roots: Vec::new(),
        };
        let (mut from, to) = (of(from), of(to));
        from.dependencies.push(Dependency {
            name: to.name.clone(),
            package: to.name.clone(),
            kind,
            line: 3,
        });
        !check(&[from, to]).is_empty()
    }

    #[test]
    fn arrows_run_down_only() {
        use Kind::{Build, Dev, Normal};
        let table = [
            (("apps/cli", Normal, "engines/backup"), false),
            (("apps/cli", Normal, "ground/time_and_chance"), false),
            (("apps/cli", Normal, "apps/agent"), false),
            (("engines/backup", Normal, "hosts/hyperv"), false),
            (("engines/backup", Normal, "apps/cli"), true),
            (("storage/repo", Normal, "storage/blob"), false),
            (("storage/repo", Normal, "hosts/disk"), true),
            (("hosts/disk", Normal, "storage/blob"), true),
            (("hosts/disk", Dev, "storage/blob"), true),
            (("hosts/disk", Build, "engines/image"), true),
            (("formats/vhdx", Normal, "ground/time_and_chance"), false),
            (("ground/time_and_chance", Normal, "formats/vhdx"), true),
            (("formats/kopia", Normal, "testing/second_reader"), true),
            (("formats/kopia", Dev, "testing/second_reader"), false),
            (("apps/cli", Normal, "testing/scenarios"), true),
            (("testing/scenarios", Normal, "apps/cli"), false),
            (
                ("testing/scenarios", Normal, "testing/second_reader"),
                false,
            ),
            (("benches", Normal, "engines/image"), false),
            (("benches", Normal, "testing/scenarios"), true),
            (("apps/cli", Normal, "benches"), true),
            (("apps/cli", Dev, "benches"), false),
            (("testing/scenarios", Normal, "benches"), true),
            (("xtask", Normal, "testing/scenarios"), false),
            (("attic/old", Normal, "formats/kopia"), true),
        ];
        for ((from, kind, to), expected) in table {
            assert_eq!(
                refused(from, kind, to),
                expected,
                "{from} -> {to} ({kind:?})"
            );
        }
    }

    #[test]
    fn engines_name_only_lower_engines() {
        use Kind::{Dev, Normal};
        let table = [
            (("engines/image", Normal, "engines/progress"), false),
            (("engines/backup", Normal, "engines/image"), false),
            (("engines/restore", Normal, "engines/progress"), false),
            (("engines/progress", Normal, "engines/image"), true),
            (("engines/restore", Normal, "engines/backup"), true),
            (("engines/restore", Dev, "engines/backup"), false),
            (("engines/novelty", Normal, "engines/image"), true),
        ];
        for ((from, kind, to), expected) in table {
            assert_eq!(
                refused(from, kind, to),
                expected,
                "{from} -> {to} ({kind:?})"
            );
        }
    }
}
