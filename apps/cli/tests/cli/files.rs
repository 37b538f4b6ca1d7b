//! Files and folders with the real program: backed up, backed up again, restored.

use std::path::Path;
use std::process::{Command, Stdio};

use time_and_chance::Chance;

use crate::agent::Agent;

fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

fn agent_with_tree() -> Agent {
    let agent = Agent::new();
    agent.succeeds(["repo", "create", "--repo", "repo"]);
    write(&agent.path("tree/a.txt"), "alpha");
    write(&agent.path("tree/sub/b.txt"), "beta");
    write(&agent.path("tree/sub/c.tmp"), "scratch");
    write(&agent.path("tree/.kopiaignore"), "*.tmp\n");
    write(&agent.path("other/tree/d.txt"), "delta");
    agent
}

#[test]
fn a_folder_is_backed_up_twice_and_restored() {
    let agent = agent_with_tree();
    let arguments = ["backup", "files", "tree", "--repo", "repo", "--dry-run"];
    let estimate = agent.json(0, &arguments);
    assert_eq!(estimate["sources"][0]["read_files"], 3);
    let listed = agent.json(0, &["points", "list", "--repo", "repo"]);
    assert_eq!(listed["points"].as_array().unwrap().len(), 0);
    let first = agent.json(0, &["backup", "files", "tree", "--repo", "repo"]);
    let source = &first["sources"][0];
    assert_eq!(source["path"], agent.path("tree").to_str().unwrap());
    assert_eq!(
        (&source["files"], &source["folders"], &source["read_files"]),
        (&3.into(), &2.into(), &3.into())
    );
    assert_eq!(source["excluded_files"], 1);
    assert_eq!(source["bytes"], 15);

    write(&agent.path("tree/sub/b.txt"), "beta, longer");
    let second = agent.json(0, &["backup", "files", "tree", "--repo", "repo"]);
    let source = &second["sources"][0];
    assert_eq!(
        (&source["read_files"], &source["unchanged_files"]),
        (&1.into(), &2.into())
    );

    let point = source["point_id"].as_str().unwrap();
    agent.succeeds(["restore", "files", point, "--repo", "repo", "--to", "back"]);
    let read = |path: &str| std::fs::read_to_string(agent.path(path)).unwrap();
    assert_eq!(read("back/a.txt"), "alpha");
    assert_eq!(read("back/sub/b.txt"), "beta, longer");
    assert!(!agent.path("back/sub/c.tmp").exists());
    let listed = agent.json(0, &["points", "list", "--repo", "repo"]);
    assert_eq!(listed["points"].as_array().unwrap().len(), 2);
}

#[test]
fn a_path_that_holds_the_repository_is_warned_of() {
    let agent = agent_with_tree();
    let warnings = |path: &str| {
        let done = agent.json(0, &["backup", "files", path, "--repo", "repo"]);
        done["warnings"].as_array().unwrap().clone()
    };
    assert_eq!(warnings("tree"), [""; 0]);
    let warning = warnings(".").pop().unwrap();
    assert!(warning.as_str().unwrap().contains("the repository itself"));
}

#[test]
fn several_paths_become_one_snapshot_under_a_name() {
    let agent = agent_with_tree();
    let document = agent.json(
        0,
        &[
            "backup",
            "files",
            "tree",
            "other/tree",
            "tree/a.txt",
            "--name",
            "web",
            "--tag",
            "team:blue",
            "--repo",
            "repo",
        ],
    );
    let source = &document["sources"][0];
    assert_eq!(source["path"], "web");
    let point = source["point_id"].as_str().unwrap();
    agent.succeeds(["restore", "files", point, "--repo", "repo", "--to", "back"]);
    let read = |path: &str| std::fs::read_to_string(agent.path(path)).unwrap();
    assert_eq!(read("back/tree/a.txt"), "alpha");
    assert_eq!(read("back/tree_2/d.txt"), "delta");
    assert_eq!(read("back/a.txt"), "alpha");
}

