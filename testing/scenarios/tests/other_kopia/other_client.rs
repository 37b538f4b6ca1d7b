//! A client of the same repository that is not ours: stock Kopia, or what stands in for it.

use std::collections::BTreeSet;
use std::path::Path;

/// What the rounds ask of another client. Everything panics where it fails: a client that cannot
/// do its part has found a fault of ours.
pub trait OtherClient: Sync {
    /// Returns the ids of all complete snapshots.
    fn list(&self) -> BTreeSet<String>;

    /// Reads every file of every snapshot.
    fn verify(&self);

    /// Restores a snapshot into a folder that is not there yet.
    fn restore(&self, id: &str, to: &Path);

    /// Stores a folder, always the same one, as it is now; returns the snapshot's id.
    fn store(&self, folder: &Path) -> String;

    /// Deletes a snapshot, whoever made it.
    fn delete(&self, id: &str);

    /// Pins a snapshot; returns the id that it has from now on.
    fn pin(&self, id: &str) -> String;

    /// Becomes the owner and does a full maintenance, while nobody else is at work, without any
    /// margins.
    fn maintain(&self);

    /// Does a full maintenance while others are at work, with the margins that protect them, if it
    /// has any.
    fn maintain_beside_others(&self);
}
