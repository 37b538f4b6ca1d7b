//! `verify`: whether every restore point of a repository can still be read. An operation of our own control plane.

use std::sync::Arc;

use point::{Point, Points};
use progress::Progress;
use protocol::repo_operations::{OperationResult, VerifiedHow};
use repo::Repository;
use verify::{Verification, VerifyErrorKind, VerifyOptions, remember, verify};

use super::failed;
use crate::cancellation::Cancellation;
use crate::parts::Parts;

/// Contents read at once.
const READERS: usize = 4;
/// So many points are named in an answer, which stays small; those that are damaged come first.
const POINTS_MAX: usize = 1000;

/// Verifies all points, reading `percent` of the contents, as `repo verify --data` does, and remembers what was
/// found in the repository.
pub fn verify_points(
    parts: &Parts,
    repository: &Arc<Repository>,
    percent: f64,
    cancellation: &Cancellation,
) -> Result<OperationResult, String> {
    let options = VerifyOptions {
        data_percent: percent.clamp(0.0, 100.0),
        seed: parts.ports.chance.below(1 << 32),
        readers: READERS,
        points: Vec::new(),
        until: None,
    };
    let started = parts.ports.clock.now();
    let progress = Progress {
        stop: cancellation.stop().clone(),
        ..Progress::silent()
    };
    let found = verify(repository, &options, &progress).map_err(failed)?;
    if !found.tells_of_points() {
        return Err(format!(
            "the repository is damaged, so nothing can be said of its points: {}; `repo verify --repair` mends what can be mended",
            of_blobs(&found)
        ));
    }
    let remembered = found
        .remembered(repository, started, options.data_percent)
        .map_err(failed)?;
    match remember(repository, &remembered) {
        Err(error) if error.kind() == VerifyErrorKind::Stopped => return Err(failed(error)),
        Err(error) => {
            parts.log.warn(&format!(
                "what verification found is kept on this machine and not in the repository, for it was not possible to {error}"
            ));
            remembered.keep_here(repository).map_err(failed)?;
        }
        Ok(()) => {}
    }
    let points = Points::load(repository).map_err(failed)?;
    let known = |point: &Point<'_>| {
        let root = point.root().ok()?;
        remembered.of(&root.object).cloned()
    };
    let mut result = OperationResult {
        how: Some(match options.data_percent > 0.0 {
            true => VerifiedHow::Content,
            false => VerifiedHow::Structure,
        }),
        ..OperationResult::default()
    };
    for point in points.iter() {
        let Some(known) = known(&point) else { continue };
        if known.damage.is_some() {
            result.damaged_points.push(point.id().to_owned());
        } else if known.latest() == Some(started) {
            result.verified_points.push(point.id().to_owned());
        }
    }
    let unreadable = points.snapshots().unreadable();
    result
        .damaged_points
        .extend(unreadable.iter().map(|(id, _)| id.clone()));
    result.damaged_points.truncate(POINTS_MAX);
    let room = POINTS_MAX - result.damaged_points.len();
    result.verified_points.truncate(room);
    if !found.is_sound() {
        result.error = told(&found);
        parts
            .log
            .warn(&format!("verification found damage: {}", result.error));
    }
    Ok(result)
}

fn of_blobs(found: &Verification) -> String {
    let needed = found.blobs.iter().filter(|it| it.role.is_needed());
    let first = needed.map(|it| format!("blob {}: {}", it.blob, it.reason));
    first.take(3).collect::<Vec<_>>().join("; ")
}

/// Returns the first of what is damaged, in words.
fn told(found: &Verification) -> String {
    let first = found.damages.iter().take(3);
    let words = first.map(|it| format!("{} {}: {}", it.source, it.path, it.reason));
    let words: Vec<String> = words.chain(Some(of_blobs(found))).collect();
    words.join("; ").trim_end_matches("; ").to_owned()
}
