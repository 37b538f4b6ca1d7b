//! Faults that are put in on purpose, and when they strike.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{HypervError, HypervErrorKind, codes};

macro_rules! steps {
    ($($(#[$doc:meta])* $name:ident = $word:literal,)*) => {
        /// A call of the port, as faults name it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum Step {
            $($(#[$doc])* $name,)*
        }

        impl Step {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Returns the word for it.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)*
                }
            }
        }
    };
}

steps! {
    /// Looking at one VM.
    Vm = "vm",
    /// Taking a recovery checkpoint.
    Create = "create",
    /// Listing checkpoints.
    Checkpoints = "checkpoints",
    /// Listing the disks of a checkpoint.
    FrozenDisks = "frozen-disks",
    /// Opening a frozen disk.
    Open = "open",
    /// Reading from a frozen disk.
    Read = "read",
    /// Asking what changed.
    Changes = "changes",
    /// Reading the configuration files.
    Configuration = "configuration",
    /// Turning a checkpoint into a reference point.
    Convert = "convert",
    /// Removing a checkpoint.
    Destroy = "destroy",
    /// Listing reference points.
    ReferencePoints = "reference-points",
    /// Removing a reference point.
    DestroyReferencePoint = "destroy-reference-point",
    /// Asking whether a merge runs.
    MergeState = "merge-state",
    /// Asking for free space.
    VolumeSpace = "volume-space",
    /// Making a disk file for a restore.
    CreateDisk = "create-disk",
    /// Removing a file.
    RemoveFile = "remove-file",
    /// Importing a configuration.
    Import = "import",
    /// Defining a planned VM anew.
    Define = "define",
    /// Pointing a planned VM to its disks, or putting one into a VM.
    SetDisks = "set-disks",
    /// Connecting a planned VM's network adapters.
    SetSwitches = "set-switches",
    /// Asking what stands against realising.
    Validate = "validate",
    /// Making a planned VM a real one, or one of nothing but its name.
    Realise = "realise",
    /// Giving a planned VM up.
    Abort = "abort",
    /// Switching a VM on.
    Start = "start",
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Step {
    type Err = HypervError;

    fn from_str(word: &str) -> Result<Self, HypervError> {
        let found = Self::ALL.iter().find(|step| step.as_str() == word);
        found.copied().ok_or_else(|| {
            let all: Vec<_> = Self::ALL.iter().map(|step| step.as_str()).collect();
            invalid(format!(
                "take {word} for a step: there are {}",
                all.join(", ")
            ))
        })
    }
}

/// Something that goes wrong at the next call it fits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum SimFault {
    /// `lose-tracking [CODE]`: the next question for changes is answered with `code`, and
    /// everything before the disk's frozen instant is forgotten.
    LoseTracking {
        /// The code, 0xC03A0030 by default.
        code: u32,
    },
    /// `no-app-consistency [leaving-checkpoint]`: the guest refuses level 1.
    NoAppConsistency {
        /// Whether a checkpoint is there all the same.
        leave_checkpoint: bool,
    },
    /// `silent-guest`: the guest never answers that it is quiesced, so that the next checkpoint of level 1
    /// is waited for until it is given up.
    SilentGuest,
    /// `stuck-merge`: the next merge stands still until faults are cleared.
    StuckMerge,
    /// `resize`: an administrator makes the first disk larger before the next checkpoint.
    Resize,
    /// `job-fails-at STEP`.
    JobFailsAt {
        /// The call that fails.
        step: Step,
    },
    /// `outcome-unknown-at STEP [undone]`: the job vanishes, with or without its work done.
    OutcomeUnknownAt {
        /// The call that loses its job.
        step: Step,
        /// Whether the work was done.
        done: bool,
    },
    /// `foreign-checkpoint`: another product's recovery checkpoint appears.
    ForeignCheckpoint,
    /// `foreign-reference-point`: another product's reference point appears.
    ForeignReferencePoint,
    /// `apply-user-checkpoint`: an administrator applies a checkpoint of his before the next.
    ApplyUserCheckpoint,
    /// `swap-disks`: an administrator swaps the first two disks before the next checkpoint.
    SwapDisks,
    /// `low-space [BYTES]`: the volume seems to have that much room left.
    LowSpace {
        /// The room, 0 by default.
        free_bytes: u64,
    },
    /// `move-away [STEP]`: the VM moves to another host and stays there until faults are cleared.
    MoveAway {
        /// The call before which it moves; any by default.
        step: Option<Step>,
    },
    /// `busy [STEP]`: another operation holds the VM (return code 32775).
    Busy {
        /// The call that finds it so; any that changes the VM by default.
        step: Option<Step>,
    },
    /// `unreadable START-END [DISK]`: bytes of a frozen disk cannot be read.
    Unreadable {
        /// Where it begins.
        start: u64,
        /// Where it ends.
        end: u64,
        /// The disk's number, any by default.
        disk: Option<u32>,
    },
    /// `partial-answers`: the next question for changes is answered in crumbs.
    PartialAnswers,
}

