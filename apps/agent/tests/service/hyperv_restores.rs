//! Restores of VMs from a simulated host, to folders of this machine.

use std::fs;

use hyperv::HypervHost as _;
use hyperv::VmId;
use hyperv::sim::{SimDisk, SimVm};
use scripted_control_plane::world::VmOrder;
use scripted_control_plane::{CommandOrder, RunOrder, Settings};
use serde_json::{Value, json};

use crate::world::World;

/// A VM that was backed up.
struct BackedUp {
    world: World,
    vm: VmId,
    backup: Value,
    /// Its disks: original path and manifest.
    disks: Value,
}

impl BackedUp {
    fn new() -> Self {
        let mut world = World::new(Settings::default());
        let vm = world.with_vms(&["web"])[0];
        world.begin();
        let order = world.stored_in_folder(RunOrder {
            engine: "hyperv".to_owned(),
            vms: vec![VmOrder {
                name: "web".to_owned(),
                guid: vm.to_string(),
                unregistered: false,
            }],
            ..RunOrder::default()
        });
        let backup = world.queue(order);
        assert_eq!(world.end_of(&backup), "success");
        let disks = world.last_update(&backup)["hyperv_results"][0]["disk_manifests"].clone();
        Self {
            world,
            vm,
            backup,
            disks,
        }
    }

    /// Returns what an order says of the VM.
    fn order(&self, subfolder: &str, disks: &Value) -> Value {
        let manifest = self.disks.as_object().unwrap().values().next();
        json!({
            "vm_name": "web", "vm_guid": self.vm.to_string(), "subfolder": subfolder,
            "disk_manifests": disks, "backup_type": "Full", "restore_chain": [manifest],
        })
    }

    /// Orders a restore, and returns its run, whether the command was done, and what was said.
    fn restore(&self, members: Value) -> (Value, bool, String) {
        let world = &self.world;
        let run = world
            .plane
            .with(|world| world.queue_restore_run("hyperv_restore"));
        let mut payload = json!({
            "target_path": world.path("restored"), "backup_type": "Full",
            "restore_run_id": run, "restore_run_uuid": run,
        });
        for (name, value) in members.as_object().unwrap() {
            payload[name] = value.clone();
        }
        let command = CommandOrder::new("hyperv_restore", payload).about(&self.backup);
        let command = command.with_context(world.destination());
        let (is_done, said) = world.answer_to(world.plane.queue_command(command));
        (run, is_done, said)
    }

    /// Checks that a file holds what a disk of the VM does.
    fn assert_restored(&self, file: &str, disk: u32) {
        let (world, host) = (&self.world, self.world.host());
        let copy = SimDisk::copy_of(world.path("restored").join(file));
        let copy = host.add_vm(&SimVm::new("copy", vec![copy])).unwrap();
        let (before, after) = (world.path("before"), world.path("after"));
        host.dump(self.vm, disk, &before).unwrap();
        host.dump(copy, 0, &after).unwrap();
        assert!(fs::read(before).unwrap() == fs::read(after).unwrap());
    }

    /// Returns the names of the VM's disk files.
    fn names(&self) -> Vec<String> {
        let disks = self.world.host().vm(self.vm).unwrap().disks.into_iter();
        let names = disks.map(|disk| disk.original_path.file_name().unwrap().to_owned());
        names.map(|name| name.into_string().unwrap()).collect()
    }
}

#[test]
fn disks_of_a_vm_are_restored_by_their_original_paths() {
    let it = BackedUp::new();
    let vms = [it.order("one", &it.disks), it.order("two", &json!([]))];
    let (run, is_done, said) = it.restore(json!({"vms": vms}));
    assert!(is_done, "{said}");
    assert_eq!(it.world.end_of(&run), "success");
    let names = it.names();
    for (folder, number) in [("one", 0), ("one", 1), ("two", 0), ("two", 1)] {
        it.assert_restored(&format!("{folder}/{}", names[number as usize]), number);
    }
    it.world.check();
}

