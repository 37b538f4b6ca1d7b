//! What is for the system and its administrators alone.

use std::io;
use std::path::Path;

/// Lets a file or folder be used by the system and its administrators alone. Where modes of files say
/// so, it was made like that.
pub fn protect(path: &Path) -> io::Result<()> {
    system::protect(path)
}

#[cfg(windows)]
mod system {
    use std::io;
    use std::path::Path;

    use windows_host::acl;

    pub(super) fn protect(path: &Path) -> io::Result<()> {
        acl::restrict(path).map_err(io::Error::other)
    }
}

#[cfg(not(windows))]
mod system {
    use std::io;
    use std::path::Path;

    pub(super) fn protect(_: &Path) -> io::Result<()> {
        Ok(())
    }
}
