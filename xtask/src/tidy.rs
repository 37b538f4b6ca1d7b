//! Tidy: what the tree must look like, checked as text.
//!
//! Each rule is a pure function from the tree to findings; only `Tree::read` touches the disk.
//! It does not compile anything and knows no types: clippy does that.

mod arrows;
mod crates;
mod dependencies;
mod finding;
mod fixtures;
mod machine_paths;
mod modules;
mod source_rules;
mod source_text;
mod tree;
mod unsafe_list;

use std::path::Path;

use anyhow::{Context as _, Result};

use crates::Crate;
use finding::Finding;
use tree::Tree;

/// Prints what is wrong with the tree; `true` if nothing is.
pub fn run(root: &Path) -> Result<bool> {
    let tree = Tree::read(root)?;
    let findings = findings(&tree);
    for finding in &findings {
        println!("{finding}");
    }
    println!(
        "tidy: {} files read, {} findings",
        tree.files().count(),
        findings.len()
    );
    Ok(findings.is_empty())
}

/// Writes the list of unsafe code anew.
pub fn write_unsafe_list(root: &Path) -> Result<()> {
    let text = unsafe_list::text(&Tree::read(root)?);
    std::fs::write(root.join(unsafe_list::LIST), text)
        .with_context(|| format!("failed to write {}", unsafe_list::LIST))
}

/// Returns everything that is wrong with the tree, in the order of paths and lines.
fn findings(tree: &Tree) -> Vec<Finding> {
    let (crates, mut findings) = Crate::all(tree);
    findings.extend(crates.iter().flat_map(crates::check));
    findings.extend(arrows::check(&crates));
    findings.extend(dependencies::check(tree, &crates));
    findings.extend(modules::check(tree, &crates));
    findings.extend(source_rules::check(tree));
    findings.extend(machine_paths::check(tree));
    findings.extend(fixtures::check(tree));
    findings.extend(unsafe_list::check(tree));
    findings.sort();
    findings
}
