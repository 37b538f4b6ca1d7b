//! A report: the same facts for people, in Markdown, and for programs.
//!
//! It names the VM that was asked and no other, no paths, no accounts, no secrets: it is made to be
//! sent to whoever can make something of it.

use std::fmt::Write as _;

use hyperv::{Generation, VmId, VmState};
use serde::Serialize;
use serde_json::{Value, json};
use time_and_chance::Timestamp;

use crate::learned::Learned;
use crate::questions::Question;
use crate::verdicts::{Answer, Verdict};

/// Which host it is of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HostFacts {
    /// A Windows.
    Windows {
        /// Its name, as it shows itself.
        name: String,
        /// Its build.
        build: String,
    },
    /// A folder that plays one: its answers say nothing of a real one.
    Simulated,
}

/// The VM that was asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct VmFacts {
    pub name: String,
    pub guid: VmId,
    pub generation: Generation,
    pub version: String,
    pub state: VmState,
    pub guest: Option<String>,
    pub disk_bytes: Vec<u64>,
}

/// What a self-test found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The agent that asked.
    pub agent_version: String,
    /// The host.
    pub host: HostFacts,
    pub(crate) vm: VmFacts,
    /// When it began.
    pub started_at: Timestamp,
    /// When it was over.
    pub finished_at: Timestamp,
    /// An answer for each question, in the order of the spec.
    pub answers: Vec<Answer>,
    /// Why questions were left, if the host stood in the way.
    pub ended_early: Option<String>,
    /// What is believed from now on.
    pub learned: Learned,
}

impl Report {
    /// Returns how many claims were confirmed, refuted and not tried.
    pub fn counts(&self) -> (usize, usize, usize) {
        let count = |is: fn(&Verdict) -> bool| {
            let answers = self.answers.iter();
            answers.filter(|answer| is(&answer.verdict)).count()
        };
        (
            count(|verdict| *verdict == Verdict::Confirmed),
            count(|verdict| *verdict == Verdict::Refuted),
            count(|verdict| matches!(verdict, Verdict::NotTried(_))),
        )
    }

    /// Returns what the agent does differently: each refuted claim's id, and what follows.
    pub fn differently(&self) -> Vec<(&'static str, &'static str)> {
        let refuted = self
            .answers
            .iter()
            .filter(|answer| answer.verdict == Verdict::Refuted);
        refuted
            .map(|answer| (answer.id, Question::of(answer.id).if_refuted))
            .collect()
    }

    /// Returns whether everything that was done is undone.
    pub fn is_undone(&self) -> bool {
        let mut answers = self.answers.iter();
        answers.any(|answer| answer.id == "C6" && answer.verdict == Verdict::Confirmed)
    }

    /// Returns the report of a self-test that could not remove the VM it had made.
    pub(crate) fn leaving(mut self, why: &str) -> Self {
        let mut answers = self.answers.iter_mut();
        if let Some(undone) = answers.find(|answer| answer.id == "C6") {
            undone.verdict = Verdict::Refuted;
            undone.evidence.push(why.to_owned());
        }
        self
    }

    /// Returns the report as a document.
    pub fn document(&self) -> Value {
        let answers: Vec<Value> = self.answers.iter().map(answer_document).collect();
        let differently: Vec<Value> = self
            .differently()
            .into_iter()
            .map(|(id, what)| json!({ "id": id, "what": what }))
            .collect();
        let (confirmed, refuted, not_tried) = self.counts();
        json!({
            "agent_version": self.agent_version,
            "host": self.host,
            "vm": self.vm,
            "started_at": self.started_at,
            "finished_at": self.finished_at,
            "ended_early": self.ended_early,
            "undone": self.is_undone(),
            "confirmed": confirmed,
            "refuted": refuted,
            "not_tried": not_tried,
            "answers": answers,
            "differently": differently,
            "learned": self.learned,
        })
    }

