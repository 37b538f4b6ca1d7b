//! What the older agent stored: one snapshot per disk, a VHDX container as it lay on the host
//! (API spec 9.5), as the snapshot's root or as a file in its root folder.

use std::path::Path;
use std::sync::Arc;

use blob::FilesystemStore;
use kopia::directory::DirectoryEntry;
use kopia::snapshot::SnapshotManifest;
use repo::{Encoder, Identity, Repository, Surroundings, Writer};
use serde_json::json;
use snapshot::TreeWriter;
use time_and_chance::{Chance, StopSignal, SystemClock};

use crate::agent::{Agent, PASSWORD, assert_same_bytes, tool};

const DISK_BYTES: usize = 24 << 20;

fn open(agent: &Agent) -> Arc<Repository> {
    let store = FilesystemStore::open(agent.path("repo"), Chance::from_system()).unwrap();
    let surroundings = Surroundings {
        cache_folder: agent.path("cache of the older agent"),
        identity: Identity {
            username: "agent".to_owned(),
            hostname: "hv01".to_owned(),
        },
        clock: SystemClock::new(),
        chance: Chance::from_system(),
        stop: StopSignal::new(),
    };
    Repository::open(Arc::new(store), PASSWORD, surroundings).unwrap()
}

/// Makes a disk and the container that a host would keep it in.
fn make_disk(agent: &Agent) {
    let mut raw = vec![0; DISK_BYTES];
    Chance::from_seed(5).fill(&mut raw[3 << 20..9 << 20]);
    std::fs::write(agent.path("disk.raw"), raw).unwrap();
    let convert = ["convert", "-f", "raw", "-O", "vhdx"].map(std::ffi::OsStr::new);
    let files = [agent.path("disk.raw"), agent.path("container.vhdx")];
    let files = [files[0].as_os_str(), files[1].as_os_str()];
    tool("qemu-img", &[&convert[..], &files[..]].concat());
}

/// Stores the container as the older agent does; returns the manifest's id.
fn store(agent: &Agent, container: &Path, in_folder: bool) -> String {
    let repo = open(agent);
    let writer = Writer::new(&repo, 1).unwrap();
    let bytes = std::fs::read(container).unwrap();
    let object = writer
        .write_object(&mut Encoder::new(None), None, &bytes, 4 << 20)
        .unwrap();
    let now = repo.clock().now();
    let mut root: DirectoryEntry = serde_json::from_value(json!({
        "name": "web.vhdx", "type": "f", "mode": "0644", "size": bytes.len(),
        "mtime": now.to_string(), "obj": object.to_string(),
    }))
    .unwrap();
    if in_folder {
        let mut tree = TreeWriter::new(&writer, now);
        let file = tree.stored_file("web.vhdx", object, bytes.len() as u64);
        root = tree.folder("", vec![file]).unwrap();
    }
    let manifest: SnapshotManifest = serde_json::from_value(json!({
        "source": { "host": "hv01", "userName": "agent", "path": r"D:\VM\web.vhdx" },
        "startTime": now.to_string(), "endTime": now.to_string(), "rootEntry": root,
    }))
    .unwrap();
    let text = serde_json::value::to_raw_value(&manifest).unwrap();
    let entry = writer.new_manifest(manifest.source.labels(), text);
    let id = entry.id.clone();
    writer.write_manifests(vec![entry]).unwrap();
    writer.flush().unwrap();
    id
}

#[test]
fn disks_of_the_older_agent_are_listed_shown_and_restored() {
    let agent = Agent::new();
    agent.succeeds(["repo", "create", "--repo", "repo", "--format-version", "2"]);
    make_disk(&agent);
    for in_folder in [false, true] {
        let id = &*store(&agent, &agent.path("container.vhdx"), in_folder);
        let listed = agent.json(0, &["points", "list", "--repo", "repo"]);
        let points = listed["points"].as_array().unwrap();
        let point = points.iter().find(|point| point["id"] == *id).unwrap();
        assert_eq!(point["source"], r"agent@hv01:D:\VM\web.vhdx");
        assert_eq!(point["point"], serde_json::Value::Null);
        let shown = agent.succeeds(["points", "show", &id[..12], "--repo", "repo"]);
        assert!(shown.contains("web.vhdx"), "{shown}");

        let to = |name: &str| format!("{in_folder}-{name}");
        let restore = |name: &str, format: &str| {
            let file = to(name);
            agent.succeeds([
                "restore", "disk", id, "--repo", "repo", "--to", &file, "--format", format,
            ]);
            agent.path(&file)
        };
        assert_same_bytes(&restore("disk.raw", "raw"), &agent.path("disk.raw"));
        let vhdx = restore("disk.vhdx", "vhdx");
        let raw = agent.path("disk.raw");
        tool(
            "qemu-img",
            &["compare".as_ref(), vhdx.as_os_str(), raw.as_os_str()],
        );
        let folder = to("files");
        agent.succeeds(["restore", "files", id, "--repo", "repo", "--to", &folder]);
        let container = agent.path(&folder).join("web.vhdx");
        assert_same_bytes(&container, &agent.path("container.vhdx"));

        let vm = agent.json(2, &["restore", "vm", id, "--repo", "repo", "--to", "vm"]);
        let message = vm["error"]["message"].as_str().unwrap();
        assert!(message.contains("restore disk"), "{message}");
    }
}
