//! Files and folders are backed up as Kopia would, and as they are.

#![expect(clippy::unwrap_used, reason = "a panic in a test is its failure")]

mod checkpoints;
mod crashes;
mod kopia_fixtures;
mod reuse;
mod trees;
mod world;
