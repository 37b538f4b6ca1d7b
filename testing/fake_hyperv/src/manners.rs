//! What the model does where only a real host could tell which way is right.

use std::str::FromStr;

use windows_host::wmi::TextForm;

/// Switches for behaviours of low confidence; the default is what the Hyper-V spec believes.
///
/// Code that works with the model in one position of a switch has to work in the other too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manners {
    /// Class versions of Server 2016: what came with 1709 and later is missing (spec 2.3, 4.1).
    pub server_2016: bool,
    /// Long methods answer 0 with their out-parameters instead of 4096 and a job (spec 4.1).
    pub no_jobs: bool,
    /// The work of a job is done when it is started, so it cannot be cancelled; otherwise when
    /// it is seen to end (spec 2.6).
    pub jobs_work_first: bool,
    /// What the looks at a job show before its end (spec 2.6).
    pub job_states: Vec<u16>,
    /// How often a finished job can be looked at before it is removed; none for always: after
    /// `TimeBeforeRemoval`, five minutes (spec 2.6).
    pub finished_job_looks: Option<u32>,
    /// Jobs that worked end with 32768, completed with warnings, instead of 7 (spec 2.6).
    pub jobs_end_with_warnings: bool,
    /// The out-parameter that names the result is set beside a job too (spec 4.1).
    pub result_beside_job: bool,
    /// Methods of family A answer with the numbers of family B too (spec 2.5).
    pub family_b_everywhere: bool,
    /// A VM that is busy answers 5, not 32775, in family A (spec 2.5, RH-17).
    pub small_busy_code: bool,
    /// The convert and destroy jobs end only when the merge is over (RH-18).
    pub jobs_wait_for_merge: bool,
    /// A SCSI controller's ids carry its number; otherwise 0, and its GUID tells (spec 3.4, RH-5).
    pub scsi_number_in_ids: bool,
    /// Ids of a disk are the same behind the first `\` in VM and checkpoint (spec 3.4, RH-5).
    pub checkpoint_keeps_ids: bool,
    /// Whose GUID the disk entries of a reference point begin with (RH-5).
    pub point_entries: PointEntries,
    /// An adapter on no switch has a connection whose state is 3; otherwise none (spec 10.1).
    pub disconnected_has_connection: bool,
    /// A planned VM keeps its files in the folder that its definition was imported from, until it is
    /// told otherwise; otherwise in one of the host's choice (spec 10.1, low).
    pub imports_stay_in_their_folder: bool,
    /// A saved or paused VM shows 32769 and 32768 instead of 6 and 9 (spec 3.2).
    pub old_state_numbers: bool,
    /// Whether a frozen disk says that there were writes after its newest id (Hyper-V spec 7.1,
    /// RH-1).
    pub newer_changes_on_frozen_disks: bool,
    /// Reference points name instants by ids of their own, which the frozen disks do not tell
    /// (Hyper-V spec 5.3, RH-1).
    pub points_have_ids_of_their_own: bool,
    /// Methods take embedded instances in this form alone; none for in either (spec 2.3, RH-17).
    pub only_text_form: Option<TextForm>,
    /// Whether asking a file for information needs what reading it needs, so that what a running
    /// VM writes to cannot be asked (Hyper-V spec 7.1, low).
    pub information_is_like_reading: bool,
    /// Attaching without a local host works; otherwise it is refused with this code (RH-14).
    pub no_local_host_refused: Option<u32>,
    /// Disks that are attached as drives come online and writable; otherwise offline and read-only,
    /// as a SAN policy of the host can have it (Hyper-V spec 8, way B).
    pub drives_come_online: bool,
    /// Taking a drive offline works; otherwise it is refused with this code, or nothing comes of
    /// it if that is 0 (Hyper-V spec 8, way B).
    pub offline_refused: Option<u32>,
}

/// What stands behind an id in a reference point that has ids of its own.
pub(crate) const OWN_ID_END: &str = ":P";

/// Whose GUID the disk entries of a reference point begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PointEntries {
    /// The VM's.
    Vm,
    /// One that names neither VM nor checkpoint.
    Point,
}

