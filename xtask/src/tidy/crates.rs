//! The workspace's crates as their manifests describe them, and what each manifest must have.

use toml::{Table, Value};

use super::finding::Finding;
use super::tree::Tree;

/// The manifest that names the members and the versions they share.
pub const ROOT_MANIFEST: &str = "Cargo.toml";

/// Where crates may hold `unsafe`. The workspace forbids it for good, so that these have lints of
/// their own: the same, with `unsafe` denied, and expected where it is needed.
pub const MAY_BE_UNSAFE: [&str; 2] = ["hosts/windows_host", "testing/fake_hyperv_dlls"];

/// Says whether a path lies where `unsafe` may stand.
pub fn may_be_unsafe(path: &str) -> bool {
    MAY_BE_UNSAFE.iter().any(|place| {
        path.strip_prefix(place)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

/// A crate of the workspace.
#[derive(Debug)]
pub struct Crate {
    /// Its folder, from the root, without a closing slash.
    pub folder: String,
    /// The package's name.
    pub name: String,
    /// Whether it takes its lints from the workspace.
    pub workspace_lints: bool,
    /// What it depends on.
    pub dependencies: Vec<Dependency>,
    /// Source files that the manifest names itself, from the root.
    pub named_roots: Vec<String>,
}

/// A dependency as a crate's manifest names it.
#[derive(Debug)]
pub struct Dependency {
    /// The name by which the crate's sources know it, with `-`.
    pub name: String,
    /// The package's own name: another one only if the manifest renames it.
    pub package: String,
    /// When it is needed.
    pub kind: Kind,
    /// The manifest's line that names it.
    pub line: usize,
}

/// When a dependency is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// By the crate itself.
    Normal,
    /// By its build script.
    Build,
    /// By its tests, benchmarks and examples.
    Dev,
}

impl Crate {
    /// Reads every manifest below the root; those that can't be read are findings.
    pub fn all(tree: &Tree) -> (Vec<Self>, Vec<Finding>) {
        let (mut crates, mut findings) = (Vec::new(), Vec::new());
        for (path, text) in tree.texts() {
            let Some(folder) = path.strip_suffix("/Cargo.toml") else {
                continue;
            };
            match Self::parse(folder, text) {
                Ok(found) => crates.push(found),
                Err(message) => findings.push(Finding::new(path, 1, message)),
            }
        }
        (crates, findings)
    }

    fn parse(folder: &str, text: &str) -> Result<Self, String> {
        let manifest: Table = text
            .parse()
            .map_err(|error| format!("not readable as TOML: {error}"))?;
        let name = manifest
            .get("package")
            .and_then(|package| package.get("name"))
            .and_then(Value::as_str)
            .ok_or("no package name; give it the folder's")?;
        let workspace_lints = manifest
            .get("lints")
            .and_then(|lints| lints.get("workspace"))
            .and_then(Value::as_bool)
            .unwrap_or(false);

        let mut dependencies = collect(&manifest, text);
        let targets = manifest.get("target").and_then(Value::as_table);
        for target in targets
            .into_iter()
            .flat_map(Table::values)
            .filter_map(Value::as_table)
        {
            dependencies.extend(collect(target, text));
        }

        let mut named_roots = Vec::new();
        for (key, value) in &manifest {
            let tables: Vec<&Value> = match (key.as_str(), value) {
                ("lib", table) => vec![table],
                ("bin" | "test" | "bench" | "example", Value::Array(tables)) => {
                    tables.iter().collect()
                }
                _ => continue,
            };
            let paths = tables
                .iter()
                .filter_map(|table| table.get("path")?.as_str());
            named_roots.extend(paths.map(|path| format!("{folder}/{path}")));
        }
        Ok(Self {
            folder: folder.to_owned(),
            name: name.to_owned(),
            workspace_lints,
            dependencies,
            named_roots,
        })
    }

    /// Returns the path of its manifest.
    pub fn manifest(&self) -> String {
        format!("{}/Cargo.toml", self.folder)
    }

    /// Returns the wing it stands in: its path's first part.
    pub fn wing(&self) -> &str {
        self.folder.split('/').next().unwrap_or_default()
    }

    /// Returns the path inside the crate of a file that belongs to it.
    pub fn inside<'path>(&self, path: &'path str) -> Option<&'path str> {
        path.strip_prefix(&self.folder)?.strip_prefix('/')
    }
}

