//! Damage of every kind of blob, found, named and mended; and repairs that die.

#![expect(
    clippy::unwrap_used,
    reason = "a panic in a test, or in what tests share, is the failure report"
)]

mod crashes;
mod damage;
mod given_up;
mod indexes;
mod lost_data;
mod lost_manifests;
mod world;
