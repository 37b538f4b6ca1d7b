//! What is over goes after a while, and what there is of it costs a look at everything nothing.

use protocol::hyperv_discover::DiscoveredVm;

use super::*;

#[tokio::test]
async fn history_goes_when_it_is_old_and_what_still_says_something_stays() {
    let ground = Ground::new().await;
    let (store, db) = (&ground.world.plane.store, ground.world.plane.store.db());
    let now = ground.now();
    let job = text(&ground.job(ground.wish()).await["id"]);
    // Ids sort by when they were made.
    let run_of = async |status: &str, days_ago: i64| {
        ground.world.clock.advance(Duration::from_millis(1));
        ground.run(&job, status, days_ago * 24).await
    };
    let restorable = run_of("success", 900).await;
    let removed_lately = run_of("success", 800).await;
    let removed = run_of("success", 700).await;
    let telling = run_of("success", 600).await;
    let silent = run_of("success", 500).await;
    let last = run_of("failed", 450).await;
    let missed = run_of("missed", 440).await;
    let young = run_of("missed", 399).await;
    // Made by a clock that was ahead: the one before is still the last that tells.
    let ahead = run_of("success", -400).await;
    for (run, removed_days_ago) in [
        (&restorable, None),
        (&removed_lately, Some(89)),
        (&removed, Some(91)),
    ] {
        let id = ground
            .point(PointOf {
                job: Some(&job),
                run,
                ..PointOf::default()
            })
            .await;
        point::Entity::update_many()
            .col_expr(
                point::Column::ExpiredAt,
                Expr::value(removed_days_ago.map(|days| now - days * DAY)),
            )
            .filter(point::Column::Id.eq(id))
            .exec(db)
            .await
            .expect("removed");
    }
    let young_event = ground.event(&telling, "BACKUP_STARTING", json!({})).await;
    // More than go in one statement.
    let old_event = |seq: i64| run_event::ActiveModel {
        id: NotSet,
        run_id: Set(silent.clone()),
        at: Set(now - 91 * DAY - seq),
        kind: Set("info".to_owned()),
        level: Set("info".to_owned()),
        code: Set(String::new()),
        message_id: Set(String::new()),
        params_json: Set("{}".to_owned()),
    };
    run_event::Entity::insert_many((0..1_200).map(old_event))
        .exec_without_returning(db)
        .await
        .expect("events");
    let answered = async |kind: &str, days: i64| {
        let new = NewCommand {
            tenant_id: ground.tenant.clone(),
            host_id: ground.host.clone(),
            kind: kind.to_owned(),
            ..NewCommand::default()
        };
        let at = now - days * DAY;
        let command = store.queue_command(db, new, at).await.expect("queued");
        store
            .answer_command(&ground.host, command.id, true, "", None, at)
            .await
            .expect("answered");
        command.id
    };
    answered("browse_directory", 31).await;
    answered("list_hyperv_vms", 2).await;
    let young_command = answered("browse_directory", 29).await;
    let message = async |status: &str, days: i64| {
        let row = delivery::ActiveModel {
            id: NotSet,
            tenant_id: Set(ground.tenant.clone()),
            channel_id: Set("a channel".to_owned()),
            subject: Set(String::new()),
            body_json: Set("{}".to_owned()),
            status: Set(status.to_owned()),
            due_at: Set(0),
            attempts: Set(1),
            error: Set(String::new()),
            created_at: Set(now - days * DAY),
            sent_at: Set(Some(now - days * DAY)),
        };
        row.insert(db).await.expect("a message").id
    };
    message("sent", 50).await;
    let kept_messages = [
        message("sent", 40).await,
        message("failed", 60).await,
        message("due", 70).await,
    ];
    let audit = async |days: i64| {
        let entry = Entry {
            tenant_id: None,
            user_id: None,
            actor: "",
            action: "old",
            object_kind: "",
            object_id: "",
            detail: Value::Null,
            address: "",
        };
        store
            .audit(db, now - days * DAY, entry)
            .await
            .expect("audited");
    };
    audit(1_096).await;
    audit(1_094).await;

    store.drop_old_rows(now).await.expect("done");

    let runs: Vec<String> = runs(&ground).await.into_iter().map(|run| run.id).collect();
    for (run, stays) in [
        (&restorable, true),
        (&removed_lately, true),
        (&removed, false),
        (&telling, true),
        (&silent, false),
        (&last, true),
        (&missed, false),
        (&young, true),
        (&ahead, true),
    ] {
        assert_eq!(runs.contains(run), stays, "{run}");
    }
    macro_rules! ids {
        ($table:ident) => {{
            let mut rows = $table::Entity::find().all(db).await.expect("read");
            rows.sort_by_key(|row| row.id);
            rows.into_iter().map(|row| row.id).collect::<Vec<i64>>()
        }};
    }
    assert_eq!(ids!(run_event), [young_event]);
    assert_eq!(ids!(point).len(), 2);
    assert_eq!(ids!(command), [young_command]);
    assert_eq!(ids!(delivery), kept_messages);
    let old = audit_entry::Entity::find().filter(audit_entry::Column::Action.eq("old"));
    assert_eq!(old.all(db).await.expect("read").len(), 1);
}

