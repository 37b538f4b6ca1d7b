//! What is believed of Hyper-V from now on because of answers.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use windows_host::hyperv::Beliefs;
use windows_host::wmi::TextForm;

use crate::verdicts::{Answer, Verdict};

/// How long the end of a checkpoint may take where it waits for the merge (Hyper-V spec 4.6).
const MERGE_LIMIT: Duration = Duration::from_hours(4);

/// What answers say of beliefs; what was not answered says nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Learned {
    /// RH-17: methods take CIM DTD 2.0, or else WMI DTD 2.0 alone.
    pub cim_texts_are_taken: Option<bool>,
    /// RH-5: a checkpoint's disks have the VM's ids behind the first `\`.
    pub checkpoints_keep_ids: Option<bool>,
    /// RH-11, RH-22: block tables tell what is allocated.
    pub block_tables_tell_allocation: Option<bool>,
    /// RH-18: the jobs that end checkpoints end before their merges.
    pub jobs_end_before_merges: Option<bool>,
}

impl Learned {
    /// Returns what answers teach.
    pub fn of(answers: &[Answer]) -> Self {
        let is = |id: &str| {
            let mut answers = answers.iter();
            match answers.find(|answer| answer.id == id)?.verdict {
                Verdict::Confirmed => Some(true),
                Verdict::Refuted => Some(false),
                Verdict::NotTried(_) => None,
            }
        };
        Self {
            // A host that takes neither teaches nothing.
            cim_texts_are_taken: is("RH-17a").filter(|&cim| cim || is("RH-17b") == Some(true)),
            checkpoints_keep_ids: is("RH-5a"),
            block_tables_tell_allocation: is("RH-22a"),
            jobs_end_before_merges: is("RH-18a"),
        }
    }

    /// Returns these answers, and older ones where these say nothing.
    pub fn or(self, older: &Self) -> Self {
        Self {
            cim_texts_are_taken: self.cim_texts_are_taken.or(older.cim_texts_are_taken),
            checkpoints_keep_ids: self.checkpoints_keep_ids.or(older.checkpoints_keep_ids),
            block_tables_tell_allocation: self
                .block_tables_tell_allocation
                .or(older.block_tables_tell_allocation),
            jobs_end_before_merges: self.jobs_end_before_merges.or(older.jobs_end_before_merges),
        }
    }

    /// Returns older answers as a self-test leaves them that saw less: it says what they do not, and
    /// takes back what they confirmed. What they refuted stays refuted.
    pub fn seeing_less(self, older: &Self) -> Self {
        let both = |this: Option<bool>, older: Option<bool>| match (this, older) {
            (Some(this), Some(older)) => Some(this && older),
            (this, older) => this.or(older),
        };
        Self {
            cim_texts_are_taken: both(self.cim_texts_are_taken, older.cim_texts_are_taken),
            checkpoints_keep_ids: both(self.checkpoints_keep_ids, older.checkpoints_keep_ids),
            block_tables_tell_allocation: both(
                self.block_tables_tell_allocation,
                older.block_tables_tell_allocation,
            ),
            jobs_end_before_merges: both(self.jobs_end_before_merges, older.jobs_end_before_merges),
        }
    }

    /// Returns what is to be believed: the spec's own choices, but for what answers say.
    pub fn beliefs(&self) -> Beliefs {
        let mut beliefs = Beliefs::default();
        if self.cim_texts_are_taken == Some(false) {
            beliefs.text_form = TextForm::WmiDtd20;
        }
        let known = self.checkpoints_keep_ids;
        beliefs.checkpoints_keep_ids = known.unwrap_or(beliefs.checkpoints_keep_ids);
        let known = self.block_tables_tell_allocation;
        beliefs.block_tables_tell_allocation =
            known.unwrap_or(beliefs.block_tables_tell_allocation);
        if self.jobs_end_before_merges == Some(false) {
            beliefs.limits.convert = MERGE_LIMIT;
            beliefs.limits.destroy = MERGE_LIMIT;
        }
        beliefs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(id: &'static str, is: bool) -> Answer {
        match is {
            true => Answer::confirmed(id),
            false => Answer::refuted(id),
        }
    }

    #[test]
    fn without_answers_the_specs_choices_are_believed() {
        assert_eq!(Learned::default().beliefs(), Beliefs::default());
        let untried = [Answer::not_tried("RH-5a", "no time")];
        assert_eq!(Learned::of(&untried), Learned::default());
    }

    #[test]
    fn beliefs_follow_answers_in_either_direction() {
        for is in [true, false] {
            let answers = ["RH-5a", "RH-18a", "RH-22a", "RH-17a"].map(|id| answered(id, is));
            let mut answers = answers.to_vec();
            answers.push(answered("RH-17b", true));
            let beliefs = Learned::of(&answers).beliefs();
            assert_eq!(beliefs.checkpoints_keep_ids, is);
            assert_eq!(beliefs.block_tables_tell_allocation, is);
            assert_eq!(beliefs.text_form == TextForm::CimDtd20, is);
            let usual = Beliefs::default().limits;
            assert_eq!(beliefs.limits == usual, is, "{:?}", beliefs.limits);
        }
    }

    #[test]
    fn a_host_that_takes_no_text_at_all_teaches_nothing() {
        let answers = [answered("RH-17a", false), answered("RH-17b", false)];
        assert_eq!(Learned::of(&answers), Learned::default());
    }

    #[test]
    fn a_self_test_that_saw_less_gives_no_confidence_that_an_earlier_one_took() {
        for (this, older, expected) in [
            (Some(true), Some(false), Some(false)),
            (Some(false), Some(true), Some(false)),
            (None, Some(true), Some(true)),
            (None, Some(false), Some(false)),
            (Some(true), None, Some(true)),
        ] {
            let learned = |answer| Learned {
                cim_texts_are_taken: answer,
                checkpoints_keep_ids: answer,
                block_tables_tell_allocation: answer,
                jobs_end_before_merges: answer,
            };
            let both = learned(this).seeing_less(&learned(older));
            assert_eq!(both, learned(expected), "{this:?} after {older:?}");
        }
    }

    #[test]
    fn what_was_not_tried_again_stays_known() {
        let older = Learned {
            checkpoints_keep_ids: Some(false),
            jobs_end_before_merges: Some(false),
            ..Learned::default()
        };
        let newer = Learned {
            jobs_end_before_merges: Some(true),
            ..Learned::default()
        };
        let both = newer.or(&older);
        assert_eq!(both.checkpoints_keep_ids, Some(false));
        assert_eq!(both.jobs_end_before_merges, Some(true));
    }
}
