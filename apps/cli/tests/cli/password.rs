//! `repo password` as an operator sees it, and what becomes of passwords in files.

use std::fs;

use crate::agent::{Agent, PASSWORD, outcome};

const CHANGE: [&str; 4] = ["repo", "password", "--repo", "repo"];
const STATUS: [&str; 4] = ["repo", "status", "--repo", "repo"];

fn with_password(agent: &Agent, password: &str, arguments: &[&str]) -> crate::agent::Outcome {
    let mut command = agent.command(arguments);
    outcome(command.env("E3_REPO_PASSWORD", password))
}

#[test]
fn after_a_change_the_old_password_ends_with_status_4() {
    let agent = Agent::with_repo_and_host();
    let mut command = agent.command(CHANGE);
    let changed = outcome(command.env("E3_REPO_NEW_PASSWORD", "another one"));
    assert_eq!(changed.status, 0, "{changed:?}");
    assert!(
        !format!("{changed:?}").contains("another one"),
        "{changed:?}"
    );
    assert_eq!(agent.run(STATUS).status, 4);
    assert_eq!(with_password(&agent, "another one", &STATUS).status, 0);

    fs::write(agent.path("new"), format!("{PASSWORD}\n")).unwrap();
    let arguments = [&CHANGE[..], &["--new-password-file", "new", "--json"]].concat();
    let changed = with_password(&agent, "another one", &arguments);
    assert_eq!(changed.status, 0, "{changed:?}");
    assert!(
        changed.stdout.contains("\"changed_before\": false"),
        "{changed:?}"
    );
    agent.succeeds(STATUS);
}

#[test]
fn an_empty_new_password_and_a_missing_one_are_wrong_usage() {
    let agent = Agent::with_repo_and_host();
    assert_eq!(agent.run(CHANGE).status, 2);
    for new in ["", PASSWORD] {
        let mut command = agent.command(CHANGE);
        let refused = outcome(command.env("E3_REPO_NEW_PASSWORD", new));
        assert_eq!(refused.status, 2, "{refused:?}");
    }
    let mut command = agent.command(CHANGE);
    command.env("E3_REPO_PASSWORD", "wrong");
    let refused = outcome(command.env("E3_REPO_NEW_PASSWORD", "another one"));
    assert_eq!(refused.status, 4, "{refused:?}");
    agent.succeeds(STATUS);
}

#[cfg(unix)]
#[test]
fn a_password_file_that_others_may_read_is_warned_of() {
    use std::os::unix::fs::PermissionsExt as _;
    let agent = Agent::with_repo_and_host();
    let file = agent.path("password");
    fs::write(&file, PASSWORD).unwrap();
    for (mode, warns) in [(0o600, false), (0o640, true), (0o604, true), (0o400, false)] {
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        let arguments = [&STATUS[..], &["--password-file", "password"]].concat();
        let run = agent.run(arguments);
        assert_eq!(run.status, 0, "{run:?}");
        assert_eq!(run.stderr.contains("chmod 600"), warns, "{mode:o}: {run:?}");
    }
}
