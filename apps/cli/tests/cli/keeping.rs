//! Keeping and deleting points through the executable: pins, expiry, policies.

use std::path::Path;

use serde_json::{Value, json};

use crate::agent::{Agent, BACKUP_OF_WEB};

/// A world with the VM "web", whose small disk is backed up again and again.
struct World {
    agent: Agent,
}

impl World {
    fn new() -> Self {
        let agent = Agent::with_repo_and_host();
        agent.succeeds([
            "sim", "add-vm", "host", "--name", "web", "--new", "64M", "--state", "off",
        ]);
        Self { agent }
    }

    /// Backs the VM up; returns the point's id.
    fn backup(&self) -> String {
        let document = self.agent.json(0, &BACKUP_OF_WEB);
        let vm = &document["vms"][0];
        vm["point_id"].as_str().unwrap().to_owned()
    }

    fn backup_type(&self, id: &str) -> String {
        let document = self.json(0, &["points", "show", id]);
        document["type"].as_str().unwrap().to_owned()
    }

    fn json(&self, status: i32, arguments: &[&str]) -> Value {
        let arguments = [arguments, &["--repo", "repo"]].concat();
        self.agent.json(status, &arguments)
    }

    fn listed(&self) -> Vec<String> {
        let document = self.json(0, &["points", "list"]);
        let points = document["points"].as_array().unwrap();
        points.iter().map(|point| id(point).to_owned()).collect()
    }

    /// Lets rules keep nothing but the newest point.
    fn keep_only_the_newest(&self) {
        self.json(
            0,
            &[
                "policy",
                "set",
                "--vm",
                "web",
                "--inherit",
                "false",
                "--keep-latest",
                "1",
            ],
        );
    }
}

fn id(point: &Value) -> &str {
    point["id"].as_str().unwrap()
}

#[test]
fn expiry_explains_itself_and_deletes_what_it_said() {
    let world = World::new();
    let ids: Vec<String> = (0..3).map(|_| world.backup()).collect();
    world.keep_only_the_newest();
    world.json(0, &["points", "pin", &ids[0]]);

    let plan = world.json(0, &["points", "expire", "--dry-run"]);
    assert_eq!(plan["dry_run"], true);
    assert_eq!(plan["expired"], json!([ids[1]]));
    let points = plan["sources"][0]["points"].as_array().unwrap();
    let why: Vec<&Value> = points.iter().map(|point| &point["why"]).collect();
    assert_eq!(
        why,
        [
            &json!(["pinned keep"]),
            &json!(["latest: 1 newer ones are kept"]),
            &json!(["latest-1"]),
        ]
    );
    let stay: Vec<&Value> = points.iter().map(|point| &point["stays"]).collect();
    assert_eq!(stay, [true, false, true]);
    assert_eq!(world.listed(), ids);

    let text = world
        .agent
        .succeeds(["points", "expire", "--dry-run", "--repo", "repo"]);
    assert!(text.contains("(web): keeps latest 1\n"), "{text}");
    assert!(text.contains("1 of 3 points would go"), "{text}");

    let other = world.json(0, &["points", "expire", "--vm", "db"]);
    assert_eq!(other["expired"], json!([]));
    let done = world.json(0, &["points", "expire", "--vm", "WEB"]);
    assert_eq!(done["expired"], plan["expired"]);
    assert_eq!(done["warnings"], json!([]));
    assert_eq!(world.listed(), [ids[0].clone(), ids[2].clone()]);
    // The base was the newest: what follows is an increment.
    assert_eq!(world.backup_type(&world.backup()), "incremental");
}

#[test]
fn a_pin_keeps_the_id_and_can_be_taken_away() {
    let world = World::new();
    let id = world.backup();
    let pinned = world.json(0, &["points", "pin", &id[..8], "--pin", "audit"]);
    assert_eq!(pinned["points"][0]["id"], json!(id));
    assert_eq!(pinned["points"][0]["pins"], json!(["audit"]));
    let shown = world.json(0, &["points", "show", &id]);
    assert_eq!(shown["pins"], json!(["audit"]));
    let refused = world.json(1, &["points", "delete", &id]);
    assert_eq!(refused["error"]["kind"], "pinned");
    let again = world.json(0, &["points", "pin", &id, &id]);
    assert_eq!(again["points"][0]["pins"], json!(["audit", "keep"]));
    let one_less = world.json(0, &["points", "pin", &id, "--remove", "--pin", "audit"]);
    assert_eq!(one_less["points"][0]["pins"], json!(["keep"]));
    world.json(0, &["points", "pin", &id, "--remove"]);
    world.json(0, &["points", "delete", &id]);
    assert!(world.listed().is_empty());
    world.json(5, &["points", "pin", &id]);
}

