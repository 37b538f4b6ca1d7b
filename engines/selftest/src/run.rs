//! A self-test from its lock to its report.

use std::cell::Cell;
use std::path::Path;

use backup::vm::{MARK, StateFolder};
use hyperv::{HypervErrorKind, Vm, VmId};
use progress::Progress;
use time_and_chance::{Chance, SharedClock};
use uuid::Uuid;

use crate::answers::Answers;
use crate::cleaning::clean;
use crate::error::{SelfTestError, SelfTestErrorKind, backup_error, host_error, not_merged};
use crate::journal::{Journal, Journals};
use crate::learned::Learned;
use crate::options::{Connect, Connected, Options};
use crate::own_vm;
use crate::probes::Bench;
use crate::questions::QUESTIONS;
use crate::report::{HostFacts, Report, VmFacts};
use crate::verdicts::{self, Answer, Verdict};

/// A self-test.
#[derive(Debug)]
pub struct SelfTest<'a> {
    /// Opens the host.
    pub connect: &'a dyn Connect,
    /// The state folder, for locks, the journal and the answers.
    pub state_folder: &'a Path,
    /// How thorough it is.
    pub options: &'a Options,
    /// The clock.
    pub clock: &'a SharedClock,
    /// The source of chance.
    pub chance: &'a Chance,
    /// The version of this program.
    pub agent_version: &'a str,
}

/// What there was before: it is to be so again.
#[derive(Debug, PartialEq, Eq)]
struct Before {
    checkpoints: Vec<String>,
    points: Vec<String>,
    planned: Vec<Uuid>,
    depths: Vec<u32>,
}

