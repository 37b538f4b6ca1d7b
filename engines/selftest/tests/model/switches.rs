//! Each switch of the model in its other position: the claim is refuted, and beliefs follow.

use fake_hyperv::{Manners, PointEntries};
use windows_host::hyperv::Beliefs;
use windows_host::wmi::TextForm;

use crate::world::{World, holds};

/// Returns what the model answers as the spec believes.
const CONFIRMED: [&str; 23] = [
    "RH-1a", "RH-1b", "RH-5a", "RH-5b", "RH-5c", "RH-9", "RH-10a", "RH-10b", "RH-11", "RH-14",
    "RH-17a", "RH-17b", "RH-18a", "RH-18b", "RH-21", "RH-22a", "RH-25a", "RH-25b", "7.1", "C1",
    "C2", "C3", "C4",
];

#[test]
fn a_host_as_the_spec_believes_confirms_every_claim_and_changes_no_belief() {
    let world = World::new();
    let report = world.run().unwrap();
    assert_eq!(report.ended_early, None);
    for id in CONFIRMED.into_iter().chain(["C5", "C6"]) {
        assert_eq!(
            holds(&report, id),
            Some(true),
            "{id}: {}",
            report.markdown()
        );
    }
    // The simulated host forgets ids that nothing pins any more.
    assert_eq!(report.differently().len(), 1, "{:?}", report.differently());
    assert_eq!(holds(&report, "RH-2"), Some(false));
    assert_eq!(world.beliefs(), Beliefs::default());
}

#[test]
fn each_switch_in_its_other_position_refutes_its_claim() {
    let other = |change: fn(&mut Manners)| {
        let mut manners = Manners::default();
        change(&mut manners);
        manners
    };
    for (manners, ids) in [
        (
            other(|it| it.points_have_ids_of_their_own = true),
            &["RH-1a"][..],
        ),
        (
            other(|it| it.newer_changes_on_frozen_disks = true),
            &["RH-1b"],
        ),
        (other(|it| it.checkpoint_keeps_ids = false), &["RH-5a"]),
        (
            other(|it| it.point_entries = PointEntries::Point),
            &["RH-5c"],
        ),
        (other(|it| it.no_local_host_refused = Some(50)), &["RH-14"]),
        (
            other(|it| it.only_text_form = Some(TextForm::WmiDtd20)),
            &["RH-17a"],
        ),
        (
            other(|it| it.only_text_form = Some(TextForm::CimDtd20)),
            &["RH-17b"],
        ),
        (other(|it| it.jobs_wait_for_merge = true), &["RH-18a"]),
        (other(|it| it.server_2016 = true), &["RH-21"]),
        (other(|it| it.information_is_like_reading = true), &["7.1"]),
    ] {
        let world = World::with(manners, 40);
        let report = world.run().unwrap();
        assert_eq!(report.ended_early, None, "{ids:?}");
        for id in CONFIRMED {
            let expected = Some(!ids.contains(&id));
            assert_eq!(
                holds(&report, id),
                expected,
                "{id} where {ids:?} are refuted: {}",
                report.markdown()
            );
        }
        let mut expected = Beliefs::default();
        let long = std::time::Duration::from_hours(4);
        match ids {
            ["RH-5a"] => expected.checkpoints_keep_ids = false,
            ["RH-17a"] => expected.text_form = TextForm::WmiDtd20,
            ["RH-18a"] => (expected.limits.convert, expected.limits.destroy) = (long, long),
            _ => {}
        }
        assert_eq!(world.beliefs(), expected, "{ids:?}");
        assert_eq!(report.differently().len(), 2, "{ids:?}: one beside RH-2");
    }
}

#[test]
fn a_merge_too_quick_to_be_seen_says_nothing_of_jobs() {
    let world = World::with(Manners::default(), 0);
    assert_eq!(holds(&world.run().unwrap(), "RH-18a"), None);
}

#[test]
fn a_simulated_host_answers_what_its_port_can() {
    let world = World::new();
    let report = world.run_simulated().unwrap();
    for id in [
        "RH-1a", "RH-9", "RH-10a", "RH-11", "RH-25b", "C2", "C4", "C6",
    ] {
        assert_eq!(holds(&report, id), Some(true), "{id}");
    }
    for id in ["RH-1b", "RH-5a", "RH-17a", "RH-18a"] {
        assert_eq!(holds(&report, id), None, "{id}");
    }
    assert!(report.markdown().contains("simulated host"));
}
