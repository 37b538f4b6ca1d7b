//! From what was seen to answers: pure.

use std::collections::HashMap;

use disk::{ByteRange, RangeSet};
use hyperv::ReferencePoint;
use serde::Serialize;
use uuid::Uuid;
use windows_host::hyperv::{DiskEntry, WatchedEnd};
use windows_host::virtdisk::ChangeTracking;
use windows_host::wmi::TextForm;

use crate::questions::Question;
use crate::sample::{Sample, granularity, missed};

/// What came of a question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The claim holds on this host.
    Confirmed,
    /// It does not.
    Refuted,
    /// Nobody knows, and why.
    NotTried(String),
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The question's id.
    pub id: &'static str,
    /// What came of it.
    pub verdict: Verdict,
    /// What was seen.
    pub evidence: Vec<String>,
}

impl Answer {
    pub(crate) fn confirmed(id: &'static str) -> Self {
        Self::new(id, Verdict::Confirmed)
    }

    pub(crate) fn refuted(id: &'static str) -> Self {
        Self::new(id, Verdict::Refuted)
    }

    pub(crate) fn of(id: &'static str, holds: bool) -> Self {
        match holds {
            true => Self::confirmed(id),
            false => Self::refuted(id),
        }
    }

    pub(crate) fn not_tried(id: &'static str, why: impl Into<String>) -> Self {
        Self::new(id, Verdict::NotTried(why.into()))
    }

    /// Returns the answer that nobody sought, for the reason that stands with the question.
    pub(crate) fn untried(id: &'static str) -> Self {
        Self::not_tried(id, Question::of(id).untried)
    }

    pub(crate) fn seeing(mut self, evidence: impl Into<String>) -> Self {
        self.evidence.push(evidence.into());
        self
    }

    fn seeing_all(mut self, evidence: impl IntoIterator<Item = String>) -> Self {
        self.evidence.extend(evidence);
        self
    }

    fn new(id: &'static str, verdict: Verdict) -> Self {
        Self {
            id,
            verdict,
            evidence: Vec::new(),
        }
    }
}

/// What a method made of an embedded instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TextTry {
    pub method: &'static str,
    pub form: TextForm,
    pub outcome: TextOutcome,
}

/// Whether a text was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TextOutcome {
    Taken,
    /// A parameter made no sense to the method.
    Refused(String),
    /// Something else stood in the way, which says nothing of texts.
    Failed(String),
}

/// RH-17: a form is taken if every method takes it that could be tried, and one could.
pub(crate) fn text_forms(tries: &[TextTry]) -> Vec<Answer> {
    let of = |id, form| {
        let tries: Vec<_> = tries.iter().filter(|tried| tried.form == form).collect();
        let refused = tries
            .iter()
            .any(|tried| matches!(tried.outcome, TextOutcome::Refused(_)));
        let taken = tries
            .iter()
            .any(|tried| tried.outcome == TextOutcome::Taken);
        let answer = match (refused, taken) {
            (true, _) => Answer::refuted(id),
            (false, true) => Answer::confirmed(id),
            (false, false) => Answer::not_tried(id, "no method that takes one could be called"),
        };
        answer.seeing_all(tries.iter().map(|tried| match &tried.outcome {
            TextOutcome::Taken => format!("{}: taken", tried.method),
            TextOutcome::Refused(why) => format!("{}: refused ({why})", tried.method),
            TextOutcome::Failed(why) => format!("{}: could not be tried ({why})", tried.method),
        }))
    };
    vec![
        of("RH-17a", TextForm::CimDtd20),
        of("RH-17b", TextForm::WmiDtd20),
    ]
}

/// RH-1: the ids of frozen disks against those of the point that they became.
pub(crate) fn point_ids(frozen: &[(Uuid, Option<String>)], point: &ReferencePoint) -> Answer {
    const ID: &str = "RH-1a";
    let tracked: Vec<_> = frozen
        .iter()
        .filter_map(|(disk, id)| Some((disk, id.as_ref()?)))
        .collect();
    if tracked.is_empty() {
        return Answer::not_tried(ID, "no disk of the checkpoint tells a tracking id");
    }
    if point.disks.is_empty() {
        return Answer::not_tried(ID, "the reference point names no disk that can be told");
    }
    let is_same = |(disk, id): &(&Uuid, &String)| {
        let mut listed = point.disks.iter();
        listed.any(|listed| listed.virtual_disk_id == **disk && listed.change_id.as_str() == *id)
    };
    let same = tracked.iter().filter(|tracked| is_same(tracked)).count();
    Answer::of(ID, same == tracked.len()).seeing(format!(
        "{same} of {} frozen disks tell the id that the point has",
        tracked.len()
    ))
}

