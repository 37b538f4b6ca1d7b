//! Backing up files and folders, as `kopia snapshot create` does.

mod bases;
mod big_file;
mod checkpoint;
mod content_log;
mod file_reader;
mod folder_policy;
mod links;
mod listing;
mod node;
mod options;
mod os;
mod policies;
mod previous;
mod queue;
pub mod rules;
mod run;
mod source;
mod storing;
mod tally;
mod threads;
mod walk;

pub use options::FileOptions;
pub use run::{FileBackup, FileEstimate, FileReport};
pub use source::{FileSource, SourceContent};
pub use tally::{FileCounts, FileFailure};
pub use threads::FileThreads;
