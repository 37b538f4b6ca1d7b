//! The options that every command takes.

use std::path::PathBuf;

use clap::Args;

/// Options of every command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Options of every command")]
pub struct Globals {
    /// Answer with one JSON document on stdout.
    #[arg(long, global = true)]
    pub json: bool,
    /// Where bases, journals and locks are kept.
    #[arg(long, global = true, value_name = "DIR", env = "E3_STATE_DIR")]
    pub state_dir: Option<PathBuf>,
    /// Where repositories' indexes are cached; may be deleted at any time.
    #[arg(long, global = true, value_name = "DIR", env = "E3_CACHE_DIR")]
    pub cache_dir: Option<PathBuf>,
    /// Read the repository's password from this file, white space at the ends dropped.
    #[arg(long, global = true, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
}
