//! What a VM says it is busy with, in words (Hyper-V spec 3.2).

/// Returns what an `OperationalStatus` tells beside "OK", to be put behind an error; nothing if it
/// tells nothing.
pub(super) fn occupation(status: &[u64]) -> String {
    match status {
        [_, operation, ..] => match operation {
            32768 => ": a checkpoint of it is being made".to_owned(),
            32769 => ": a checkpoint is being applied to it".to_owned(),
            32770 => ": a checkpoint of it is being deleted".to_owned(),
            32771 => ": it waits to be started".to_owned(),
            32772 => ": its disks are being merged".to_owned(),
            32773 => ": it is being exported".to_owned(),
            32774 => ": it is moving to another host".to_owned(),
            other => format!(": it says it is busy with {other}"),
        },
        _ => String::new(),
    }
}
