//! Runs, what happens in them, and streams.

use std::io::Write as _;
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::http::{Method, Request};
use control_plane::live::What;
use control_plane::store::entity::{log_chunk, run, run_log};
use sea_orm::{ActiveModelTrait as _, ActiveValue::NotSet, ActiveValue::Set};
use serde_json::{Value, json};

use crate::ground::{Ground, PointOf, text};
use crate::server::Client;

async fn set_status(ground: &Ground, run: &str, status: &str) {
    run::ActiveModel {
        id: Set(run.to_owned()),
        status: Set(status.to_owned()),
        finished_at: Set((status != "running").then(|| ground.now())),
        ..Default::default()
    }
    .update(ground.world.plane.store.db())
    .await
    .expect("a run");
    ground.world.plane.live.tell(&ground.tenant, What::Run, run);
}

#[tokio::test]
async fn runs_are_listed_newest_first_and_filtered() {
    let ground = Ground::new().await;
    let job = text(&ground.job(ground.wish()).await["id"]);
    let vm = ground.vm("web01").await;
    let mut runs = Vec::new();
    for (status, hours) in [("success", 50), ("failed", 26), ("missed", 2)] {
        ground.world.clock.advance(Duration::from_millis(1));
        runs.push(ground.run(&job, status, hours).await);
    }
    let of = PointOf {
        job: Some(&job),
        run: &runs[0],
        vm: Some(vm),
        name: "web01",
        ..Default::default()
    };
    ground.point(of).await;
    let ids = async |query: &str| {
        let page = ground
            .viewer
            .get(&format!("/runs{query}"))
            .await
            .expect(200);
        let items = page["items"].as_array().expect("items").clone();
        let ids: Vec<String> = items.iter().map(|it| text(&it["id"])).collect();
        (ids, page["next"].as_str().map(str::to_owned))
    };
    let newest_first = vec![runs[2].clone(), runs[1].clone(), runs[0].clone()];
    assert_eq!(ids("").await.0, newest_first);
    assert_eq!(ids(&format!("?vm_id={vm}")).await.0, newest_first);
    assert_eq!(ids("?status=failed").await.0, [runs[1].clone()]);
    assert_eq!(ids("?kind=restore").await.0, Vec::<String>::new());
    assert_eq!(
        ids("?from=2026-02-28T00:00:00Z&to=2026-02-28T12:00:00Z")
            .await
            .0,
        [runs[1].clone()]
    );
    let (first, next) = ids("?limit=2").await;
    let (rest, end) = ids(&format!("?limit=2&cursor={}", next.expect("more"))).await;
    assert_eq!((first.len(), rest, end), (2, vec![runs[0].clone()], None));
    ground
        .viewer
        .get("/runs?status=odd")
        .await
        .refused(422, "invalid");
    ground
        .viewer
        .get("/runs?cursor=odd")
        .await
        .refused(422, "invalid");
    let one = ground
        .viewer
        .get(&format!("/runs/{}", runs[0]))
        .await
        .expect(200);
    assert_eq!(
        (&one["points"][0]["name"], &one["target"]),
        (&json!("web01"), &json!(null))
    );
    assert_eq!(
        (&one["job_name"], &one["waits_for"]),
        (&json!("Nightly"), &json!(null))
    );
    assert_eq!(
        ground.foreigner.get("/runs").await.expect(200)["items"],
        json!([])
    );
    ground
        .foreigner
        .get(&format!("/runs?vm_id={vm}"))
        .await
        .refused(404, "not_found");
    for path in ["", "/events", "/log", "/stream"] {
        let path = format!("/runs/{}{path}", runs[0]);
        ground.foreigner.get(&path).await.refused(404, "not_found");
    }
}

