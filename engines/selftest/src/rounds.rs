//! The rounds: checkpoints of the VM that are taken, looked at from all sides, and ended.
//!
//! ```text
//! first      read twice, its ids, its configuration imported and given up   becomes a point
//! second     what changed since the first                                   becomes a point
//!            the first point goes
//! third      whether either point's ids are known                           destroyed
//!            the second point goes
//! ```

use std::time::Duration;

use backup::vm::CheckpointWatch;
use disk::{ChangeId, Changes};
use hyperv::{
    CheckpointId, HypervError, HypervErrorKind, ReferencePoint, ReferencePointId,
    RequestedConsistency, Vm, VmId, VmState,
};
use uuid::Uuid;

use crate::error::{SelfTestError, host_error, not_merged};
use crate::open_disk::{Ids, OpenDisk, changes, id_in, ids, is_on_share};
use crate::probes::{Bench, stopped};
use crate::sample::Sample;
use crate::verdicts::{self, Answer, TwoInstants};

impl Bench<'_> {
    /// The first round; returns the point it left, and what was read.
    pub(crate) fn first(
        &mut self,
        vm: &Vm,
    ) -> Result<(ReferencePoint, Vec<Sample>), SelfTestError> {
        self.phase("taking a checkpoint")?;
        let checkpoint = self.freeze_quiesced(vm)?;
        let (ids, samples) = self.holding(|bench, watch| {
            bench.second_checkpoint()?;
            bench.phase("reading the frozen disks")?;
            let seen = bench.look_at_frozen(checkpoint, watch)?;
            bench.look_beside(vm, checkpoint);
            bench.phase("copying and importing the configuration")?;
            bench.restores(checkpoint)?;
            Ok(seen)
        })?;
        self.phase("turning the checkpoint into a reference point")?;
        let point = self.convert(checkpoint, &ids)?;
        self.answer([
            verdicts::point_ids(&ids, &point),
            verdicts::tracked(&ids, described(vm)),
        ]);
        self.look_at_point(&point.id);
        let merged = self.wait_for_merge()?;
        self.answer([match &merged {
            Ok(waited) => {
                Answer::confirmed("RH-18b").seeing(format!("over after {} ms", waited.as_millis()))
            }
            Err(why) => Answer::refuted("RH-18b").seeing(why.clone()),
        }]);
        merged.map_err(not_merged("go on"))?;
        Ok((point, samples))
    }

    /// Takes a checkpoint as backups do: quiesced if the guest runs, as at power loss otherwise.
    fn freeze_quiesced(&mut self, vm: &Vm) -> Result<CheckpointId, SelfTestError> {
        let probing = self.on.probing.clone();
        let disabled = probing.map(|probing| probing.refuses_user_checkpoints(self.vm));
        let disabled = matches!(disabled, Some(Ok(true)));
        let is_linux = vm.guest.as_ref().is_some_and(|guest| !guest.windows);
        let runs = vm.state == VmState::Running;
        if runs {
            let on = self.on.clone();
            match self.try_freeze(&on, RequestedConsistency::Application)? {
                Ok(checkpoint) => {
                    if disabled {
                        self.answer([Answer::confirmed("RH-3")]);
                    }
                    if is_linux {
                        self.answer([Answer::confirmed("RH-12a")]);
                    }
                    return Ok(checkpoint);
                }
                Err(error) if error.kind() == HypervErrorKind::GuestRefused => {
                    if is_linux {
                        self.answer([Answer::refuted("RH-12a").seeing(error.to_string())]);
                    }
                    self.remove_marked()?;
                }
                Err(error) => return Err(host_error("take a checkpoint")(error)),
            }
        }
        let checkpoint = self.freeze(RequestedConsistency::Crash)?;
        if disabled {
            self.answer([Answer::confirmed("RH-3")]);
        }
        Ok(checkpoint)
    }

    /// Removes what a refused attempt left.
    fn remove_marked(&mut self) -> Result<(), SelfTestError> {
        let listed = self.on.host.checkpoints(self.vm);
        for left in listed.map_err(host_error("list checkpoints"))? {
            if left.name == self.journal.mark {
                self.destroy(left.id)?;
            }
        }
        Ok(())
    }

    /// C4: tries to take a second checkpoint.
    fn second_checkpoint(&mut self) -> Result<(), SelfTestError> {
        let on = self.on.clone();
        match self.try_freeze(&on, RequestedConsistency::Crash)? {
            Ok(second) => {
                self.answer([Answer::refuted("C4")]);
                self.destroy(second)
            }
            Err(error) => {
                self.answer([Answer::confirmed("C4").seeing(error.to_string())]);
                Ok(())
            }
        }
    }

    /// Reads the frozen disks twice, and asks them what they are.
    fn look_at_frozen(
        &mut self,
        checkpoint: CheckpointId,
        watch: &CheckpointWatch<'_>,
    ) -> Result<(Ids, Vec<Sample>), SelfTestError> {
        let disks = self.open(checkpoint)?;
        let ids = ids(&disks)?;
        let begun = self.clock.monotonic();
        let first = self.samples(&disks, watch)?;
        let took = self.clock.monotonic() - begun;
        self.unknown_ids(&disks);
        let shares = disks.iter().filter(|disk| is_on_share(disk)).count();
        if shares > 0 {
            self.answer([Answer::confirmed("RH-12b").seeing(format!("{shares} disks were read"))]);
        }
        if let Some(probing) = self.on.probing.clone() {
            let asked = disks
                .iter()
                .map(|disk| probing.frozen_file(&disk.frozen.path));
            let files = asked.filter_map(Result::ok).collect::<Vec<_>>();
            let mut answers = verdicts::frozen_files(&files);
            let bytes: u64 = first.iter().map(|sample| sample.bytes).sum();
            let speed = format!("{bytes} bytes were read in {} ms", took.as_millis());
            for answer in answers.iter_mut().filter(|answer| answer.id == "RH-14") {
                answer.evidence.push(speed.clone());
            }
            self.answer(answers);
        }
        drop(disks);
        // What a simulated host freezes nothing writes to by itself.
        let settle = match self.on.probing {
            Some(_) => self.options.settle,
            None => Duration::ZERO,
        };
        let settled = self.clock.sleep(settle, watch.stop());
        settled.map_err(|_| stopped())?;
        let disks = self.open(checkpoint)?;
        let second = self.samples(&disks, watch)?;
        self.answer(verdicts::standing_still(&first, &second));
        Ok((ids, first))
    }

    fn samples(
        &self,
        disks: &[OpenDisk],
        watch: &CheckpointWatch<'_>,
    ) -> Result<Vec<Sample>, SelfTestError> {
        let bytes_max = self.options.sample_bytes_max;
        let samples = disks
            .iter()
            .map(|disk| Sample::of(&*disk.source, bytes_max, watch));
        let samples = samples.collect::<Result<_, HypervError>>();
        samples.map_err(host_error("read the frozen disks"))
    }

    /// C3: ids that name nothing.
    fn unknown_ids(&mut self, disks: &[OpenDisk]) {
        let Some(disk) = disks.first() else { return };
        let mut holds = true;
        let mut seen = Vec::new();
        for id in [
            "rctX:0:0:0",
            "rctX:5a7c0ffe-0000-4000-8000-000000000000:x:00000000",
        ] {
            match disk.source.changes_since(&ChangeId::new(id)) {
                Changes::Ranges(_) => holds = false,
                Changes::Unknown(reason) => {
                    holds &= reason.code.is_some();
                    seen.push(
                        reason
                            .code
                            .map_or(reason.text, |code| format!("0x{code:08X}")),
                    );
                }
            }
        }
        let answer = Answer::of("C3", holds).seeing(seen.join(", "));
        self.answer([answer]);
    }

    /// What Hyper-V's objects say while the checkpoint is there.
    fn look_beside(&mut self, vm: &Vm, checkpoint: CheckpointId) {
        let Some(probing) = self.on.probing.clone() else {
            return;
        };
        let of_vm = probing.disk_entries(self.vm);
        let of_checkpoint = probing.frozen_disk_entries(self.vm, checkpoint);
        self.answer(match (of_vm, of_checkpoint) {
            (Ok(vm), Ok(checkpoint)) => verdicts::disk_ids(&vm, &checkpoint),
            (Err(error), _) | (_, Err(error)) => {
                vec![Answer::not_tried("RH-5a", error.to_string())]
            }
        });
        if let Ok(knows) = probing.knows_guest_backup_type() {
            self.answer([Answer::of("RH-21", knows)]);
        }
        let now = self.on.host.vm(self.vm).ok();
        let leaf = now.and_then(|now| now.disks.into_iter().next());
        self.answer([match leaf.filter(|_| vm.state == VmState::Running) {
            None => Answer::not_tried("7.1", "the VM does not run"),
            Some(leaf) => match probing.ask_beside_the_vm(&leaf.path) {
                Ok(()) => Answer::confirmed("7.1"),
                Err(error) => Answer::refuted("7.1").seeing(error.to_string()),
            },
        }]);
    }

    /// RH-25: copies the configuration files and imports them under a new id.
    fn restores(&mut self, checkpoint: CheckpointId) -> Result<(), SelfTestError> {
        let on = self.on.clone();
        let files = match on.host.configuration_files(self.vm, checkpoint) {
            Ok(files) => files,
            Err(error) => {
                self.answer([Answer::refuted("RH-25a").seeing(error.to_string())]);
                return Ok(());
            }
        };
        let names: Vec<String> = files
            .iter()
            .map(|file| {
                let end = file.name.rsplit('.').next().unwrap_or_default();
                format!("a .{end} of {} bytes", file.content.len())
            })
            .collect();
        let whole = files
            .iter()
            .any(|file| file.name.to_ascii_lowercase().ends_with(".vmcx"));
        self.answer([Answer::of("RH-25a", whole).seeing(names.join(", "))]);
        let answer = match self.import(&on, &files, |_, _| ())? {
            Ok(()) => Answer::confirmed("RH-25b").seeing("imported and given up"),
            Err(error) => Answer::refuted("RH-25b").seeing(error.to_string()),
        };
        self.answer([answer]);
        Ok(())
    }

    /// RH-5: how the point names its disks.
    fn look_at_point(&mut self, point: &ReferencePointId) {
        let Some(probing) = self.on.probing.clone() else {
            return;
        };
        let entries = probing.point_entries(self.vm, point);
        let of_vm = probing.disk_entries(self.vm);
        self.answer(match (of_vm, entries) {
            (Ok(vm), Ok(entries)) => verdicts::point_entries(self.vm.0, &vm, &entries),
            (Err(error), _) | (_, Err(error)) => {
                vec![Answer::not_tried("RH-5b", error.to_string())]
            }
        });
    }

    /// The second round: what changed since the first; returns its point.
    pub(crate) fn second(
        &mut self,
        first: &ReferencePoint,
        earlier: Vec<Sample>,
    ) -> Result<ReferencePoint, SelfTestError> {
        self.phase("asking what changed since")?;
        let checkpoint = self.freeze(RequestedConsistency::Crash)?;
        let ids = self.holding(|bench, watch| bench.compare(checkpoint, first, earlier, watch))?;
        self.phase("making a second reference point")?;
        let point = self.convert(checkpoint, &ids)?;
        let merged = self.wait_for_merge()?;
        self.answer([match &merged {
            Ok(waited) => {
                Answer::confirmed("RH-10b").seeing(format!("over after {} ms", waited.as_millis()))
            }
            Err(why) => Answer::refuted("RH-10b").seeing(why.clone()),
        }]);
        merged.map_err(not_merged("go on"))?;
        self.destroy_point(&first.id)?;
        Ok(point)
    }

    /// C2: reads a frozen disk again, and asks it what changed; returns which disks those are.
    fn compare(
        &mut self,
        checkpoint: CheckpointId,
        first: &ReferencePoint,
        earlier: Vec<Sample>,
        watch: &CheckpointWatch<'_>,
    ) -> Result<Ids, SelfTestError> {
        self.phase("reading the frozen disks again")?;
        let disks = self.open(checkpoint)?;
        let ids = ids(&disks)?;
        let later = self.samples(&disks, watch)?;
        let both = disks.iter().zip(earlier).zip(later);
        let compared = both.filter_map(|((disk, earlier), later)| {
            let base = id_in(first, disk)?;
            Some(TwoInstants {
                earlier,
                later,
                changes: changes(disk, base),
                size: disk.source.size_bytes(),
            })
        });
        let compared = compared.collect::<Vec<_>>();
        self.answer(verdicts::coverage(&compared));
        Ok(ids)
    }

    /// The third round: which ids are still known.
    pub(crate) fn third(
        &mut self,
        gone: &ReferencePoint,
        left: &ReferencePoint,
    ) -> Result<(), SelfTestError> {
        self.phase("asking for older ids")?;
        let checkpoint = self.freeze(RequestedConsistency::Crash)?;
        let disks = self.open(checkpoint)?;
        for (id, point) in [("RH-2", gone), ("RH-10a", left)] {
            let asked = disks.iter().filter_map(|disk| {
                let base = id_in(point, disk)?;
                Some(changes(disk, base).map(drop))
            });
            let asked = asked.collect::<Vec<_>>();
            self.answer([verdicts::ids_known(id, &asked)]);
        }
        drop(disks);
        self.destroy(checkpoint)?;
        self.destroy_point(&left.id)
    }

    /// C1 and C5: what needs no checkpoint.
    pub(crate) fn look_around(&mut self, vm: &Vm) -> Result<(), SelfTestError> {
        let host = &self.on.host;
        let all = host.vms().map_err(host_error("list the VMs"))?;
        let listed: Vec<_> = all.iter().filter(|listed| listed.id == vm.id).collect();
        let same =
            matches!(listed.as_slice(), [one] if one.name == vm.name && one.disks == vm.disks);
        let nobody = Uuid::from_u128(0xDEAD_BEEF);
        let point = ReferencePointId("Microsoft:nothing".to_owned());
        let not_found = |result: Result<(), HypervError>| {
            result.is_err_and(|error| error.kind() == HypervErrorKind::NotFound)
        };
        let told_apart = not_found(host.vm(VmId(nobody)).map(drop))
            && not_found(host.frozen_disks(vm.id, CheckpointId(nobody)).map(drop))
            && not_found(host.destroy_reference_point(vm.id, &point));
        self.answer([
            Answer::of("C1", same).seeing(format!("listed {} times", listed.len())),
            Answer::of("C5", told_apart),
        ]);
        Ok(())
    }
}

fn described(vm: &Vm) -> Vec<String> {
    let disks = vm.disks.iter().enumerate().map(|(number, disk)| {
        let end = disk.original_path.extension().unwrap_or_default();
        format!(
            "disk {number}: {:?} of generation {:?}, version {}, .{}, sectors of {} and {}, {}",
            disk.controller,
            vm.generation,
            vm.version,
            end.to_string_lossy().to_lowercase(),
            disk.logical_sector_bytes,
            disk.physical_sector_bytes,
            match disk.tracked {
                Some(true) => "tracked before",
                Some(false) => "not tracked before",
                None => "unknown whether it was tracked before",
            }
        )
    });
    disks.collect()
}
