//! Nothing is gained by calling again and again: no handle, no memory.

use windows_host::virtdisk::{Access, VirtualDisks as _};

use crate::held::Bounds;
use crate::world::{DISK_BYTES, World};
use crate::{apart, new_disk};

/// Looks after `first` calls, and again after as many more or 10,000 in all.
fn gains_nothing(what: &str, first: u32, call: impl FnMut()) {
    let bounds = Bounds { first, handles: 16 };
    crate::held::gains_nothing(what, bounds, call);
}

#[test]
fn calls_gain_neither_handles_nor_memory_on_disks() {
    let test = "leaks::calls_gain_neither_handles_nor_memory_on_disks";
    apart(test, "", || {
        let world = World::new();
        let base = world.base();
        world.write(0, &[1; 4096]);
        let (_, path) = world.freeze();
        // Not attached: a query looks at the files of the disk, and wine closes no file of which
        // somebody has locked a part, so that it would run out of them.
        let asked = world.real.open(&path, Access::Information).unwrap();
        gains_nothing("queries", 300, || {
            asked.query_changes(&base, 0, DISK_BYTES).unwrap();
        });
        drop(asked);
        let disk = world.real.open(&path, Access::Read).unwrap();
        gains_nothing("information", 1000, || {
            disk.size().unwrap();
            disk.change_tracking().unwrap();
        });
        let mut seen = vec![0; 4096];
        gains_nothing("reads", 1000, || disk.read_at(0, &mut seen).unwrap());
        drop(disk);
        gains_nothing("attachments", 100, || {
            let disk = world.real.open(&path, Access::Read).unwrap();
            disk.read_at(0, &mut seen).unwrap();
        });
        gains_nothing("refusals", 100, || {
            world.real.open(&path, Access::Write).unwrap_err();
        });
        let new = world.new_folder().join("new.vhdx");
        world.real.create(&new, &new_disk()).unwrap();
        let disk = world.real.open(&new, Access::Write).unwrap();
        gains_nothing("writes", 1000, || disk.write_at(0, &seen).unwrap());
        gains_nothing("flushes", 100, || disk.flush().unwrap());
        drop(disk);
        gains_nothing("new disks", 50, || {
            std::fs::remove_file(&new).unwrap();
            world.real.create(&new, &new_disk()).unwrap();
        });
    });
}

#[test]
fn attachments_as_drives_gain_neither_handles_nor_memory() {
    let test = "leaks::attachments_as_drives_gain_neither_handles_nor_memory";
    apart(test, "no-local-host-refused=50", || {
        let world = World::new();
        let new = world.new_folder().join("new.vhdx");
        world.real.create(&new, &new_disk()).unwrap();
        let data = vec![1; 4096];
        gains_nothing("drives", 20, || {
            let disk = world.real.open(&new, Access::Write).unwrap();
            disk.write_at(0, &data).unwrap();
        });
    });
}
