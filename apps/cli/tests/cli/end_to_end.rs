//! The main job through the executable: a real file system on a disk that `qemu-img` made, full,
//! guest writes, incremental; both points restored and compared byte for byte.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::agent::{Agent, BACKUP_OF_WEB, assert_same_bytes, tool};

const IMAGE_BYTES: u64 = 192 << 20;

/// A world with the VM "web": its disk as it was made, and as the guest leaves it later.
struct World {
    agent: Agent,
    first: PathBuf,
    later: PathBuf,
}

impl World {
    fn new() -> Self {
        let agent = Agent::with_repo_and_host();
        let (first, later, disk) = (
            agent.path("first.raw"),
            agent.path("later.raw"),
            agent.path("system.vhdx"),
        );
        let tree = agent.path("tree");
        std::fs::create_dir_all(tree.join("etc")).unwrap();
        std::fs::write(tree.join("etc/hostname"), b"web\n").unwrap();
        std::fs::write(tree.join("noise"), noise(24 << 20)).unwrap();
        std::fs::File::create(&first)
            .unwrap()
            .set_len(IMAGE_BYTES)
            .unwrap();
        tool(
            "mke2fs",
            &[
                "-q".as_ref(),
                "-t".as_ref(),
                "ext4".as_ref(),
                "-F".as_ref(),
                "-d".as_ref(),
                tree.as_os_str(),
                first.as_os_str(),
            ],
        );
        std::fs::copy(&first, &later).unwrap();
        std::fs::write(agent.path("new"), noise(300_000)).unwrap();
        let write = format!("write {} new", agent.path("new").display());
        tool(
            "debugfs",
            &[
                "-w".as_ref(),
                "-R".as_ref(),
                write.as_ref(),
                later.as_os_str(),
            ],
        );
        let [raw, vhdx] = ["raw", "vhdx"].map(std::ffi::OsStr::new);
        tool(
            "qemu-img",
            &[
                "convert".as_ref(),
                "-f".as_ref(),
                raw,
                "-O".as_ref(),
                vhdx,
                first.as_os_str(),
                disk.as_os_str(),
            ],
        );
        agent.succeeds([
            "sim",
            "add-vm",
            "host",
            "--name",
            "web",
            "--disk",
            "system.vhdx",
        ]);
        Self {
            agent,
            first,
            later,
        }
    }

    fn backup(&self) -> Value {
        let document = self.agent.json(0, &BACKUP_OF_WEB);
        document["vms"][0].clone()
    }

    fn restore_raw(&self, id: &str, name: &str) -> PathBuf {
        self.agent.succeeds([
            "restore", "disk", id, "--repo", "repo", "--to", name, "--format", "raw",
        ]);
        self.agent.path(name)
    }
}

fn noise(bytes: usize) -> Vec<u8> {
    let mut noise = vec![0; bytes];
    time_and_chance::Chance::from_seed(bytes as u64).fill(&mut noise);
    noise
}

/// Returns the chunks in which two files differ, merged as far as they touch: start and length.
fn differing_ranges(before: &Path, after: &Path) -> Vec<(u64, u64)> {
    const CHUNK_BYTES: usize = 256 << 10;
    let (before, after) = (
        std::fs::read(before).unwrap(),
        std::fs::read(after).unwrap(),
    );
    let chunks = before.chunks(CHUNK_BYTES).zip(after.chunks(CHUNK_BYTES));
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    for (number, (old, new)) in (0..).zip(chunks) {
        let start = number * CHUNK_BYTES as u64;
        match ranges.last_mut() {
            _ if old == new => {}
            Some((first, bytes)) if *first + *bytes == start => *bytes += new.len() as u64,
            _ => ranges.push((start, new.len() as u64)),
        }
    }
    ranges
}

