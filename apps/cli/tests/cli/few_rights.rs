//! Keys that may not delete, as an operator meets them.

#![cfg(unix)]

use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::agent::{Agent, Outcome, outcome, tool};
use crate::s3_server::{KEYS, S3Server};

const REPAIR: [&str; 5] = ["repo", "verify", "--data", "100", "--repair"];

fn command(agent: &Agent, repository: &str, arguments: &[&str]) -> Command {
    let mut command = agent.command(arguments);
    command.args(["--repo", repository]).envs(KEYS);
    command
}

fn run(agent: &Agent, repository: &str, arguments: &[&str]) -> Outcome {
    outcome(&mut command(agent, repository, arguments))
}

fn succeeds(agent: &Agent, repository: &str, arguments: &[&str]) -> String {
    let outcome = run(agent, repository, arguments);
    assert_eq!(outcome.status, 0, "{outcome:?}");
    outcome.stdout
}

#[test]
fn a_repair_that_may_not_delete_ends_with_3_and_the_next_that_may_with_0() {
    let agent = Agent::new();
    let server = S3Server::start(&agent);
    let all_rights = server.repository.as_str();
    succeeds(&agent, all_rights, &["repo", "create"]);
    fs::create_dir(agent.path("tree")).unwrap();
    fs::write(agent.path("tree/file"), "what was there").unwrap();
    succeeds(&agent, all_rights, &["backup", "files", "tree"]);
    succeeds(&agent, all_rights, &["repo", "maintain"]);

    let stored = agent.path("buckets/bucket/web");
    let indexes: Vec<_> = fs::read_dir(&stored)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.file_name()
                .unwrap()
                .to_str()
                .unwrap()
                .starts_with("xn")
        })
        .collect();
    assert!(!indexes.is_empty());
    for index in &indexes {
        let written = fs::metadata(index).unwrap().modified().unwrap();
        let mut bytes = fs::read(index).unwrap();
        bytes[40] ^= 1;
        fs::write(index, bytes).unwrap();
        // The server takes a file for one that is being written otherwise.
        let file = fs::File::options().write(true).open(index).unwrap();
        file.set_modified(written).unwrap();
    }
    tool("rm", &["-rf".as_ref(), agent.path("cache").as_ref()]);

    let few_rights = server.refusing_deletions();
    let repair = [&REPAIR[..], &["--take-ownership"]].concat();
    let mended = run(&agent, &few_rights, &[&repair[..], &["--json"]].concat());
    assert_eq!(mended.status, 3, "{mended:?}");
    let document: Value = serde_json::from_str(&mended.stdout).unwrap();
    assert_eq!(document["error"], Value::Null, "{document}");
    let left = document["not_mended"].as_array().unwrap();
    assert_eq!(left.len(), indexes.len(), "{document}");
    for index in &indexes {
        let name = index.file_name().unwrap().to_str().unwrap();
        let left = left.iter().find(|it| it["name"] == name).unwrap();
        assert_eq!(left["needs_other_keys"], true, "{document}");
        assert!(index.exists());
    }
    // The second says the same, to people too.
    let again = run(&agent, &few_rights, &repair);
    assert_eq!(again.status, 3, "{again:?}");
    assert!(
        again.stdout.contains("with keys that may delete"),
        "{again:?}"
    );

    succeeds(&agent, all_rights, &repair);
    assert!(indexes.iter().all(|index| !index.exists()));
    let listed = succeeds(&agent, &few_rights, &["points", "list", "--json"]);
    let listed: Value = serde_json::from_str(&listed).unwrap();
    let id = listed["points"][0]["id"].as_str().unwrap();
    succeeds(
        &agent,
        &few_rights,
        &["restore", "files", id, "--to", "out"],
    );
    let restored = fs::read(agent.path("out/file")).unwrap();
    assert_eq!(restored, b"what was there");
}