/// RH-9: whether disks are tracked.
pub(crate) fn tracked(frozen: &[(Uuid, Option<String>)], disks: Vec<String>) -> Answer {
    let all = frozen.iter().all(|(_, id)| id.is_some());
    Answer::of("RH-9", all && !frozen.is_empty()).seeing_all(disks)
}

/// RH-1 and RH-14: what frozen files say of themselves.
pub(crate) fn frozen_files(files: &[(ChangeTracking, bool)]) -> Vec<Answer> {
    if files.is_empty() {
        return Vec::new();
    }
    let newer = files.iter().filter(|(file, _)| file.newer_changes).count();
    let unseen = files.iter().filter(|(_, unseen)| *unseen).count();
    let of = |count: usize, what: &str| format!("{count} of {} disks {what}", files.len());
    vec![
        Answer::of("RH-1b", newer == 0).seeing(of(newer, "tell of newer changes")),
        Answer::of("RH-14", unseen == files.len()).seeing(of(unseen, "were attached unseen")),
    ]
}

/// Returns what follows the first backslash, by which Hyper-V's ids of one disk are the same.
fn tail(id: &str) -> String {
    let tail = id.split_once('\\').map_or("", |(_, tail)| tail);
    tail.to_ascii_lowercase()
}

/// RH-5: ids of the VM's disks against those of its checkpoint.
pub(crate) fn disk_ids(vm: &[DiskEntry], checkpoint: &[DiskEntry]) -> Vec<Answer> {
    let by_disk: HashMap<Uuid, &DiskEntry> = vm
        .iter()
        .map(|entry| (entry.virtual_disk_id, entry))
        .collect();
    let pairs: Vec<(&DiskEntry, &DiskEntry)> = checkpoint
        .iter()
        .filter_map(|frozen| Some((*by_disk.get(&frozen.virtual_disk_id)?, frozen)))
        .collect();
    let ids = match by_disk.len() == vm.len() && !pairs.is_empty() {
        // Disks that are copies of one another have one identity, and cannot be told apart.
        false => Answer::not_tried(
            "RH-5a",
            "which disk is which cannot be told by their identities",
        ),
        true => {
            let same = |(vm, frozen): &(&DiskEntry, &DiskEntry)| tail(&vm.id) == tail(&frozen.id);
            Answer::of("RH-5a", pairs.iter().all(same)).seeing_all(
                pairs
                    .iter()
                    .map(|(vm, frozen)| format!("VM {}, checkpoint {}", vm.id, frozen.id)),
            )
        }
    };
    vec![ids, controller_numbers(vm)]
}

/// RH-5: the second part of an id against the controller's number.
fn controller_numbers(vm: &[DiskEntry]) -> Answer {
    let numbered: Vec<_> = vm
        .iter()
        .filter(|entry| entry.controller_number > 0)
        .collect();
    if numbered.is_empty() {
        return Answer::untried("RH-5d");
    }
    let tells = |entry: &&DiskEntry| {
        let number = entry.id.split('\\').nth(2);
        number == Some(entry.controller_number.to_string().as_str())
    };
    Answer::of("RH-5d", numbered.iter().all(tells))
        .seeing_all(numbered.iter().map(|entry| entry.id.clone()))
}

/// RH-5: how a reference point names its disks.
pub(crate) fn point_entries(
    vm_guid: Uuid,
    vm: &[DiskEntry],
    point: &[(String, String)],
) -> Vec<Answer> {
    if point.is_empty() {
        let why = "the reference point names no disks";
        return vec![
            Answer::not_tried("RH-5b", why),
            Answer::not_tried("RH-5c", why),
        ];
    }
    let known: Vec<String> = vm.iter().map(|entry| tail(&entry.id)).collect();
    let paired = point.iter().all(|(disk, _)| known.contains(&tail(disk)));
    let guid = vm_guid.hyphenated().to_string();
    let begins = |disk: &str| {
        let head = disk.split('\\').next().unwrap_or_default();
        head.to_ascii_lowercase().ends_with(&guid)
    };
    let seen = point.iter().map(|(disk, _)| disk.clone());
    vec![
        Answer::of("RH-5b", paired).seeing_all(seen),
        Answer::of("RH-5c", point.iter().all(|(disk, _)| begins(disk))),
    ]
}

