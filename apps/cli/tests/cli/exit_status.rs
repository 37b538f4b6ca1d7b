//! How commands end: the exit status, the message, the document.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::agent::{Agent, BACKUP_OF_WEB, outcome};

#[test]
fn wrong_usage_is_2_with_a_document_if_asked_for() {
    let agent = Agent::with_repo_and_host();
    for arguments in [
        &["fly"][..],
        &["backup", "vm", "--repo", "repo"],
        &["backup", "vm", "web", "--all", "--repo", "repo"],
        &["backup", "vm", "web", "--repo", "repo", "--host", "cloud:9"],
        &[
            "backup",
            "vm",
            "web",
            "--repo",
            "repo",
            "--host",
            "sim:nowhere",
        ],
        &["repo", "create", "--repo", "new", "--hash", "MD5"],
        &[
            "repo",
            "create",
            "--repo",
            "new",
            "--format-version",
            "2",
            "--hash",
            "BLAKE3-256",
        ],
        &["repo", "create", "--repo", "ftp://x/y"],
        &["repo", "verify", "--repo", "repo", "--data", "101"],
        &["restore", "disk", "abc:x", "--repo", "repo", "--to", "file"],
        &[
            "restore", "disk", "abc", "--repo", "repo", "--to", "file", "--format", "vmdk",
        ],
        &[
            "backup",
            "files",
            "host",
            "--repo",
            "repo",
            "--exclude",
            "[a-",
        ],
        &[
            "policy",
            "set",
            "--global",
            "--add-ignore",
            "x\\",
            "--repo",
            "repo",
        ],
        &["sim", "fault", "host", "--vm", "web"],
        &["sim", "add-vm", "host", "--name", "x", "--new", "4X"],
    ] {
        let document = agent.json(2, arguments);
        assert_eq!(document["error"]["kind"], "wrong_usage", "{arguments:?}");
        assert!(
            document["error"]["message"].as_str().unwrap().len() > 5,
            "{arguments:?}: {document}"
        );
    }
    assert!(!agent.path("new").exists());
}

/// Windows may have a Hyper-V of its own.
#[cfg(unix)]
#[test]
fn a_host_must_be_named_where_there_is_none_of_its_own() {
    let agent = Agent::with_repo_and_host();
    for arguments in [
        &["backup", "vm", "web", "--repo", "repo"],
        &["restore", "vm", "abc", "--repo", "repo"],
    ] {
        let document = agent.json(2, arguments);
        assert_eq!(document["error"]["kind"], "wrong_usage", "{arguments:?}");
    }
}

#[test]
fn a_password_comes_from_a_file_or_the_environment_and_is_never_empty() {
    let agent = Agent::with_repo_and_host();
    let status = |file: Option<&str>, variable: Option<&str>| {
        let mut command = agent.command(["repo", "status", "--repo", "repo"]);
        if let Some(content) = file {
            std::fs::write(agent.path("password"), content).unwrap();
            command.args(["--password-file", "password"]);
        }
        match variable {
            Some(value) => command.env("E3_REPO_PASSWORD", value),
            None => command.env_remove("E3_REPO_PASSWORD"),
        };
        outcome(&mut command).status
    };
    assert_eq!(status(None, Some("correct horse")), 0);
    assert_eq!(status(Some(" \tcorrect horse\r\n"), None), 0);
    assert_eq!(status(Some("correct horse"), Some("wrong")), 0);
    assert_eq!(status(None, Some("wrong")), 4);
    assert_eq!(status(Some("wrong"), None), 4);
    assert_eq!(status(None, Some("")), 2);
    assert_eq!(status(Some(" \n"), None), 2);
    assert_eq!(status(None, None), 2, "nobody can be asked here");
}

#[test]
fn a_repository_or_point_that_is_not_there_is_5() {
    let agent = Agent::with_repo_and_host();
    std::fs::create_dir(agent.path("empty")).unwrap();
    for place in ["nowhere", "empty"] {
        let document = agent.json(5, &["points", "list", "--repo", place]);
        assert_eq!(document["error"]["kind"], "repository_not_found");
    }
    assert!(!agent.path("nowhere").exists());
    for arguments in [
        &["points", "show", "abc", "--repo", "repo"][..],
        &["restore", "vm", "abc", "--repo", "repo", "--to", "out"],
        &["restore", "disk", "abc:1", "--repo", "repo", "--to", "out"],
        &["restore", "files", "abc", "--repo", "repo", "--to", "out"],
    ] {
        assert_eq!(
            agent.json(5, arguments)["error"]["kind"],
            "point_not_found",
            "{arguments:?}"
        );
    }
    assert!(!agent.path("out").exists());
}

#[test]
fn a_file_is_no_repository() {
    let agent = Agent::new();
    std::fs::write(agent.path("file"), b"mine").unwrap();
    for place in ["file", "file/below"] {
        let document = agent.json(5, &["points", "list", "--repo", place]);
        assert_eq!(document["error"]["kind"], "repository_not_found", "{place}");
        assert_eq!(agent.run(["repo", "create", "--repo", place]).status, 1);
    }
    assert_eq!(std::fs::read(agent.path("file")).unwrap(), b"mine");
}

#[test]
fn a_repository_is_never_made_over_something_else() {
    let agent = Agent::with_repo_and_host();
    let before = std::fs::read(agent.path("repo/kopia.repository.f")).unwrap();
    assert_eq!(agent.run(["repo", "create", "--repo", "repo"]).status, 1);
    assert_eq!(
        std::fs::read(agent.path("repo/kopia.repository.f")).unwrap(),
        before
    );
}