#[test]
fn whoever_deletes_a_base_is_told_that_the_next_backup_is_full() {
    let world = World::new();
    let first = world.backup();
    let second = world.backup();
    assert_eq!(world.backup_type(&second), "incremental");
    let gone = world.json(0, &["points", "delete", &first]);
    assert_eq!(gone["warnings"], json!([]));
    let gone = world.json(0, &["points", "delete", &second]);
    let warning = gone["warnings"][0].as_str().unwrap();
    assert!(warning.contains("in full"), "{warning}");
    assert_eq!(world.backup_type(&world.backup()), "full");
}

#[test]
fn all_named_points_are_deleted_or_none() {
    let world = World::new();
    let ids: Vec<String> = (0..2).map(|_| world.backup()).collect();
    world.json(5, &["points", "delete", &ids[0], "0000"]);
    assert_eq!(world.listed(), ids);
    let gone = world.json(0, &["points", "delete", &ids[0], &ids[1]]);
    assert_eq!(gone["deleted"], json!(ids));
}

#[test]
fn the_base_of_a_running_backup_stays() {
    let world = World::new();
    let base = world.backup();
    // A point of another machine's run that is newer than the base: here, one that stays while
    // the state folder still remembers the older one.
    let state = world.agent.path("state");
    let remembered = world.agent.path("remembered");
    copy_folder(&state.join("bases"), &remembered);
    let newer = world.backup();
    std::fs::remove_dir_all(state.join("bases")).unwrap();
    copy_folder(&remembered, &state.join("bases"));
    world.keep_only_the_newest();

    let vm = world.json(0, &["points", "show", &base])["vm_guid"]
        .as_str()
        .unwrap()
        .to_owned();
    let lock = std::fs::File::options()
        .write(true)
        .open(state.join("locks").join(format!("{vm}.lock")))
        .unwrap();
    lock.lock().unwrap();
    let kept = world.json(0, &["points", "expire"]);
    assert_eq!(kept["expired"], json!([]));
    let point = &kept["sources"][0]["points"][0];
    assert_eq!(point["base_of_running_backup"], true);
    assert_eq!(point["why"], json!(["a running backup builds on it"]));
    let refused = world.json(1, &["points", "delete", &base]);
    assert_eq!(refused["error"]["kind"], "locked");
    drop(lock);

    let gone = world.json(0, &["points", "expire"]);
    assert_eq!(gone["expired"], json!([base]));
    let warning = gone["warnings"][0].as_str().unwrap();
    assert!(warning.contains("in full"), "{warning}");
    assert_eq!(world.listed(), [newer]);
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let goal = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy_folder(&entry.path(), &goal),
            false => std::fs::copy(entry.path(), &goal).map(|_| ()).unwrap(),
        }
    }
}