/// RH-11, RH-22: two samples of the frozen disks.
pub(crate) fn standing_still(first: &[Sample], second: &[Sample]) -> Vec<Answer> {
    let bytes: u64 = first.iter().map(|sample| sample.bytes).sum();
    if bytes == 0 {
        return Vec::new();
    }
    let pairs = first.iter().zip(second);
    let changed: usize = pairs.map(|(one, other)| one.differences(other).len()).sum();
    let holes: u64 = first.iter().map(|sample| sample.holes).sum();
    let full = first.iter().find_map(|sample| sample.full_hole);
    let still = Answer::of("RH-11", changed == 0).seeing(format!(
        "{bytes} bytes were read twice, {changed} extents differ"
    ));
    let holes_seen = format!("{holes} extents were called unallocated");
    let holes = match (full, holes) {
        (Some(at), _) => {
            Answer::refuted("RH-22a").seeing(format!("{holes_seen}, the one at {at} holds data"))
        }
        (None, 0) => Answer::not_tried("RH-22a", "nothing that was sampled is called unallocated"),
        (None, _) => Answer::confirmed("RH-22a").seeing(holes_seen),
    };
    vec![still, holes]
}

/// One disk at two frozen instants, and what tracking says changed between them.
#[derive(Debug, Clone)]
pub(crate) struct TwoInstants {
    pub earlier: Sample,
    pub later: Sample,
    /// What the later one tells, or why it cannot.
    pub changes: Result<RangeSet, String>,
    pub size: u64,
}

/// C2 and RH-8: changed ranges against what differs.
pub(crate) fn coverage(disks: &[TwoInstants]) -> Vec<Answer> {
    let known: Vec<_> = disks
        .iter()
        .filter_map(|disk| Some((disk, disk.changes.as_ref().ok()?)))
        .collect();
    let mut seen: Vec<String> = disks
        .iter()
        .filter_map(|disk| disk.changes.as_ref().err().cloned())
        .collect();
    let mut first_missed: Option<ByteRange> = None;
    let mut finest: Option<u64> = None;
    for (disk, ranges) in &known {
        let differences = disk.earlier.differences(&disk.later);
        seen.push(format!(
            "{} extents differ, {} bytes in {} ranges are named",
            differences.len(),
            ranges.total_bytes(),
            ranges.iter().len()
        ));
        first_missed = first_missed.or(missed(&differences, ranges));
        finest = finest
            .into_iter()
            .chain(granularity(ranges, disk.size))
            .min();
    }
    let covered = match (known.is_empty(), first_missed) {
        (true, _) => Answer::untried("C2"),
        (false, None) => Answer::confirmed("C2"),
        (false, Some(range)) => {
            Answer::refuted("C2").seeing(format!("the change at {} is not named", range.start()))
        }
    };
    let mut granular = Answer::untried("RH-8");
    granular
        .evidence
        .extend(finest.map(|bytes| format!("ranges are multiples of {bytes} bytes")));
    vec![covered.seeing_all(seen), granular]
}

/// Whether ids are known: RH-2 of the destroyed point, RH-10 of the one that is left.
pub(crate) fn ids_known(id: &'static str, answers: &[Result<(), String>]) -> Answer {
    let known = answers.iter().filter(|answer| answer.is_ok()).count();
    if answers.is_empty() {
        return Answer::not_tried(id, "the reference point names no tracked disk");
    }
    Answer::of(id, known == answers.len())
        .seeing(format!("{known} of {} disks know it", answers.len()))
        .seeing_all(answers.iter().filter_map(|answer| answer.clone().err()))
}

