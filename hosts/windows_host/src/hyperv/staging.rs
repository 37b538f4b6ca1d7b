//! The configuration files of a restore, laid where Hyper-V imports them from.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use hyperv::{ConfigurationFile, HypervError, HypervErrorKind as Kind};

use super::configuration_files::KEY_PROTECTOR;
use super::descriptor::DESCRIPTOR;
use super::errors::file_error;

/// Where the files lie, within the VM's folder, until it is realised.
const STAGING: &str = "restored configuration";

/// Writes the files where Hyper-V reads them from, and returns the definition's path.
pub(super) fn stage(
    doing: &str,
    configuration: &[ConfigurationFile],
    folder: &Path,
) -> Result<PathBuf, HypervError> {
    let invalid =
        |why: &str| HypervError::new(Kind::Invalid, format!("{doing}: {why}")).of_configuration();
    let staging = folder.join(STAGING);
    let mut definition = None;
    for file in configuration {
        let path = Path::new(&file.name);
        if path.file_name() != Some(path.as_os_str()) {
            return Err(invalid(&format!("{:?} is no file name", file.name)));
        }
        let is_definition = path
            .extension()
            .is_some_and(|end| end.eq_ignore_ascii_case("vmcx"));
        if is_definition && definition.replace(staging.join(path)).is_some() {
            return Err(invalid("there are two .vmcx files"));
        }
    }
    let described = configuration.iter().any(|file| file.name == DESCRIPTOR);
    let definition = definition.ok_or_else(|| match described {
        true => invalid("there is no .vmcx file, only the settings as text"),
        false => invalid("there is no .vmcx file"),
    })?;
    std::fs::create_dir_all(&staging).map_err(|error| file_error("make", &staging, error))?;
    for file in configuration
        .iter()
        .filter(|file| ![KEY_PROTECTOR, DESCRIPTOR].contains(&&*file.name))
    {
        let path = staging.join(&file.name);
        let written = File::create_new(&path).and_then(|mut new| {
            new.write_all(&file.content)?;
            new.sync_all()
        });
        written
            .map_err(|error| file_error("write", &path, error))
            .inspect_err(|_| unstage(folder))?;
    }
    Ok(definition)
}

/// Removes the files to be imported from the VM's folder, or from their own if the VM was never told
/// another. They are small and in the way of nothing: if that fails, they stay.
pub(super) fn unstage(folder: &Path) {
    let staging = match folder.ends_with(STAGING) {
        true => folder.to_owned(),
        false => folder.join(STAGING),
    };
    for entry in staging.read_dir().into_iter().flatten().flatten() {
        let _it_stays = std::fs::remove_file(entry.path());
    }
    let _it_stays = std::fs::remove_dir(&staging);
}