#[tokio::test]
async fn a_run_that_goes_on_says_what_it_waits_for_and_is_asked_to_stop() {
    let ground = Ground::new().await;
    let job = text(&ground.job(ground.wish()).await["id"]);
    let run = ground.run(&job, "running", 0).await;
    let path = format!("/runs/{run}");
    let cancel = format!("{path}/cancel");
    assert_eq!(
        ground.viewer.get(&path).await.expect(200)["waits_for"],
        json!(null)
    );
    ground
        .viewer
        .post(&cancel, json!({}))
        .await
        .refused(403, "forbidden");
    ground
        .foreigner
        .post(&cancel, json!({}))
        .await
        .refused(404, "not_found");
    let asked = ground.operator.post(&cancel, json!({})).await.expect(202);
    assert_eq!(
        (&asked["status"], &asked["is_cancel_requested"]),
        (&json!("running"), &json!(true))
    );
    assert_eq!(asked["waits_for"], "the agent to stop");
    ground.operator.post(&cancel, json!({})).await.expect(202);
    let events = ground
        .viewer
        .get(&format!("{path}/events"))
        .await
        .expect(200);
    let events = events["items"].as_array().expect("events");
    assert_eq!(
        (events.len(), &events[0]["message_id"]),
        (1, &json!("CANCEL_REQUESTED"))
    );
    ground.world.clock.advance(Duration::from_secs(600));
    let silent = ground.viewer.get(&path).await.expect(200);
    assert_eq!(
        silent["waits_for"],
        "a sign of the agent, silent for 10 min"
    );
    set_status(&ground, &run, "cancelled").await;
    ground
        .operator
        .post(&cancel, json!({}))
        .await
        .refused(409, "ended");
}

#[tokio::test]
async fn events_are_sentences_behind_the_last_one_that_is_known() {
    let ground = Ground::new().await;
    let job = text(&ground.job(ground.wish()).await["id"]);
    let run = ground.run(&job, "running", 0).await;
    let first = ground
        .event(&run, "HYPERV_VM_STARTING", json!({"vm_name": "web01"}))
        .await;
    ground
        .event(&run, "SUMMARY_TOTAL", json!({"bytes_done": 2_048}))
        .await;
    ground
        .event(&run, "SOMETHING_NEW", json!({"message": "as it is"}))
        .await;
    let path = format!("/runs/{run}/events");
    let all = ground.viewer.get(&path).await.expect(200);
    let texts: Vec<String> = all["items"]
        .as_array()
        .expect("events")
        .iter()
        .map(|it| text(&it["text"]))
        .collect();
    assert_eq!(
        texts,
        [
            "web01: its backup begins.",
            "2.0 KiB were handled in all.",
            "as it is"
        ]
    );
    let rest = ground
        .viewer
        .get(&format!("{path}?after={first}&limit=1"))
        .await
        .expect(200);
    assert_eq!(rest["items"][0]["message_id"], "SUMMARY_TOTAL");
    let next = ground
        .viewer
        .get(&format!("{path}?cursor={}", text(&rest["next"])))
        .await
        .expect(200);
    assert_eq!(next["items"][0]["message_id"], "SOMETHING_NEW");
}

#[tokio::test]
async fn a_log_holds_events_lines_and_the_verbose_log() {
    let ground = Ground::new().await;
    let job = text(&ground.job(ground.wish()).await["id"]);
    let run = ground.run(&job, "failed", 0).await;
    ground
        .event(&run, "COMPLETED_FAILED", json!({"error": "no route"}))
        .await;
    let db = ground.world.plane.store.db();
    run_log::ActiveModel {
        id: NotSet,
        run_id: Set(run.clone()),
        at: Set(ground.now()),
        level: Set("warn".to_owned()),
        code: Set(String::new()),
        message: Set("a slow disk".to_owned()),
        details_json: Set("{}".to_owned()),
    }
    .insert(db)
    .await
    .expect("a line");
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed
        .write_all("every detail\n".as_bytes())
        .expect("packed");
    for (seq, content) in [
        (0, packed.finish().expect("packed")),
        (1, b"no gzip".to_vec()),
    ] {
        log_chunk::ActiveModel {
            id: NotSet,
            run_id: Set(run.clone()),
            seq: Set(seq),
            source: Set("run".to_owned()),
            content: Set(content),
            line_count: Set(1),
            first_at: Set(None),
            last_at: Set(None),
            received_at: Set(ground.now()),
        }
        .insert(db)
        .await
        .expect("a piece");
    }
    let log = ground.viewer.get(&format!("/runs/{run}/log")).await;
    assert_eq!(log.headers["content-type"], "text/plain; charset=utf-8");
    let log = log.text();
    for part in [
        "info    The run failed: no route.",
        "warn    a slow disk",
        "every detail",
        "piece 1 is damaged",
    ] {
        assert!(log.contains(part), "{part} in {log}");
    }
}