impl SimFault {
    /// Returns the fault that `words` name, such as `["job-fails-at", "convert"]`.
    ///
    /// # Errors
    /// `Invalid` if there is no such fault or its arguments make no sense.
    pub fn parse(words: &[&str]) -> Result<Self, HypervError> {
        let fault = match *words {
            ["lose-tracking"] => Self::LoseTracking {
                code: codes::TRACKING_MISSING,
            },
            ["lose-tracking", code] => Self::LoseTracking {
                code: u32::from_str_radix(code.trim_start_matches("0x"), 16)
                    .map_err(|error| invalid(format!("take {code} for a code")).caused_by(error))?,
            },
            ["no-app-consistency"] => Self::NoAppConsistency {
                leave_checkpoint: false,
            },
            ["no-app-consistency", "leaving-checkpoint"] => Self::NoAppConsistency {
                leave_checkpoint: true,
            },
            ["silent-guest"] => Self::SilentGuest,
            ["stuck-merge"] => Self::StuckMerge,
            ["resize"] => Self::Resize,
            ["job-fails-at", step] => Self::JobFailsAt {
                step: step.parse()?,
            },
            ["outcome-unknown-at", step] => Self::OutcomeUnknownAt {
                step: step.parse()?,
                done: true,
            },
            ["outcome-unknown-at", step, "undone"] => Self::OutcomeUnknownAt {
                step: step.parse()?,
                done: false,
            },
            ["foreign-checkpoint"] => Self::ForeignCheckpoint,
            ["foreign-reference-point"] => Self::ForeignReferencePoint,
            ["apply-user-checkpoint"] => Self::ApplyUserCheckpoint,
            ["swap-disks"] => Self::SwapDisks,
            ["low-space"] => Self::LowSpace { free_bytes: 0 },
            ["low-space", bytes] => Self::LowSpace {
                free_bytes: number(bytes)?,
            },
            ["move-away"] => Self::MoveAway { step: None },
            ["move-away", step] => Self::MoveAway {
                step: Some(step.parse()?),
            },
            ["busy"] => Self::Busy { step: None },
            ["busy", step] => Self::Busy {
                step: Some(step.parse()?),
            },
            ["unreadable", range] => Self::unreadable(range, None)?,
            ["unreadable", range, disk] => Self::unreadable(range, Some(disk))?,
            ["partial-answers"] => Self::PartialAnswers,
            _ => return Err(invalid(format!("take \"{}\" for a fault", words.join(" ")))),
        };
        Ok(fault)
    }

    fn unreadable(range: &str, disk: Option<&str>) -> Result<Self, HypervError> {
        let (start, end) = range
            .split_once('-')
            .ok_or_else(|| invalid(format!("take {range} for a range START-END")))?;
        let (start, end) = (number(start)?, number(end)?);
        if start >= end {
            return Err(invalid(format!("take {range} for a range: it is empty")));
        }
        let disk = disk.map(number).transpose()?;
        Ok(Self::Unreadable { start, end, disk })
    }
}