#[test]
fn a_real_file_system_comes_back_byte_for_byte_from_every_point() {
    let world = World::new();
    let agent = &world.agent;
    let full = world.backup();
    assert_eq!(full["type"], "full", "{full}");
    assert!(full["disks"][0]["full_reason"].is_string(), "{full}");
    assert_eq!(full["consistency"], "application");

    let written = agent.json(
        0,
        &[
            "sim",
            "write",
            "host",
            "--vm",
            "WEB",
            "--disk",
            "0",
            "--from",
            "later.raw",
        ],
    );
    let written = written["written_bytes"].as_u64().unwrap();
    assert!((300_000..10_000_000).contains(&written), "{written}");
    let increment = world.backup();
    let disk = &increment["disks"][0];
    assert_eq!(increment["type"], "incremental", "{increment}");
    assert_eq!(disk["full_reason"], Value::Null);
    let read = disk["read_bytes"].as_u64().unwrap();
    let changed = disk["changed_bytes"].as_u64().unwrap();
    assert!(changed >= written && read < 40 << 20, "{increment}");
    assert_eq!(read, changed + disk["sample_bytes"].as_u64().unwrap());

    let points = agent.json(0, &["points", "list", "--vm", "web", "--repo", "repo"]);
    let points = points["points"].as_array().unwrap();
    assert_eq!(points.len(), 2);
    for (listed, made) in points.iter().zip([&full, &increment]) {
        assert_eq!(listed["id"], made["point_id"]);
        assert_eq!(listed["point"], made["point"]);
        assert_eq!(listed["type"], made["type"]);
    }
    let [one, two] = [&full, &increment].map(|point| point["point_id"].as_str().unwrap());
    let diff = agent.json(0, &["points", "diff", one, two, "--repo", "repo"]);
    let said: Vec<(u64, u64)> = diff["disks"][0]["ranges"]
        .as_array()
        .unwrap()
        .iter()
        .map(|range| {
            (
                range["offset"].as_u64().unwrap(),
                range["bytes"].as_u64().unwrap(),
            )
        })
        .collect();
    assert_eq!(said, differing_ranges(&world.first, &world.later), "{diff}");
    assert_eq!(diff["settings"], Value::Array(vec![]), "{diff}");
    let same = agent.succeeds(["points", "diff", two, two, "--repo", "repo"]);
    assert!(same.contains("nothing differs"), "{same}");
    let disks = agent.succeeds(["points", "show", two, "--path", "disks", "--repo", "repo"]);
    assert!(disks.contains("0-system.vhdx"), "{disks}");
    assert_same_bytes(&world.restore_raw(one, "one.raw"), &world.first);
    let by_prefix_of_uuid = &increment["point"].as_str().unwrap()[..13];
    assert_same_bytes(
        &world.restore_raw(by_prefix_of_uuid, "two.raw"),
        &world.later,
    );

    agent.succeeds(["restore", "disk", two, "--repo", "repo", "--to", "two.vhdx"]);
    let vhdx = agent.path("two.vhdx");
    tool("qemu-img", &["check".as_ref(), vhdx.as_os_str()]);
    tool(
        "qemu-img",
        &[
            "compare".as_ref(),
            vhdx.as_os_str(),
            world.later.as_os_str(),
        ],
    );
    tool(
        "e2fsck",
        &["-fn".as_ref(), agent.path("two.raw").as_os_str()],
    );

    agent.succeeds([
        "restore", "vm", one, "--repo", "repo", "--host", "sim:host", "--name", "copy", "--new-id",
    ]);
    agent.succeeds(["sim", "dump", "host", "--vm", "copy", "--to", "copy.raw"]);
    assert_same_bytes(&agent.path("copy.raw"), &world.first);
    agent.succeeds(["restore", "vm", two, "--repo", "repo", "--to", "folder"]);
    assert!(agent.path("folder/vm.json").is_file());
    let restored: Vec<PathBuf> = walk(&agent.path("folder"))
        .into_iter()
        .filter(|path| path.extension().is_some_and(|it| it == "vhdx"))
        .collect();
    assert_eq!(restored.len(), 1, "{restored:?}");
    tool(
        "qemu-img",
        &[
            "compare".as_ref(),
            restored[0].as_os_str(),
            world.later.as_os_str(),
        ],
    );
    agent.succeeds([
        "restore", "files", two, "vm.json", "--repo", "repo", "--to", "files",
    ]);
    assert!(agent.path("files/vm.json").is_file());

    let verified = agent.json(0, &["repo", "verify", "--repo", "repo", "--data", "100"]);
    assert_eq!(verified["points"], 2);
    assert!(
        verified["read_bytes"].as_u64().unwrap() > 24 << 20,
        "{verified}"
    );
    let status = agent.succeeds(["repo", "status", "--repo", "repo"]);
    assert!(
        status.contains("kopia repository connect filesystem --path=/"),
        "{status}"
    );
    let status = agent.json(0, &["repo", "status", "--repo", "repo"]);
    assert_eq!(status["vm_points"], 2);
    assert!(
        status["maintenance"]["owner"]
            .as_str()
            .unwrap()
            .contains('@')
    );
    assert_eq!(status["maintenance"]["full"]["last"], Value::Null);
    assert_eq!(status["clock_offset_seconds"], 0);
    assert_eq!(status["epoch"], 0);
    assert_eq!(status["sessions_alive"], 0);
    let figure = |name: &str| status[name].as_u64().unwrap();
    // Two points share nearly everything.
    assert!(figure("deduplication_saved_bytes") > figure("original_bytes") / 2);
    assert!(figure("stored_bytes") > figure("pack_bytes") + figure("index_bytes"));
    assert!(figure("pack_bytes") >= figure("packed_bytes"));
}

