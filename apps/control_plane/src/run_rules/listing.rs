//! Which points are still in their repository, by the lists that agents of ours make of it
//! (`docs/decisions/own-control-plane-extensions.md`). What was not confirmed for long is shown as that: on a repository
//! of older agents alone nobody tells what went. Pure.

use std::collections::HashSet;

use sea_orm::FromQueryResult;
use serde::Deserialize;

use crate::health::AHEAD_MS;

/// The kind of operation that lists points.
pub const LIST_POINTS: &str = "list_points";

/// Points are listed this often, at the end of a run or of other work.
const LIST_EVERY_MS: i64 = 20 * 3_600_000;

/// A point is doubtful when it was not confirmed for this long: a week, so that a host that is off over a long weekend
/// says nothing.
const DOUBTFUL_MS: i64 = 7 * 24 * 3_600_000;

/// A page of the points of a repository.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Listed {
    /// The manifests of the points that are there.
    pub points: Vec<String>,
    /// Those of them that are pinned.
    pub pinned: Vec<String>,
    /// The manifest behind which the next page begins; empty: this was the last.
    pub next: String,
}

/// What the server knows of a point.
#[derive(Clone, Debug, FromQueryResult)]
pub struct Known {
    /// Its number.
    pub id: i64,
    /// Its manifest.
    pub manifest_id: String,
    /// Whether it is pinned.
    pub is_pinned: bool,
    /// When it was last known to be there (milliseconds).
    pub confirmed_at: i64,
    /// When it was found to be removed (milliseconds).
    pub expired_at: Option<i64>,
}

/// What a page says of points, by their numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Those that are there.
    pub there: Vec<i64>,
    /// Those that are not any more.
    pub gone: Vec<i64>,
    /// Those that are pinned since.
    pub pinned: Vec<i64>,
    /// Those that are not pinned any more.
    pub unpinned: Vec<i64>,
}

/// Compares what is known of a repository's points with a page of its list, which begins behind `after` and was asked
/// for at `asked_at` and came at `now`. What was told of a point since then counts before the list, which may be older;
/// what a clock that was ahead wrote down does not.
pub fn reconcile(
    known: &[Known],
    after: &str,
    listed: &Listed,
    (asked_at, now): (i64, i64),
) -> Changes {
    let since = asked_at..=now.saturating_add(AHEAD_MS);
    let there: HashSet<&str> = listed.points.iter().map(String::as_str).collect();
    let pinned: HashSet<&str> = listed.pinned.iter().map(String::as_str).collect();
    let mut changes = Changes::default();
    for point in known {
        let manifest = point.manifest_id.as_str();
        if there.contains(manifest) {
            if point.expired_at.is_some_and(|at| since.contains(&at)) {
                continue;
            }
            changes.there.push(point.id);
            match (point.is_pinned, pinned.contains(manifest)) {
                (false, true) => changes.pinned.push(point.id),
                (true, false) => changes.unpinned.push(point.id),
                _ => {}
            }
        } else {
            let is_on_page =
                manifest > after && (listed.next.is_empty() || manifest <= &*listed.next);
            if is_on_page && point.expired_at.is_none() && !since.contains(&point.confirmed_at) {
                changes.gone.push(point.id);
            }
        }
    }
    changes
}

/// Tells whether the points of a repository are to be listed again.
pub fn is_list_due(last_listed_at: Option<i64>, now: i64) -> bool {
    last_listed_at.is_none_or(|last| now - last >= LIST_EVERY_MS)
}

/// Returns since when nobody has confirmed that a point is there, if that is too long to rely on it.
pub fn unconfirmed_since(confirmed_at: i64, expired_at: Option<i64>, now: i64) -> Option<i64> {
    (expired_at.is_none() && now - confirmed_at > DOUBTFUL_MS).then_some(confirmed_at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(id: i64, manifest: &str) -> Known {
        Known {
            id,
            manifest_id: manifest.to_owned(),
            is_pinned: false,
            confirmed_at: 10,
            expired_at: None,
        }
    }

    fn listed(points: &[&str], pinned: &[&str], next: &str) -> Listed {
        let texts = |them: &[&str]| them.iter().map(|it| (*it).to_owned()).collect();
        Listed {
            points: texts(points),
            pinned: texts(pinned),
            next: next.to_owned(),
        }
    }

    #[test]
    fn each_page_speaks_of_what_lies_on_it_alone() {
        let all = [known(1, "a"), known(2, "b"), known(3, "c"), known(4, "d")];
        for (after, page, there, gone) in [
            ("", listed(&["a", "c"], &[], "c"), vec![1, 3], vec![2]),
            ("c", listed(&[], &[], ""), vec![], vec![4]),
            ("a", listed(&["b"], &[], "b"), vec![2], vec![]),
            ("", listed(&[], &[], ""), vec![], vec![1, 2, 3, 4]),
        ] {
            let changes = reconcile(&all, after, &page, (20, 30));
            assert_eq!((changes.there, changes.gone), (there, gone), "{page:?}");
        }
    }

    #[test]
    fn what_was_told_since_the_list_was_asked_for_counts_before_it() {
        let made_since = Known {
            confirmed_at: 21,
            ..known(1, "a")
        };
        let removed_since = Known {
            expired_at: Some(21),
            ..known(2, "b")
        };
        let removed_by_mistake = Known {
            expired_at: Some(19),
            ..known(3, "c")
        };
        let ahead = AHEAD_MS + 31;
        let made_in_the_future = Known {
            confirmed_at: ahead,
            ..known(4, "d")
        };
        let removed_in_the_future = Known {
            expired_at: Some(ahead),
            ..known(5, "e")
        };
        let all = [
            made_since,
            removed_since,
            removed_by_mistake,
            made_in_the_future,
            removed_in_the_future,
        ];
        let page = listed(&["b", "c", "e"], &[], "");
        let changes = reconcile(&all, "", &page, (20, 30));
        assert_eq!((changes.there, changes.gone), (vec![3, 5], vec![4]));
    }

    #[test]
    fn pins_are_those_of_the_repository() {
        let was_pinned = Known {
            is_pinned: true,
            ..known(1, "a")
        };
        let page = listed(&["a", "b"], &["b"], "");
        let changes = reconcile(&[was_pinned, known(2, "b")], "", &page, (20, 30));
        assert_eq!((changes.pinned, changes.unpinned), (vec![2], vec![1]));
    }

    #[test]
    fn a_point_that_nobody_confirmed_for_a_week_is_doubtful() {
        let since = |confirmed_at, expired_at| {
            unconfirmed_since(confirmed_at, expired_at, 10 + DOUBTFUL_MS)
        };
        assert_eq!(since(10, None), None);
        assert_eq!(since(9, None), Some(9));
        assert_eq!(since(9, Some(1)), None);
    }
}
