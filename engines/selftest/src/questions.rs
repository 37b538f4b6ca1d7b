//! Every question of the Hyper-V spec's section 20, and what the agent does either way.
//!
//! A row of the spec is one question or several: `RH-5` became `RH-5a` to `RH-5d`. `C` stands for
//! what the contract suite demands of every host, `7.1` for that section's low confidence.

/// A question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question {
    /// What it is called everywhere.
    pub id: &'static str,
    /// The claim that is confirmed or refuted.
    pub claim: &'static str,
    /// What the agent does if it does not hold; if it holds, it does what it always does.
    pub if_refuted: &'static str,
    /// Why the question is not tried, where nothing else is said.
    pub untried: &'static str,
}

impl Question {
    /// Returns the question of this id.
    ///
    /// # Panics
    /// If there is none: ids are ours.
    pub(crate) fn of(id: &str) -> &'static Self {
        let found = QUESTIONS.iter().find(|question| question.id == id);
        found.expect("every answer answers a question of the table")
    }
}

const NOT_REACHED: &str = "the self-test did not get that far";
const NO_PROBING: &str = "only this machine's own Hyper-V can be asked that";
const NOTHING: &str = "nothing: no decision rests on it";
const BY_HAND: &str = "the self-test does not move, break or switch off anything to find out";

const fn tried(
    id: &'static str,
    claim: &'static str,
    if_refuted: &'static str,
    untried: &'static str,
) -> Question {
    Question {
        id,
        claim,
        if_refuted,
        untried,
    }
}

const fn never(id: &'static str, claim: &'static str, why: &'static str) -> Question {
    tried(id, claim, NOTHING, why)
}

