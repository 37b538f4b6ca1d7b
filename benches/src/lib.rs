//! What the product costs: each stage of the pipeline by itself, and the executable as a whole.
//!
//! ```text
//! whole        the executable as processes, beside stock Kopia
//! s3           the same, with its repository behind a slow line
//! stages       what a backup and a restore consist of, each on one thread
//! chunk_sizes  what chunks of other lengths would upload
//! trees        backups of many small files, beside stock Kopia
//! growth       the executable on repositories with ever more points and contents
//! ```
//!
//! Figures, never tests of time: a machine that is slow today fails nothing. The short form runs
//! in `./check` so that what measures still works.

pub mod agent;
pub mod chart;
pub mod chunk_sizes;
pub mod growth;
pub mod kopia;
pub mod machine;
pub mod measured;
pub mod options;
pub mod page;
pub mod s3;
pub mod site;
pub mod slow_line;
pub mod small_repository;
pub mod stages;
pub mod table;
pub mod test_image;
pub mod trees;
pub mod whole;

use anyhow::{Context as _, Result};

use options::{Options, Theme};
use table::Table;

/// Measures what a theme is about.
pub fn measure(options: &Options, theme: Theme) -> Result<Vec<Table>> {
    let folder = tempfile::Builder::new()
        .prefix("performance-")
        .tempdir_in(&options.folder)
        .context("failed to make a folder to work in")?;
    match theme {
        Theme::Whole => whole::measure(options, folder.path()),
        Theme::S3 => Ok(vec![s3::measure(options, folder.path())?]),
        Theme::Files => trees::measure(options, folder.path()),
        Theme::Stages => stages::measure(options, folder.path()),
        Theme::Scale => growth::measure(options, folder.path()),
        Theme::Chunks => Ok(vec![chunk_sizes::measure(options, folder.path())?]),
    }
}