impl SelfTest<'_> {
    /// Works through all questions with one VM, undoes what it did, and keeps the answers.
    ///
    /// A host that refuses something on the way ends the questions early and not the report.
    ///
    /// # Errors
    /// `Locked` if a run works on the VM, `Stopped` on request, `Host` if nothing could be begun.
    pub fn run(&self, vm: VmId, progress: &Progress) -> Result<Report, SelfTestError> {
        self.run_with(vm, false, progress)
    }

    fn run_with(
        &self,
        vm: VmId,
        is_own: bool,
        progress: &Progress,
    ) -> Result<Report, SelfTestError> {
        let started_at = self.clock.now();
        let on = self.connect.connect(&Learned::default().beliefs());
        let on = on.map_err(host_error("connect"))?;
        let state = StateFolder::open(self.state_folder).map_err(backup_error("begin"))?;
        let _lock = state.lock(vm).map_err(backup_error("begin"))?;
        self.begin(&on, &state, vm)?;
        let host = host_facts(&on)?;
        let journals = Journals::new(self.state_folder);
        let run = self.chance.uuid();
        let mut bench = Bench {
            on,
            vm,
            journals: &journals,
            journal: Journal {
                mark: format!("{MARK} selftest {run} {started_at}"),
                ..Journal::default()
            },
            planned_name: format!("e3 selftest {run}"),
            options: self.options,
            clock: self.clock,
            progress,
            answers: Vec::new(),
            ends: Vec::new(),
            is_merge_given_up: Cell::new(false),
        };
        let machine = make_ready(&bench)?;
        let before = Before::of(&bench.on, vm)?;
        let ended = self.ask(&mut bench, &machine);
        let undone = self.undo(&bench, &before);
        let ended_early = match ended {
            Ok(()) => None,
            Err(error) if error.kind() == SelfTestErrorKind::Stopped => {
                return Err(stopped_with(error, &undone));
            }
            Err(error) => Some(error.to_string()),
        };
        bench.answer([undone]);
        let answers = complete(bench.answers, ended_early.as_deref());
        let learned = Learned::of(&answers);
        // A VM of its own is off and has little to show.
        let saw_less = ended_early.is_some() || is_own;
        self.keep(&host, &learned, saw_less)?;
        Ok(Report {
            agent_version: self.agent_version.to_owned(),
            host,
            vm: VmFacts::of(&machine),
            started_at,
            finished_at: self.clock.now(),
            answers,
            ended_early,
            learned,
        })
    }

    /// Makes a small VM, works through all questions with that, and removes it with its files,
    /// whatever happens.
    ///
    /// # Errors
    /// As [`run`](Self::run), `Locked` if another self-test works with a VM of its own, `Host` if none
    /// can be made.
    pub fn run_with_own_vm(&self, progress: &Progress) -> Result<Report, SelfTestError> {
        let on = self.connect.connect(&Learned::default().beliefs());
        let on = on.map_err(host_error("connect"))?;
        if on.probing.is_none() {
            return Err(own_vm::makes_none());
        }
        let state = StateFolder::open(self.state_folder).map_err(backup_error("begin"))?;
        let _lock = state.lock_self_test().map_err(backup_error("begin"))?;
        if let Some(why) = self.remove_own_vm(&on, &state) {
            let kind = SelfTestErrorKind::Host(HypervErrorKind::Busy);
            let text = format!("remove the VM that an earlier self-test made: {why}");
            return Err(SelfTestError::new(kind, text));
        }
        progress.phase("making a VM");
        let made = own_vm::make(
            &on,
            self.connect,
            self.state_folder,
            (self.clock, self.chance),
        );
        let report = made.and_then(|vm| self.run_with(vm, true, progress));
        progress.phase("removing the VM");
        match (report, self.remove_own_vm(&on, &state)) {
            (report, None) => report,
            (Ok(report), Some(why)) => Ok(report.leaving(&why)),
            (Err(error), Some(why)) => Err(SelfTestError::new(
                error.kind(),
                format!(
                    "remove the VM it had made ({why}): `host clean` does once the host lets it"
                ),
            )
            .caused_by(error)),
        }
    }

    /// Removes the VM that a self-test made; says why if it is still there.
    fn remove_own_vm(&self, on: &Connected, state: &StateFolder) -> Option<String> {
        match own_vm::remove(on, state, self.state_folder, self.clock.now(), false) {
            Ok(cleaned) if cleaned.warnings.is_empty() => None,
            Ok(cleaned) => Some(cleaned.warnings.join("; ")),
            Err(error) => Some(error.to_string()),
        }
    }

    /// Removes what earlier runs left, and looks whether another product is at work.
    fn begin(&self, on: &Connected, state: &StateFolder, vm: VmId) -> Result<(), SelfTestError> {
        let cleaned = clean(&*on.host, self.state_folder, vm, false)?;
        // This one's journal would take the earlier one's place, and what that names be forgotten.
        if Journals::new(self.state_folder).read(vm)?.is_some() {
            return Err(SelfTestError::new(
                SelfTestErrorKind::Host(HypervErrorKind::Busy),
                format!(
                    "begin: what an earlier self-test of this VM left is not gone yet: {}; try again later, or `host clean`",
                    cleaned.warnings.join("; ")
                ),
            ));
        }
        let now = self.clock.now();
        let found =
            backup::vm::clean(&*on.host, state, vm, now, false).map_err(backup_error("begin"))?;
        if found.another_product_at_work {
            let names = found.foreign_checkpoints.join(", ");
            return Err(SelfTestError::new(
                SelfTestErrorKind::Host(HypervErrorKind::Busy),
                format!(
                    "begin: another product is backing this VM up: its recovery checkpoint is there ({names}); try again when it is gone"
                ),
            ));
        }
        Ok(())
    }

    fn ask(&self, bench: &mut Bench<'_>, machine: &Vm) -> Result<(), SelfTestError> {
        bench.look_around(machine)?;
        let tries = bench.texts(self.connect, machine);
        if bench.on.probing.is_some() {
            let tries = tries?;
            bench.answer(verdicts::text_forms(&tries));
            // From here on the host is told as it wants to be.
            let learned = Learned::of(&bench.answers);
            let on = self.connect.connect(&learned.beliefs());
            bench.on = on.map_err(host_error("connect"))?;
        }
        let (first, samples) = bench.first(machine)?;
        let second = bench.second(&first, samples)?;
        bench.third(&first, &second)?;
        if bench.on.probing.is_some() {
            let ends = std::mem::take(&mut bench.ends);
            bench.answer([verdicts::jobs_and_merges(&ends)]);
        }
        Ok(())
    }

    /// Undoes everything and compares with what there was.
    fn undo(&self, bench: &Bench<'_>, before: &Before) -> Answer {
        const ID: &str = "C6";
        bench.progress.phase("undoing everything");
        let cleaned = clean(&*bench.on.host, self.state_folder, bench.vm, false);
        let cleaned = match cleaned {
            Ok(cleaned) => cleaned,
            Err(error) => return Answer::refuted(ID).seeing(error.to_string()),
        };
        let merged = match bench.wait_for_merge() {
            Ok(Ok(_)) => None,
            Ok(Err(why)) => Some(format!("a merge goes on: {why}")),
            Err(error) if error.kind() == SelfTestErrorKind::Stopped => {
                Some("a merge goes on, and was not waited for: stopped on request".to_owned())
            }
            Err(error) => Some(error.to_string()),
        };
        let after = Before::of(&bench.on, bench.vm);
        let same = after.as_ref().is_ok_and(|after| after == before);
        let mut answer = Answer::of(ID, same && cleaned.warnings.is_empty() && merged.is_none());
        answer.evidence.extend(cleaned.warnings);
        answer.evidence.extend(merged);
        answer.evidence.extend(match after {
            Ok(after) if after != *before => Some(format!("there were {before:?}, now {after:?}")),
            Ok(_) => None,
            Err(error) => Some(error.to_string()),
        });
        answer
    }

    fn keep(
        &self,
        host: &HostFacts,
        learned: &Learned,
        saw_less: bool,
    ) -> Result<(), SelfTestError> {
        let HostFacts::Windows { name, build } = host else {
            // A simulated host is believed nothing of.
            return Ok(());
        };
        let answers = Answers {
            windows: name.clone(),
            build: build.clone(),
            agent_version: self.agent_version.to_owned(),
            asked_at: self.clock.now(),
            learned: learned.clone(),
        };
        answers.keep(self.state_folder, saw_less)
    }
}