#[test]
fn a_creation_that_was_cut_short_is_completed_by_the_same_command() {
    let agent = Agent::new();
    let create = ["repo", "create", "--repo", "repo"];
    agent.succeeds(create);
    for entry in std::fs::read_dir(agent.path("repo")).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            std::fs::remove_dir_all(entry.path()).unwrap();
        }
    }
    let told = agent.succeeds(create);
    assert!(told.contains("was cut short"), "{told}");
    assert_eq!(agent.run(create).status, 1);
    agent.succeeds(["policy", "show", "--repo", "repo"]);
}

#[test]
fn a_vm_is_named_by_its_whole_name_in_any_case_or_by_its_guid_in_any_form() {
    let agent = Agent::with_repo_and_host();
    let guid = |name: &str| {
        let document = agent.json(0, &["sim", "add-vm", "host", "--name", name, "--new", "8M"]);
        document["guid"].as_str().unwrap().to_owned()
    };
    let web = guid("web");
    let twins = [guid("Twin"), guid("twin")];
    let shows = |name: &str| agent.run(["host", "show", name, "--host", "sim:host"]);
    for name in [
        "web",
        "WEB",
        &web,
        &web.to_uppercase(),
        &format!("{{{web}}}"),
    ] {
        assert_eq!(shows(name).status, 0, "{name}");
    }
    assert_eq!(shows("we").status, 1);
    let ambiguous = shows("TWIN");
    assert_eq!(ambiguous.status, 2);
    assert!(
        twins.iter().all(|guid| ambiguous.stderr.contains(guid)),
        "{ambiguous:?}"
    );
    assert_eq!(shows(&twins[1]).status, 0);
}

#[test]
fn a_vm_that_fails_does_not_keep_others_from_being_backed_up() {
    let agent = Agent::with_repo_and_host();
    for name in ["web", "db"] {
        agent.succeeds(["sim", "add-vm", "host", "--name", name, "--new", "8M"]);
    }
    let backup = |names: &[&str], status| {
        let host = [
            "--repo",
            "repo",
            "--host",
            "sim:host",
            "--min-free-gib",
            "0",
        ];
        agent.json(status, &[&["backup", "vm"], names, &host].concat())
    };
    agent.succeeds([
        "sim",
        "fault",
        "host",
        "--vm",
        "db",
        "job-fails-at",
        "create",
    ]);
    let document = backup(&["db", "gone", "web"], 3);
    let of = |name: &str| {
        document["vms"]
            .as_array()
            .unwrap()
            .iter()
            .find(|vm| vm["name"] == name)
            .unwrap()
    };
    assert!(of("web")["point_id"].is_string(), "{document}");
    assert!(of("db")["error"]["message"].is_string(), "{document}");
    assert_eq!(of("gone")["error"]["kind"], "vm_not_found", "{document}");
    assert_eq!(document["error"], serde_json::Value::Null);
    let document = backup(&["gone"], 1);
    assert_eq!(document["error"]["kind"], "vm_not_found");
    assert_eq!(
        backup(&["web", "db"], 0)["vms"].as_array().unwrap().len(),
        2
    );
}

#[test]
fn a_store_that_goes_away_hides_not_what_became_of_each_vm() {
    let agent = Agent::with_repo_and_host();
    agent.succeeds(["sim", "add-vm", "host", "--name", "web", "--new", "8M"]);
    agent.succeeds([
        "sim", "fault", "host", "--vm", "web", "busy", "create", "--always",
    ]);
    let mut child = agent
        .command(BACKUP_OF_WEB.iter().chain(&["--json"]))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("taking a checkpoint")));
    std::fs::rename(agent.path("repo"), agent.path("unplugged")).unwrap();
    let killed = Command::new("kill")
        .args(["-TERM", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(killed.success());
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{rest:?}");
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["vms"][0]["name"], "web", "{document}");
    assert_eq!(document["error"]["kind"], "cancelled", "{document}");
}

#[test]
fn ctrl_c_cancels_cleanly() {
    let agent = Agent::with_repo_and_host();
    agent.succeeds(["sim", "add-vm", "host", "--name", "web", "--new", "8M"]);
    // The host is busy for as long as we like, and the run waits.
    agent.succeeds([
        "sim", "fault", "host", "--vm", "web", "busy", "create", "--always",
    ]);
    let mut child = agent
        .command(BACKUP_OF_WEB.iter().chain(&["--json"]))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("taking a checkpoint")));
    // Twice at once is once: that is how `timeout` signals, the process and then its group. Two
    // signals of one kind could become one on the way.
    let id = child.id();
    let killed = Command::new("sh")
        .args(["-c", &format!("kill -INT {id}; kill -TERM {id}")])
        .status()
        .unwrap();
    assert!(killed.success());
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{rest:?}");
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["error"]["kind"], "cancelled", "{document}");
    agent.succeeds(["sim", "fault", "host", "--vm", "web", "--clear"]);
    let view = agent.json(0, &["sim", "show", "host"]);
    assert_eq!(
        view["vms"][0]["checkpoints"].as_array().unwrap().len(),
        0,
        "{view}"
    );
    assert_eq!(
        agent.json(0, &["points", "list", "--repo", "repo"])["points"]
            .as_array()
            .unwrap()
            .len(),
        0
    );
}
