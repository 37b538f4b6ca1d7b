//! Which index blobs count, from their names (Kopia spec 5.4, 5.5).

use std::collections::{BTreeMap, BTreeSet};

use crate::blob_name::decimal;

/// What the epoch manager's blobs say.
pub(crate) struct EpochState {
    pub(crate) active: Vec<String>,
    pub(crate) write_epoch: u64,
    pub(crate) deletion_watermark_s: u64,
}

/// Computes the active set of a repository with epochs from all blob IDs in order.
pub(crate) fn epoch_state(ids: &[&str]) -> EpochState {
    let largest = |prefix: &str| {
        ids.iter()
            .filter_map(|id| decimal(id.strip_prefix(prefix)?))
            .max()
            .unwrap_or(0)
    };
    let write_epoch = largest("xe");
    let mut singles: BTreeMap<u64, Vec<&str>> = BTreeMap::new();
    let mut ranges: BTreeMap<(u64, u64), Vec<&str>> = BTreeMap::new();
    for id in ids {
        if let Some(rest) = id.strip_prefix("xs")
            && let Some(epoch) = rest.split('_').next().and_then(decimal)
        {
            singles.entry(epoch).or_default().push(id);
        } else if let Some(rest) = id.strip_prefix("xr") {
            let mut parts = rest.split('_');
            if let (Some(Some(first)), Some(Some(last))) =
                (parts.next().map(decimal), parts.next().map(decimal))
            {
                ranges.entry((first, last)).or_default().push(id);
            }
        }
    }
    let singles: BTreeMap<u64, Vec<&str>> = singles
        .into_iter()
        .filter_map(|(epoch, ids)| Some((epoch, complete_set(&ids)?)))
        .collect();
    let ranges: BTreeMap<(u64, u64), Vec<&str>> = ranges
        .into_iter()
        .filter(|((first, last), _)| first < last)
        .filter_map(|(range, ids)| Some((range, complete_set(&ids)?)))
        .collect();

    let mut active = Vec::new();
    let mut next = 0;
    for range in longest_chain(&ranges.keys().copied().collect::<Vec<_>>(), 0).1 {
        active.extend(ranges[&range].iter().map(|&id| id.to_owned()));
        next = range.1.saturating_add(1);
    }
    for epoch in next..=write_epoch.saturating_add(1) {
        let settled = epoch
            .checked_add(2)
            .is_some_and(|later| later <= write_epoch);
        if let (true, Some(set)) = (settled, singles.get(&epoch)) {
            active.extend(set.iter().map(|&id| id.to_owned()));
        } else {
            let prefix = format!("xn{epoch}_");
            active.extend(
                ids.iter()
                    .filter(|id| id.starts_with(&prefix))
                    .map(|&id| id.to_owned()),
            );
        }
    }
    EpochState {
        active,
        write_epoch,
        deletion_watermark_s: largest("xw"),
    }
}

/// The first set to become complete, in listing order.
fn complete_set<'a>(ids: &[&'a str]) -> Option<Vec<&'a str>> {
    let mut sets: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for id in ids {
        let parts: Vec<&str> = id.split('-').collect();
        let (set, count) = match parts[..] {
            [_, set, count] if set.starts_with('s') => {
                (set, count.strip_prefix('c').and_then(decimal))
            }
            _ => return Some(vec![id]),
        };
        let Some(count) = count else {
            return Some(vec![id]);
        };
        let members = sets.entry(set).or_default();
        members.push(id);
        if members.len() as u64 == count {
            return Some(members.clone());
        }
    }
    None
}

/// The chain of ranges from `start` that reaches furthest, with the fewest ranges; and the epoch after it.
fn longest_chain(ranges: &[(u64, u64)], start: u64) -> (u64, Vec<(u64, u64)>) {
    let mut best = (start, Vec::new());
    for &(first, last) in ranges.iter().filter(|(first, _)| *first == start) {
        let (reach, mut rest) = longest_chain(ranges, last.saturating_add(1));
        rest.insert(0, (first, last));
        if reach > best.0 || (reach == best.0 && rest.len() < best.1.len()) {
            best = (reach, rest);
        }
    }
    best
}

/// The active set without epochs: all `n` blobs but the inputs of valid compaction logs.
pub(crate) fn legacy_active(
    ids: &[&str],
    compactions: &[(Vec<String>, Vec<String>)],
) -> Vec<String> {
    let present: BTreeSet<&str> = ids.iter().copied().collect();
    let replaced: BTreeSet<&str> = compactions
        .iter()
        .filter(|(_, outputs)| {
            outputs
                .iter()
                .all(|output| present.contains(output.as_str()))
        })
        .flat_map(|(inputs, _)| inputs.iter().map(String::as_str))
        .collect();
    ids.iter()
        .filter(|id| id.starts_with('n') && !replaced.contains(*id))
        .map(|&id| id.to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compactions_count_only_where_they_are_complete_settled_and_linked() {
        let ids = [
            "xe4",
            "xe5",
            "xn0_a-s1-c1",
            "xn1_a-s1-c1",
            "xn12_a-s1-c1",
            "xn2_a-s1-c1",
            "xn3_a-s1-c1",
            "xn4_a-s1-c1",
            "xn6_a-s1-c1",
            "xn7_a-s1-c1",
            "xr0_1_a-s1-c1",
            "xr0_1_b-s2-c1",
            "xr3_9_a-s1-c1",
            "xs2_a-s1-c2",
            "xs3_a-s1-c2",
            "xs3_b-s1-c2",
            "xs4_a-s1-c1",
            "xw5",
            "xw12",
        ];
        let state = epoch_state(&ids);
        assert_eq!(
            state.active,
            [
                "xr0_1_a-s1-c1",
                "xn2_a-s1-c1",
                "xs3_a-s1-c2",
                "xs3_b-s1-c2",
                "xn4_a-s1-c1",
                "xn6_a-s1-c1"
            ]
        );
        assert_eq!((state.write_epoch, state.deletion_watermark_s), (5, 12));
    }

    #[test]
    fn chains_reach_as_far_as_they_can_with_few_ranges() {
        let ranges = [(0, 3), (0, 7), (4, 7), (4, 9), (8, 9), (11, 20)];
        assert_eq!(longest_chain(&ranges, 0), (10, vec![(0, 3), (4, 9)]));
    }

    #[test]
    fn legacy_compactions_count_only_if_their_outputs_exist() {
        let ids = ["n1", "n2", "n3", "n4"];
        let log = |inputs: &[&str], outputs: &[&str]| {
            let own = |list: &[&str]| list.iter().map(|&id| id.to_owned()).collect();
            (own(inputs), own(outputs))
        };
        let active = legacy_active(&ids, &[log(&["n1", "n2"], &["n3"]), log(&["n4"], &["n9"])]);
        assert_eq!(active, ["n3", "n4"]);
    }
}
