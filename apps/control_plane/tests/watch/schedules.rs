//! Schedules that fire, and runs that did not happen.

use std::time::Duration;

use control_plane::chores::Chores;
use control_plane::store::entity::{job, run, run_event};
use jiff::tz::TimeZone;
use sea_orm::{ColumnTrait as _, EntityTrait as _, QueryFilter as _};
use serde_json::{Value, json};

use crate::ground::{Ground, HOUR, text};
use crate::{call, end_runs, open_alarms, runs};

#[tokio::test]
async fn two_instances_fire_each_night_of_a_month_once() {
    let ground = Ground::new().await;
    let second = ground.world.second().await;
    // The same seed in both would give both the same ids.
    let _other_chance: [u8; 8] = second.plane.chance.bytes();
    let job = ground.job(ground.wish()).await;
    let instances = [
        Chores::new(ground.world.plane.clone()),
        Chores::new(second.plane.clone()),
    ];
    // From 08:00 on the first of March on: the clocks are changed on the 29th.
    for turn in 0..(31 * 12) {
        for clock in [&ground.world.clock, &second.clock] {
            clock.advance(Duration::from_secs(7_200));
        }
        call(&ground).await;
        let (first, other) = instances.split_at(1);
        let (a, b) = if turn % 2 == 0 {
            (first, other)
        } else {
            (other, first)
        };
        tokio::join!(a[0].turn(), b[0].turn());
        end_runs(&ground, "success").await;
    }
    let runs = runs(&ground).await;
    let nights: Vec<String> = runs
        .iter()
        .map(|run| {
            assert_eq!(run.status, "success", "{run:?}");
            assert_eq!(run.job_id.as_deref(), job["id"].as_str());
            control_plane::plane::rfc3339(run.scheduled_for.expect("scheduled"))
        })
        .collect();
    let expected: Vec<String> = (1..=31)
        .map(|day| {
            let hour = if day < 29 { 21 } else { 20 };
            format!("2026-03-{day:02}T{hour}:00:00Z")
        })
        .collect();
    assert_eq!(nights, expected);
}

#[tokio::test]
async fn a_due_job_is_queued_by_one_of_many_who_try_at_once() {
    let ground = Ground::new().await;
    let id = text(&ground.job(ground.wish()).await["id"]);
    let store = &ground.world.plane.store;
    let row = job::Entity::find_by_id(&id)
        .one(store.db())
        .await
        .expect("read")
        .expect("there");
    ground.world.clock.advance(Duration::from_secs(14 * 3_600));
    let now = ground.world.plane.clock.now();
    let zone = TimeZone::get("Europe/Berlin").expect("known");
    let fire = || store.fire_job(&row, &zone, now, |_| ground.world.plane.new_id());
    let (a, b, c) = tokio::join!(fire(), fire(), fire());
    let fired = [a, b, c].map(|fired| fired.expect("no trouble").len());
    assert_eq!(fired.iter().sum::<usize>(), 1, "{fired:?}");
}

#[tokio::test]
async fn what_its_host_did_not_take_in_the_window_is_missed_and_never_handed_out() {
    let ground = Ground::new().await;
    let mut wish = ground.wish();
    wish["schedule"]["window"] = json!({"from": "20:00", "to": "06:00"});
    ground.job(wish).await;
    let chores = Chores::new(ground.world.plane.clone());
    // 22:00 in Berlin, and a host that is off.
    ground.world.clock.advance(Duration::from_secs(13 * 3_600));
    chores.turn().await;
    // Two minutes before six it would still be handed out, and at six no more.
    let store = &ground.world.plane.store;
    ground
        .world
        .clock
        .advance(Duration::from_secs(8 * 3_600 - 120));
    chores.turn().await;
    let waiting = runs(&ground).await;
    assert_eq!(waiting[0].status, "queued");
    let until_six = waiting[0].scheduled_for.expect("scheduled") + 8 * HOUR;
    let offered = store.offer_run(&ground.host, until_six).await;
    assert_eq!(offered.expect("no trouble").map(|it| it.run.id), None);
    ground.world.clock.advance(Duration::from_secs(180));
    chores.turn().await;
    let missed = runs(&ground).await.remove(0);
    assert_eq!(missed.status, "missed", "{missed:?}");
    assert!(missed.error_summary.contains("window"));
    assert!(
        open_alarms(&ground)
            .await
            .contains(&"run_missed".to_owned())
    );
    // The next night it is taken in time.
    ground.world.clock.advance(Duration::from_secs(16 * 3_600));
    chores.turn().await;
    let offered = store.offer_run(&ground.host, ground.now()).await;
    assert!(offered.expect("no trouble").is_some());
}