#[test]
fn nothing_is_overwritten_and_a_simulated_hosts_folder_is_no_target() {
    let agent = Agent::with_repo_and_host();
    agent.succeeds(["sim", "add-vm", "host", "--name", "web", "--new", "8M"]);
    agent.succeeds([
        "sim", "write", "host", "--vm", "web", "--random", "1M", "--seed", "3",
    ]);
    agent.succeeds(["sim", "dump", "host", "--vm", "web", "--to", "now.raw"]);
    agent.succeeds([
        "backup",
        "vm",
        "--all",
        "--repo",
        "repo",
        "--host",
        "sim:host",
        "--min-free-gib",
        "0",
    ]);
    let points = agent.json(0, &["points", "list", "--repo", "repo"]);
    let id = points["points"][0]["id"].as_str().unwrap();
    std::fs::write(agent.path("precious"), b"mine").unwrap();
    let to = |place: &str, status| {
        agent.json(
            status,
            &[
                "restore", "disk", id, "--repo", "repo", "--format", "raw", "--to", place,
            ],
        )
    };
    assert_eq!(to("precious", 1)["error"]["kind"], "exists");
    assert_eq!(std::fs::read(agent.path("precious")).unwrap(), b"mine");
    for place in ["host/vms/web/x.raw", "no/such/folder/x.raw"] {
        assert_eq!(to(place, 1)["error"]["kind"], "target_unsuited", "{place}");
    }
    let vm = agent.json(
        1,
        &[
            "restore",
            "vm",
            id,
            "--repo",
            "repo",
            "--to",
            "host/vms/new",
        ],
    );
    assert_eq!(vm["error"]["kind"], "target_unsuited");
    agent.succeeds([
        "restore",
        "disk",
        id,
        "--repo",
        "repo",
        "--format",
        "raw",
        "--to",
        "precious",
        "--overwrite",
    ]);
    assert_same_bytes(&agent.path("precious"), &agent.path("now.raw"));
    assert_eq!(
        agent.json(
            2,
            &[
                "restore",
                "disk",
                &format!("{id}:7"),
                "--repo",
                "repo",
                "--to",
                "y"
            ]
        )["error"]["kind"],
        "wrong_usage"
    );
    assert_eq!(
        agent.json(
            5,
            &["restore", "files", id, "etc", "--repo", "repo", "--to", "y"]
        )["error"]["kind"],
        "not_in_point"
    );
    assert_eq!(
        agent
            .run(["sim", "dump", "host", "--vm", "web", "--to", "now.raw"])
            .status,
        1
    );
}

