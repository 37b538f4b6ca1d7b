//! A service that lives by a simulated clock: a month passes in a moment, and its repository is none the wiser.

use std::fs;
use std::time::Duration;

use scripted_control_plane::Settings;
use scripted_control_plane::world::OperationOrder;
use serde_json::json;
use time_and_chance::{SimClock, SimTime, StopSignal, SystemClock, Timestamp};

use crate::world::World;

#[test]
fn a_month_passes_between_two_runs_and_the_repository_is_maintained_and_sound() {
    let folder = tempfile::tempdir().unwrap();
    let (file, real) = (folder.path().join("clock"), SystemClock::new());
    let long_ago: Timestamp = "2026-01-01T22:00:00Z".parse().unwrap();
    let begin = SimTime::first(long_ago, real.now(), 1);
    fs::write(&file, begin.to_string()).unwrap();
    let clock = SimClock::following(&file).unwrap();
    let mut world = World::living_by(clock.clone(), Settings::default());
    world.begin();
    let back_up = || {
        let run = world.queue(world.files());
        assert_eq!(world.end_of(&run), "success", "{}", world.last_update(&run));
    };
    back_up();
    let month = Duration::from_hours(30 * 24);
    local_file::replace(
        &file,
        begin.advanced(month, real.now()).to_string().as_bytes(),
    )
    .unwrap();
    while clock.now().duration_since(long_ago).as_hours() < 24 {
        StopSignal::new()
            .wait_real_time(Duration::from_millis(5))
            .unwrap();
    }
    back_up();
    for op_type in ["maintenance_quick", "maintenance_full", "verify"] {
        let order = OperationOrder {
            op_type: op_type.to_owned(),
            repository_id: "5c0e0000-0000-4000-8000-000000000001".to_owned(),
            effective_policy: json!({"percent": 100}),
            ..OperationOrder::default()
        };
        let id = world.plane.with(|world| world.queue_operation(order));
        let of = |plane: &scripted_control_plane::ControlPlane| {
            plane.with(|world| {
                let operation = world.operations.iter().find(|it| it.id == id).unwrap();
                (operation.status.clone(), operation.result.clone())
            })
        };
        world.wait_for("the operation", |plane| {
            matches!(&*of(plane).0, "success" | "failed")
        });
        let (status, result) = of(&world.plane);
        assert_eq!(status, "success", "{op_type}: {result}");
    }
    let blobs = fs::read_dir(world.path("repo")).unwrap();
    let ages = blobs.map(|it| it.unwrap().metadata().unwrap().modified().unwrap());
    let oldest = Timestamp::try_from(ages.min().unwrap()).unwrap();
    assert!(
        oldest.duration_since(long_ago).abs().as_hours() < 24,
        "{oldest}"
    );
    assert!(clock.now().duration_since(long_ago).as_hours() >= 30 * 24);
}