/// All of them, in the order of the spec.
pub const QUESTIONS: [Question; 44] = [
    tried(
        "RH-1a",
        "a frozen disk tells the tracking id that its reference point gets",
        "a base takes its ids from the reference point in any case; a run that is killed while it converts its checkpoint leaves a reference point behind, and the next run reads more",
        NOT_REACHED,
    ),
    tried(
        "RH-1b",
        "a frozen disk has no writes after its newest tracking id",
        "nothing is lost: the id is older than the content, and the next increment reads a little more",
        NO_PROBING,
    ),
    tried(
        "RH-2",
        "a tracking id stays known after its reference point was destroyed",
        "nothing: a base keeps its reference point until it is replaced",
        NOT_REACHED,
    ),
    tried(
        "RH-3",
        "a recovery checkpoint can be taken of a VM whose checkpoints are disabled",
        "such a VM cannot be backed up; `Set-VM -CheckpointType` allows it",
        "checkpoints of this VM are not disabled; name one of which they are",
    ),
    never(
        "RH-4",
        "an export of the configuration disables merging",
        "the agent copies configuration files and never exports",
    ),
    tried(
        "RH-5a",
        "a checkpoint's disks have the VM's ids behind the first backslash",
        "each disk of a checkpoint is placed by the checkpoint's own controllers, not by the VM's",
        NO_PROBING,
    ),
    tried(
        "RH-5b",
        "a reference point names its disks by the VM's ids behind the first backslash",
        "no base can be made of its points: disks are read in full",
        NO_PROBING,
    ),
    tried(
        "RH-5c",
        "a reference point names its disks by ids that begin with the VM's GUID",
        NOTHING,
        NO_PROBING,
    ),
    tried(
        "RH-5d",
        "ids of disks on SCSI tell their controller's number",
        "nothing: controllers are numbered by their order",
        "the VM has no disk on a second SCSI controller",
    ),
    never(
        "RH-6",
        "a user's checkpoint that is applied, made or deleted makes bases unusable",
        "applying one would throw away what the guest wrote since; the agent distrusts every base older than that",
    ),
    never(
        "RH-7",
        "GetVirtualDiskChanges tells the same ranges as virtdisk",
        "the agent asks virtdisk alone",
    ),
    tried(
        "RH-8",
        "changed ranges are a superset after power loss, a crash of the host, migration",
        NOTHING,
        BY_HAND,
    ),
    tried(
        "RH-9",
        "the disks of this VM are tracked",
        "disks that are not tracked are read in full each time",
        NOT_REACHED,
    ),
    tried(
        "RH-10a",
        "destroying one reference point leaves the ids of another known",
        "a VM that is backed up to two repositories is read in full more often",
        NOT_REACHED,
    ),
    tried(
        "RH-10b",
        "disks are merged while an older reference point is there",
        "keep one repository for each VM on this host: a second base is in the way of merges",
        NOT_REACHED,
    ),
    tried(
        "RH-11",
        "nothing writes into a frozen disk",
        "nothing yet: content that is read early and late may differ. Send this report, and back up with --full until it is answered",
        NOT_REACHED,
    ),
    tried(
        "RH-12a",
        "a Linux guest can be quiesced",
        "points of it are crash-consistent, or fail with --consistency require-application",
        "the VM has no running Linux guest",
    ),
    tried(
        "RH-12b",
        "disks on an SMB share can be read",
        "VMs on shares cannot be backed up from this host",
        "no disk of the VM lies on a share",
    ),
    never(
        "RH-13",
        "a VM with a TPM comes back on another host",
        "that needs another host and its guardians; see restores in docs/operating",
    ),
    tried(
        "RH-14",
        "a frozen disk is attached so that only the agent sees it",
        "disks are read, and written by restores, through a drive without letters, which is offline while it is written",
        NO_PROBING,
    ),
    never(
        "RH-15",
        "a base is valid on another node after a live migration",
        BY_HAND,
    ),
    never(
        "RH-16",
        "storage migration flattens a differencing disk",
        BY_HAND,
    ),
    tried(
        "RH-17a",
        "methods take embedded instances as CIM DTD 2.0",
        "they are handed over as WMI DTD 2.0, if that is taken",
        NO_PROBING,
    ),
    tried(
        "RH-17b",
        "methods take embedded instances as WMI DTD 2.0",
        "nothing: they are handed over as CIM DTD 2.0",
        NO_PROBING,
    ),
    tried(
        "RH-18a",
        "the jobs that end a checkpoint end before its merge",
        "they may take four hours instead of half an hour",
        NO_PROBING,
    ),
    tried(
        "RH-18b",
        "disks are merged after a checkpoint became a reference point",
        "see `A checkpoint that stays` in docs/operating; backups of the VM wait for the merge",
        NOT_REACHED,
    ),
    never(
        "RH-19",
        "a read-only handle of the agent blocks a merge",
        "a merge that is made to fail may hang until the host is restarted; the agent never holds a disk open while its checkpoint ends",
    ),
    never(
        "RH-20",
        "what the types 0, 1 and 2 of CreateReferencePoint mean",
        "the agent makes reference points of checkpoints alone",
    ),
    tried(
        "RH-21",
        "guests can be told to leave their applications' logs alone (GuestBackupType)",
        "whether applications truncate their logs is the host's choice: look at the backups of SQL Server and Exchange in guests",
        NO_PROBING,
    ),
    tried(
        "RH-22a",
        "what a file's block table calls unallocated reads as zeros",
        "holes are read like anything else: full backups take longer",
        NOT_REACHED,
    ),
    never(
        "RH-22b",
        "a VHDX file whose log is not empty can be read",
        BY_HAND,
    ),
    never(
        "RH-23",
        "how many reference points and checkpoints a VM may have",
        "that takes load the VM would feel; the agent keeps one base for each repository",
    ),
    never(
        "RH-24",
        "a VM that Replica copies can be backed up",
        "that needs a replica; the replica's own side is not backed up",
    ),
    tried(
        "RH-25a",
        "the configuration files of a checkpoint can be copied",
        "points of this host lack them: whole VMs cannot be restored from them",
        NOT_REACHED,
    ),
    tried(
        "RH-25b",
        "they can be imported under a new id",
        "restores of whole VMs fail on this host; restore their disks to files",
        NOT_REACHED,
    ),
    never(
        "RH-26",
        "an id is known on a disk above the one that held it",
        "the self-test makes no user's checkpoints; increments of VMs that have them are experimental",
    ),
    never(
        "RH-27",
        "without elevation Hyper-V shows nothing and says nothing",
        "the self-test needs these rights itself; the agent takes an empty answer for missing rights",
    ),
    tried(
        "7.1",
        "a file that the VM writes to can be asked for information through virtdisk",
        "the management service is asked instead; whether such disks are tracked is not shown",
        NO_PROBING,
    ),
    tried(
        "C1",
        "a VM is listed once, and alone as among all",
        "nothing yet: send this report",
        NOT_REACHED,
    ),
    tried(
        "C2",
        "changed ranges cover every difference between two frozen instants",
        "nothing yet: back up with --full and send this report. Each increment re-reads a sample and would raise an alarm",
        "nothing that was sampled could be compared",
    ),
    tried(
        "C3",
        "an id that names nothing is answered with a code",
        "nothing yet: send this report",
        NOT_REACHED,
    ),
    tried(
        "C4",
        "a second recovery checkpoint is refused",
        "nothing: the agent takes none while another is there",
        NOT_REACHED,
    ),
    tried(
        "C5",
        "what is not there is told apart from what fails",
        "nothing yet: send this report",
        NOT_REACHED,
    ),
    tried(
        "C6",
        "everything that was done is undone",
        "`host clean` removes what is left once the host lets it",
        NOT_REACHED,
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_section_20_is_asked_or_says_why_not() {
        for row in 1..=27 {
            let id = format!("RH-{row}");
            let of_row = |question: &&Question| {
                let rest = question.id.strip_prefix(&id);
                rest.is_some_and(|rest| {
                    rest.is_empty() || rest.starts_with(|c: char| c.is_ascii_lowercase())
                })
            };
            assert!(QUESTIONS.iter().any(|question| of_row(&question)), "{id}");
        }
        for question in QUESTIONS {
            assert!(!question.untried.is_empty(), "{}", question.id);
            assert!(!question.if_refuted.is_empty(), "{}", question.id);
            let same = QUESTIONS.iter().filter(|other| other.id == question.id);
            assert_eq!(same.count(), 1, "{}", question.id);
        }
    }
}
