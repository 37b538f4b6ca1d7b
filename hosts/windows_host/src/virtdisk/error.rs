//! A virtdisk call that failed.

use std::path::PathBuf;

/// A call on a virtual disk file that failed, with Windows' own code; reads after "failed to …".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{doing} {} (0x{code:08X})", .path.display())]
pub struct VirtualDiskError {
    /// What was being done, such as "open".
    pub doing: &'static str,
    /// The file.
    pub path: PathBuf,
    /// A Win32 code such as 32 or 0xC03A0029.
    pub code: u32,
}
