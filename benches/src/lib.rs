//! What the product costs: each stage of the pipeline by itself, and the executable as a whole.
//!
//! ```text
//! whole    the executable as processes, beside stock Kopia
//! ```
//!
//! Figures, never tests of time: a machine that is slow today fails nothing. The short form runs
//! in `./check` so that what measures still works.

pub mod agent;
pub mod kopia;
pub mod machine;
pub mod measured;
pub mod options;
pub mod site;
pub mod table;
pub mod test_image;
pub mod whole;

use anyhow::{Context as _, Result};

use options::{Options, Theme};
use table::Table;

/// Measures what was asked for; tables come in the themes' order.
pub fn measure(options: &Options) -> Result<Vec<Table>> {
    let folder = tempfile::Builder::new()
        .prefix("performance-")
        .tempdir_in(&options.folder)
        .context("failed to make a folder to work in")?;
    let mut tables = Vec::new();
    for theme in Theme::ALL {
        if !options.themes.contains(&theme) {
            continue;
        }
        if let Some(unrest) = machine::unrest() {
            eprintln!("{unrest}");
        }
        match theme {
            Theme::Whole => tables.extend(whole::measure(options, folder.path())?),
            Theme::S3 | Theme::Stages | Theme::Chunks => {}
        }
    }
    Ok(tables)
}
