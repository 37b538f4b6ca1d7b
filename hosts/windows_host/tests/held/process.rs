//! What a process holds, and that calls do not add to it. The tests of the DLLs of
//! `testing/fake_hyperv_dlls` look for leaks with it, too.

use windows::Win32::Foundation::CloseHandle;
use windows::Win32::System::ProcessStatus::{
    K32GetProcessMemoryInfo, PROCESS_MEMORY_COUNTERS, PROCESS_MEMORY_COUNTERS_EX,
};
use windows::Win32::System::Threading::{CreateEventW, GetCurrentProcess, GetProcessHandleCount};

/// So many calls are made in the long form.
const CALLS: u32 = 10_000;
/// The numbers of handles are so far apart.
const HANDLE_STEP: usize = 4;
/// So much memory, and more, is a leak.
const LEAK_BYTES: usize = 1 << 20;

/// How a kind of calls is looked at.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// So many calls are made before the first look; as many again before the second, or in the
    /// long form what is missing to 10,000.
    pub first: u32,
    /// A thread on its way out may still hold so many handles; a leak would be of thousands.
    pub handles: usize,
}

/// What a process holds: handles and private bytes.
#[derive(Debug)]
struct Held {
    /// As the system counts them; Wine does not.
    handles: u32,
    /// The number of the next handle: the lowest that is free, which leaked ones push up.
    next_handle: usize,
    bytes: usize,
}

impl Held {
    fn now() -> Self {
        let mut handles = 0;
        let mut memory = PROCESS_MEMORY_COUNTERS_EX::default();
        let size = u32::try_from(size_of_val(&memory)).expect("it is small");
        // SAFETY: all places are ours, the second is as long as is said, and the event is closed.
        let next_handle = unsafe {
            GetProcessHandleCount(GetCurrentProcess(), &mut handles).expect("Windows tells");
            let counters: *mut PROCESS_MEMORY_COUNTERS = (&raw mut memory).cast();
            K32GetProcessMemoryInfo(GetCurrentProcess(), counters, size)
                .ok()
                .expect("Windows tells");
            let event = CreateEventW(None, false, false, None).expect("Windows makes one");
            CloseHandle(event).expect("it is open");
            event.0 as usize
        };
        Self {
            handles,
            next_handle,
            bytes: memory.PrivateUsage.max(memory.PagefileUsage),
        }
    }
}

/// Calls again and again: from the first look to the second nothing may be gained.
pub fn gains_nothing(what: &str, bounds: Bounds, mut call: impl FnMut()) {
    (0..bounds.first).for_each(|_| call());
    let before = Held::now();
    let more = match std::env::var_os("E3_TEST_LONG") {
        Some(_) => CALLS - bounds.first,
        None => bounds.first,
    };
    (0..more).for_each(|_| call());
    let after = Held::now();
    println!("{what}: {before:?}, after {more} calls more {after:?}");
    assert!(after.handles <= before.handles, "{what}");
    let handles_end = before.next_handle + bounds.handles * HANDLE_STEP;
    assert!(after.next_handle <= handles_end, "{what}");
    let gained = after.bytes.saturating_sub(before.bytes);
    assert!(gained < LEAK_BYTES, "{what} gained {gained} bytes");
}
