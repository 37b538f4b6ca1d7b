//! `repo maintain` as an operator sees it.

use crate::agent::Agent;

#[test]
fn the_owner_maintains_and_others_are_told_who_it_is() {
    let agent = Agent::with_repo_and_host();
    let report = agent.json(0, &["repo", "maintain", "--repo", "repo", "--full"]);
    assert_eq!(report["full"], true, "{report}");
    assert_eq!(report["collected"]["collected"]["count"], 0, "{report}");
    let text = agent.succeeds(["repo", "maintain", "--repo", "repo", "--dry-run"]);
    assert!(text.contains("nothing was changed"), "{text}");

    let as_other = |arguments: &[&str]| {
        let all = ["repo", "maintain", "--repo", "repo"]
            .iter()
            .chain(arguments);
        let mut command = agent.command(all);
        command.env("USER", "somebody").env("USERNAME", "somebody");
        crate::agent::outcome(&mut command)
    };
    let refused = as_other(&[]);
    assert_eq!(refused.status, 1, "{refused:?}");
    assert!(
        refused.stderr.contains("owns its maintenance"),
        "{refused:?}"
    );
    assert!(refused.stderr.contains("--take-ownership"), "{refused:?}");
    assert_eq!(as_other(&["--take-ownership"]).status, 0);
    let error = agent.json(1, &["repo", "maintain", "--repo", "repo"]);
    assert_eq!(error["error"]["kind"], "not_owner", "{error}");
}