/// Copies rows of a table: for each row that `from` yields, with some columns said anew (a number that the database gives
/// is left out by an empty text).
async fn copies<E: EntityTrait>(ground: &Ground, anew: &[(&str, &str)], from: &str) {
    let (mut columns, mut values) = (Vec::new(), Vec::new());
    for column in E::Column::iter() {
        let column = column.as_str();
        match anew.iter().find(|(name, _)| *name == column) {
            Some((_, "")) => continue,
            Some((_, value)) => values.push((*value).to_owned()),
            None => values.push(format!("of.{column}")),
        }
        columns.push(column);
    }
    let sql = format!(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000) \
         INSERT INTO {} ({}) SELECT {} FROM {from}",
        E::default().table_name(),
        columns.join(", "),
        values.join(", "),
    );
    let db = ground.world.plane.store.db();
    db.execute_unprepared(&sql).await.expect(&sql);
}

/// Returns the most memory that this process took since the kernel last counted anew.
fn most_memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM"));
    line.unwrap_or("VmHWM: unknown").to_owned()
}

/// Has the kernel count the most memory anew, and returns what is taken now.
fn counted_anew() -> String {
    match std::fs::write("/proc/self/clear_refs", "5") {
        Ok(()) => most_memory(),
        Err(error) => format!("{} (not counted anew: {error})", most_memory()),
    }
}

/// Returns how many hosts there are: 5,000 in the long form, a few in the short one, which does the same with them.
fn hosts() -> usize {
    match std::env::var_os("E3_TEST_LONG") {
        Some(_) => 5_000,
        None => 20,
    }
}

