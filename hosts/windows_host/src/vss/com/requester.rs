//! The traits over the worker's thread.
//!
//! Unsafe code is run by: `the_requester_by_com_keeps_the_contract`,
//! `calls_gain_neither_handles_nor_memory_of_vss`.

#![expect(unsafe_code, reason = "COM calls")]

use uuid::Uuid;

use super::calls::Components;
use super::waiting::GRACE;
use super::worker::{SHORT, Worker};
use super::writers;
use crate::calls;
use crate::vss::{
    Context, Requester, SnapshotProperties, Vss, VssError, Wait, WriterMetadata, WriterStatus,
};

/// VSS of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct ComVss;

impl Vss for ComVss {
    fn begin(&self) -> Result<Box<dyn Requester>, VssError> {
        Ok(Box::new(ComRequester {
            worker: Worker::start()?,
        }))
    }
}

/// A requester on a thread of its own.
#[derive(Debug)]
struct ComRequester {
    worker: Worker,
}

impl ComRequester {
    fn short<T: Send + 'static>(
        &self,
        doing: &str,
        work: impl FnOnce(&Components) -> Result<T, VssError> + Send + 'static,
    ) -> Result<T, VssError> {
        self.worker.ask(doing, SHORT, work)
    }

    /// Does work that starts an operation and waits for it.
    fn long<T: Send + 'static>(
        &self,
        doing: &str,
        wait: Wait<'_>,
        work: impl FnOnce(&Components, Wait<'_>) -> Result<T, VssError> + Send + 'static,
    ) -> Result<T, VssError> {
        let (limit, stop) = (wait.limit, wait.stop.clone());
        // An operation that is given up takes a while to end.
        let in_all = limit + GRACE + SHORT;
        self.worker.ask(doing, in_all, move |components| {
            work(components, Wait { limit, stop: &stop })
        })
    }
}

impl Requester for ComRequester {
    fn set_context(&self, context: Context) -> Result<(), VssError> {
        self.short("set VSS's context", move |it| it.set_context(context))
    }

    fn set_backup_state(&self) -> Result<(), VssError> {
        self.short("tell VSS what kind of backup it is", |it| {
            it.set_backup_state()
        })
    }

    fn disable_writer_classes(&self, classes: &[Uuid]) -> Result<(), VssError> {
        let classes = classes.to_vec();
        self.short("leave writers out", move |it| {
            it.disable_writer_classes(&classes)
        })
    }

    fn gather_writer_metadata(&self, wait: Wait<'_>) -> Result<Vec<WriterMetadata>, VssError> {
        let doing = "ask writers what they have";
        self.long(doing, wait, move |it, wait| {
            it.operate(doing, wait.limit, wait.stop, |raw, operation| {
                calls::count("vss.gather_writer_metadata");
                // SAFETY: the place is ours; the interface comes with a reference of its own.
                unsafe { raw.GatherWriterMetadata(operation) }
            })?;
            writers::metadata(it)
        })
    }

    fn is_volume_supported(&self, volume: &str) -> Result<bool, VssError> {
        let name = volume.to_owned();
        self.short("ask whether VSS can freeze a volume", move |it| {
            it.is_volume_supported(&name)
        })
    }

    fn start_snapshot_set(&self) -> Result<Uuid, VssError> {
        self.short("begin a shadow set", Components::start_snapshot_set)
    }

    fn add_to_snapshot_set(&self, volume: &str) -> Result<Uuid, VssError> {
        let name = volume.to_owned();
        self.short("take a volume into the shadow set", move |it| {
            it.add_to_snapshot_set(&name)
        })
    }

    fn prepare_for_backup(&self, wait: Wait<'_>) -> Result<(), VssError> {
        let doing = "have writers prepare for the backup";
        self.long(doing, wait, move |it, wait| {
            it.operate(doing, wait.limit, wait.stop, |raw, operation| {
                calls::count("vss.prepare_for_backup");
                // SAFETY: the place is ours; the interface comes with a reference of its own.
                unsafe { raw.PrepareForBackup(operation) }
            })
        })
    }

    fn do_snapshot_set(&self, wait: Wait<'_>) -> Result<(), VssError> {
        let doing = "freeze the volumes";
        self.long(doing, wait, move |it, wait| {
            it.operate(doing, wait.limit, wait.stop, |raw, operation| {
                calls::count("vss.do_snapshot_set");
                // SAFETY: the place is ours; the interface comes with a reference of its own.
                unsafe { raw.DoSnapshotSet(operation) }
            })
        })
    }

    fn gather_writer_status(&self, wait: Wait<'_>) -> Result<Vec<WriterStatus>, VssError> {
        let doing = "ask how writers do";
        self.long(doing, wait, move |it, wait| {
            it.operate(doing, wait.limit, wait.stop, |raw, operation| {
                calls::count("vss.gather_writer_status");
                // SAFETY: the place is ours; the interface comes with a reference of its own.
                unsafe { raw.GatherWriterStatus(operation) }
            })?;
            writers::status(it)
        })
    }

    fn snapshot_properties(&self, id: Uuid) -> Result<SnapshotProperties, VssError> {
        self.short("ask VSS for a shadow's device", move |it| {
            it.snapshot_properties(id)
        })
    }

    fn backup_complete(&self, wait: Wait<'_>) -> Result<(), VssError> {
        let doing = "tell writers that the backup is done";
        self.long(doing, wait, move |it, wait| {
            it.operate(doing, wait.limit, wait.stop, |raw, operation| {
                calls::count("vss.backup_complete");
                // SAFETY: the place is ours; the interface comes with a reference of its own.
                unsafe { raw.BackupComplete(operation) }
            })
        })
    }

    fn abort_backup(&self) -> Result<(), VssError> {
        self.short("abort a backup", Components::abort_backup)
    }

    fn delete_snapshot_set(&self, set: Uuid) -> Result<(), VssError> {
        self.short("remove a shadow set", move |it| it.delete_snapshot_set(set))
    }

    fn query_snapshots(&self) -> Result<Vec<SnapshotProperties>, VssError> {
        self.short("list shadow sets", Components::query_snapshots)
    }
}
