//! What is believed of real Hyper-V where no source decides, in one place.
//!
//! Each field names its question in section 20 of the Hyper-V spec (RH), or the section whose
//! low confidence it rests on. The defaults are the spec's own choices; what a real host
//! confirmed or refuted may be set instead, without touching anything else.

use std::time::Duration;

use crate::wmi::TextForm;

/// What is believed, and for how long things are waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beliefs {
    /// RH-11, RH-22: a frozen file's own block table tells what is allocated, so that holes need
    /// not be read. Whatever is doubtful about a file counts as allocated all the same.
    pub block_tables_tell_allocation: bool,
    /// RH-17: the form in which methods take embedded instances.
    pub text_form: TextForm,
    /// RH-5: a checkpoint's disks have the VM's ids behind the first `\`, so that each is known to
    /// hang where the VM's disk of that id hangs; otherwise where the checkpoint itself has it.
    pub checkpoints_keep_ids: bool,
    /// Spec 4.5: an application-consistent checkpoint that failed for no reason anyone can name
    /// failed because of the guest, so that the caller's policy may fall back.
    pub unexplained_failure_is_the_guests: bool,
    /// Spec 4.1: `GuestBackupType` 1 instead of 2, after which applications in the guest may
    /// truncate their logs.
    pub guests_may_truncate_logs: bool,
    /// RH-18: so long after its checkpoint went away a disk may wait for its merge to begin.
    pub merge_begins_within: Duration,
    /// Spec 4.6: limits of jobs.
    pub limits: Limits,
}

/// How long jobs may take (Hyper-V spec 4.6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// A checkpoint for which the guest is quiesced.
    pub application_checkpoint: Duration,
    /// A checkpoint that leaves the guest alone.
    pub crash_checkpoint: Duration,
    /// The conversion to a reference point.
    pub convert: Duration,
    /// The end of a checkpoint or a reference point.
    pub destroy: Duration,
    /// Anything else, such as an import.
    pub other: Duration,
    /// How long a busy VM is asked again (spec 2.5).
    pub busy: Duration,
    /// How long a service that does not answer is asked again (spec 16).
    pub unavailable: Duration,
    /// How long a job that was told to stop may take to obey.
    pub cancel: Duration,
}

impl Default for Beliefs {
    fn default() -> Self {
        Self {
            block_tables_tell_allocation: true,
            text_form: TextForm::CimDtd20,
            checkpoints_keep_ids: true,
            unexplained_failure_is_the_guests: true,
            guests_may_truncate_logs: false,
            merge_begins_within: Duration::from_mins(5),
            limits: Limits::default(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            application_checkpoint: Duration::from_mins(20),
            crash_checkpoint: Duration::from_mins(5),
            convert: Duration::from_mins(30),
            destroy: Duration::from_mins(30),
            other: Duration::from_mins(10),
            busy: Duration::from_mins(1),
            unavailable: Duration::from_secs(30),
            cancel: Duration::from_mins(1),
        }
    }
}
