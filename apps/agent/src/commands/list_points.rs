//! `list_points`: which points a repository holds, in pages. An operation of our own control plane, which learns by it
//! of every point that went, whoever removed it.

use std::sync::Arc;

use point::Points;
use protocol::repo_operations::{ListedPoints, OperationResult};
use repo::Repository;

use super::failed;

/// So many points are named in an answer, which stays small.
const POINTS_MAX: usize = 1000;

/// Names the points behind `after`, as many as an answer holds.
pub fn list_points(repository: &Arc<Repository>, after: &str) -> Result<OperationResult, String> {
    let points = Points::load(repository).map_err(failed)?;
    let snapshots = points.snapshots();
    // What cannot be read may name points: of those not named here nobody could say that they are gone.
    if let Some((content, why)) = snapshots.manifests().unreadable().first() {
        return Err(format!(
            "the list of points is damaged, so nobody can say which are gone: content {content}: {why}; `repo verify --repair` mends what can be mended"
        ));
    }
    let readable = snapshots
        .iter()
        .map(|it| (it.id.as_str(), !it.manifest.pins.is_empty()));
    // A point that cannot be read is damaged, not gone.
    let unreadable = snapshots.unreadable().iter();
    let all = readable.chain(unreadable.map(|(id, _)| (id.as_str(), false)));
    Ok(OperationResult {
        listed: Some(page(all.collect(), after, POINTS_MAX)),
        ..OperationResult::default()
    })
}

/// Returns the page behind `after` of points, each with whether it is pinned.
fn page(mut points: Vec<(&str, bool)>, after: &str, points_max: usize) -> ListedPoints {
    points.retain(|(id, _)| *id > after);
    points.sort_unstable();
    let has_more = points.len() > points_max;
    points.truncate(points_max);
    let last = points.last().map_or("", |(id, _)| *id);
    let pinned = points.iter().filter(|(_, is_pinned)| *is_pinned);
    ListedPoints {
        pinned: pinned.map(|(id, _)| (*id).to_owned()).collect(),
        next: if has_more { last } else { "" }.to_owned(),
        points: points.iter().map(|(id, _)| (*id).to_owned()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_name_every_point_once_and_the_last_one_says_so() {
        let points = || vec![("d", false), ("b", true), ("a", false), ("c", false)];
        let listed = |after: &str| {
            let page = page(points(), after, 2);
            (page.points.concat(), page.pinned.concat(), page.next)
        };
        let text = |it: &str| it.to_owned();
        assert_eq!(listed(""), (text("ab"), text("b"), text("b")));
        assert_eq!(listed("b"), (text("cd"), text(""), text("")));
        assert_eq!(listed("d"), (text(""), text(""), text("")));
        // Where the one before it is gone meanwhile.
        assert_eq!(listed("bb"), (text("cd"), text(""), text("")));
    }
}