/// Opens a stream and returns a reader of its events.
async fn open(client: &Client, path: &str, last: Option<i64>) -> Stream {
    let mut request = Request::builder()
        .method(Method::GET)
        .uri(format!("/api/v1{path}"));
    if let Some(last) = last {
        request = request.header("last-event-id", last.to_string());
    }
    let answer = client
        .open(request.body(Body::empty()).expect("a request"))
        .await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    Stream {
        body: answer.into_body().into_data_stream(),
        read: String::new(),
    }
}

struct Stream {
    body: BodyDataStream,
    read: String,
}

impl Stream {
    /// Returns the next event: its kind, its id and its data; none: the stream has ended.
    async fn next(&mut self) -> Option<(String, Option<String>, Value)> {
        use futures_util::StreamExt as _;
        loop {
            if let Some((event, rest)) = self.read.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.read = rest;
                let field = |name: &str| {
                    let mut lines = event.lines();
                    lines.find_map(|line| {
                        line.strip_prefix(name)?
                            .strip_prefix(": ")
                            .map(str::to_owned)
                    })
                };
                let Some(kind) = field("event") else { continue };
                let data = serde_json::from_str(&field("data").expect("data")).expect("JSON");
                return Some((kind, field("id"), data));
            }
            let data = self.body.next().await?.expect("no failure");
            self.read
                .push_str(std::str::from_utf8(&data).expect("a text"));
        }
    }
}

#[tokio::test]
async fn a_run_is_streamed_to_its_end_and_resumed_behind_the_last_event() {
    let ground = Ground::new().await;
    let job = text(&ground.job(ground.wish()).await["id"]);
    let run = ground.run(&job, "running", 0).await;
    let first = ground.event(&run, "BACKUP_STARTING", json!({})).await;
    let path = format!("/runs/{run}/stream");
    let mut stream = open(&ground.viewer, &path, None).await;
    let (kind, id, data) = stream.next().await.expect("an event");
    assert_eq!(
        (&*kind, id, &data["text"]),
        (
            "event",
            Some(first.to_string()),
            &json!("The backup begins.")
        )
    );
    let (kind, id, data) = stream.next().await.expect("the run");
    assert_eq!(
        (&*kind, id, &data["status"]),
        ("run", None, &json!("running"))
    );
    let second = ground.event(&run, "NO_CHANGES", json!({})).await;
    ground
        .world
        .plane
        .live
        .tell(&ground.tenant, What::Run, &run);
    let (_, id, _) = stream.next().await.expect("an event");
    assert_eq!(id, Some(second.to_string()));
    // Somebody whose line broke after the first event gets the second one, and no other.
    let mut resumed = open(&ground.viewer, &path, Some(first)).await;
    let (_, id, _) = resumed.next().await.expect("an event");
    assert_eq!(id, Some(second.to_string()));
    let last = ground.event(&run, "COMPLETED_SUCCESS", json!({})).await;
    set_status(&ground, &run, "success").await;
    let (_, id, _) = stream.next().await.expect("an event");
    assert_eq!(id, Some(last.to_string()));
    let (kind, _, data) = stream.next().await.expect("the run");
    assert_eq!((&*kind, &data["status"]), ("run", &json!("success")));
    assert_eq!(stream.next().await, None);
    // One that has ended is told, and nothing more.
    let mut over = open(&ground.viewer, &path, Some(last)).await;
    assert_eq!(over.next().await.expect("the run").0, "run");
    assert_eq!(over.next().await, None);
}

#[tokio::test]
async fn changes_are_streamed_to_those_who_may_see_them() {
    let ground = Ground::new().await;
    let mut own = open(&ground.viewer, "/live", None).await;
    let mut foreign = open(&ground.foreigner, "/live", None).await;
    let other = ground.foreigner.get("/overview").await.expect(200);
    assert!(other["vms"].as_array().is_some());
    let live = &ground.world.plane.live;
    live.tell(&ground.tenant, What::HostWork, "is the agent's");
    live.tell(&ground.tenant, What::Alarm, 7);
    assert_eq!(
        own.next().await.expect("told").2,
        json!({"what": "alarm", "id": "7"})
    );
    // The first thing that the other tenant hears is the end.
    live.stop();
    assert_eq!(foreign.next().await, None);
    assert_eq!(own.next().await, None);
}
