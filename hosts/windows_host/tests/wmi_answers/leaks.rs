//! Nothing is gained by calling again and again: no handle, no memory.

use std::process::Command;

use windows::Win32::Foundation::CloseHandle;
use windows::Win32::System::ProcessStatus::{
    K32GetProcessMemoryInfo, PROCESS_MEMORY_COUNTERS, PROCESS_MEMORY_COUNTERS_EX,
};
use windows::Win32::System::Threading::{CreateEventW, GetCurrentProcess, GetProcessHandleCount};
use windows::Win32::System::Variant::VARIANT;
use windows_core::{IUnknown, Interface as _};
use windows_host::calls;
use windows_host::wmi::com::ComNamespaces;
use windows_host::wmi::{EmbeddedSource, Namespaces as _, Value};

use super::fake_object::FakeObject;
use super::fake_wmi::{Answer, Request, namespace};
use super::{CIM_ARRAY, CIM_STRING, connect, connected, named, texts};

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

fn gains_nothing(what: &str, mut call: impl FnMut()) {
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

/// An object with a bit of everything that has to be freed.
fn rich() -> FakeObject {
    let inner: IUnknown = named("Inner", "x").com().cast().expect("fakes work");
    FakeObject::new(
        "Rich",
        vec![
            ("Name", CIM_STRING, VARIANT::from("x".repeat(100).as_str())),
            (
                "Texts",
                CIM_STRING | CIM_ARRAY,
                texts(&["one", "two", "three"]),
            ),
            ("Inner", 13, VARIANT::from(inner)),
        ],
    )
    .at("Rich=@")
    .with_method(
        "Do",
        &[("Name", CIM_STRING), ("Texts", CIM_STRING | CIM_ARRAY)],
    )
}

#[test]
fn calls_gain_neither_handles_nor_memory() {
    if std::env::var_os(ALONE).is_none() {
        // Other tests beside it would be counted, too.
        let status = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "leaks::calls_gain_neither_handles_nor_memory",
                "--nocapture",
            ])
            .env(ALONE, "1")
            .status()
            .unwrap();
        assert!(status.success(), "{status}");
        return;
    }
    namespace("leaks", |request| match request {
        Request::Connect => connected(),
        Request::Get("missing") => Answer::Explained(0x8004_1002, named("__ExtendedStatus", "x")),
        _ => Answer::Objects(vec![rich()]),
    });
    let session = connect("leaks");
    gains_nothing("query", || {
        drop(session.query("SELECT * FROM Rich").unwrap())
    });
    gains_nothing("get", || drop(session.get("Rich=@").unwrap()));
    gains_nothing("failure", || drop(session.get("missing").unwrap_err()));
    gains_nothing("class", || drop(session.class_properties("Rich").unwrap()));
    gains_nothing("call", || {
        let given = [
            ("Name", Value::text("a text")),
            ("Texts", Value::texts(["a", "b"])),
        ];
        drop(session.call("Rich=@", "Do", &given).unwrap());
    });
    gains_nothing("embedded", || {
        let change = [("Name", Value::text("changed"))];
        drop(
            session
                .embedded(EmbeddedSource::Class("Rich"), &change)
                .unwrap(),
        );
    });
    gains_nothing("connect", || {
        drop(ComNamespaces::default().connect("leaks").unwrap());
    });
    for (wrapper, calls) in calls::counted() {
        println!("{wrapper}: {calls} calls");
    }
}
