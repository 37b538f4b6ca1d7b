//! What engines say of VMs while they are backed up, as events.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use hyperv::Vm;
use progress::News;
use protocol::event::{
    Event, FinalPhase, HypervDiskStarting, HypervFinalizing, HypervVmStarting, Percent,
};
use time_and_chance::SharedClock;

use super::hyperv_choice::ChosenVm;

/// How far events of a merge are apart (control-plane API 6.4).
const MERGE_EVENTS_APART: Duration = Duration::from_secs(10);

/// What events say of VMs beside what engines say.
#[derive(Debug)]
pub struct KnownVms {
    clock: SharedClock,
    known: Mutex<HashMap<String, KnownVm>>,
}

#[derive(Debug, Clone, Default)]
struct KnownVm {
    number: u64,
    disk_paths: Vec<String>,
    is_begun: bool,
    merge: Option<Merge>,
}

/// A merge that is being waited for.
#[derive(Debug, Clone)]
struct Merge {
    begun: Duration,
    told: Option<Duration>,
    total_bytes: Option<u64>,
}

/// Returns the paths of a VM's disks, in the order of their numbers.
pub fn disk_paths(vm: &Vm) -> Vec<String> {
    let paths = vm.disks.iter();
    paths
        .map(|disk| disk.original_path.display().to_string())
        .collect()
}

impl KnownVms {
    /// Returns what knows no VMs yet.
    pub fn new(clock: SharedClock) -> Self {
        Self {
            clock,
            known: Mutex::default(),
        }
    }

    /// Makes VMs known.
    pub fn add(&self, chosen: &[ChosenVm]) {
        let mut known = self.known.lock().expect("nobody panics while he looks");
        for ChosenVm { vm, number, .. } in chosen {
            let entry = KnownVm {
                number: number.0,
                disk_paths: disk_paths(vm),
                is_begun: false,
                merge: None,
            };
            known.insert(vm.name.clone(), entry);
        }
    }

    /// Returns the event that a piece of news is worth.
    pub fn event(&self, news: &News<'_>) -> Option<Event> {
        let now = self.clock.monotonic();
        let mut known = self.known.lock().expect("nobody panics while he looks");
        match *news {
            News::Phase { subject, phase } => {
                let vm = known.get_mut(subject)?;
                if !vm.is_begun {
                    vm.is_begun = true;
                    return Some(
                        HypervVmStarting {
                            vm_name: subject.to_owned(),
                            vm_id: vm.number,
                            message: format!("Backup of {subject} is starting."),
                        }
                        .into(),
                    );
                }
                (phase == "making the checkpoint the next base").then(|| finalizing(subject))
            }
            News::DiskBegins {
                subject,
                disk,
                bytes,
            } => {
                let vm = known.get(subject)?;
                let path = usize::try_from(disk)
                    .ok()
                    .and_then(|it| vm.disk_paths.get(it));
                Some(
                    HypervDiskStarting {
                        vm_name: subject.to_owned(),
                        disk_path: path.cloned().unwrap_or_else(|| format!("disk {disk}")),
                        size: bytes,
                    }
                    .into(),
                )
            }
            News::Merging {
                subject,
                percent,
                left_bytes,
            } => {
                let merge = known.get_mut(subject)?.merge.get_or_insert(Merge {
                    begun: now,
                    told: None,
                    total_bytes: None,
                });
                merge
                    .is_due(now)
                    .then(|| merge.event(subject, now, percent, left_bytes))
            }
            _ => None,
        }
    }
}

impl Merge {
    fn is_due(&self, now: Duration) -> bool {
        self.told
            .is_none_or(|told| now.saturating_sub(told) >= MERGE_EVENTS_APART)
    }

    /// Returns the event that tells how far it is. What is left at first is what there is, for nobody
    /// looked before.
    fn event(
        &mut self,
        vm_name: &str,
        now: Duration,
        percent: Option<u8>,
        left_bytes: Option<u64>,
    ) -> Event {
        self.told = Some(now);
        self.total_bytes = self.total_bytes.max(left_bytes);
        let gone = || {
            let (left, total) = (left_bytes?, self.total_bytes?);
            Some((total - left.min(total)) as f64 / total.max(1) as f64 * 100.0)
        };
        let merged = percent.map(f64::from).or_else(gone);
        HypervFinalizing {
            vm_name: vm_name.to_owned(),
            phase: FinalPhase::Merging,
            elapsed_seconds: now.saturating_sub(self.begun).as_secs(),
            message: format!("Finalizing {vm_name}: merging the backup checkpoint"),
            avhdx_bytes_left: left_bytes,
            avhdx_bytes_total: self.total_bytes,
            merged_pct: merged.map(Percent::new),
        }
        .into()
    }
}

fn finalizing(vm_name: &str) -> Event {
    HypervFinalizing {
        vm_name: vm_name.to_owned(),
        phase: FinalPhase::EnablingTracking,
        elapsed_seconds: 0,
        message: format!("Finalizing {vm_name}: enabling change tracking"),
        avhdx_bytes_left: None,
        avhdx_bytes_total: None,
        merged_pct: None,
    }
    .into()
}

#[cfg(test)]
mod tests {
    use protocol::identifier::VmNumber;
    use serde_json::{Value, json};
    use time_and_chance::ManualClock;

    use super::*;

    #[test]
    fn a_merge_is_told_of_at_once_and_then_every_ten_seconds() {
        let clock = ManualClock::at("2026-03-01T12:00:00Z".parse().unwrap());
        let known = KnownVms::new(clock.clone());
        known.add(&[ChosenVm {
            vm: Vm::bare(
                "11111111-0000-4000-8000-000000000001".parse().unwrap(),
                "web",
            ),
            number: VmNumber(7),
            has_point_there: false,
        }]);
        let mut told = Vec::new();
        for (seconds_later, percent, left_bytes) in [
            (0, None, Some(4000)),
            (5, None, Some(4000)),
            (5, None, Some(1000)),
            (10, Some(90), None),
        ] {
            clock.advance(Duration::from_secs(seconds_later));
            let news = News::Merging {
                subject: "web",
                percent,
                left_bytes,
            };
            if let Some(event) = known.event(&news) {
                let said = &event.params_json;
                told.push(
                    [
                        "elapsed_seconds",
                        "avhdx_bytes_left",
                        "avhdx_bytes_total",
                        "merged_pct",
                    ]
                    .map(|name| said.get(name).cloned().unwrap_or_default()),
                );
            }
        }
        let row = |values: Value| -> [Value; 4] {
            let values = values.as_array().unwrap().clone();
            values.try_into().unwrap()
        };
        assert_eq!(
            told,
            [
                row(json!([0, 4000, 4000, 0.0])),
                row(json!([10, 1000, 4000, 75.0])),
                row(json!([20, null, 4000, 90.0])),
            ]
        );
    }
}
