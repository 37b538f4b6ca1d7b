//! What is kept of a checkpoint's configuration: `.vmcx`, `.vmrs`, `.vmgs`, the settings as text,
//! the key protector (Hyper-V spec 9).

use std::fs::File;
use std::io::Read;
use std::path::Path;

use hyperv::{CheckpointId, ConfigurationFile, HypervError, HypervErrorKind as Kind, VmId};

use super::errors::{file_error, wmi_error};
use super::provider::Provider;
use super::{checkpoints, descriptor, settings};
use crate::wmi::{EmbeddedSource, Value, WmiObject};

const ENDINGS: [&str; 3] = ["vmcx", "vmrs", "vmgs"];
const SECURITY: &str = "Msvm_SecuritySettingData";
const SECURITY_SERVICE: &str = "Msvm_SecurityService";
/// The name under which a key protector is kept.
pub(super) const KEY_PROTECTOR: &str = "key-protector.bin";
/// A file longer than this is none of these.
const FILE_BYTES_MAX: u64 = 256 << 20;

/// Returns the files of a checkpoint's configuration, its settings as text, and its key protector
/// if it has one.
///
/// Files that cannot be had leave the text alone (spec 9.1, way 3), which says why: disks without
/// the files of a VM are worth more than no backup of it.
pub(super) fn of_checkpoint(
    provider: &Provider,
    vm: VmId,
    checkpoint: CheckpointId,
) -> Result<Vec<ConfigurationFile>, HypervError> {
    let object = checkpoints::find(provider, vm, checkpoint)?;
    let (mut files, why_not) = match copied(&object, checkpoint) {
        Ok(files) => (files, None),
        Err(error) => (Vec::new(), Some(error.to_string())),
    };
    files.push(descriptor::of(provider, &object, why_not.as_deref())?);
    files.extend(key_protector(provider, &object)?);
    Ok(files)
}

/// Reads the files that the checkpoint names, and those of the same stem (spec 9.1, way 1).
fn copied(
    settings: &WmiObject,
    checkpoint: CheckpointId,
) -> Result<Vec<ConfigurationFile>, HypervError> {
    let doing = format!("find the configuration files of checkpoint {checkpoint}");
    let named = settings::files(settings).map_err(|error| wmi_error(&doing, error))?;
    let mut files: Vec<ConfigurationFile> = Vec::new();
    for path in &named {
        for file in beside(path)? {
            if !files.iter().any(|known| known.name == file.name) {
                files.push(file);
            }
        }
    }
    if !files
        .iter()
        .any(|file| has_ending(Path::new(&file.name), &["vmcx"]))
    {
        return Err(HypervError::new(
            Kind::Failed,
            format!("{doing}: there is no .vmcx at {}", first(&named)),
        ));
    }
    Ok(files)
}

fn first(paths: &[std::path::PathBuf]) -> String {
    paths.first().map_or_else(
        || "any place it names".to_owned(),
        |path| path.display().to_string(),
    )
}

/// Reads every configuration file that has the stem of `path`, in its folder.
fn beside(path: &Path) -> Result<Vec<ConfigurationFile>, HypervError> {
    let (Some(folder), Some(stem)) = (path.parent(), path.file_stem()) else {
        return Ok(Vec::new());
    };
    let wrong = |error| file_error("look into", folder, error);
    let mut files = Vec::new();
    for entry in folder.read_dir().map_err(wrong)? {
        let found = entry.map_err(wrong)?.path();
        let same = found
            .file_stem()
            .is_some_and(|found| found.eq_ignore_ascii_case(stem));
        if same && has_ending(&found, &ENDINGS) {
            files.push(read(&found)?);
        }
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(files)
}

fn has_ending(path: &Path, endings: &[&str]) -> bool {
    let found = path.extension().unwrap_or_default();
    endings
        .iter()
        .any(|ending| found.eq_ignore_ascii_case(ending))
}

/// Reads a file that the management service may have open (RH-25): the standard library opens
/// files for sharing of every kind on Windows.
fn read(path: &Path) -> Result<ConfigurationFile, HypervError> {
    let wrong = |error| file_error("read", path, error);
    let mut content = Vec::new();
    let file = File::open(path).map_err(wrong)?;
    file.take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut content)
        .map_err(wrong)?;
    if content.len() as u64 > FILE_BYTES_MAX {
        return Err(HypervError::new(
            Kind::Failed,
            format!(
                "read {}: it is larger than any configuration file",
                path.display()
            ),
        ));
    }
    let name = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    Ok(ConfigurationFile { name, content })
}

/// Returns the key protector of a VM with a virtual TPM or shielding (spec 9.2): it is encrypted
/// for the VM's guardians.
fn key_protector(
    provider: &Provider,
    settings: &WmiObject,
) -> Result<Option<ConfigurationFile>, HypervError> {
    let doing = "read the VM's key protector";
    let wrong = |error| wmi_error(doing, error);
    let components = provider.components(settings.path().map_err(wrong)?)?;
    let needed = |object: &&WmiObject| {
        ["TpmEnabled", "ShieldingRequested"]
            .iter()
            .any(|name| object.bool(name) == Ok(true))
    };
    let Some(security) = components
        .iter()
        .filter(|object| object.is(SECURITY))
        .find(needed)
    else {
        return Ok(None);
    };
    let source = EmbeddedSource::Instance(security.path().map_err(wrong)?);
    let text = provider.embedded(doing, source, &[])?;
    let answer = provider.ask(
        doing,
        &provider.service(SECURITY_SERVICE)?,
        "GetKeyProtector",
        &[("SecuritySettingData", Value::Text(text))],
    )?;
    Ok(match answer.value("KeyProtector") {
        Value::Bytes(content) if !content.is_empty() => Some(ConfigurationFile {
            name: KEY_PROTECTOR.to_owned(),
            content: content.clone(),
        }),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_files_of_one_stem_are_taken_and_no_others() {
        let folder = tempfile::tempdir().unwrap();
        for name in [
            "A1.vmcx",
            "a1.VMRS",
            "A1.vmgs",
            "A1.vhdx",
            "A2.vmcx",
            "A1.x.vmcx",
        ] {
            std::fs::write(folder.path().join(name), name).unwrap();
        }
        let files = beside(&folder.path().join("A1.vmcx")).unwrap();
        let names: Vec<_> = files.iter().map(|file| &*file.name).collect();
        assert_eq!(names, ["A1.vmcx", "A1.vmgs", "a1.VMRS"]);
        assert!(
            files
                .iter()
                .all(|file| file.content == file.name.as_bytes())
        );
        assert!(beside(&folder.path().join("none/A1.vmcx")).is_err());
    }
}