#[test]
fn how_far_each_disk_is_is_told_with_numbers() {
    let it = BackedUp::new();
    let (run, is_done, said) = it.restore(json!({"vms": [it.order("", &it.disks)]}));
    assert!(is_done, "{said}");
    it.world.events_of(&run, "HYPERV_RESTORE_COMPLETE");
    let events = it.world.events_of(&run, "HYPERV_RESTORE_DISK_PROGRESS");
    for name in it.names() {
        let told: Vec<_> = events
            .iter()
            .filter(|it| it["disk_name"] == name.as_str())
            .collect();
        let (first, last) = (told.first().unwrap(), told.last().unwrap());
        let total = &first["bytes_total"];
        assert!(total.as_u64() > Some(0), "{told:?}");
        assert_eq!(
            (&first["bytes_done"], &first["status"]),
            (&json!(0), &json!("restoring"))
        );
        assert_eq!(
            (&last["bytes_done"], &last["status"]),
            (total, &json!("restored"))
        );
    }
    it.world.check();
}

#[test]
fn an_order_of_the_older_form_names_its_only_vm_at_the_top() {
    let it = BackedUp::new();
    let mut members = it.order("", &it.disks);
    members.as_object_mut().unwrap().remove("subfolder");
    let (run, is_done, said) = it.restore(members);
    assert!(is_done, "{said}");
    assert_eq!(it.world.end_of(&run), "success");
    it.assert_restored(&it.names()[0], 0);
    it.world.check();
}

#[test]
fn disks_that_cannot_be_had_are_named_and_the_others_restored() {
    let it = BackedUp::new();
    let mut some = it.disks.clone();
    some["/never/there.vhdx"] = some.as_object().unwrap().values().next().unwrap().clone();
    let none = json!({"/never/there.vhdx": "00112233445566778899aabbccddeeff"});
    for (disks, is_done, status) in [(some, true, "warning"), (none, false, "failed")] {
        let (run, done, said) = it.restore(json!({"vms": [it.order("", &disks)]}));
        assert_eq!(done, is_done, "{said}");
        assert_eq!(it.world.end_of(&run), status);
        assert!(said.contains("there.vhdx"), "{said}");
        let target = it.world.path("restored");
        assert!(!target.join("there.vhdx").exists());
        let names = it.names();
        assert!(names.iter().all(|name| target.join(name).exists()));
    }
    // The files that are there now are no other restore's to overwrite.
    let (run, done, said) = it.restore(json!({"vms": [it.order("", &it.disks)]}));
    assert!(!done, "{said}");
    assert_eq!(it.world.end_of(&run), "failed");
    it.world.check();
}

#[test]
fn a_folder_that_is_no_whole_path_is_refused() {
    let world = World::at_work(Settings::default());
    for name in ["hyperv_restore", "restore"] {
        let run = world.plane.with(|world| world.queue_restore_run(name));
        let payload = json!({"target_path": "restored", "restore_run_id": run});
        let (is_done, said) = world.answer_to(world.command(name, payload, "aa"));
        assert!(!is_done && said.contains("no whole path"), "{said}");
        assert_eq!(world.end_of(&run), "failed");
    }
    world.check();
}

/// Restores onto the host, as only our own control plane orders it.
mod registered {
    use super::*;

    impl BackedUp {
        /// Orders the VM back onto the host, below the host's folder `new`.
        fn register(&self, register: Value, mut members: Value) -> (Value, bool, String) {
            members["target_path"] = json!(self.world.path("host/new"));
            members["register"] = register;
            self.restore(members)
        }

        /// Returns the one VM of the host that is not the original.
        fn copy(&self) -> hyperv::Vm {
            let vms = self.world.host().vms().unwrap().into_iter();
            let mut others = vms.filter(|it| it.id != self.vm);
            let copy = others.next().unwrap();
            assert_eq!(others.next(), None);
            copy
        }
    }

