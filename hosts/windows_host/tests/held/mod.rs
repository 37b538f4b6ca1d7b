//! What a process holds, and that calls do not add to it. Shared by tests that look for leaks.

use std::process::Command;

use windows::Win32::Foundation::CloseHandle;
use windows::Win32::System::ProcessStatus::{
    K32GetProcessMemoryInfo, PROCESS_MEMORY_COUNTERS, PROCESS_MEMORY_COUNTERS_EX,
};
use windows::Win32::System::Threading::{CreateEventW, GetCurrentProcess, GetProcessHandleCount};
use windows_host::calls;

/// Says that this process runs one test alone.
const ALONE: &str = "E3_TEST_ALONE";

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
        let size = u32::try_from(size_of_val(&memory)).expect("Windows tells");
        // SAFETY: all places are ours, the second is as long as is said, and the event is closed.
        let next_handle = unsafe {
            GetProcessHandleCount(GetCurrentProcess(), &mut handles).expect("Windows tells");
            let counters: *mut PROCESS_MEMORY_COUNTERS = (&raw mut memory).cast();
            K32GetProcessMemoryInfo(GetCurrentProcess(), counters, size)
                .ok()
                .expect("Windows tells");
            let event = CreateEventW(None, false, false, None).expect("Windows tells");
            CloseHandle(event).expect("Windows tells");
            event.0 as usize
        };
        Self {
            handles,
            next_handle,
            bytes: memory.PrivateUsage.max(memory.PagefileUsage),
        }
    }
}

/// Calls a thousand times, then as often again, or nine times as often in the long form: the second
/// round must gain nothing.
pub fn gains_nothing(what: &str, mut call: impl FnMut()) {
    let long = std::env::var_os("E3_TEST_LONG").is_some();
    (0..1_000).for_each(|_| call());
    let before = Held::now();
    let more = if long { 9_000 } else { 1_000 };
    (0..more).for_each(|_| call());
    let after = Held::now();
    println!("{what}: {before:?}, after {more} calls {after:?}");
    assert!(after.handles <= before.handles, "{what}");
    // A thread on its way out may still hold some; a leak would be of thousands.
    assert!(after.next_handle <= before.next_handle + 64 * 4, "{what}");
    assert!(after.bytes.saturating_sub(before.bytes) < 1 << 20, "{what}");
}

/// Runs one test of this program alone, in a process of its own: others beside it would be
/// counted, too. `looks` is called in that process.
pub fn alone(test: &str, looks: impl FnOnce()) {
    if std::env::var_os(ALONE).is_some() {
        looks();
        for (wrapper, calls) in calls::counted() {
            println!("{wrapper}: {calls} calls");
        }
        return;
    }
    let program = std::env::current_exe().expect("we are a program");
    let status = Command::new(program)
        .args(["--exact", test, "--nocapture"])
        .env(ALONE, "1")
        .status();
    assert!(status.expect("it can be run").success());
}