#[test]
fn a_path_that_is_not_there_fails_and_the_others_go_on() {
    let agent = agent_with_tree();
    let document = agent.json(3, &["backup", "files", "tree", "nowhere", "--repo", "repo"]);
    assert!(document["sources"][0]["point_id"].is_string());
    let error = &document["sources"][1]["error"];
    assert_eq!(error["kind"], "source_unreadable");
    assert!(error["message"].as_str().unwrap().contains("nowhere"));
    agent.json(1, &["backup", "files", "nowhere", "--repo", "repo"]);
    agent.json(
        2,
        &["backup", "files", "tree", "--tag", "odd", "--repo", "repo"],
    );
}

#[test]
fn a_cancelled_run_leaves_no_point_and_the_next_takes_over_what_it_read() {
    const FILES: u64 = 240;
    // A run that ends before it hears the signal proves nothing: it is tried again.
    for _ in 0..3 {
        let agent = Agent::new();
        agent.succeeds(["repo", "create", "--repo", "repo"]);
        let mut noise = vec![0; 256 << 10];
        std::fs::create_dir(agent.path("tree")).unwrap();
        for number in 0..FILES {
            Chance::from_seed(number).fill(&mut noise);
            std::fs::write(agent.path(&format!("tree/{number}")), &noise).unwrap();
        }
        let backup = ["backup", "files", "tree", "--repo", "repo", "--json"];
        let mut command = agent.command(backup);
        let mut child = command.stdout(Stdio::null()).spawn().unwrap();
        let has_pack = || agent.path("repo/p").exists();
        while !has_pack() && child.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        let id = child.id().to_string();
        // Nobody is there to be told if it has ended by itself.
        let _ = Command::new("kill").args(["-TERM", &id]).status().unwrap();
        let status = child.wait().unwrap();
        if status.success() {
            continue;
        }
        assert_eq!(status.code(), Some(130));
        let listed = agent.json(0, &["points", "list", "--repo", "repo"]);
        assert_eq!(listed["points"], serde_json::json!([]));
        let next = agent.json(0, &backup[..5])["sources"][0].clone();
        let count = |name: &str| next[name].as_u64().unwrap();
        assert!(count("unchanged_files") > 0, "{next}");
        assert_eq!(count("unchanged_files") + count("read_files"), FILES);
        return;
    }
    panic!("three runs ended before they could be cancelled");
}

#[test]
fn a_second_run_on_the_same_files_says_who_works_on_them() {
    let agent = agent_with_tree();
    let run = ["backup", "files", "tree", "--repo", "repo"];
    agent.json(0, &run);
    let locks = std::fs::read_dir(agent.path("state/locks")).unwrap();
    let locks: Vec<_> = locks.map(|lock| lock.unwrap().path()).collect();
    assert_eq!(locks.len(), 1, "{locks:?}");
    let file = std::fs::File::options()
        .write(true)
        .open(&locks[0])
        .unwrap();
    file.lock().unwrap();
    let at_once = ["--wait-minutes", "0"];
    let refused = agent.json(1, &[&run[..], &at_once].concat());
    assert_eq!(refused["error"]["kind"], "locked");
    let said = refused["error"]["message"].as_str().unwrap();
    assert!(cfg!(windows) || said.contains("(process "), "{said}");
    // Other files, and a look at these, need not wait.
    let both = ["backup", "files", "tree", "other", "--repo", "repo"];
    agent.json(3, &[&both[..], &at_once].concat());
    agent.json(0, &[&run[..], &["--dry-run"]].concat());
    drop(file);
    agent.json(0, &run);
}

#[test]
fn the_cache_folder_is_left_out() {
    let agent = agent_with_tree();
    let run = ["backup", "files", "cache", "--repo", "repo"];
    let done = agent.json(0, &run);
    assert_eq!(done["sources"][0]["folders"], 1, "{done}");
    assert!(agent.path("cache/CACHEDIR.TAG").exists());
}
