//! `repo remember` and `repo forget`: the password, and keys of S3, for runs that nobody watches.

#![cfg(unix)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use serde_json::Value;

use crate::agent::{Agent, Outcome, PASSWORD, outcome};
use crate::s3_server::{KEYS, S3Server};

const REMEMBER: [&str; 4] = ["repo", "remember", "--repo", "repo"];
const FORGET: [&str; 4] = ["repo", "forget", "--repo", "repo"];
const STATUS: [&str; 4] = ["repo", "status", "--repo", "repo"];

/// Runs with nothing that gives a password or keys.
fn unattended(agent: &Agent, arguments: &[&str]) -> Outcome {
    let mut command = agent.command(arguments);
    for name in [
        "E3_REPO_PASSWORD",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_PROFILE",
    ] {
        command.env_remove(name);
    }
    outcome(&mut command)
}

fn with_password(agent: &Agent, password: &str, arguments: &[&str]) -> Outcome {
    outcome(agent.command(arguments).env("E3_REPO_PASSWORD", password))
}

/// Returns the file that holds what is remembered.
fn kept(agent: &Agent) -> PathBuf {
    let files = fs::read_dir(agent.path("state/credentials")).unwrap();
    let files: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    files[0].clone()
}

#[test]
fn what_is_remembered_opens_the_repository_until_it_is_forgotten() {
    let agent = Agent::with_repo_and_host();
    assert_eq!(unattended(&agent, &STATUS).status, 2);
    let remembered = agent.run([&REMEMBER[..], &["--json"]].concat());
    assert_eq!(remembered.status, 0, "{remembered:?}");
    assert!(!format!("{remembered:?}").contains(PASSWORD));
    let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(kept(&agent)), 0o600);
    assert_eq!(mode(agent.path("state/credentials")), 0o700);

    let whole = agent.path("repo");
    for name in ["repo", "./repo", "repo/", whole.to_str().unwrap()] {
        let arguments = ["repo", "status", "--repo", name, "--json"];
        let run = unattended(&agent, &arguments);
        assert_eq!(run.status, 0, "{run:?}");
        let status: Value = serde_json::from_str(&run.stdout).unwrap();
        assert_eq!(status["password_remembered"], true);
        assert_eq!(status["s3_keys_remembered"], false);
    }
    // What is given comes first.
    assert_eq!(with_password(&agent, "wrong", &STATUS).status, 4);

    let forgotten = agent.json(0, &FORGET);
    assert_eq!(forgotten["forgotten"], true);
    assert_eq!(agent.json(0, &FORGET)["forgotten"], false);
    assert_eq!(unattended(&agent, &STATUS).status, 2);
    assert_eq!(agent.json(0, &STATUS)["password_remembered"], false);
}

#[test]
fn a_password_that_does_not_open_the_repository_is_not_remembered() {
    let agent = Agent::with_repo_and_host();
    assert_eq!(with_password(&agent, "wrong", &REMEMBER).status, 4);
    assert!(!agent.path("state/credentials").exists());
    let elsewhere = agent.run(["repo", "remember", "--repo", "nowhere"]);
    assert_eq!(elsewhere.status, 5, "{elsewhere:?}");
    agent.succeeds(REMEMBER);
    // To remember again takes a password that is given: what is kept proves nothing.
    assert_eq!(unattended(&agent, &REMEMBER).status, 2);
    assert_eq!(with_password(&agent, "wrong", &REMEMBER).status, 4);
    assert_eq!(unattended(&agent, &STATUS).status, 0);
}

#[test]
fn a_changed_password_is_remembered_and_one_changed_elsewhere_is_told() {
    let agent = Agent::with_repo_and_host();
    agent.succeeds(REMEMBER);
    let change = ["repo", "password", "--repo", "repo", "--json"];
    let mut command = agent.command(change);
    command.env_remove("E3_REPO_PASSWORD");
    let changed = outcome(command.env("E3_REPO_NEW_PASSWORD", "another one"));
    assert_eq!(changed.status, 0, "{changed:?}");
    assert!(changed.stdout.contains("\"remembered_replaced\": true"));
    assert!(!format!("{changed:?}").contains("another one"));
    assert_eq!(unattended(&agent, &STATUS).status, 0);

    // Another machine changes it.
    let mut command = agent.command(change);
    command
        .env("E3_STATE_DIR", agent.path("other-state"))
        .env("E3_REPO_PASSWORD", "another one");
    let changed = outcome(command.env("E3_REPO_NEW_PASSWORD", "a third"));
    assert!(changed.stdout.contains("\"remembered_replaced\": false"));
    let stale = unattended(&agent, &STATUS);
    assert_eq!(stale.status, 4, "{stale:?}");
    for said in ["remembered in", "state/credentials", "`repo remember`"] {
        assert!(stale.stderr.contains(said), "{stale:?}");
    }
    assert!(!stale.stderr.contains("another one"), "{stale:?}");
    assert_eq!(with_password(&agent, "a third", &REMEMBER).status, 0);
    assert_eq!(unattended(&agent, &STATUS).status, 0);
}

