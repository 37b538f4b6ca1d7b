//! Snapshots: their manifests, the directory trees they name, and the policies that rule them
//! (Kopia spec 7).
//!
//! What the files in a tree mean to whoever stored them, this crate does not know.

mod expire;
mod policy;
mod retention_rule;
mod snapshots;
mod tree;
mod verified;

pub use expire::{SourcePlan, expires, plan_expiry, plan_expiry_by};
pub use policy::{
    compression_for, delete_policy, effective_policy, policies, policy_chain, policy_of,
    save_policy, writable_compressor,
};
pub use retention_rule::{RetentionNumbers, RetentionRule};
pub use snapshots::{PublishedSnapshot, Snapshot, Snapshots};
pub use tree::{TreeWriter, find_entry, read_directory};
pub use verified::{DamagedFile, KnownDamage, Proof, Remembered, Verified};
