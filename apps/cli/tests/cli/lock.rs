//! `repo lock` as an operator sees it, where there are no locks to be had.

use serde_json::Value;

use crate::agent::Agent;

const LOCK: [&str; 8] = [
    "repo",
    "lock",
    "--repo",
    "repo",
    "--retention-mode",
    "governance",
    "--retention-period",
    "30d",
];

#[test]
fn a_folder_has_no_locks_and_costs_are_confirmed_before_a_bucket_is_asked() {
    let agent = Agent::with_repo_and_host();
    for more in [&[][..], &["--yes"]] {
        let refused = agent.run([&LOCK[..], more].concat());
        assert_eq!(refused.status, 2, "{refused:?}");
        assert!(refused.stderr.contains("is a folder"), "{refused:?}");
    }
    let mut bucket = LOCK;
    bucket[3] = "s3://bucket?endpoint=http://127.0.0.1:9";
    let refused = agent.run(bucket);
    assert_eq!(refused.status, 2, "{refused:?}");
    for said in ["30 d", "pay for", "--yes"] {
        assert!(refused.stderr.contains(said), "{refused:?}");
    }
    let mut create = bucket;
    create[1] = "create";
    assert_eq!(agent.run(create).status, 2);

    assert_eq!(agent.run(&LOCK[..4]).status, 2);
    let off = agent.json(0, &["repo", "lock", "--repo", "repo", "--off"]);
    assert_eq!(off["retention_mode"], Value::Null);
    let status = agent.json(0, &["repo", "status", "--repo", "repo"]);
    assert_eq!(status["object_lock"], Value::Null);
}