#[test]
fn what_is_damaged_or_open_to_others_is_not_used_and_says_so() {
    let agent = Agent::with_repo_and_host();
    agent.succeeds(REMEMBER);
    let file = kept(&agent);
    let sound = fs::read(&file).unwrap();
    let secret_in_error = sound
        .iter()
        .map(|byte| char::from(*byte))
        .collect::<String>()
        .replace("\"version\":1", &format!("\"version\":\"{PASSWORD}\""));
    for damaged in [
        &b""[..],
        &sound[..sound.len() / 2],
        b"[]",
        secret_in_error.as_bytes(),
    ] {
        fs::write(&file, damaged).unwrap();
        let run = unattended(&agent, &[&STATUS[..], &["--json"]].concat());
        assert_eq!(run.status, 1, "{run:?}");
        assert!(run.stderr.contains(file.to_str().unwrap()), "{run:?}");
        assert!(!format!("{run:?}").contains(PASSWORD), "{run:?}");
        // Who gives the password needs nothing that is remembered.
        let status = agent.json(0, &STATUS);
        assert_eq!(status["password_remembered"], Value::Null);
    }
    fs::write(&file, &sound).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    let run = unattended(&agent, &STATUS);
    assert_eq!(run.status, 1, "{run:?}");
    assert!(run.stderr.contains("chmod 600"), "{run:?}");
    agent.succeeds(REMEMBER);
    assert_eq!(unattended(&agent, &STATUS).status, 0);
}

#[test]
fn keys_of_a_folder_are_wrong_usage() {
    let agent = Agent::with_repo_and_host();
    let refused = agent.run([&REMEMBER[..], &["--with-s3-keys"]].concat());
    assert_eq!(refused.status, 2, "{refused:?}");
    assert!(!agent.path("state/credentials").exists());
}

#[test]
fn remembered_keys_open_a_bucket_and_those_of_the_environment_come_first() {
    let agent = Agent::new();
    let server = S3Server::start(&agent);
    let repository = server.repository.as_str();
    let attended = |arguments: &[&str]| outcome(agent.command(arguments).envs(KEYS));
    let created = attended(&["repo", "create", "--repo", repository]);
    assert_eq!(created.status, 0, "{created:?}");
    let remember = ["repo", "remember", "--repo", repository];
    assert_eq!(attended(&remember).status, 0);
    let status = ["repo", "status", "--repo", repository, "--json"];
    assert_ne!(unattended(&agent, &status).status, 0, "there are no keys");

    let remembered = attended(&[&remember[..], &["--with-s3-keys", "--json"]].concat());
    assert_eq!(remembered.status, 0, "{remembered:?}");
    let told = unattended(&agent, &status);
    assert_eq!(told.status, 0, "{told:?}");
    assert!(told.stdout.contains("\"s3_keys_remembered\": true"));
    for secret in [KEYS[1].1, PASSWORD] {
        assert!(!format!("{remembered:?}{told:?}").contains(secret));
    }
    // A password that is given anew leaves the keys.
    assert_eq!(attended(&remember).status, 0);
    assert_eq!(unattended(&agent, &status).status, 0);

    let mut command = agent.command(status);
    let given = outcome(command.envs([KEYS[0], ("AWS_SECRET_ACCESS_KEY", "other")]));
    assert_eq!(given.status, 1, "{given:?}");
    assert!(!given.stderr.contains("remembered in"), "{given:?}");
    let file = kept(&agent);
    let stale = fs::read_to_string(&file).unwrap().replace(KEYS[1].1, "old");
    fs::write(&file, stale).unwrap();
    let refused = unattended(&agent, &status);
    assert_eq!(refused.status, 1, "{refused:?}");
    assert!(refused.stderr.contains("--with-s3-keys"), "{refused:?}");
}
