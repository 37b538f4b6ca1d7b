//! What agents of ours tell of points when retention or other work on a repository has ended
//! (`docs/decisions/own-control-plane-extensions.md`). Pure.

use serde::Deserialize;
use serde_json::Value;

use crate::run_rules::listing::Listed;

/// What work on a repository says of points in it, by their manifests.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct ToldOfPoints {
    /// Those that retention removed.
    pub removed_points: Vec<String>,
    /// Those that a verification found whole.
    pub verified_points: Vec<String>,
    /// Those that it found damaged.
    pub damaged_points: Vec<String>,
    /// How it looked at them: `structure` or `content`.
    pub how: Option<String>,
    /// A page of the list of points.
    pub listed: Option<Listed>,
    /// How many points went in all.
    #[serde(skip)]
    removed_count: u64,
}

impl ToldOfPoints {
    /// Reads what was told; nothing, if it is something else.
    pub fn read(document: &Value) -> Self {
        let count = document["deleted_count"].as_u64();
        Self {
            removed_count: count.unwrap_or(0),
            ..Self::deserialize(document).unwrap_or_default()
        }
    }

    /// Tells whether more points went than are named.
    pub fn leaves_out(&self) -> bool {
        self.removed_count > self.removed_points.len() as u64
    }
}
