//! The contract suite, with the model's manners in one position and in the other.

use fake_hyperv::{Manners, PointEntries};
use hyperv::contract;
use windows_host::wmi::TextForm;

use crate::world::World;

#[test]
fn this_machines_hyperv_keeps_the_contract() {
    contract::run_all(World::new);
}

#[test]
fn it_keeps_the_contract_on_server_2016_and_with_other_ids_and_jobs() {
    contract::run_all(|| {
        World::with(Manners {
            server_2016: true,
            jobs_work_first: false,
            job_states: vec![2, 3, 4, 5, 12],
            jobs_end_with_warnings: true,
            family_b_everywhere: true,
            jobs_wait_for_merge: true,
            scsi_number_in_ids: false,
            point_entries: PointEntries::Point,
            disconnected_has_connection: false,
            old_state_numbers: true,
            ..Manners::default()
        })
    });
}

#[test]
fn it_keeps_the_contract_without_jobs_and_with_results_beside_them() {
    contract::run_all(|| {
        World::with(Manners {
            no_jobs: true,
            small_busy_code: true,
            checkpoint_keeps_ids: false,
            ..Manners::default()
        })
    });
    contract::run_all(|| {
        World::with(Manners {
            result_beside_job: true,
            finished_job_looks: Some(1),
            newer_changes_on_frozen_disks: true,
            ..Manners::default()
        })
    });
}

#[test]
fn it_keeps_the_contract_where_points_have_ids_and_texts_a_form_of_their_own() {
    contract::run_all(|| {
        World::with(Manners {
            points_have_ids_of_their_own: true,
            only_text_form: Some(TextForm::WmiDtd20),
            ..Manners::default()
        })
    });
}

#[test]
fn it_keeps_the_contract_where_running_vms_keep_their_files_to_themselves() {
    contract::run_all(|| {
        World::with(Manners {
            information_is_like_reading: true,
            ..Manners::default()
        })
    });
}

#[test]
fn it_keeps_the_contract_where_disks_are_attached_as_drives_alone() {
    contract::run_all(|| {
        World::with(Manners {
            no_local_host_refused: Some(50),
            ..Manners::default()
        })
    });
}
