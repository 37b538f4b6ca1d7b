//! Configuration files of simulated VMs: `.vmcx`, `.vmrs` and, for generation 2, `.vmgs`.
//!
//! Their content is ours, not Hyper-V's: a mark, a length, a checksum and JSON. What stands in
//! them is enough to make the VM again on another simulated host.

use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    ConfigurationFile, Controller, Generation, GuestSystem, HypervError, HypervErrorKind,
    NetworkAdapter, OmittedDisk, VmId, codes,
};

const CONFIGURATION_MARK: &[u8; 8] = b"SIMVMCX1";
const RUNTIME_MARK: &[u8; 8] = b"SIMVMRS1";
const GUEST_STATE_MARK: &[u8; 8] = b"SIMVMGS1";
const HEAD_BYTES: usize = 16;
const CONTENT_BYTES_MAX: usize = 64 << 20;

/// What a `.vmcx` tells.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct VmConfiguration {
    pub id: VmId,
    pub name: String,
    pub generation: Generation,
    pub version: String,
    pub guest: Option<GuestSystem>,
    pub firmware: String,
    pub processors: u32,
    pub memory_bytes: u64,
    pub network_adapters: Vec<NetworkAdapter>,
    pub disks: Vec<ConfiguredDisk>,
    pub omitted_disks: Vec<OmittedDisk>,
}

/// A disk as a configuration names it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct ConfiguredDisk {
    pub controller: Controller,
    pub controller_number: u32,
    pub location: u32,
    pub path: PathBuf,
    pub original_path: PathBuf,
    pub virtual_disk_id: Uuid,
}

impl ConfiguredDisk {
    /// Returns where it hangs.
    pub(super) fn place(&self) -> (Controller, u32, u32) {
        (self.controller, self.controller_number, self.location)
    }
}

/// What a `.vmrs` tells: whose it is.
#[derive(Debug, Serialize, Deserialize)]
struct Runtime {
    id: VmId,
}

/// What a `.vmgs` holds.
#[derive(Debug, Serialize, Deserialize)]
struct GuestState {
    variables: String,
}

/// Returns the configuration files, all named `stem`.
pub(super) fn encode(
    configuration: &VmConfiguration,
    guest_state: &str,
    stem: &str,
) -> Result<Vec<ConfigurationFile>, HypervError> {
    let runtime = Runtime {
        id: configuration.id,
    };
    let mut files = vec![
        wrap(CONFIGURATION_MARK, configuration, format!("{stem}.vmcx"))?,
        wrap(RUNTIME_MARK, &runtime, format!("{stem}.vmrs"))?,
    ];
    if configuration.generation == Generation::Two {
        let state = GuestState {
            variables: guest_state.to_owned(),
        };
        files.push(wrap(GUEST_STATE_MARK, &state, format!("{stem}.vmgs"))?);
    }
    Ok(files)
}

/// Reads a VM's configuration and guest state from its files.
///
/// # Errors
/// `Invalid` unless there is one `.vmcx` and one `.vmrs`, for generation 2 one `.vmgs`, all
/// whole and of the same VM.
pub(super) fn decode(
    files: &[ConfigurationFile],
) -> Result<(VmConfiguration, String), HypervError> {
    let configuration: VmConfiguration = unwrap(only(files, "vmcx")?, CONFIGURATION_MARK)?;
    let runtime: Runtime = unwrap(only(files, "vmrs")?, RUNTIME_MARK)?;
    if runtime.id != configuration.id {
        return Err(invalid("import files of two different VMs"));
    }
    let guest_state = match configuration.generation {
        Generation::One => String::new(),
        Generation::Two => unwrap::<GuestState>(only(files, "vmgs")?, GUEST_STATE_MARK)?.variables,
    };
    Ok((configuration, guest_state))
}

fn only<'a>(
    files: &'a [ConfigurationFile],
    extension: &str,
) -> Result<&'a ConfigurationFile, HypervError> {
    let mut found = files.iter().filter(|file| {
        file.name
            .rsplit_once('.')
            .is_some_and(|(_, end)| end.eq_ignore_ascii_case(extension))
    });
    match (found.next(), found.next()) {
        (Some(file), None) => Ok(file),
        (None, _) => Err(invalid(&format!(
            "import a VM without its .{extension} file"
        ))),
        (Some(_), Some(_)) => Err(invalid(&format!("import a VM with two .{extension} files"))),
    }
}