/// Returns the dependencies in one place that can hold them: the manifest or a target's table.
fn collect(table: &Table, text: &str) -> Vec<Dependency> {
    let kinds = [
        ("dependencies", Kind::Normal),
        ("build-dependencies", Kind::Build),
        ("dev-dependencies", Kind::Dev),
    ];
    let mut found = Vec::new();
    for (key, kind) in kinds {
        for (name, value) in table
            .get(key)
            .and_then(Value::as_table)
            .into_iter()
            .flatten()
        {
            let package = value.get("package").and_then(Value::as_str).unwrap_or(name);
            let line = line_of(text, key, name);
            found.push(Dependency {
                name: name.clone(),
                package: package.to_owned(),
                kind,
                line,
            });
        }
    }
    found
}

/// Returns the line that names `name` in the section whose title ends with `section`; 1 if the
/// manifest is written in some other way.
pub fn line_of(text: &str, section: &str, name: &str) -> usize {
    let mut title = "";
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if let Some(rest) = line.strip_prefix('[') {
            title = rest.trim_end_matches(']');
        }
        let in_section = title == section || title.ends_with(&format!(".{section}"));
        let named = line
            .strip_prefix(name)
            .is_some_and(|rest| rest.starts_with(['.', ' ', '=']));
        if (in_section && named) || title == format!("{section}.{name}") {
            return index + 1;
        }
    }
    1
}

/// Checks what every manifest must have.
pub fn check(of: &Crate) -> Vec<Finding> {
    let mut findings = Vec::new();
    let folder_name = of.folder.rsplit('/').next().unwrap_or_default();
    if folder_name != of.name {
        let message = format!(
            "crate `{}` stands in folder `{folder_name}`; give both one name",
            of.name
        );
        findings.push(Finding::new(&of.manifest(), 1, message));
    }
    if !of.workspace_lints && !may_be_unsafe(&of.folder) {
        let message = "lints are not the workspace's; add `[lints] workspace = true`";
        findings.push(Finding::new(&of.manifest(), 1, message));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(folder: &str, text: &str) -> Crate {
        let tree = Tree::of(&[(&format!("{folder}/Cargo.toml"), text)]);
        let (mut crates, findings) = Crate::all(&tree);
        assert_eq!(findings, []);
        crates.pop().unwrap()
    }

    #[test]
    fn a_manifest_is_read_with_its_targets_and_renames() {
        let text = "[package]\nname = \"disk\"\n\n[dependencies]\nthiserror.workspace = true\n\
            zstd_c = { package = \"zstd\", version = \"1\" }\n\n[dev-dependencies]\nproptest.workspace = true\n\n\
            [target.'cfg(windows)'.dependencies]\nwindows = \"1\"\n\n\
            [[bin]]\nname = \"x\"\npath = \"programs/x.rs\"\n[lints]\nworkspace = true\n";
        let of = only("hosts/disk", text);
        assert_eq!(check(&of), []);
        assert_eq!(of.wing(), "hosts");
        assert_eq!(of.named_roots, ["hosts/disk/programs/x.rs"]);
        let found: Vec<_> = of
            .dependencies
            .iter()
            .map(|it| (it.name.as_str(), it.package.as_str(), it.kind, it.line))
            .collect();
        assert_eq!(
            found,
            [
                ("thiserror", "thiserror", Kind::Normal, 5),
                ("zstd_c", "zstd", Kind::Normal, 6),
                ("proptest", "proptest", Kind::Dev, 9),
                ("windows", "windows", Kind::Normal, 12),
            ]
        );
    }

    #[test]
    fn another_name_than_the_folders_and_missing_lints_are_found() {
        let of = only(
            "hosts/disk",
            "[package]\nname = \"disks\"\n[lints]\nworkspace = false\n",
        );
        let messages: Vec<_> = check(&of).into_iter().map(|it| it.message).collect();
        assert_eq!(messages.len(), 2);
        assert!(messages[0].contains("one name"), "{messages:?}");
        assert!(messages[1].contains("[lints]"), "{messages:?}");
    }

    #[test]
    fn the_crates_that_may_be_unsafe_have_their_own_lints() {
        for folder in MAY_BE_UNSAFE {
            let name = folder.rsplit('/').next().unwrap();
            let of = only(folder, &format!("[package]\nname = \"{name}\"\n"));
            assert_eq!(check(&of), []);
        }
    }

    #[test]
    fn a_manifest_that_cannot_be_read_is_found() {
        let tree = Tree::of(&[("a/b/Cargo.toml", "[package"), ("a/c/Cargo.toml", "")]);
        let (crates, findings) = Crate::all(&tree);
        assert!(crates.is_empty());
        assert_eq!(findings.len(), 2);
    }
}