#[test]
fn damage_is_named_with_the_point_and_the_file_it_hurts() {
    let agent = Agent::with_repo_and_host();
    agent.succeeds(["sim", "add-vm", "host", "--name", "web", "--new", "8M"]);
    agent.succeeds([
        "sim", "write", "host", "--vm", "web", "--random", "2M", "--seed", "3",
    ]);
    agent.succeeds(BACKUP_OF_WEB);
    let points = agent.json(0, &["points", "list", "--repo", "repo"]);
    let id = points["points"][0]["id"].as_str().unwrap();
    let pack = walk(&agent.path("repo"))
        .into_iter()
        .filter(|path| {
            path.strip_prefix(agent.path("repo"))
                .unwrap()
                .starts_with("p")
        })
        .max_by_key(|path| path.metadata().unwrap().len())
        .unwrap();
    let whole = std::fs::read(&pack).unwrap();
    let mut flipped = whole.clone();
    flipped[whole.len() / 3] ^= 1;

    std::fs::write(&pack, &flipped).unwrap();
    let unread = agent.json(0, &["repo", "verify", "--repo", "repo"]);
    assert_eq!(unread["read_contents"], 0);
    let hurt = |document: &Value| -> Vec<String> {
        assert_eq!(document["error"]["kind"], "damaged");
        let damages = document["damages"].as_array().unwrap();
        assert!(
            damages.iter().all(|damage| damage["point_id"] == id),
            "{document}"
        );
        damages
            .iter()
            .map(|damage| damage["path"].as_str().unwrap().to_owned())
            .collect()
    };
    let disk = ["disks/0-web.vhdx"];
    assert_eq!(
        hurt(&agent.json(1, &["repo", "verify", "--repo", "repo", "--data", "100"])),
        disk
    );

    // What lies behind the cut is hurt too: the configuration, stored after the disk.
    std::fs::write(&pack, &whole[..whole.len() / 3]).unwrap();
    let of_cut = hurt(&agent.json(1, &["repo", "verify", "--repo", "repo"]));
    assert!(
        of_cut.contains(&disk[0].to_owned()) && of_cut.contains(&"vm.json".to_owned()),
        "{of_cut:?}"
    );
    std::fs::remove_file(&pack).unwrap();
    assert_eq!(
        hurt(&agent.json(1, &["repo", "verify", "--repo", "repo"])),
        of_cut
    );
    let restored = agent.run(["restore", "disk", id, "--repo", "repo", "--to", "x.vhdx"]);
    assert_eq!(restored.status, 1, "{restored:?}");
    assert!(!agent.path("x.vhdx").exists());

    std::fs::write(&pack, &whole).unwrap();
    agent.json(0, &["repo", "verify", "--repo", "repo", "--data", "100"]);
}

#[test]
fn a_damaged_manifest_is_told_and_hides_no_other_point() {
    let agent = Agent::with_repo_and_host();
    let mut ids = Vec::new();
    let mut packs: Vec<Vec<PathBuf>> = Vec::new();
    for name in ["web", "db"] {
        agent.succeeds(["sim", "add-vm", "host", "--name", name, "--new", "8M"]);
        let document = agent.json(
            0,
            &[
                "backup",
                "vm",
                name,
                "--repo",
                "repo",
                "--host",
                "sim:host",
                "--min-free-gib",
                "0",
            ],
        );
        ids.push(document["vms"][0]["point_id"].as_str().unwrap().to_owned());
        let known = packs.concat();
        let all = walk(&agent.path("repo/q"));
        packs.push(
            all.into_iter()
                .filter(|pack| !known.contains(pack))
                .collect(),
        );
    }
    // A manifest's pack is written after its point's other metadata, in a pack of its own.
    let newest = |pack: &&PathBuf| pack.metadata().unwrap().modified().unwrap();
    let lost = packs[1].iter().max_by_key(newest).unwrap();
    let mut bytes = std::fs::read(lost).unwrap();
    bytes[40] ^= 1;
    std::fs::write(lost, bytes).unwrap();

    let listed = agent.json(1, &["points", "list", "--repo", "repo"]);
    assert_eq!(listed["error"]["kind"], "damaged", "{listed}");
    let points = listed["points"].as_array().unwrap();
    assert_eq!(
        (points.len(), &points[0]["id"]),
        (1, &ids[0].as_str().into())
    );
    assert_eq!(listed["unreadable"].as_array().unwrap().len(), 1);
    // A policy or a pin may be in what was lost: nothing is decided without it.
    for arguments in [
        &["points", "expire", "--dry-run"][..],
        &["points", "expire"],
        &["policy", "set", "--global", "--keep-latest", "1"],
    ] {
        let refused = agent.json(1, &[arguments, &["--repo", "repo"]].concat());
        assert_eq!(refused["error"]["kind"], "damaged", "{refused}");
    }
    let restore = |id: &str, status| {
        let arguments = ["restore", "disk", id, "--repo", "repo", "--to", id];
        agent.json(status, &arguments)
    };
    restore(&ids[0], 0);
    assert_eq!(restore(&ids[1], 1)["error"]["kind"], "damaged");
    let verified = agent.json(1, &["repo", "verify", "--repo", "repo"]);
    assert_eq!(verified["damages"].as_array().unwrap().len(), 1);
}

