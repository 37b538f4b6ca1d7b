//! What Windows says of files and folders beyond what the standard library tells.
//!
//! ```text
//! attributes   reparse_point      what numbers and bytes mean            no unsafe, runs everywhere
//! entry        …by an open file   which file it is, what it is, holes    unsafe, Windows only
//! ```
//!
//! It knows nothing of backups; whoever backs up decides what to do about a placeholder.

mod attributes;
#[cfg(windows)]
mod entry;
mod reparse_point;

pub use attributes::Attributes;
#[cfg(windows)]
pub use entry::{Entry, FileId, next_data, reparse_target};
pub use reparse_point::{ReparseTag, Target, TargetError};
