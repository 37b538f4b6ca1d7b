//! `hyperv_restore` with `register`: whole VMs, onto the host of this machine. No part of the contract
//! (`docs/decisions/hyperv-restore-register.md`); what is told of it is what is told of disks.

use std::collections::BTreeSet;
use std::sync::Arc;

use hyperv::HypervHost;
use point::{OpenPoint, Points, restored_file_names};
use progress::{Monitor, News, SharedMonitor};
use protocol::WireId;
use protocol::commands::{Register, RestoreVm};
use protocol::event::{
    HypervRestoreDiskComplete, HypervRestoreDiskFailed, HypervRestoreDiskStarting,
};
use repo::Repository;
use restore::vm::{HostTarget, RestoredVm, to_host};

use super::failed;
use super::hyperv_restore::{Came, Restoring};
use crate::events::Events;
use crate::storage;

/// A restore onto the host.
pub struct Registering<'a> {
    pub restoring: &'a Restoring<'a>,
    pub how: &'a Register,
    pub points: &'a Points,
    pub repository: &'a Arc<Repository>,
}

/// A VM that is to come back.
struct WholeVm {
    name: String,
    manifest_id: String,
    point: OpenPoint,
    /// Its disks: the number of each, and the name of its file.
    disks: Vec<(u32, String)>,
    /// The place of the first among all disks of the order, from 1.
    first_index: u64,
}

impl Registering<'_> {
    /// Brings the VMs back, each into a folder of its own below the order's.
    pub fn carry_out(&self) -> Result<Came, String> {
        let work = self.restoring.work;
        let ordered = &self.restoring.order.vms;
        if ordered.len() > 1 && self.how.name.is_some() {
            return Err(format!(
                "the order gives {} VMs one name; order them one by one",
                ordered.len()
            ));
        }
        let host = work.parts.open_host();
        let host = host.map_err(|error| format!("failed to open the Hyper-V host: {error}"))?;
        let mut vms = Vec::new();
        let mut came = Came::default();
        for vm in ordered {
            let whole = self.whole(vm, came.total_disks + 1)?;
            came.total_disks += whole.disks.len() as u64;
            vms.push(whole);
        }
        if vms.is_empty() {
            return Err("the order names no VMs; choose at least one".to_owned());
        }
        self.restoring.tell_of_start(came.total_disks);
        for vm in &vms {
            if work.cancellation.stop().is_stopped() {
                break;
            }
            match self.bring_back(vm, host.as_ref(), came.total_disks) {
                Ok(there) => {
                    came.restored_disks += there.disks.len() as u64;
                    came.written_bytes +=
                        there.disks.iter().map(|it| it.written_bytes).sum::<u64>();
                    came.registered.push(sentence(&there));
                    let of_vm = there
                        .warnings
                        .iter()
                        .map(|it| format!("{}: {it}", there.name));
                    came.warnings.extend(of_vm);
                }
                Err(why) => came.failures.push(format!("{}: {why}", vm.name)),
            }
        }
        Ok(came)
    }

    /// Opens the point of a VM, all of whose disks must be wanted: a VM comes back whole.
    fn whole(&self, vm: &RestoreVm, first_index: u64) -> Result<WholeVm, String> {
        let manifest_id = manifest_of(vm)?;
        let found = self.points.find(&manifest_id).map_err(failed)?;
        if found.point().is_none() {
            return Err(format!(
                "{} holds a disk that an older agent stored, and no VM; restore it to a folder",
                found.id()
            ));
        }
        let point = found.open(self.repository);
        let sent = &self.restoring.context.destination;
        let point = point.map_err(|error| storage::because(self.restoring.work, sent, &error))?;
        let disks = &point.descriptor().disks;
        let is_wanted = |path: &str| {
            let mut wanted = vm.disk_manifests.iter();
            wanted.any(|(wanted, _)| wanted.eq_ignore_ascii_case(path))
        };
        let left_out = disks.iter().find(|disk| !is_wanted(&disk.original_path));
        if let (false, Some(disk)) = (vm.disk_manifests.is_empty(), left_out) {
            return Err(format!(
                "a VM comes back onto the host with all of its disks, and {} of {} was not chosen; choose it too, or restore to a folder",
                disk.original_path, vm.vm_name
            ));
        }
        let numbered = disks.iter().map(|it| (it.number, &*it.original_path));
        let names = restored_file_names(numbered);
        let disks = disks.iter().map(|it| it.number).zip(names).collect();
        Ok(WholeVm {
            name: point.descriptor().name.clone(),
            manifest_id,
            disks,
            first_index,
            point,
        })
    }

    fn bring_back(
        &self,
        vm: &WholeVm,
        host: &dyn HypervHost,
        total_disks: u64,
    ) -> Result<RestoredVm, String> {
        let work = self.restoring.work;
        let mut progress = work.progress().about(&vm.name);
        progress.monitor = Arc::new(ByDisk {
            inner: progress.monitor,
            events: Arc::clone(&work.parts.events),
            run_id: work.reporter.run_id().clone(),
            vm_name: vm.name.clone(),
            manifest_id: vm.manifest_id.clone(),
            disks: vm.disks.clone(),
            first_index: vm.first_index,
            total_disks,
        });
        let target = HostTarget {
            name: self.how.name.clone(),
            new_id: self.how.new_id,
            power_on: self.how.start,
            parent: Some(self.restoring.target.to_owned()),
            switch: self.how.switch.clone(),
        };
        let options = self.restoring.options();
        let restored = to_host(
            self.repository,
            &vm.point,
            host,
            &target,
            &options,
            &progress,
        );
        let sent = &self.restoring.context.destination;
        restored.map_err(|error| {
            let why = storage::because(work, sent, &error);
            // None is there any more, those that were complete included.
            for (_, disk_name) in &vm.disks {
                work.reporter.event(HypervRestoreDiskFailed {
                    vm_name: vm.name.clone(),
                    disk_name: disk_name.clone(),
                    message: why.clone(),
                });
            }
            why
        })
    }
}

