//! The program replaced by a newer one, and put back.

#![cfg(unix)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use agent::Afterwards;
use agent::update::{AtStart, kept_beside};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use scripted_control_plane::downloads::Downloads;
use scripted_control_plane::{CommandOrder, Generation, Settings};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::world::World;

/// The key of these tests' releases.
fn release_key() -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap()
}

/// A program that says a version, as long as a real one takes to be fetched in pieces.
fn program(version: &str) -> Vec<u8> {
    let padding = "#".repeat(10_000);
    format!("#!/bin/sh\necho 'e3-backup-agent {version}'\nexit 0\n{padding}\n").into_bytes()
}

struct Updating {
    world: World,
    files: Downloads,
    program: PathBuf,
}

impl Updating {
    /// Returns a world at work whose program lies in a file of its own.
    fn new(settings: Settings) -> Self {
        let mut world = World::new(settings);
        let folder = world.path("program");
        fs::create_dir(&folder).unwrap();
        let file = folder.join("e3-backup-agent");
        fs::write(&file, program("1.9.0")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o750)).unwrap();
        world.executable = Some(file.clone());
        world.release_key = STANDARD.encode(release_key().public_key().as_ref());
        // Orders that follow each other are not waited for.
        let mut config = fs::read_to_string(world.path("agent.conf")).unwrap();
        config += "use_combined_poll: false\n";
        fs::write(world.path("agent.conf"), config).unwrap();
        world.begin();
        Self {
            world,
            files: Downloads::start().unwrap(),
            program: file,
        }
    }

    /// Returns the payload of an update to a program that lies on the server.
    fn payload(&self, content: &[u8]) -> Value {
        json!({
            "update_job_id": 5, "version_label": "2.0.0", "platform": "linux",
            "download_url": self.files.put("agent", content),
            "sha256": hex::encode(Sha256::digest(content)), "size_bytes": content.len(),
        })
    }

    fn order(&self, payload: Value) -> u64 {
        let order = CommandOrder::new("agent_update", payload);
        self.world.plane.queue_command(order)
    }

    fn is_refused(&self, payload: Value, words: &str) {
        let (is_done, said) = self.world.answer_to(self.order(payload));
        assert!(!is_done && said.contains(words), "{said}");
        assert_eq!(self.states().last().map(String::as_str), Some("failed"));
        assert!(self.is_in_place("1.9.0"));
        assert_eq!(beside(&self.program), 0, "{said}");
    }

    fn is_in_place(&self, version: &str) -> bool {
        fs::read(&self.program).unwrap() == program(version)
    }

    /// Returns the steps that the control plane was told.
    fn states(&self) -> Vec<String> {
        let calls = self.world.plane.calls_of("agent_update_progress");
        let state = |body: &Value| body["state"].as_str().unwrap().to_owned();
        calls.iter().map(|it| state(&it.call.body)).collect()
    }
}

/// Returns how many files lie beside the program.
fn beside(program: &Path) -> usize {
    fs::read_dir(program.parent().unwrap()).unwrap().count() - 1
}

#[test]
fn a_new_version_is_fetched_in_pieces_checked_and_stays_once_it_has_polled() {
    let mut updating = Updating::new(Settings::default());
    let new = program("2.0.0");
    let payload = updating.payload(&new);
    let signature = release_key().sign(&new);
    updating.files.put("agent.sig", signature.as_ref());
    updating.files.breaks_after(&[4_000, 3_000]);
    let command = updating.order(payload);
    assert_eq!(updating.world.ends(), Afterwards::Restart);
    assert_eq!(
        updating.files.asked(),
        [
            "agent",
            "agent bytes=4000-",
            "agent bytes=7000-",
            "agent.sig"
        ]
    );
    assert_eq!(
        updating.states(),
        ["downloading", "verifying", "applying", "restarting"]
    );
    assert!(updating.is_in_place("2.0.0"));
    assert!(kept_beside(&updating.program).exists());
    let mode = fs::metadata(&updating.program)
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o750);
    let is_answered = |world: &World| {
        world
            .plane
            .with(|world| world.command(command).completed.is_some())
    };
    // It is not known yet whether it works.
    assert!(!is_answered(&updating.world));
    updating.world.plane.agent_was_killed();
    updating.world.version = "2.0.0".to_owned();
    assert_eq!(updating.world.settle_update(), AtStart::GoOn);
    updating.world.begin();
    let (is_done, said) = updating.world.answer_to(command);
    assert!(
        is_done && said.contains("2.0.0 took the place of 1.9.0"),
        "{said}"
    );
    let program = updating.program.clone();
    updating
        .world
        .wait_for("the old one to go", |_| beside(&program) == 0);
    let calls = updating.world.plane.calls_of("agent_next_run");
    let last = calls.last().unwrap();
    assert_eq!(last.call.header("x-agent-version"), "2.0.0");
    updating.world.check();
}