/// Waits until the VM's disks are merged, which what an earlier self-test left may need, and looks
/// whether it can be worked on.
fn make_ready(bench: &Bench<'_>) -> Result<Vm, SelfTestError> {
    bench.wait_for_merge()?.map_err(not_merged("begin"))?;
    let (host, vm) = (&*bench.on.host, bench.vm);
    let machine = host.vm(vm).map_err(host_error("look at the VM"))?;
    if let Some(operation) = &machine.operation {
        let text = format!("begin: the VM is busy ({operation:?}); try again when that is over");
        let kind = SelfTestErrorKind::Host(HypervErrorKind::Busy);
        return Err(SelfTestError::new(kind, text));
    }
    let floor = bench.options.hold_limits.free_bytes_min;
    backup::vm::check_space(host, vm, floor).map_err(backup_error("begin"))?;
    Ok(machine)
}

/// Says of a self-test that was stopped what it left, if it left anything.
fn stopped_with(error: SelfTestError, undone: &Answer) -> SelfTestError {
    if undone.verdict == Verdict::Confirmed {
        return error;
    }
    let left = undone.evidence.join("; ");
    SelfTestError::new(
        SelfTestErrorKind::Stopped,
        format!(
            "leave the VM as it was ({left}): a merge ends by itself, `host clean` removes what else is left"
        ),
    )
    .caused_by(error)
}

fn host_facts(on: &Connected) -> Result<HostFacts, SelfTestError> {
    let Some(probing) = &on.probing else {
        return Ok(HostFacts::Simulated);
    };
    let windows = probing.windows_version();
    let windows = windows.map_err(host_error("ask which Windows this is"))?;
    Ok(HostFacts::Windows {
        name: windows.name,
        build: windows.build,
    })
}

/// Puts answers into the order of the questions, and says why the others were not tried.
fn complete(answers: Vec<Answer>, ended_early: Option<&str>) -> Vec<Answer> {
    let of = |id: &'static str| {
        let given = answers.iter().find(|answer| answer.id == id);
        given.cloned().unwrap_or_else(|| {
            let answer = Answer::untried(id);
            match ended_early {
                Some(why) => answer.seeing(format!("the self-test ended early: {why}")),
                None => answer,
            }
        })
    };
    QUESTIONS.iter().map(|question| of(question.id)).collect()
}

impl Before {
    fn of(on: &Connected, vm: VmId) -> Result<Self, SelfTestError> {
        let looking = || host_error("look at the VM");
        let host = &on.host;
        let checkpoints = host.checkpoints(vm).map_err(looking())?;
        let points = host.reference_points(vm).map_err(looking())?;
        let planned = host.planned_vms().map_err(looking())?;
        let machine = host.vm(vm).map_err(looking())?;
        Ok(Self {
            checkpoints: checkpoints
                .iter()
                .map(|known| known.id.to_string())
                .collect(),
            points: points.iter().map(|known| known.id.to_string()).collect(),
            planned: planned.iter().map(|(id, _)| id.0).collect(),
            depths: machine.disks.iter().map(|disk| disk.chain_depth).collect(),
        })
    }
}

impl VmFacts {
    fn of(vm: &Vm) -> Self {
        Self {
            name: vm.name.clone(),
            guid: vm.id,
            generation: vm.generation,
            version: vm.version.clone(),
            state: vm.state,
            guest: vm.guest.as_ref().map(|guest| guest.name.clone()),
            disk_bytes: vm.disks.iter().map(|disk| disk.virtual_bytes).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_question_is_in_a_report_once() {
        let answers = complete(vec![Answer::confirmed("C1")], Some("the host went away"));
        assert_eq!(answers.len(), QUESTIONS.len());
        let confirmed = answers.iter().filter(|answer| answer.id == "C1");
        assert_eq!(confirmed.count(), 1);
        let other = answers.iter().find(|answer| answer.id == "RH-2");
        let evidence = &other.expect("it is a question").evidence;
        assert!(evidence[0].contains("the host went away"), "{evidence:?}");
    }
}