/// Returns a ground with so many hosts beside its own, with ten VMs and a job each, and thirty nights of them. The ground's
/// own host has one VM, with a point of last night.
async fn large_fleet(hosts: usize) -> Ground {
    let ground = Ground::new().await;
    let now = ground.now();
    let vm_id = ground.vm("web").await;
    let job = text(&ground.job(ground.wish()).await["id"]);
    let run = ground.run(&job, "success", 1).await;
    ground
        .point(PointOf {
            job: Some(&job),
            run: &run,
            vm: Some(vm_id),
            name: "web",
            ..PointOf::default()
        })
        .await;
    let of_host = format!(
        "hosts of JOIN n ON n.i <= {hosts} WHERE of.id = '{}'",
        ground.host
    );
    let anew = [
        ("id", "'h' || i"),
        ("token_hash", "'h' || i"),
        ("name", "'h' || i"),
    ];
    copies::<host::Entity>(&ground, &anew, &of_host).await;
    let anew = [("id", "'j-' || h.id"), ("host_id", "h.id")];
    let of_job = "jobs of JOIN hosts h ON h.id LIKE 'h%'";
    copies::<job::Entity>(&ground, &anew, of_job).await;
    let anew = [
        ("id", ""),
        ("host_id", "h.id"),
        ("guid", "h.id || '-' || i"),
        ("name", "'vm' || i"),
    ];
    let of_vm = "vms of JOIN hosts h ON h.id LIKE 'h%' JOIN n ON i <= 10";
    copies::<vm::Entity>(&ground, &anew, of_vm).await;
    let at = format!("{now} - (31 - i) * CAST(86400000 AS BIGINT)");
    let anew = [
        ("id", "'r' || (100 + i) || '-' || j.id"),
        ("job_id", "j.id"),
        ("host_id", "j.host_id"),
        ("created_at", &at),
        ("finished_at", &at),
    ];
    let of_run = "runs of JOIN jobs j ON j.id LIKE 'j-%' JOIN n ON i <= 30";
    copies::<run::Entity>(&ground, &anew, of_run).await;
    let anew = [
        ("id", ""),
        ("run_id", "'r' || (100 + i) || '-j-' || v.host_id"),
        ("job_id", "'j-' || v.host_id"),
        ("host_id", "v.host_id"),
        ("vm_id", "v.id"),
        ("name", "v.name"),
        (
            "backup_type",
            "CASE WHEN i = 1 THEN 'full' ELSE 'incremental' END",
        ),
        ("created_at", &at),
    ];
    let of_point = "points of JOIN n ON i <= 30 JOIN vms v ON v.host_id LIKE 'h%'";
    copies::<point::Entity>(&ground, &anew, of_point).await;
    ground
}

#[tokio::test]
async fn an_agent_that_makes_vms_up_is_listened_to_no_longer() {
    let ground = Ground::new().await;
    let store = &ground.world.plane.store;
    ground.vm("web").await;
    for part in 0..4 {
        let guid = format!("'{part}-' || i");
        let anew = [("id", ""), ("guid", &*guid), ("first_seen_at", "0")];
        copies::<vm::Entity>(&ground, &anew, "vms of JOIN n ON of.id = 1").await;
    }
    let host = host::Entity::find_by_id(&ground.host).one(store.db());
    let host = host.await.expect("read").expect("there");
    let found = [DiscoveredVm {
        id: "5f3b0000-0000-4000-8000-00000000000a".to_owned(),
        name: "made up".to_owned(),
        generation: 2,
        is_linux: false,
        integration_services: true,
        rct_enabled: true,
        disks: Vec::new(),
    }];
    let (created, numbers) = store
        .discover_vms(&host, &found, ground.now())
        .await
        .expect("answered");
    assert_eq!((created, numbers.len()), (0, 0));
    // Of those that there are alarms open, a part at a time, and are over once the VMs are gone.
    let look = async || {
        let facts = store.facts(ground.now(), 0).await.expect("read");
        let mut findings = control_plane::watch::judge(&facts, ground.now());
        findings.truncate(1_500);
        let changes = store.apply_findings(&findings, ground.now()).await;
        changes.expect("written").len()
    };
    assert_eq!(look().await, 1_500);
    assert_eq!(look().await, 0);
    store
        .list_vms(&host, &[], ground.now())
        .await
        .expect("taken");
    assert_eq!(look().await, 1_500);
}