    /// Returns the report in Markdown.
    pub fn markdown(&self) -> String {
        let mut text = String::from("# Self-test of a Hyper-V host\n\n");
        self.write_facts(&mut text);
        self.write_differences(&mut text);
        for (title, is) in [
            (
                "Refuted",
                (|verdict| *verdict == Verdict::Refuted) as fn(&Verdict) -> bool,
            ),
            ("Confirmed", |verdict| *verdict == Verdict::Confirmed),
            ("Not tried", |verdict| {
                matches!(verdict, Verdict::NotTried(_))
            }),
        ] {
            let answers: Vec<_> = self
                .answers
                .iter()
                .filter(|answer| is(&answer.verdict))
                .collect();
            if !answers.is_empty() {
                let _ = writeln!(text, "## {title}\n");
                answers
                    .into_iter()
                    .for_each(|answer| write_answer(&mut text, answer));
                text.push('\n');
            }
        }
        text
    }

    fn write_facts(&self, text: &mut String) {
        let host = match &self.host {
            HostFacts::Windows { name, build } => format!("{name}, build {build}"),
            HostFacts::Simulated => {
                "a simulated host: nothing here says anything of a real one".to_owned()
            }
        };
        let (confirmed, refuted, not_tried) = self.counts();
        let guest = self.vm.guest.as_deref().unwrap_or("unknown");
        let disks: Vec<String> = self.vm.disk_bytes.iter().map(u64::to_string).collect();
        let facts = [
            ("host", host),
            ("agent", self.agent_version.clone()),
            ("VM", format!("{} ({})", self.vm.name, self.vm.guid)),
            (
                "",
                format!(
                    "generation {:?}, version {}, {:?}, guest {guest}, disks of {} bytes",
                    self.vm.generation,
                    self.vm.version,
                    self.vm.state,
                    disks.join(", ")
                ),
            ),
            ("began", self.started_at.to_string()),
            ("ended", self.finished_at.to_string()),
            (
                "claims",
                format!("{confirmed} confirmed, {refuted} refuted, {not_tried} not tried"),
            ),
        ];
        text.push_str("| | |\n|---|---|\n");
        for (name, fact) in facts {
            let _ = writeln!(text, "| {name} | {} |", in_table(&fact));
        }
        text.push('\n');
        if let Some(why) = &self.ended_early {
            let _ = writeln!(text, "**It ended early**: failed to {why}.\n");
        }
        if !self.is_undone() {
            text.push_str("**Not everything is undone**: see C6. `e3-backup-agent host clean` removes what is left.\n\n");
        }
    }

    fn write_differences(&self, text: &mut String) {
        let differently = self.differently();
        text.push_str("## What the agent does differently because of it\n\n");
        if differently.is_empty() {
            text.push_str("Nothing: no claim was refuted.\n");
        }
        for (id, what) in differently {
            let _ = writeln!(text, "- {id}: {what}.");
        }
        text.push('\n');
    }
}

fn answer_document(answer: &Answer) -> Value {
    let question = Question::of(answer.id);
    let (verdict, reason) = match &answer.verdict {
        Verdict::Confirmed => ("confirmed", None),
        Verdict::Refuted => ("refuted", None),
        Verdict::NotTried(why) => ("not_tried", Some(why)),
    };
    json!({
        "id": answer.id,
        "claim": question.claim,
        "verdict": verdict,
        "reason": reason,
        "evidence": answer.evidence,
        "consequence": (answer.verdict == Verdict::Refuted).then_some(question.if_refuted),
    })
}

fn write_answer(text: &mut String, answer: &Answer) {
    let question = Question::of(answer.id);
    let _ = write!(text, "- **{}** {}", answer.id, question.claim);
    if let Verdict::NotTried(why) = &answer.verdict {
        let _ = write!(text, ": {why}");
    }
    text.push('\n');
    for seen in &answer.evidence {
        let _ = writeln!(text, "  - `{}`", seen.replace('`', "'").replace('\n', " "));
    }
}

/// Returns text that stays within its cell.
fn in_table(text: &str) -> String {
    text.replace('|', r"\|").replace('\n', " ")
}
