//! Nothing is gained by calling again and again: no handle, no memory.

#![expect(
    unsafe_code,
    reason = "what a process holds is asked for by raw pointers"
)]

use std::time::Duration;

use time_and_chance::StopSignal;
use volume::contract::ContractWorld as _;
use volume::{Freeze, Writers};
use windows::Win32::Foundation::CloseHandle;
use windows::Win32::System::ProcessStatus::{
    K32GetProcessMemoryInfo, PROCESS_MEMORY_COUNTERS, PROCESS_MEMORY_COUNTERS_EX,
};
use windows::Win32::System::Threading::{CreateEventW, GetCurrentProcess};
use windows_host::vss::com::ComVss;
use windows_host::vss::{Context, Vss as _, Wait};

use crate::apart;
use crate::world::World;

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
fn calls_gain_neither_handles_nor_memory_of_vss() {
    let test = "leaks::calls_gain_neither_handles_nor_memory_of_vss";
    apart(test, "", || {
        let world = World::new();
        let name = world.hands().add_volume("V:\\", 64 << 10);
        let bad = world.hands().add_writer("Bad Writer");
        world.hands().add_writer("Good Writer");
        let host = world.host();
        let stop = StopSignal::new();
        let limit = Duration::from_secs(10);
        gains_nothing("requesters", 50, || drop(ComVss.begin().unwrap()));
        gains_nothing("writers", 25, || {
            let requester = ComVss.begin().unwrap();
            requester.set_context(Context::Backup).unwrap();
            let wait = Wait { limit, stop: &stop };
            assert_eq!(requester.gather_writer_metadata(wait).unwrap().len(), 2);
            assert_eq!(requester.gather_writer_status(wait).unwrap().len(), 2);
        });
        let mut what = Freeze {
            volumes: vec![name.clone()],
            writers: Writers::Require,
        };
        let freeze = |what: &Freeze| host.freeze(what, &mut |_| Ok(()), &stop);
        let mut seen = vec![0; 4096];
        gains_nothing("frozen volumes", 25, || {
            let frozen = freeze(&what).unwrap();
            let device = frozen.open(&frozen.shadows()[0]).unwrap();
            device.read_at(0, &mut seen).unwrap();
            drop(device);
            frozen.release().unwrap();
        });
        let held = freeze(&what).unwrap();
        gains_nothing("lists of shadow sets", 25, || {
            assert_eq!(host.shadow_sets().unwrap().len(), 1);
        });
        drop(held);
        gains_nothing("refusals", 25, || {
            // It fails a hundred times and no more.
            world.hands().break_writer(bad);
            freeze(&what).unwrap_err();
        });
        what.volumes = vec!["Q:\\".to_owned()];
        gains_nothing("volumes that are not there", 25, || {
            freeze(&what).unwrap_err();
        });
    });
}
