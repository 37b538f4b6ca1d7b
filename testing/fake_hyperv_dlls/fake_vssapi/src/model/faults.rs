//! Faults at any call, in a file of the machine's folder: other processes meet them, too.

use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

const FILE: &str = "vss_faults.json";

/// A call that fails.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// The call, by VSS's own name.
    pub call: String,
    /// What it fails with; 0x00042309 (pending) makes an operation that never ends.
    pub code: u32,
    /// How often.
    pub times: u32,
}

/// Adds a fault.
pub(super) fn add(folder: &Path, fault: Fault) -> io::Result<()> {
    let mut faults = read(folder)?;
    faults.push(fault);
    write(folder, &faults)
}

/// Fails if a fault waits for this call.
pub(super) fn strike(folder: &Path, call: &str) -> Result<(), u32> {
    /// `E_UNEXPECTED`: the folder is not as it should be.
    const UNEXPECTED: u32 = 0x8000_FFFF;
    let mut faults = read(folder).map_err(|_| UNEXPECTED)?;
    let waiting = faults.iter_mut().find(|it| it.call == call && it.times > 0);
    let Some(fault) = waiting else { return Ok(()) };
    fault.times -= 1;
    let code = fault.code;
    write(folder, &faults).map_err(|_| UNEXPECTED)?;
    Err(code)
}

fn read(folder: &Path) -> io::Result<Vec<Fault>> {
    match fs::read(folder.join(FILE)) {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn write(folder: &Path, faults: &[Fault]) -> io::Result<()> {
    local_file::replace(&folder.join(FILE), &serde_json::to_vec(faults)?)
}