/// Measures what one look at 5,000 hosts with ten VMs each and thirty points of each costs, and how long others wait
/// meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_look_at_a_large_fleet_is_short_and_small() {
    let hosts = hosts();
    let ground = large_fleet(hosts).await;
    let (store, now) = (ground.world.plane.store.clone(), ground.now());
    let clock = SystemClock::new();
    let stop = StopSignal::new();
    let others = tokio::spawn({
        let (store, stop, clock) = (store.clone(), stop.clone(), clock.clone());
        async move {
            let mut longest = Duration::ZERO;
            while stop.check().is_ok() {
                let begun = clock.monotonic();
                store.db().execute_unprepared("SELECT 1").await.expect("1");
                longest = longest.max(clock.monotonic() - begun);
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            longest
        }
    });
    let (before, begun) = (counted_anew(), clock.monotonic());
    let facts = store.facts(now, now).await.expect("read");
    let read = clock.monotonic() - begun;
    let findings = control_plane::watch::judge(&facts, now);
    let judged = clock.monotonic() - begun - read;
    stop.stop();
    let longest = others.await.expect("no panic");
    println!(
        "{hosts} hosts: read in {read:?}, judged in {judged:?} with {} findings; others waited {longest:?} at most; \
         memory before {before}, most {}",
        findings.len(),
        most_memory()
    );
    assert_eq!(facts.vms.len(), hosts * 10 + 1);
    let newest = facts.vms.iter().filter_map(|vm| vm.newest.as_ref());
    assert!(newest.clone().all(|point| point.created_at >= now - DAY));
    assert_eq!(newest.count(), hosts * 10 + 1);
    let runs = facts.jobs.iter().filter_map(|job| job.last_run.as_ref());
    assert!(runs.clone().all(|run| run.finished_at >= now - DAY));
    assert_eq!(runs.count(), hosts + 1);
}

/// Measures what the first screen of 5,000 hosts costs; the short form has more VMs than it shows, too.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_screen_of_a_large_fleet_shows_what_needs_a_look_and_counts_all() {
    let hosts = hosts().max(120);
    let ground = large_fleet(hosts).await;
    let clock = SystemClock::new();
    // The newest night of these failed; nobody protects that one.
    for of in [
        "UPDATE runs SET status = 'failed' WHERE id = 'r130-j-h7'",
        "DELETE FROM points WHERE run_id = 'r130-j-h7'",
        "UPDATE jobs SET status = 'paused' WHERE id = 'j-h9'",
    ] {
        let db = ground.world.plane.store.db();
        db.execute_unprepared(of).await.expect(of);
    }
    let measured = async |path: &str| {
        let (before, begun) = (counted_anew(), clock.monotonic());
        let answer = ground.viewer.get(path).await.expect(200);
        println!(
            "{hosts} hosts: {path} answered in {:?}; memory before {before}, most {}",
            clock.monotonic() - begun,
            most_memory()
        );
        answer
    };
    let screen = measured("/overview").await;
    let vms = hosts * 10 + 1;
    let counts = &screen["counts"];
    for (what, expected) in [
        ("vms", vms),
        ("good", vms - 20),
        ("bad", 10),
        ("unprotected", 10),
        ("with_point", vms),
    ] {
        assert_eq!(counts[what], json!(expected), "{what} of {counts}");
    }
    let rows = screen["vms"].as_array().expect("VMs");
    assert_eq!(rows.len(), 1_000);
    for (rows, health, host) in [
        (&rows[..10], "bad", Some("h7")),
        (&rows[10..20], "unprotected", Some("h9")),
        (&rows[20..], "good", None),
    ] {
        for row in rows {
            assert_eq!(row["health"], health);
            assert!(host.is_none_or(|host| row["host_id"] == host), "{row}");
            let strip = row["strip"].as_array().expect("days");
            let good = strip.iter().filter(|day| day["outcome"] == "good").count();
            // Of thirty nights the oldest is a day too old.
            let nights = if health == "bad" { 28 } else { 29 };
            assert!(good == nights || row["name"] == "web", "{row}");
        }
    }
    let bad = measured("/vms?health=bad").await;
    assert_eq!(bad["items"], json!(rows[..10]));
    let stored = measured("/stored").await;
    let today = &stored["days"][29];
    assert_eq!(today["source_bytes"], json!(vms * 1_000));
}