fn wrap(
    mark: &[u8; 8],
    value: &impl Serialize,
    name: String,
) -> Result<ConfigurationFile, HypervError> {
    let json = serde_json::to_vec(value)
        .map_err(|error| invalid("put a VM's configuration into words").caused_by(error))?;
    if json.len() > CONTENT_BYTES_MAX {
        return Err(invalid("write a configuration file that large"));
    }
    let mut content = mark.to_vec();
    content.extend((json.len() as u32).to_le_bytes());
    content.extend(checksum(&json).to_le_bytes());
    content.extend(json);
    Ok(ConfigurationFile { name, content })
}

fn unwrap<T: DeserializeOwned>(file: &ConfigurationFile, mark: &[u8; 8]) -> Result<T, HypervError> {
    let damaged = || {
        invalid(&format!(
            "understand {}: it is damaged or not of a simulated host",
            file.name
        ))
    };
    let (head, json) = file
        .content
        .split_at_checked(HEAD_BYTES)
        .ok_or_else(damaged)?;
    let mut expected = mark.to_vec();
    expected.extend(
        u32::try_from(json.len())
            .map_err(|_| damaged())?
            .to_le_bytes(),
    );
    expected.extend(checksum(json).to_le_bytes());
    if head != expected {
        return Err(damaged());
    }
    serde_json::from_slice(json).map_err(|error| damaged().caused_by(error))
}

fn checksum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811C_9DC5, |sum, &byte| {
        (sum ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}

fn invalid(message: &str) -> HypervError {
    HypervError::new(HypervErrorKind::Invalid, message).with_code(codes::INVALID_PARAMETER)
}

/// Compares two configuration versions such as "8.0" and "10.0" by their numbers; text that is
/// no version counts as newer than anything.
pub(super) fn version_key(version: &str) -> (u32, u32) {
    let newest = (u32::MAX, u32::MAX);
    let Some((major, minor)) = version.split_once('.') else {
        return newest;
    };
    match (major.parse(), minor.parse()) {
        (Ok(major), Ok(minor)) => (major, minor),
        _ => newest,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configuration(generation: Generation) -> VmConfiguration {
        VmConfiguration {
            id: VmId(Uuid::from_u128(5)),
            name: "dc01".to_owned(),
            generation,
            version: "9.0".to_owned(),
            guest: None,
            firmware: "UEFI".to_owned(),
            processors: 2,
            memory_bytes: 1 << 30,
            network_adapters: Vec::new(),
            disks: Vec::new(),
            omitted_disks: Vec::new(),
        }
    }

    #[test]
    fn a_configuration_survives_its_files() {
        for generation in [Generation::One, Generation::Two] {
            let written = configuration(generation);
            let files = encode(&written, "00ff", "X").unwrap();
            let (read, guest_state) = decode(&files).unwrap();
            assert_eq!(read, written);
            assert_eq!(guest_state == "00ff", generation == Generation::Two);
        }
    }

    #[test]
    fn no_damage_to_a_file_goes_unnoticed() {
        let files = encode(&configuration(Generation::Two), "00ff", "X").unwrap();
        for which in 0..files.len() {
            let mut missing = files.clone();
            missing.remove(which);
            assert!(decode(&missing).is_err());
            let mut twice = files.clone();
            twice.push(files[which].clone());
            assert!(decode(&twice).is_err());
            for place in 0..files[which].content.len() {
                let mut flipped = files.clone();
                flipped[which].content[place] ^= 0x10;
                assert!(
                    decode(&flipped).is_err(),
                    "{} at {place}",
                    files[which].name
                );
                let mut cut = files.clone();
                cut[which].content.truncate(place);
                assert!(
                    decode(&cut).is_err(),
                    "{} cut at {place}",
                    files[which].name
                );
            }
        }
    }

    #[test]
    fn versions_compare_by_number() {
        assert!(version_key("10.0") > version_key("9.0"));
        assert!(version_key("8.1") > version_key("8.0"));
        assert!(version_key("new") > version_key("254.0"));
    }
}