    #[test]
    fn a_copy_comes_back_with_the_name_and_switch_that_were_ordered_and_is_told_of() {
        let it = BackedUp::new();
        let how =
            json!({"new_id": true, "start": true, "switch": "default switch", "name": "web 2"});
        let vms = json!({"vms": [it.order("web", &it.disks)]});
        let (run, is_done, said) = it.register(how, vms);
        assert!(is_done, "{said}");
        assert_eq!(it.world.end_of(&run), "success");
        let copy = it.copy();
        assert_eq!(
            (&*copy.name, copy.state),
            ("web 2", hyperv::VmState::Running)
        );
        for adapter in &copy.network_adapters {
            assert_eq!(adapter.switch.as_deref(), Some("Default Switch"));
        }
        let host = it.world.host();
        let (before, after) = (it.world.path("before"), it.world.path("after"));
        for (number, disk) in (0..).zip(&copy.disks) {
            let folder = it.world.path("host/new/web 2");
            assert_eq!(disk.original_path.parent().unwrap(), folder);
            host.dump(it.vm, number, &before).unwrap();
            host.dump(copy.id, number, &after).unwrap();
            assert!(fs::read(&before).unwrap() == fs::read(&after).unwrap());
        }
        let told = it.world.event(&run, "HYPERV_RESTORE_COMPLETE");
        let message = told["message"].as_str().unwrap();
        let expected = format!("web 2 ({}) is on the host, and was switched on.", copy.id);
        assert!(message.starts_with(&expected), "{message}");
        assert_eq!(
            (&told["restored_disks"], &told["total_disks"]),
            (&json!(2), &json!(2))
        );
        let starting = it.world.event(&run, "HYPERV_RESTORE_STARTING");
        assert_eq!(
            (&starting["vm_count"], &starting["disk_count"]),
            (&json!(1), &json!(2))
        );
        for (event, by) in [
            ("HYPERV_RESTORE_DISK_STARTING", "disk_index"),
            ("HYPERV_RESTORE_DISK_COMPLETE", "disk_index"),
        ] {
            let told = it.world.events_of(&run, event);
            let names: Vec<&str> = told
                .iter()
                .filter_map(|it| it["disk_name"].as_str())
                .collect();
            assert_eq!(names, it.names(), "{event}");
            let indexes: Vec<&Value> = told.iter().map(|it| &it[by]).collect();
            assert_eq!(indexes, [&json!(1), &json!(2)]);
        }
        for name in it.names() {
            let told = it.world.events_of(&run, "HYPERV_RESTORE_DISK_PROGRESS");
            let last = told.iter().rfind(|it| it["disk_name"] == name.as_str());
            assert_eq!(last.unwrap()["status"], "restored");
        }
        it.world.check();
    }

    #[test]
    fn a_vm_that_is_gone_comes_back_as_itself_from_the_chain_alone() {
        let it = BackedUp::new();
        let before = it.world.host().vm(it.vm).unwrap();
        it.world.host().delete_vm(it.vm, false).unwrap();
        let vms = json!({"vms": [it.order("", &json!([]))]});
        let (run, is_done, said) = it.register(json!({}), vms);
        assert!(is_done, "{said}");
        assert_eq!(it.world.end_of(&run), "success");
        let after = it.world.host().vm(it.vm).unwrap();
        assert_eq!(after.name, before.name);
        assert_eq!(after.state, hyperv::VmState::Off);
        it.world.check();
    }

    #[test]
    fn what_cannot_be_registered_is_refused_in_words_and_leaves_nothing() {
        let it = BackedUp::new();
        let before = it.world.host().vms().unwrap();
        let mut one_disk = it.disks.clone();
        let first = one_disk.as_object().unwrap().keys().next().unwrap().clone();
        one_disk.as_object_mut().unwrap().remove(&first);
        let whole = || it.order("web", &it.disks);
        let new = json!({"new_id": true});
        for (register, vms, words) in [
            (json!({}), json!([whole()]), "it is on this host"),
            (
                new.clone(),
                json!([it.order("web", &one_disk)]),
                "was not chosen",
            ),
            (
                json!({"new_id": true, "switch": "Nowhere"}),
                json!([whole()]),
                "no switch named Nowhere",
            ),
            (
                json!({"new_id": true, "name": "one"}),
                json!([whole(), whole()]),
                "one name",
            ),
            (json!("yes"), json!([whole()]), "register is no object"),
        ] {
            let (run, is_done, said) = it.register(register.clone(), json!({"vms": vms}));
            assert!(!is_done && said.contains(words), "{register}: {said}");
            assert_eq!(it.world.end_of(&run), "failed");
        }
        assert_eq!(it.world.host().vms().unwrap(), before);
        assert!(it.world.host().planned_vms().unwrap().is_empty());
        let new = it.world.path("host/new");
        assert!(!new.exists() || fs::read_dir(new).unwrap().next().is_none());
        it.world.check();
    }
}