impl Default for Manners {
    fn default() -> Self {
        Self {
            server_2016: false,
            no_jobs: false,
            jobs_work_first: true,
            job_states: vec![2, 4, 4],
            finished_job_looks: None,
            jobs_end_with_warnings: false,
            result_beside_job: false,
            family_b_everywhere: false,
            small_busy_code: false,
            jobs_wait_for_merge: false,
            scsi_number_in_ids: true,
            checkpoint_keeps_ids: true,
            point_entries: PointEntries::Vm,
            disconnected_has_connection: true,
            imports_stay_in_their_folder: true,
            old_state_numbers: false,
            newer_changes_on_frozen_disks: false,
            points_have_ids_of_their_own: false,
            only_text_form: None,
            information_is_like_reading: false,
            no_local_host_refused: None,
            drives_come_online: true,
            offline_refused: None,
        }
    }
}

impl FromStr for Manners {
    type Err = String;

    /// Reads switches that differ from the default, with commas between them:
    /// `server-2016,job-states=2+3+12+4,finished-job-looks=3`.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut manners = Self::default();
        for word in text.split(',').filter(|word| !word.is_empty()) {
            manners
                .switch(word)
                .ok_or_else(|| format!("take {word} for a switch of the model"))?;
        }
        Ok(manners)
    }
}

impl Manners {
    /// Puts one switch into its other position.
    fn switch(&mut self, word: &str) -> Option<()> {
        match word.split_once('=') {
            Some(("job-states", states)) => {
                let states = states.split('+').map(|state| state.parse().ok());
                self.job_states = states.collect::<Option<_>>()?;
            }
            Some(("finished-job-looks", looks)) => {
                self.finished_job_looks = Some(looks.parse().ok()?);
            }
            Some(("no-local-host-refused", code)) => {
                self.no_local_host_refused = Some(code.parse().ok()?);
            }
            Some(("offline-refused", code)) => self.offline_refused = Some(code.parse().ok()?),
            Some(_) => return None,
            None => match word {
                "server-2016" => self.server_2016 = true,
                "no-jobs" => self.no_jobs = true,
                "jobs-work-last" => self.jobs_work_first = false,
                "jobs-end-with-warnings" => self.jobs_end_with_warnings = true,
                "result-beside-job" => self.result_beside_job = true,
                "family-b-everywhere" => self.family_b_everywhere = true,
                "small-busy-code" => self.small_busy_code = true,
                "jobs-wait-for-merge" => self.jobs_wait_for_merge = true,
                "no-scsi-number-in-ids" => self.scsi_number_in_ids = false,
                "checkpoint-changes-ids" => self.checkpoint_keeps_ids = false,
                "point-entries-of-their-own" => self.point_entries = PointEntries::Point,
                "disconnected-has-no-connection" => self.disconnected_has_connection = false,
                "imports-go-where-the-host-likes" => self.imports_stay_in_their_folder = false,
                "old-state-numbers" => self.old_state_numbers = true,
                "newer-changes-on-frozen-disks" => self.newer_changes_on_frozen_disks = true,
                "points-have-ids-of-their-own" => self.points_have_ids_of_their_own = true,
                "only-cim-texts" => self.only_text_form = Some(TextForm::CimDtd20),
                "only-wmi-texts" => self.only_text_form = Some(TextForm::WmiDtd20),
                "drives-come-offline" => self.drives_come_online = false,
                "information-is-like-reading" => self.information_is_like_reading = true,
                _ => return None,
            },
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn switches_are_told_by_words() {
        assert_eq!("".parse(), Ok(Manners::default()));
        let words = "server-2016,job-states=2+12+4,finished-job-looks=1,jobs-work-last,\
            no-local-host-refused=50";
        let manners: Manners = words.parse().expect("these are switches");
        assert!(manners.server_2016 && !manners.jobs_work_first);
        assert_eq!(manners.job_states, [2, 12, 4]);
        assert_eq!(manners.finished_job_looks, Some(1));
        assert_eq!(manners.no_local_host_refused, Some(50));
        for nonsense in ["explode", "job-states=a", "no-jobs=1"] {
            assert!(nonsense.parse::<Manners>().is_err(), "{nonsense}");
        }
    }
}