#[test]
fn a_version_that_never_polls_is_put_back_and_the_old_one_says_so() {
    let mut updating = Updating::new(Settings::default());
    let payload = updating.payload(&program("2.0.0"));
    let command = updating.order(payload);
    assert_eq!(updating.world.ends(), Afterwards::Restart);
    for _ in 0..3 {
        assert_eq!(updating.world.settle_update(), AtStart::GoOn);
    }
    assert_eq!(updating.world.settle_update(), AtStart::StartAnew);
    assert!(updating.is_in_place("1.9.0"));
    updating.world.plane.agent_was_killed();
    assert_eq!(updating.world.settle_update(), AtStart::GoOn);
    updating.world.begin();
    let (is_done, said) = updating.world.answer_to(command);
    assert!(!is_done && said.contains("was put back"), "{said}");
    assert_eq!(updating.states().last().map(String::as_str), Some("failed"));
    assert_eq!(beside(&updating.program), 0);
    updating.world.check();
}

#[test]
fn what_is_not_what_was_ordered_is_refused_and_nothing_is_replaced() {
    let updating = Updating::new(Settings::default());
    let new = program("2.0.0");
    let with = |key: &str, value: Value| {
        let mut payload = updating.payload(&new);
        payload[key] = value;
        payload
    };
    updating.is_refused(with("sha256", json!("ab".repeat(32))), "should be abab");
    updating.is_refused(with("size_bytes", json!(new.len() + 1)), "and should have");
    updating.is_refused(with("size_bytes", json!(100)), "longer than the 100 bytes");
    updating.is_refused(
        with("download_url", json!(updating.files.url("gone"))),
        "HTTP 404",
    );
    updating.is_refused(with("require_signature", json!(1)), "demands a signature");
    updating.files.put("agent.sig", &[0; 64]);
    updating.is_refused(updating.payload(&new), "no signature is by a release key");
    updating.files.put("agent.sig", b"<html>not found</html>");
    updating.is_refused(updating.payload(&new), "is no signature");
    updating.world.check();
}

#[test]
fn what_is_no_program_of_ours_is_never_put_in_place() {
    let updating = Updating::new(Settings::default());
    for (content, words) in [
        (&b"no program"[..], "does not begin"),
        (
            b"#!/bin/sh\necho e3-backup-agent 2.0.0\nexit 3\n",
            "exit status: 3",
        ),
        // Nobody says which version the order is for, and it is an older one.
        (
            b"#!/bin/sh\necho e3-backup-agent 1.0.0\n",
            "older than 1.9.0",
        ),
    ] {
        let mut payload = updating.payload(content);
        payload["version_label"] = json!("");
        updating.is_refused(payload, words);
    }
    updating.world.check();
}

#[test]
fn an_older_version_is_taken_when_that_is_meant_also_from_an_older_server() {
    let mut updating = Updating::new(Settings {
        generation: Generation::Old,
        php_artefacts: true,
        ..Settings::default()
    });
    let mut payload = updating.payload(&program("1.8.0"));
    payload["version_label"] = json!("1.8.0");
    payload["allow_downgrade"] = json!(true);
    let command = updating.order(payload);
    assert_eq!(updating.world.ends(), Afterwards::Restart);
    updating.world.plane.agent_was_killed();
    updating.world.version = "1.8.0".to_owned();
    updating.world.settle_update();
    updating.world.begin();
    let (is_done, said) = updating.world.answer_to(command);
    assert!(is_done, "{said}");
    updating.world.check();
}

#[test]
fn a_service_that_dies_while_it_fetches_tells_that_it_failed() {
    let mut updating = Updating::new(Settings::default());
    let order = CommandOrder::new("refresh_inventory", json!({}));
    let command = updating.world.plane.queue_command(order);
    updating.world.answer_to(command);
    updating.world.end();
    // As a kill leaves it.
    let state = updating.world.path("state");
    let of_identities = fs::read_dir(state.join("commands")).unwrap();
    let identity = of_identities.map(|it| it.unwrap().file_name()).next();
    let update = json!({
        "identity": identity.unwrap().to_str().unwrap(), "command_id": command + 1,
        "update_job_id": 5, "from": "1.9.0", "to": "2.0.0",
        "program": updating.program, "old_sha256": "aa", "new_sha256": "bb", "stage": "preparing",
    });
    fs::write(state.join("update.json"), update.to_string()).unwrap();
    let staged = updating.program.with_file_name("e3-backup-agent.new");
    fs::write(&staged, "half").unwrap();
    assert_eq!(updating.world.settle_update(), AtStart::GoOn);
    updating.world.begin();
    updating.world.wait_for("the failure to be told", |plane| {
        let calls = plane.calls_of("agent_update_progress");
        calls.iter().any(|it| it.call.body["state"] == "failed")
    });
    assert_eq!(beside(&updating.program), 0);
    assert!(updating.is_in_place("1.9.0"));
}
