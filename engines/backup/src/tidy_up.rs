//! What a run owes the repository when its points are stored.

use repo::Writer;

/// Does what every writer owes the repository after a run; returns what could not be done.
pub fn tidy_up(writer: &Writer) -> Vec<String> {
    let mut warnings = Vec::new();
    if let Err(error) = writer.compact_manifests() {
        warnings.push(format!("the repository's manifests could not be tidied up, which the next run will try again: failed to {error}"));
    }
    if let Err(error) = writer.repository().advance_epoch_if_due() {
        warnings.push(format!("the repository's next epoch could not be begun, which the next run will try again: failed to {error}"));
    }
    warnings
}
