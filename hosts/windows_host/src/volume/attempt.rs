//! One attempt to freeze volumes: VSS's calls in their order.
//!
//! ```text
//! begin ─ context ─ state ─ leave writers out ─ gather metadata       (the middle three with writers only)
//!       ─ start set ─ announce ─ add volumes
//!       ─ prepare ─ how do writers do? ─ freeze ─ how do writers do? ─ where are the shadows?
//! ```
//!
//! A requester is good for one backup, so each attempt has its own; dropping it takes its shadows
//! along. What fails after the set was begun is aborted, for the writers to know.

use std::io;
use std::time::Duration;

use time_and_chance::StopSignal;
use uuid::Uuid;
use volume::{Announce, ShadowSetId};

use super::actions::{Action, action};
use crate::vss::{Context, Requester, SnapshotProperties, Vss, VssError, Wait, WriterStatus};

/// `VSS_E_VOLUME_NOT_SUPPORTED`.
const NOT_SUPPORTED: u32 = 0x8004_230C;

/// What an attempt is made with.
pub(super) struct Attempt<'a> {
    pub(super) vss: &'a dyn Vss,
    /// Names of volumes as VSS takes them, each with a separator at its end.
    pub(super) volumes: &'a [String],
    /// None: without any writer. Else the classes that are left out.
    pub(super) left_out: Option<&'a [Uuid]>,
    /// How long a step may take.
    pub(super) step_limit: Duration,
    pub(super) stop: &'a StopSignal,
}

/// Volumes that VSS has frozen.
pub(super) struct Taken {
    pub(super) requester: Box<dyn Requester>,
    pub(super) set: ShadowSetId,
    /// In the order of the volumes.
    pub(super) shadows: Vec<SnapshotProperties>,
    pub(super) writers: Vec<WriterStatus>,
}

/// Why an attempt failed.
pub(super) enum Failure {
    /// A call did.
    Call(VssError),
    /// These writers did.
    Writers(Vec<WriterStatus>),
    /// The set could not be announced.
    Announce(io::Error),
}

impl From<VssError> for Failure {
    fn from(error: VssError) -> Self {
        Self::Call(error)
    }
}

impl Attempt<'_> {
    /// Makes the attempt.
    pub(super) fn make(&self, announce: Announce<'_>) -> Result<Taken, Failure> {
        let requester = self.vss.begin()?;
        self.meet_writers(requester.as_ref())?;
        self.check_stop("freeze volumes")?;
        let set = ShadowSetId(requester.start_snapshot_set()?);
        announce(set).map_err(Failure::Announce)?;
        match self.freeze(requester.as_ref()) {
            Ok((shadows, writers)) => Ok(Taken {
                requester,
                set,
                shadows,
                writers,
            }),
            Err(failure) => {
                // Neither need succeed: the requester's end takes the shadows along.
                let _ = requester.abort_backup();
                let _ = requester.delete_snapshot_set(set.0);
                Err(failure)
            }
        }
    }

    fn wait(&self) -> Wait<'_> {
        Wait {
            limit: self.step_limit,
            stop: self.stop,
        }
    }

    fn check_stop(&self, doing: &str) -> Result<(), VssError> {
        self.stop.check().map_err(|_| VssError::Stopped {
            doing: doing.to_owned(),
        })
    }

    fn meet_writers(&self, requester: &dyn Requester) -> Result<(), VssError> {
        let Some(left_out) = self.left_out else {
            return requester.set_context(Context::BackupWithoutWriters);
        };
        requester.set_context(Context::Backup)?;
        requester.set_backup_state()?;
        requester.disable_writer_classes(left_out)?;
        requester.gather_writer_metadata(self.wait()).map(drop)
    }

    fn freeze(
        &self,
        requester: &dyn Requester,
    ) -> Result<(Vec<SnapshotProperties>, Vec<WriterStatus>), Failure> {
        let mut ids = Vec::new();
        for volume in self.volumes {
            if !requester.is_volume_supported(volume)? {
                let doing = format!("freeze {volume}");
                return Err(VssError::code(doing, NOT_SUPPORTED).into());
            }
            ids.push(requester.add_to_snapshot_set(volume)?);
        }
        if self.left_out.is_some() {
            let prepared = requester.prepare_for_backup(self.wait());
            self.judge(requester, prepared)?;
        }
        self.check_stop("freeze volumes")?;
        let frozen = requester.do_snapshot_set(self.wait());
        let writers = self.judge(requester, frozen)?;
        let shadows = ids.iter().map(|&id| requester.snapshot_properties(id));
        Ok((shadows.collect::<Result<_, _>>()?, writers))
    }

    /// Looks how writers do after a step, if any take part. Where they failed, that says more than
    /// the step's own code.
    fn judge(
        &self,
        requester: &dyn Requester,
        step: Result<(), VssError>,
    ) -> Result<Vec<WriterStatus>, Failure> {
        let Some(left_out) = self.left_out else {
            return step.map(|()| Vec::new()).map_err(Failure::Call);
        };
        let step = match step {
            Err(error) if !is_of_writers(&error) => return Err(error.into()),
            step => step,
        };
        let mut writers = requester.gather_writer_status(self.wait())?;
        writers.retain(|writer| !left_out.contains(&writer.id));
        let failing: Vec<_> = writers
            .iter()
            .filter(|it| it.has_failed())
            .cloned()
            .collect();
        match (failing.is_empty(), step) {
            (false, _) => Err(Failure::Writers(failing)),
            (true, Err(error)) => Err(error.into()),
            (true, Ok(())) => Ok(writers),
        }
    }
}

/// Tells whether a step failed because writers did.
fn is_of_writers(error: &VssError) -> bool {
    matches!(error, VssError::Code { code, .. } if action(*code) == Action::WithoutWriters)
}
