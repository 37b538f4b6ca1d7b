//! Nothing is gained by calling again and again: no handle, no memory.

use windows::Win32::Foundation::CloseHandle;
use windows::Win32::System::ProcessStatus::{
    K32GetProcessMemoryInfo, PROCESS_MEMORY_COUNTERS, PROCESS_MEMORY_COUNTERS_EX,
};
use windows::Win32::System::Threading::{CreateEventW, GetCurrentProcess};
use windows_host::virtdisk::{Access, VirtualDisks as _};

use crate::world::{DISK_BYTES, World};
use crate::{apart, new_disk};

/// What a process holds.
#[derive(Debug)]
struct Held {
    /// The number of the next handle: the lowest that is free, which leaked ones push up. (Wine
    /// does not count handles.)
    next_handle: usize,
    private_bytes: usize,
}

impl Held {
    fn now() -> Self {
        let mut memory = PROCESS_MEMORY_COUNTERS_EX::default();
        let size = size_of_val(&memory) as u32;
        // SAFETY: the place is ours and as long as is said, and the event is closed.
        let next_handle = unsafe {
            let counters: *mut PROCESS_MEMORY_COUNTERS = (&raw mut memory).cast();
            K32GetProcessMemoryInfo(GetCurrentProcess(), counters, size)
                .ok()
                .unwrap();
            let event = CreateEventW(None, false, false, None).unwrap();
            CloseHandle(event).unwrap();
            event.0 as usize
        };
        Self {
            next_handle,
            private_bytes: memory.PrivateUsage.max(memory.PagefileUsage),
        }
    }
}

/// Calls `first` times, then the same and more again: 10,000 in all in the long form.
fn gains_nothing(what: &str, first: u32, mut call: impl FnMut()) {
    (0..first).for_each(|_| call());
    let before = Held::now();
    let more = match std::env::var_os("E3_TEST_LONG") {
        Some(_) => 10_000 - first,
        None => first,
    };
    (0..more).for_each(|_| call());
    let after = Held::now();
    println!("{what}: {before:?}, after {more} calls more {after:?}");
    assert!(after.next_handle <= before.next_handle + 64, "{what}");
    let gained = after.private_bytes.saturating_sub(before.private_bytes);
    assert!(gained < 1 << 20, "{what} gained {gained} bytes");
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
