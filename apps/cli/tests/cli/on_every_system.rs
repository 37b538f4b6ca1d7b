//! The main job as every system must do it, without another program: a VM of the simulated host in
//! full, then its changes, then both points back; files likewise. Byte for byte.

use serde_json::Value;
use time_and_chance::Chance;

use crate::agent::{Agent, BACKUP_OF_WEB, assert_holds};

const DISK_BYTES: usize = 8 << 20;
/// What the guest rewrites between the two backups.
const REWRITTEN: std::ops::Range<usize> = (3 << 20)..(4 << 20);

fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut noise = vec![0; bytes];
    Chance::from_seed(seed).fill(&mut noise);
    noise
}

/// The guest makes its disk equal to these bytes.
fn write_disk(agent: &Agent, bytes: &[u8]) {
    std::fs::write(agent.path("disk.raw"), bytes).unwrap();
    agent.succeeds([
        "sim", "write", "host", "--vm", "web", "--disk", "0", "--from", "disk.raw",
    ]);
}

fn backup(agent: &Agent) -> Value {
    agent.json(0, &BACKUP_OF_WEB)["vms"][0].clone()
}

#[test]
fn a_vm_comes_back_byte_for_byte_from_every_point() {
    let agent = Agent::with_repo_and_host();
    agent.succeeds(["sim", "add-vm", "host", "--name", "web", "--new", "8M"]);
    let mut first = noise(1, DISK_BYTES);
    first[5 << 20..7 << 20].fill(0);
    write_disk(&agent, &first);
    let full = backup(&agent);
    assert_eq!(full["type"], "full", "{full}");

    let mut later = first.clone();
    later[REWRITTEN].copy_from_slice(&noise(2, REWRITTEN.len()));
    write_disk(&agent, &later);
    let increment = backup(&agent);
    assert_eq!(increment["type"], "incremental", "{increment}");
    let changed = increment["disks"][0]["changed_bytes"].as_u64().unwrap();
    assert!(changed < 2 << 20, "{increment}");

    for (point, bytes, name) in [(&full, &first, "first"), (&increment, &later, "later")] {
        let id = point["point_id"].as_str().unwrap();
        let raw = format!("{name}.raw");
        agent.succeeds([
            "restore", "disk", id, "--repo", "repo", "--to", &raw, "--format", "raw",
        ]);
        assert_holds(&agent.path(&raw), bytes);
        agent.succeeds([
            "restore", "vm", id, "--repo", "repo", "--host", "sim:host", "--name", name, "--new-id",
        ]);
        let dumped = format!("{name}-dumped.raw");
        agent.succeeds([
            "sim", "dump", "host", "--vm", name, "--disk", "0", "--to", &dumped,
        ]);
        assert_holds(&agent.path(&dumped), bytes);
    }
    agent.succeeds(["repo", "verify", "--repo", "repo", "--data", "100"]);
}

#[test]
fn files_come_back_byte_for_byte_from_every_point() {
    let agent = Agent::new();
    agent.succeeds(["repo", "create", "--repo", "repo"]);
    let deep = agent.path("tree/Übergröße/with space/deep");
    std::fs::create_dir_all(&deep).unwrap();
    std::fs::create_dir(agent.path("tree/empty")).unwrap();
    let (long, old, new) = (noise(3, 3 << 20), noise(4, 70_000), noise(5, 70_001));
    std::fs::write(deep.join("long"), &long).unwrap();
    std::fs::write(agent.path("tree/changes"), &old).unwrap();
    std::fs::write(agent.path("tree/none"), b"").unwrap();
    let backup = || agent.json(0, &["backup", "files", "tree", "--repo", "repo"]);
    let first = backup();
    std::fs::write(agent.path("tree/changes"), &new).unwrap();
    let second = backup();
    let read = |it: &Value| it["sources"][0]["read_files"].clone();
    assert_eq!((read(&first), read(&second)), (3.into(), 1.into()));

    for (run, changes, to) in [(&first, &old, "first"), (&second, &new, "second")] {
        let id = run["sources"][0]["point_id"].as_str().unwrap();
        agent.succeeds(["restore", "files", id, "--repo", "repo", "--to", to]);
        let back = agent.path(to);
        assert_holds(&back.join("Übergröße/with space/deep/long"), &long);
        assert_holds(&back.join("changes"), changes);
        assert_holds(&back.join("none"), b"");
        assert!(back.join("empty").is_dir());
    }
}

#[cfg(not(windows))]
#[test]
fn a_system_without_hyperv_says_so_and_names_what_there_is() {
    let agent = Agent::new();
    let answer = agent.json(1, &["host", "list", "--host", "hyperv:"]);
    assert_eq!(answer["error"]["kind"], "unsupported", "{answer}");
    let message = answer["error"]["message"].as_str().unwrap();
    assert!(message.contains("sim:DIR"), "{message}");
}
