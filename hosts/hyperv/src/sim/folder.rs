//! Paths on the simulated host: everything stays inside its folder.

use std::path::{Component, Path, PathBuf};

use super::SimHost;
use super::io_error::io_error;
use crate::{HypervError, HypervErrorKind, codes, vm_folder};

/// The sidecar that stands for NTFS's sparse attribute.
///
/// Linux files may all have holes and have no such attribute, so the simulation keeps it beside
/// the file: whoever makes a file the way NTFS would make a sparse one also makes
/// `<file>.sparse-attribute`, and Hyper-V's refusal of such files follows from that.
const SPARSE_ATTRIBUTE: &str = "sparse-attribute";

/// What nobody may touch but the simulation itself.
const OWN_FILES: [&str; 4] = ["host.json", "host.json.new", "host.lock", "vms"];

impl SimHost {
    /// Returns `path` relative to the host's folder.
    ///
    /// # Errors
    /// `Denied` if it lies outside, also by way of a symbolic link.
    pub(super) fn inside(&self, path: &Path) -> Result<PathBuf, HypervError> {
        let outside = || {
            HypervError::new(
                HypervErrorKind::Denied,
                format!("use {}: it is not on this host", path.display()),
            )
            .with_code(codes::ACCESS_DENIED)
        };
        let whole = std::path::absolute(path).map_err(|error| io_error("find", path, error))?;
        if whole.components().any(|part| part == Component::ParentDir) {
            return Err(outside());
        }
        let mut existing = whole.as_path();
        let mut rest = Vec::new();
        let real = loop {
            if let Ok(real) = local_file::real_path(existing) {
                break real;
            }
            rest.push(existing.file_name().ok_or_else(outside)?);
            existing = existing.parent().ok_or_else(outside)?;
        };
        let mut relative = real
            .strip_prefix(&self.root)
            .map_err(|_| outside())?
            .to_path_buf();
        relative.extend(rest.iter().rev());
        let own = OWN_FILES.iter().any(|own| relative.as_os_str() == *own);
        if relative.as_os_str().is_empty() || own || relative.to_str().is_none() {
            return Err(outside());
        }
        Ok(relative)
    }

    /// Returns a folder for a VM named `name` that nobody uses, relative to the host's folder.
    pub(super) fn fresh_vm_folder(&self, name: &str) -> PathBuf {
        let whole = vm_folder::fresh(&self.root.join("vms"), name);
        let relative = whole.strip_prefix(&self.root);
        relative
            .expect("it was made below the host's folder")
            .to_path_buf()
    }
}

/// Returns whether a file carries the simulated sparse attribute.
pub(super) fn is_sparse(path: &Path) -> bool {
    sparse_attribute(path).exists()
}

/// Returns the sidecar that marks `path` as sparse.
pub(super) fn sparse_attribute(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(SPARSE_ATTRIBUTE);
    PathBuf::from(name)
}

/// Returns the error of attaching a sparse file.
pub(super) fn sparse_error(path: &Path) -> HypervError {
    HypervError::new(
        HypervErrorKind::Failed,
        format!("attach {}: the file is sparse", path.display()),
    )
    .with_code(codes::VHD_LIMITATION)
}