/// Returns the manifest of the point that a VM comes back from.
fn manifest_of(vm: &RestoreVm) -> Result<String, String> {
    let target = vm.restore_chain.last();
    let chosen = vm.disk_manifests.iter().map(|(_, manifest)| manifest);
    let mut manifests: BTreeSet<&str> = chosen.collect();
    if let (true, Some(target)) = (manifests.is_empty(), target) {
        manifests.extend(target.disk_manifests.iter().map(|(_, manifest)| manifest));
        if manifests.is_empty() && !target.manifest_id.is_empty() {
            manifests.insert(&target.manifest_id);
        }
    }
    match manifests.len() {
        1 => Ok(manifests.into_iter().collect()),
        0 => Err(format!(
            "the order names no point of {}; choose one",
            vm.vm_name
        )),
        several => Err(format!(
            "the order names {several} points of {}; a VM comes back from one",
            vm.vm_name
        )),
    }
}

fn sentence(vm: &RestoredVm) -> String {
    let started = match vm.started {
        true => ", and was switched on",
        false => "",
    };
    format!("{} ({}) is on the host{started}.", vm.name, vm.id)
}

/// Tells of each disk of a VM as it is told of disks that go to folders: by the name of its file.
#[derive(Debug)]
struct ByDisk {
    inner: SharedMonitor,
    events: Arc<Events>,
    run_id: WireId,
    vm_name: String,
    manifest_id: String,
    disks: Vec<(u32, String)>,
    first_index: u64,
    total_disks: u64,
}

impl ByDisk {
    fn name(&self, disk: u32) -> (u64, &str) {
        let place = self.disks.iter().position(|(number, _)| *number == disk);
        let place = place.expect("the point was asked for its disks");
        (self.first_index + place as u64, &self.disks[place].1)
    }
}

impl Monitor for ByDisk {
    fn hear(&self, news: &News<'_>) {
        let total_disks = self.total_disks;
        match *news {
            News::DiskBegins { disk, bytes, .. } => {
                let (disk_index, subject) = self.name(disk);
                let starting = HypervRestoreDiskStarting {
                    vm_name: self.vm_name.clone(),
                    disk_name: subject.to_owned(),
                    disk_index,
                    total_disks,
                    manifest_id: self.manifest_id.clone(),
                };
                self.events.push(&self.run_id, starting.into());
                self.inner.hear(&News::DiskBegins {
                    subject,
                    disk,
                    bytes,
                });
            }
            News::DiskAdvances {
                disk,
                bytes,
                packed_bytes,
                ..
            } => self.inner.hear(&News::DiskAdvances {
                subject: self.name(disk).1,
                disk,
                bytes,
                packed_bytes,
            }),
            News::DiskEnds { disk, .. } => {
                let (disk_index, subject) = self.name(disk);
                self.inner.hear(&News::DiskEnds { subject, disk });
                self.inner.hear(&News::Ends {
                    subject,
                    done: true,
                });
                let complete = HypervRestoreDiskComplete {
                    vm_name: self.vm_name.clone(),
                    disk_name: subject.to_owned(),
                    disk_index,
                    total_disks,
                };
                self.events.push(&self.run_id, complete.into());
            }
            _ => self.inner.hear(news),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_vm_comes_back_from_one_point() {
        let of = |order| {
            let vm: RestoreVm = serde_json::from_value(order).unwrap();
            manifest_of(&vm)
        };
        let chosen = json!({"a.vhdx": "9c", "b.vhdx": "9c"});
        let chain = json!([{"manifest_id": "7b"}, {"manifest_id": "9c"}]);
        for order in [
            json!({"disk_manifests": chosen, "restore_chain": ["7b"]}),
            json!({"disk_manifests": [], "restore_chain": ["7b", "9c"]}),
            json!({"restore_chain": chain}),
            json!({"restore_chain": [{"manifest_id": "", "disk_manifests": chosen}]}),
        ] {
            assert_eq!(of(order.clone()).unwrap(), "9c", "{order}");
        }
        let two = json!({"vm_name": "web", "disk_manifests": {"a.vhdx": "9c", "b.vhdx": "7b"}});
        assert!(of(two).unwrap_err().contains("2 points of web"));
        assert!(
            of(json!({"vm_name": "web"}))
                .unwrap_err()
                .contains("no point")
        );
    }
}