#[test]
fn policies_are_set_shown_and_deleted() {
    let agent = Agent::new();
    agent.succeeds(["repo", "create", "--repo", "repo"]);
    let json =
        |status, arguments: &[&str]| agent.json(status, &[arguments, &["--repo", "repo"]].concat());
    json(0, &["policy", "set", "--global", "--keep-latest", "30"]);
    json(0, &["policy", "set", "@pc", "--compression", "zstd"]);
    let files = json(
        0,
        &[
            "policy",
            "set",
            "joe@pc:/home/joe/",
            "--keep-annual=0",
            "--add-ignore=*.bak",
            "--add-ignore=*.a",
            "--max-file-size=1000",
            "--ignore-file-errors=true",
        ],
    );
    assert_eq!(files["target"], "joe@pc:/home/joe");
    let shown = json(0, &["policy", "show", "joe@pc:/home/joe"]);
    let effective = &shown["effective"];
    assert_eq!(effective["retention"]["keepLatest"], 30);
    assert_eq!(effective["retention"]["keepAnnual"], 0);
    assert_eq!(effective["retention"]["keepDaily"], 7);
    assert_eq!(effective["compression"]["compressorName"], "zstd");
    assert_eq!(effective["files"]["ignore"], json!(["*.a", "*.bak"]));
    let said_by = |member: &str| {
        let members = shown["members"].as_array().unwrap();
        let found = members.iter().find(|it| it["member"] == member).unwrap();
        found["said_by"].as_str().unwrap().to_owned()
    };
    assert_eq!(said_by("retention.keepLatest"), "(global)");
    assert_eq!(said_by("compression.compressorName"), "@pc");
    assert_eq!(said_by("files.ignore"), "joe@pc:/home/joe");

    let file = "joe@pc:/home/joe";
    json(
        0,
        &[
            "policy",
            "set",
            file,
            "--remove-ignore=*.a",
            "--keep-annual=inherit",
        ],
    );
    let shown = json(0, &["policy", "show", file]);
    assert_eq!(shown["effective"]["files"]["ignore"], json!(["*.bak"]));
    assert_eq!(shown["effective"]["retention"]["keepAnnual"], 3);
    json(0, &["policy", "delete", file]);
    let listed = json(0, &["policy", "show"]);
    let targets: Vec<&Value> = listed["policies"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| &it["target"])
        .collect();
    assert_eq!(targets, ["(global)", "@pc"]);
}

#[test]
fn a_policy_that_makes_no_sense_is_wrong_usage() {
    let agent = Agent::new();
    agent.succeeds(["repo", "create", "--repo", "repo"]);
    for arguments in [
        &["policy", "set", "--global"][..],
        &["policy", "set", "--keep-latest", "3"],
        &["policy", "set", "--global", "--keep-latest", "-3"],
        &["policy", "set", "--global", "--keep-latest", "many"],
        &["policy", "set", "--global", "--compression", "zap"],
        &[
            "policy",
            "set",
            "--global",
            "--vm",
            "web",
            "--keep-latest",
            "3",
        ],
        &["policy", "set", "joe@", "--keep-latest", "3"],
        &["policy", "set", "/x", "--max-parallel-snapshots", "3"],
    ] {
        let outcome = agent.run(arguments.iter().chain(&["--repo", "repo"]));
        assert_eq!(outcome.status, 2, "{arguments:?} {outcome:?}");
    }
    let unknown = agent.json(5, &["policy", "show", "--vm", "web", "--repo", "repo"]);
    assert_eq!(unknown["error"]["kind"], "point_not_found");
}

#[cfg(unix)]
#[test]
fn a_policy_is_edited_as_json_and_checked() {
    let agent = Agent::new();
    agent.succeeds(["repo", "create", "--repo", "repo"]);
    let edit = |script: &str| {
        let editor = agent.path("editor.sh");
        std::fs::write(&editor, script).unwrap();
        let arguments = ["policy", "edit", "--global", "--repo", "repo", "--json"];
        let mut command = agent.command(arguments);
        command
            .env_remove("VISUAL")
            .env("EDITOR", format!("sh {}", editor.display()));
        crate::agent::outcome(&mut command)
    };
    let keep_latest = || {
        let arguments = ["policy", "show", "--global", "--repo", "repo"];
        agent.json(0, &arguments)["effective"]["retention"]["keepLatest"].clone()
    };
    let untouched = edit("exit 0");
    assert_eq!(untouched.status, 0, "{untouched:?}");
    assert!(untouched.stdout.contains("\"changed\": false"));
    let changed = edit("sed -i 's/\"keepLatest\": 10/\"keepLatest\": 44/' \"$1\"");
    assert_eq!(changed.status, 0, "{changed:?}");
    assert_eq!(keep_latest(), 44);
    for script in [
        "echo nonsense > \"$1\"",
        "sed -i 's/\"keepLatest\": 44/\"keepLatest\": -1/' \"$1\"",
    ] {
        let refused = edit(script);
        assert_eq!(refused.status, 2, "{refused:?}");
        assert!(refused.stderr.contains("it is kept in"), "{refused:?}");
    }
    assert_eq!(edit("exit 3").status, 1);
    assert_eq!(keep_latest(), 44);
}
