//! Jobs whose destination is a bucket.

use std::fs;
use std::path::Path;

use hyperv::HypervHost as _;
use hyperv::sim::{SimDisk, SimVm};
use rclone_server::{KEY_ID, SECRET};
use scripted_control_plane::world::VmOrder;
use scripted_control_plane::{CommandOrder, RunOrder, Settings};
use serde_json::{Value, json};
use time_and_chance::Chance;

use crate::s3_server::S3Server;
use crate::world::{PASSWORD, World};

/// A world whose runs store into a bucket.
struct Cloud {
    world: World,
    server: S3Server,
    vms: Vec<(&'static str, String)>,
}

impl Cloud {
    fn new(names: &[&'static str]) -> Self {
        let mut world = World::new(Settings::default());
        let server = S3Server::start(&world.path("buckets"));
        let vms = world.with_vms(names);
        world.configure(&[
            ("hyperv_host", "sim"),
            ("min_free_gib", "0"),
            ("runs_at_once", "2"),
        ]);
        world.begin();
        let vms = vms.iter().map(ToString::to_string);
        let vms = names.iter().copied().zip(vms).collect();
        Self { world, server, vms }
    }

    fn destination(&self) -> Value {
        json!({
            "engine": "kopia", "dest_type": "s3", "dest_bucket_name": "bucket",
            "dest_prefix": "/7d1c", "dest_endpoint": self.server.line.endpoint(),
            "dest_access_key": KEY_ID, "dest_secret_key": SECRET,
            "repository_id": "5c0e0000-0000-4000-8000-000000000001",
            "repository_password": PASSWORD,
        })
    }

    /// Lets an order store into the bucket.
    fn stored(&self, mut order: RunOrder) -> RunOrder {
        let engine = order.engine.clone();
        let Value::Object(members) = self.destination() else {
            unreachable!("it is an object");
        };
        order.members.extend(members);
        order.with("engine", json!(engine))
    }

    fn files(&self) -> RunOrder {
        let source = self.world.path("source").display().to_string();
        self.stored(RunOrder::files(&source))
    }

    fn of_vms(&self, vms: &[(&'static str, String)]) -> RunOrder {
        let vms = vms.iter().map(|(name, guid)| VmOrder {
            name: (*name).to_owned(),
            guid: guid.clone(),
            unregistered: false,
        });
        self.stored(RunOrder {
            engine: "hyperv".to_owned(),
            vms: vms.collect(),
            ..RunOrder::default()
        })
    }

    fn succeeds(&self, order: RunOrder) -> Value {
        let run = self.world.queue(order);
        let status = self.world.end_of(&run);
        let update = self.world.last_update(&run);
        assert_eq!(status, "success", "{update}, log:\n{}", self.world.log());
        update
    }

    /// Returns why a run failed.
    fn fails(&self, order: RunOrder) -> String {
        let run = self.world.queue(order);
        assert_eq!(self.world.end_of(&run), "failed");
        let update = self.world.last_update(&run);
        update["error_summary"].as_str().unwrap().to_owned()
    }

    /// Orders a restore of files; returns the command and the run.
    fn restore_files(&self, manifest: &Value, target: &Path) -> (u64, Value) {
        let plane = &self.world.plane;
        let run = plane.with(|world| world.queue_restore_run("restore"));
        let payload = json!({
            "manifest_id": manifest, "target_path": target, "mount": false,
            "restore_run_id": run, "restore_run_uuid": run,
        });
        let command = CommandOrder::new("restore", payload).with_context(self.destination());
        (plane.queue_command(command), run)
    }

    /// Orders a restore of a VM's disks; returns the command and the run.
    fn restore_vm(&self, backup: &Value, target: &Path) -> (u64, Value) {
        let plane = &self.world.plane;
        let run = plane.with(|world| world.queue_restore_run("hyperv_restore"));
        let result = &backup["hyperv_results"][0];
        let payload = json!({
            "target_path": target, "backup_type": "Full", "restore_run_id": run,
            "restore_run_uuid": run,
            "vms": [{"vm_name": result["vm_name"], "vm_guid": "", "subfolder": "",
                "backup_type": "Full", "disk_manifests": result["disk_manifests"],
                "restore_chain": []}],
        });
        let command = CommandOrder::new("hyperv_restore", payload).about(&backup["run_id"]);
        let command = command.with_context(self.destination());
        (plane.queue_command(command), run)
    }

    fn is_done(&self, (command, run): &(u64, Value)) {
        let (is_done, said) = self.world.answer_to(*command);
        assert!(is_done, "{said}, log:\n{}", self.world.log());
        assert_eq!(self.world.end_of(run), "success");
    }

    /// Compares restored disks of a VM with those it has.
    fn check_disks(&self, vm: &str, folder: &Path) {
        let host = self.world.host();
        let vm = vm.parse().unwrap();
        let (before, after) = (self.world.path("before"), self.world.path("after"));
        for (number, disk) in (0..).zip(host.vm(vm).unwrap().disks) {
            let restored = folder.join(disk.original_path.file_name().unwrap());
            let copy = SimVm::new("copy", vec![SimDisk::copy_of(restored)]);
            let copy = host.add_vm(&copy).unwrap();
            host.dump(vm, number, &before).unwrap();
            host.dump(copy, 0, &after).unwrap();
            assert!(fs::read(&before).unwrap() == fs::read(&after).unwrap());
        }
    }

    /// Checks that nobody broke a rule, and nobody told a secret.
    fn check(&self) {
        self.world.check();
        assert!(!self.world.log().contains(SECRET), "{}", self.world.log());
    }
}

#[test]
fn files_and_vms_are_stored_in_a_bucket_and_restored_from_it() {
    let cloud = Cloud::new(&["web"]);
    let files = cloud.succeeds(cloud.files());
    let vms = cloud.succeeds(cloud.of_vms(&cloud.vms));
    let target = cloud.world.path("restored");
    cloud.is_done(&cloud.restore_files(&files["manifest_id"], &target.join("files")));
    let letter = fs::read(target.join("files/letter.txt")).unwrap();
    assert_eq!(letter, b"dear all");
    cloud.is_done(&cloud.restore_vm(&vms, &target.join("vm")));
    cloud.check_disks(&cloud.vms[0].1, &target.join("vm"));
    let blobs = crate::world::contents(&cloud.world.path("buckets/bucket/7d1c"));
    assert!(blobs.iter().any(|(name, _)| name == "kopia.repository"));
    cloud.check();
}

#[test]
fn wrong_keys_and_buckets_that_are_not_there_fail_in_words() {
    let cloud = Cloud::new(&["web"]);
    let nowhere = json!("no-such-bucket");
    let why = cloud.fails(cloud.files().with("dest_bucket_name", nowhere.clone()));
    assert!(why.contains("no-such-bucket"), "{why}");
    cloud.succeeds(cloud.files());
    let blobs = cloud.world.path("buckets/bucket/7d1c");
    let before = crate::world::contents(&blobs);
    for wrong in [
        cloud
            .files()
            .with("dest_secret_key", json!("wrong-secret-key")),
        cloud.files().with("dest_access_key", json!("wrong-key-id")),
        cloud
            .of_vms(&cloud.vms)
            .with("dest_secret_key", json!("wrong-secret-key")),
    ] {
        let why = cloud.fails(wrong);
        assert!(why.contains("key"), "{why}");
    }
    let why = cloud.fails(cloud.of_vms(&cloud.vms).with("dest_bucket_name", nowhere));
    assert!(why.contains("no-such-bucket"), "{why}");
    assert_eq!(crate::world::contents(&blobs), before);
    let vm = cloud.vms[0].1.parse().unwrap();
    assert!(cloud.world.host().checkpoints(vm).unwrap().is_empty());
    // What others did wrong does not stick.
    cloud.succeeds(cloud.of_vms(&cloud.vms));
    cloud.check();
}

#[test]
fn a_store_that_dies_in_the_middle_and_comes_back_costs_nothing() {
    let cloud = Cloud::new(&["web"]);
    let mut noise = vec![0; 1 << 20];
    Chance::from_seed(4).fill(&mut noise);
    fs::write(cloud.world.path("source/noise"), &noise).unwrap();
    for order in [cloud.files(), cloud.of_vms(&cloud.vms)] {
        let refused = cloud.server.line.refused();
        cloud.server.line.dies_with_a_pack();
        let run = cloud.world.queue(order);
        cloud.world.wait_for("the store's death", |_| {
            cloud.server.line.refused() >= refused + 3
        });
        cloud.world.wait_for("the run's begin", |plane| {
            plane.with(|it| it.run_status(&run) != "starting")
        });
        let status = cloud.world.plane.with(|it| it.run_status(&run).to_owned());
        assert_eq!(status, "running");
        cloud.server.line.let_all_pass();
        assert_eq!(cloud.world.end_of(&run), "success");
        let update = cloud.world.last_update(&run);
        let target = cloud.world.path("restored");
        match update["hyperv_results"].is_null() {
            true => {
                cloud.is_done(&cloud.restore_files(&update["manifest_id"], &target));
                assert!(fs::read(target.join("noise")).unwrap() == noise);
            }
            false => {
                cloud.is_done(&cloud.restore_vm(&update, &target));
                cloud.check_disks(&cloud.vms[0].1, &target);
            }
        }
    }
    cloud.check();
}

/// Two runs of VMs and a restore stand still in the middle, for as long as it takes to answer.
#[test]
fn people_who_browse_wait_for_no_backup_and_no_restore() {
    let cloud = Cloud::new(&["web", "db", "mail"]);
    let plane = &cloud.world.plane;
    let files = cloud.succeeds(cloud.files());
    let backup = cloud.succeeds(cloud.of_vms(&cloud.vms[2..]));
    cloud.server.line.hold_packs();
    let target = cloud.world.path("restored");
    let restore = cloud.restore_vm(&backup, &target);
    let order = |vm: usize| cloud.of_vms(&cloud.vms[vm..=vm]);
    let backups = [0, 1].map(|vm| cloud.world.queue(order(vm)));
    cloud
        .world
        .wait_for("work in the middle", |_| cloud.server.line.held() >= 3);
    let source = cloud.world.path("source");
    let mut context = cloud.destination();
    context["manifest_id"] = files["manifest_id"].clone();
    let ids = json!({"vm_ids": [cloud.vms[0].1]});
    let asked = [
        CommandOrder::new("browse_directory", json!({"path": source})),
        CommandOrder::new(
            "browse_snapshot",
            json!({"restore_point_id": 5, "path": ""}),
        )
        .with_context(context),
        CommandOrder::new("list_hyperv_vms", json!([])),
        CommandOrder::new("list_hyperv_vm_details", ids),
        CommandOrder::new("list_disks", json!({})),
        CommandOrder::new("fetch_log_tail", json!({"log_path": "agent.log"})),
        CommandOrder::new("refresh_inventory", json!({})),
    ]
    .map(|order| plane.queue_command(order));
    let mut longest = std::time::Duration::ZERO;
    for command in asked {
        let (is_done, said) = cloud.world.answer_to(command);
        assert!(is_done, "{said}, log:\n{}", cloud.world.log());
        let asked = plane.with(|world| world.command(command).clone());
        longest = longest.max(asked.completed.unwrap() - asked.queued);
    }
    // All of them stand where they stood.
    assert!(cloud.server.line.held() >= 3);
    for run in backups.iter().chain([&restore.1]) {
        let status = plane.with(|it| it.run_status(run).to_owned());
        assert!(matches!(&*status, "starting" | "running"), "{status}");
    }
    println!("the longest answer took {longest:?}");
    cloud.server.line.let_all_pass();
    for run in &backups {
        assert_eq!(cloud.world.end_of(run), "success");
    }
    cloud.is_done(&restore);
    cloud.check_disks(&cloud.vms[2].1, &target);
    // How long each was waited for depends on the machine; whom they waited for does not.
    let broken = plane.violations().into_iter();
    let broken: Vec<_> = broken
        .filter(|it| !it.what.contains("people waited"))
        .collect();
    assert_eq!(broken, [], "log:\n{}", cloud.world.log());
    assert_eq!(plane.unfinished(), []);
}