/// RH-18: jobs against merges. A merge that is over before anyone looks twice says nothing.
pub(crate) fn jobs_and_merges(ends: &[WatchedEnd]) -> Answer {
    const ID: &str = "RH-18a";
    const LOOKS_MIN: u32 = 2;
    let seen = ends.iter().map(|end| match end.job {
        Some(job) => format!(
            "a job of {} ms, {} looks saw it run beside a merge, {} at its end",
            job.as_millis(),
            end.looks_at_both,
            match end.merges_after_it {
                true => "merges went on",
                false => "none was left",
            }
        ),
        None => "no job was made".to_owned(),
    });
    let with_job = || ends.iter().filter(|end| end.job.is_some());
    let answer = if ends.iter().any(|end| end.merges_after_it) {
        Answer::confirmed(ID)
    } else if with_job().any(|end| end.looks_at_both >= LOOKS_MIN) {
        Answer::refuted(ID)
    } else {
        Answer::not_tried(
            ID,
            "the merges were over too soon to be seen; try a VM that writes more",
        )
    };
    answer.seeing_all(seen)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn entry(disk: u128, id: &str, controller_number: u32) -> DiskEntry {
        DiskEntry {
            virtual_disk_id: Uuid::from_u128(disk),
            id: id.to_owned(),
            controller_number,
        }
    }

    fn verdict(answers: &[Answer], id: &str) -> Verdict {
        let found = answers.iter().find(|answer| answer.id == id);
        found.expect("it was answered").verdict.clone()
    }

    #[test]
    fn a_text_form_is_taken_if_no_method_refuses_it() {
        let tried = |outcome| TextTry {
            method: "CreateSnapshot",
            form: TextForm::CimDtd20,
            outcome,
        };
        let refused = || TextOutcome::Refused("x".to_owned());
        let failed = || TextOutcome::Failed("x".to_owned());
        for (outcomes, expected) in [
            (vec![TextOutcome::Taken, TextOutcome::Taken], Some(true)),
            (vec![TextOutcome::Taken, refused()], Some(false)),
            (vec![TextOutcome::Taken, failed()], Some(true)),
            (vec![failed()], None),
        ] {
            let tries: Vec<_> = outcomes.into_iter().map(tried).collect();
            let found = verdict(&text_forms(&tries), "RH-17a");
            let expected = expected.map(|holds| Answer::of("RH-17a", holds).verdict);
            match expected {
                Some(expected) => assert_eq!(found, expected),
                None => assert!(matches!(found, Verdict::NotTried(_))),
            }
        }
    }

    #[test]
    fn ids_are_compared_by_disk_and_behind_the_first_backslash() {
        let vm = [
            entry(1, r"Microsoft:A\S\0\0\L", 0),
            entry(2, r"Microsoft:A\T\1\3\L", 1),
        ];
        let same = [
            entry(2, r"Microsoft:B\t\1\3\l", 1),
            entry(1, r"Microsoft:B\S\0\0\L", 0),
        ];
        let found = disk_ids(&vm, &same);
        assert_eq!(verdict(&found, "RH-5a"), Verdict::Confirmed);
        assert_eq!(verdict(&found, "RH-5d"), Verdict::Confirmed);
        let other = [
            entry(1, r"Microsoft:B\T\1\3\L", 0),
            entry(2, r"Microsoft:B\S\0\0\L", 0),
        ];
        assert_eq!(verdict(&disk_ids(&vm, &other), "RH-5a"), Verdict::Refuted);
        let without = [
            entry(1, r"Microsoft:A\S\0\0\L", 0),
            entry(2, r"Microsoft:A\T\0\3\L", 1),
        ];
        assert_eq!(
            verdict(&disk_ids(&without, &same), "RH-5d"),
            Verdict::Refuted
        );
        let copies = [entry(1, "a", 0), entry(1, "b", 0)];
        let unknown = verdict(&disk_ids(&copies, &copies), "RH-5a");
        assert!(matches!(unknown, Verdict::NotTried(_)));
    }

    #[test]
    fn a_merge_that_nobody_saw_says_nothing_of_jobs() {
        let end = |looks_at_both, merges_after_it| WatchedEnd {
            job: Some(Duration::from_secs(1)),
            looks_at_both,
            merges_after_it,
        };
        for (ends, expected) in [
            (vec![end(0, true)], Some(true)),
            (vec![end(9, false), end(0, true)], Some(true)),
            (vec![end(2, false)], Some(false)),
            (vec![end(1, false)], None),
            (vec![], None),
        ] {
            let found = jobs_and_merges(&ends).verdict;
            match expected {
                Some(holds) => assert_eq!(found, Answer::of("RH-18a", holds).verdict),
                None => assert!(matches!(found, Verdict::NotTried(_)), "{ends:?}"),
            }
        }
    }

    #[test]
    fn a_hole_with_data_refutes_block_tables() {
        let sample = |holes, full_hole| Sample {
            bytes: 1,
            holes,
            full_hole,
            ..Sample::default()
        };
        let of = |sample: Sample| {
            let samples = [sample];
            verdict(&standing_still(&samples, &samples), "RH-22a")
        };
        assert_eq!(of(sample(3, None)), Verdict::Confirmed);
        assert_eq!(of(sample(3, Some(0))), Verdict::Refuted);
        assert!(matches!(of(sample(0, None)), Verdict::NotTried(_)));
    }
}