impl fmt::Display for SimFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LoseTracking { code } => write!(f, "lose-tracking 0x{code:08X}"),
            Self::NoAppConsistency { leave_checkpoint } => {
                let rest = if *leave_checkpoint {
                    " leaving-checkpoint"
                } else {
                    ""
                };
                write!(f, "no-app-consistency{rest}")
            }
            Self::SilentGuest => f.write_str("silent-guest"),
            Self::StuckMerge => f.write_str("stuck-merge"),
            Self::Resize => f.write_str("resize"),
            Self::JobFailsAt { step } => write!(f, "job-fails-at {step}"),
            Self::OutcomeUnknownAt { step, done } => {
                let rest = if *done { "" } else { " undone" };
                write!(f, "outcome-unknown-at {step}{rest}")
            }
            Self::ForeignCheckpoint => f.write_str("foreign-checkpoint"),
            Self::ForeignReferencePoint => f.write_str("foreign-reference-point"),
            Self::ApplyUserCheckpoint => f.write_str("apply-user-checkpoint"),
            Self::SwapDisks => f.write_str("swap-disks"),
            Self::LowSpace { free_bytes } => write!(f, "low-space {free_bytes}"),
            Self::MoveAway { step: None } => f.write_str("move-away"),
            Self::MoveAway { step: Some(step) } => write!(f, "move-away {step}"),
            Self::Busy { step: None } => f.write_str("busy"),
            Self::Busy { step: Some(step) } => write!(f, "busy {step}"),
            Self::Unreadable {
                start,
                end,
                disk: None,
            } => write!(f, "unreadable {start}-{end}"),
            Self::Unreadable {
                start,
                end,
                disk: Some(disk),
            } => {
                write!(f, "unreadable {start}-{end} {disk}")
            }
            Self::PartialAnswers => f.write_str("partial-answers"),
        }
    }
}

fn number<T: FromStr<Err = std::num::ParseIntError>>(word: &str) -> Result<T, HypervError> {
    word.parse::<T>()
        .map_err(|error| invalid(format!("take {word} for a number")).caused_by(error))
}

fn invalid(message: String) -> HypervError {
    HypervError::new(HypervErrorKind::Invalid, message)
}

/// A fault that waits for its call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultRecord {
    /// What goes wrong.
    pub fault: SimFault,
    /// How many more times; `None` until it is cleared.
    pub times_left: Option<u32>,
}

/// Takes one strike of the first fault that `matches`.
pub(super) fn strike(
    faults: &mut Vec<FaultRecord>,
    matches: impl Fn(&SimFault) -> bool,
) -> Option<SimFault> {
    let index = faults
        .iter()
        .position(|record| record.times_left != Some(0) && matches(&record.fault))?;
    let struck = faults[index].fault.clone();
    if let Some(left) = &mut faults[index].times_left {
        *left -= 1;
        if *left == 0 {
            faults.remove(index);
        }
    }
    Some(struck)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_reads_back_from_its_own_words() {
        for words in [
            "lose-tracking 0xC03A0029",
            "no-app-consistency",
            "no-app-consistency leaving-checkpoint",
            "silent-guest",
            "stuck-merge",
            "resize",
            "job-fails-at destroy-reference-point",
            "outcome-unknown-at create",
            "outcome-unknown-at convert undone",
            "foreign-checkpoint",
            "foreign-reference-point",
            "apply-user-checkpoint",
            "swap-disks",
            "low-space 4096",
            "move-away",
            "move-away convert",
            "busy",
            "busy create",
            "unreadable 0-512",
            "unreadable 4096-8192 1",
            "partial-answers",
        ] {
            let split: Vec<_> = words.split(' ').collect();
            assert_eq!(SimFault::parse(&split).unwrap().to_string(), words);
        }
    }

    #[test]
    fn nonsense_is_no_fault() {
        for words in [
            "",
            "explode",
            "job-fails-at",
            "job-fails-at lunch",
            "unreadable 8-8",
            "unreadable 8",
            "low-space much",
            "lose-tracking zzz",
            "resize 5",
        ] {
            let split: Vec<_> = words.split(' ').collect();
            let error = SimFault::parse(&split).unwrap_err();
            assert_eq!(error.kind(), HypervErrorKind::Invalid, "{words}");
        }
    }

    #[test]
    fn a_fault_strikes_as_often_as_it_was_told() {
        let mut faults = vec![
            FaultRecord {
                fault: SimFault::Resize,
                times_left: Some(2),
            },
            FaultRecord {
                fault: SimFault::PartialAnswers,
                times_left: None,
            },
        ];
        let resize = |fault: &SimFault| *fault == SimFault::Resize;
        assert!(strike(&mut faults, resize).is_some());
        assert!(strike(&mut faults, resize).is_some());
        assert!(strike(&mut faults, resize).is_none());
        for _ in 0..5 {
            assert!(strike(&mut faults, |fault| *fault == SimFault::PartialAnswers).is_some());
        }
    }
}