#[tokio::test]
async fn nights_that_nobody_fired_are_recorded_and_the_newest_is_made_up_for() {
    let ground = Ground::new().await;
    ground.job(ground.wish()).await;
    let chores = Chores::new(ground.world.plane.clone());
    // Three nights later, at 00:00 in Berlin.
    ground
        .world
        .clock
        .advance(Duration::from_secs(2 * 86_400 + 15 * 3_600));
    chores.turn().await;
    let statuses: Vec<String> = runs(&ground)
        .await
        .into_iter()
        .map(|run| run.status)
        .collect();
    assert_eq!(statuses, ["missed", "missed", "queued"]);
    // The next night comes while that one still waits for its host, which had nobody to ask: the server slept.
    ground.world.clock.advance(Duration::from_secs(82_800));
    chores.turn().await;
    let all = runs(&ground).await;
    let statuses = [&all[2].status, &all[3].status];
    assert_eq!(statuses, ["queued", "missed"]);
    // It is given up twelve hours after the server woke.
    for _ in 0..12 * 30 {
        ground.world.clock.advance(Duration::from_secs(120));
        let now = ground.now();
        let awake = ground.world.plane.store.awake_since(now).await;
        awake.expect("noted");
    }
    chores.turn().await;
    assert_eq!(runs(&ground).await[2].status, "queued");
    ground.world.clock.advance(Duration::from_secs(60));
    chores.turn().await;
    let given_up = &runs(&ground).await[2];
    assert_eq!(given_up.status, "missed", "{given_up:?}");
    assert!(given_up.error_summary.contains("twelve hours"));
}

#[tokio::test]
async fn a_clock_that_was_ahead_costs_no_night_once_it_is_right_again() {
    let ground = Ground::new().await;
    let job = text(&ground.job(ground.wish()).await["id"]);
    let chores = Chores::new(ground.world.plane.clone());
    let kept = ground.event("a run", "BACKUP_STARTING", json!({})).await;
    let right = ground.world.plane.clock.now();
    let (tonight, tomorrow) = ("2026-03-01T21:00:00Z", "2026-03-02T21:00:00Z");
    for ahead in [
        Duration::from_secs(400 * 86_400),
        Duration::from_secs(38 * 3_600),
    ] {
        ground.world.clock.set(right + ahead);
        chores.turn().await;
        end_runs(&ground, "success").await;
        ground.world.clock.set(right);
        chores.turn().await;
        let row = job::Entity::find_by_id(&job).one(ground.world.plane.store.db());
        let row = row.await.expect("read").expect("there");
        let next = row.next_run_at.map(control_plane::plane::rfc3339);
        assert_eq!(next.as_deref(), Some(tonight), "{ahead:?}");
    }
    // Nothing was dropped for an age that it does not have.
    let event = run_event::Entity::find_by_id(kept).one(ground.world.plane.store.db());
    assert!(event.await.expect("read").is_some());
    for night in [tonight, tomorrow] {
        let at: jiff::Timestamp = night.parse().expect("a time");
        ground.world.clock.set(at + Duration::from_secs(2));
        chores.turn().await;
        let of_night = run::Entity::find()
            .filter(run::Column::ScheduledFor.eq(at.as_millisecond()))
            .all(ground.world.plane.store.db())
            .await
            .expect("read");
        let statuses: Vec<&str> = of_night.iter().map(|run| run.status.as_str()).collect();
        assert_eq!(statuses, ["queued"], "{night}");
        end_runs(&ground, "success").await;
    }
}

#[tokio::test]
async fn a_tenants_new_time_zone_is_that_of_its_jobs_at_once() {
    let ground = Ground::new().await;
    let next = async |job: &Value| {
        let path = format!("/jobs/{}", text(&job["id"]));
        ground.viewer.get(&path).await.expect(200)["next_run_at"].clone()
    };
    let follows = ground.job(ground.wish()).await;
    let mut wish = ground.wish();
    wish["name"] = json!("Its own");
    wish["schedule"]["time_zone"] = json!("Europe/Berlin");
    let own = ground.job(wish).await;
    assert_eq!(next(&follows).await, "2026-03-01T21:00:00Z");
    let zone = json!({"time_zone": "America/New_York"});
    let path = format!("/tenants/{}", ground.tenant);
    ground.owner.patch(&path, zone).await.expect(200);
    Chores::new(ground.world.plane.clone()).turn().await;
    assert_eq!(next(&follows).await, "2026-03-02T03:00:00Z");
    assert_eq!(next(&own).await, "2026-03-01T21:00:00Z");
}
