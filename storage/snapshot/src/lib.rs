//! Snapshots: their manifests and the directory trees they name (Kopia spec 7).
//!
//! What the files in a tree mean to whoever stored them, this crate does not know.

mod policy;
mod snapshots;
mod tree;

pub use policy::{
    compression_for, delete_policy, effective_policy, policies, policy_chain, policy_of,
    save_policy,
};
pub use snapshots::{PublishedSnapshot, Snapshot, Snapshots};
pub use tree::{TreeWriter, find_entry, read_directory};
