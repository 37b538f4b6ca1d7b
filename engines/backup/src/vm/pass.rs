//! One pass: what it had to bring over, what it brought, and the checkpoint manifest that
//! protects that while the work goes on (Kopia spec 8.4).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use hyperv::{Vm, VmId};
use image::{Onlooker, SlotNews, StoredSlots};
use point::{Points, UnfinishedDisk, UnfinishedPoint};
use progress::Progress;
use time_and_chance::Timestamp;
use uuid::Uuid;

use super::passes::PassFacts;
use super::vm_backup::VmBackup;
use super::watch::CheckpointWatch;
use crate::error::{BackupError, host_error, image_error, point_error, repo_error};

/// One pass over a VM's disks.
pub(super) struct Pass<'a> {
    backup: &'a VmBackup<'a>,
    progress: &'a Progress,
    vm: VmId,
    vm_name: String,
    pub(super) run: Uuid,
    state: Mutex<State>,
    /// Held while a checkpoint manifest is written: each has to find those it supersedes.
    protecting: Mutex<()>,
}

#[derive(Default)]
struct State {
    /// What is known once the disks are opened and planned.
    begun: Option<Begun>,
    planned_bytes: u64,
    dealt_bytes: u64,
    data_bytes: u64,
    brought_bytes: u64,
    packed_bytes: u64,
    disks: BTreeMap<u32, Arc<StoredSlots>>,
    /// When the last checkpoint manifest was written, and what had been brought by then.
    protected: (Duration, u64),
}

/// What a pass begins with.
#[derive(Clone)]
pub(super) struct Begun {
    /// When the disks were frozen.
    pub(super) frozen_at: Timestamp,
    /// The same instant for measuring how long the checkpoint is held.
    pub(super) held_since: Duration,
    /// The base's point, if anything is built on it.
    pub(super) base_point: Option<Uuid>,
    /// The disks' files, by number.
    pub(super) original_paths: BTreeMap<u32, String>,
}

impl<'a> Pass<'a> {
    pub(super) fn new(
        backup: &'a VmBackup<'a>,
        machine: &Vm,
        run: Uuid,
        progress: &'a Progress,
    ) -> Self {
        Self {
            backup,
            progress,
            vm: machine.id,
            vm_name: machine.name.clone(),
            run,
            state: Mutex::default(),
            protecting: Mutex::default(),
        }
    }

    /// Notes what the pass is about to do.
    pub(super) fn begin(&self, begun: Begun, planned_bytes: u64) {
        let mut state = self.lock();
        state.protected = (begun.held_since, 0);
        state.begun = Some(begun);
        state.planned_bytes = planned_bytes;
    }

    /// Notes that more has to be read than was planned.
    pub(super) fn plan_more(&self, bytes: u64) {
        self.lock().planned_bytes += bytes;
    }

    /// Returns what the pass brought, if it came to bringing anything.
    pub(super) fn facts(&self, unseen_before_bytes: Option<u64>) -> Option<PassFacts> {
        let state = self.lock();
        let held_since = state.begun.as_ref()?.held_since;
        Some(PassFacts {
            planned_bytes: state.planned_bytes,
            dealt_bytes: state.dealt_bytes,
            data_bytes: state.data_bytes,
            brought_bytes: state.brought_bytes,
            packed_bytes: state.packed_bytes,
            held: self.backup.clock().monotonic() - held_since,
            unseen_before_bytes,
        })
    }

    fn count(&self, news: SlotNews<'_>) {
        let mut state = self.lock();
        state.dealt_bytes += news.bytes;
        state.data_bytes += news.data_bytes;
        state.brought_bytes += news.new_bytes;
        state.packed_bytes += news.packed_bytes;
        let known = state.disks.get(&news.disk);
        if known.is_none_or(|known| !Arc::ptr_eq(known, news.stored)) {
            state.disks.insert(news.disk, Arc::clone(news.stored));
        }
    }

    /// Returns whether a checkpoint manifest is due; whoever is told so writes it.
    fn is_due(&self) -> bool {
        let now = self.backup.clock().monotonic();
        let mut state = self.lock();
        let (at, brought_bytes) = state.protected;
        let due = state.brought_bytes > brought_bytes
            && now - at >= self.backup.options.checkpoint_manifest_every;
        if due {
            state.protected = (now, state.brought_bytes);
        }
        due
    }

    /// Protects all that is stored so far. A failure is only told of: what is stored is safe for
    /// a day without, and the store may be well again by the next time.
    pub(super) fn protect(&self) {
        let _one_at_a_time = self
            .protecting
            .lock()
            .expect("no thread panics while it writes a checkpoint manifest");
        if let Err(error) = self.write_checkpoint_manifest() {
            self.progress.warning(&format!(
                "what is stored so far is not protected from maintenance yet: could not {error}"
            ));
        }
    }

    fn write_checkpoint_manifest(&self) -> Result<(), BackupError> {
        let (begun, disks) = {
            let state = self.lock();
            let Some(begun) = state.begun.clone() else {
                return Ok(());
            };
            (begun, state.disks.clone())
        };
        let backup = self.backup;
        backup
            .writer
            .flush()
            .map_err(repo_error("write the index"))?;
        let points = Points::load(backup.repo()).map_err(point_error("list the points"))?;
        let base_is_live = begun
            .base_point
            .is_some_and(|base| points.by_point(base).is_some());
        let mut stored = Vec::new();
        for (number, slots) in disks {
            let partial = slots
                .write_partial(backup.writer, base_is_live)
                .map_err(image_error(format!("list what is stored of disk {number}")))?;
            if let Some(partial) = partial {
                stored.push(UnfinishedDisk {
                    number,
                    original_path: begun.original_paths[&number].clone(),
                    object: partial.object,
                    bytes: partial.bytes,
                });
            }
        }
        if stored.is_empty() {
            return Ok(());
        }
        let host = backup
            .host
            .name()
            .map_err(host_error("ask the host for its name"))?;
        UnfinishedPoint {
            host,
            vm: self.vm,
            vm_name: self.vm_name.clone(),
            run: self.run,
            frozen_at: begun.frozen_at,
        }
        .publish(backup.writer, &points, &stored)
        .map_err(point_error("protect what is stored so far"))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("no thread panics while it holds the pass")
    }
}

/// Looks on while a pass stores disks: counts, looks after the checkpoint, and protects what is
/// stored when that is due.
pub(super) struct Lookout<'a> {
    pub(super) pass: &'a Pass<'a>,
    pub(super) watch: &'a CheckpointWatch<'a>,
}

impl Onlooker for Lookout<'_> {
    fn slot_stored(&self, news: SlotNews<'_>) {
        self.pass.count(news);
        self.watch.look();
        if !self.watch.stop().is_stopped() && self.pass.is_due() {
            self.pass.protect();
        }
    }
}
