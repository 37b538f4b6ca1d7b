//! What the environment tells this DLL.

use std::path::PathBuf;

use fake_hyperv::Manners;

/// Names the folder of the simulated host.
const HOST: &str = "E3_FAKE_HYPERV";
/// Names switches of the model, with commas between them; none for what the spec believes.
const MANNERS: &str = "E3_FAKE_VIRTDISK_MANNERS";

/// Returns the folder of the simulated host.
pub fn host_folder() -> Option<PathBuf> {
    std::env::var_os(HOST).map(PathBuf::from)
}

/// Returns the model's manners; none if a word is unknown.
pub fn manners() -> Option<Manners> {
    let mut manners = Manners::default();
    let words = std::env::var(MANNERS).unwrap_or_default();
    for word in words.split(',').filter(|word| !word.is_empty()) {
        match word.split_once('=') {
            Some(("no-local-host-refused", code)) => {
                manners.no_local_host_refused = Some(code.parse().ok()?);
            }
            None if word == "information-is-like-reading" => {
                manners.information_is_like_reading = true;
            }
            None if word == "newer-changes-on-frozen-disks" => {
                manners.newer_changes_on_frozen_disks = true;
            }
            _ => return None,
        }
    }
    Some(manners)
}