#[test]
fn what_a_dead_run_left_is_shown_and_cleaned() {
    let agent = Agent::with_repo_and_host();
    agent.succeeds(["sim", "add-vm", "host", "--name", "web", "--new", "8M"]);
    agent.succeeds(["sim", "fault", "host", "--vm", "web", "foreign-checkpoint"]);
    let list = agent.succeeds(["host", "list", "--host", "sim:host"]);
    assert!(list.contains("web") && list.contains("running"), "{list}");
    let clean = agent.json(0, &["host", "clean", "--dry-run", "--host", "sim:host"]);
    assert_eq!(clean["vms"][0]["checkpoints"].as_array().unwrap().len(), 0);
    let shown = agent.json(0, &["host", "show", "web", "--host", "sim:host"]);
    assert_eq!(shown["run_in_progress"], false);
}

#[test]
fn what_an_administrator_does_between_two_runs_leads_to_a_full_read_with_its_reason() {
    let agent = Agent::with_repo_and_host();
    agent.succeeds(["sim", "add-vm", "host", "--name", "web", "--new", "8M"]);
    let backup = || {
        let document = agent.json(
            0,
            &[
                "backup",
                "vm",
                "--all",
                "--repo",
                "repo",
                "--host",
                "sim:host",
                "--min-free-gib",
                "0",
            ],
        );
        document["vms"][0].clone()
    };
    backup();
    agent.succeeds(["sim", "state", "host", "--vm", "web", "off"]);
    let offline = backup();
    assert_eq!(
        (&offline["type"], &offline["consistency"]),
        (&"incremental".into(), &"offline".into()),
        "{offline}"
    );
    let checkpoint = agent.json(0, &["sim", "checkpoint", "host", "--vm", "web"]);
    agent.succeeds([
        "sim", "write", "host", "--vm", "web", "--random", "1M", "--seed", "1",
    ]);
    agent.succeeds([
        "sim",
        "apply",
        "host",
        "--vm",
        "web",
        checkpoint["checkpoint"].as_str().unwrap(),
    ]);
    let applied = backup();
    assert_eq!(applied["type"], "full", "{applied}");
    assert!(applied["disks"][0]["full_reason"].is_string());
    agent.succeeds([
        "sim",
        "apply",
        "host",
        "--vm",
        "web",
        checkpoint["checkpoint"].as_str().unwrap(),
        "--delete",
    ]);
    agent.succeeds(["sim", "rename", "host", "--vm", "web", "--to", "www"]);
    let renamed = backup();
    assert_eq!(
        (&renamed["type"], &renamed["name"]),
        (&"incremental".into(), &"www".into()),
        "{renamed}"
    );
    agent.succeeds(["sim", "resize", "host", "--vm", "www", "--size", "16M"]);
    let resized = backup();
    assert_eq!(resized["type"], "full", "{resized}");
    assert_eq!(resized["disks"][0]["virtual_bytes"], 16 << 20);
    agent.succeeds(["sim", "delete-vm", "host", "--vm", "www"]);
    let gone = agent.json(
        1,
        &[
            "backup", "vm", "--all", "--repo", "repo", "--host", "sim:host",
        ],
    );
    assert_eq!(gone["error"]["kind"], "vm_not_found");
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files.extend(walk(&path)),
            false => files.push(path),
        }
    }
    files
}
