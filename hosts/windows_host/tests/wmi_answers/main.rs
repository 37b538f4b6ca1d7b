//! WMI by COM against a fake WMI in this process: what the machine's own WMI cannot be made to
//! answer. Errors, embedded objects, a provider that hangs, a service that is restarted.

#![cfg(windows)]
#![expect(unsafe_code, reason = "the fakes are COM objects")]

mod fake_object;
mod fake_wmi;
#[path = "../held/mod.rs"]
mod held;
mod leaks;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use windows::Win32::System::Com::SAFEARRAY;
use windows::Win32::System::Ole::{
    SafeArrayAccessData, SafeArrayCreateVector, SafeArrayUnaccessData,
};
use windows::Win32::System::Variant::{VARENUM, VARIANT, VT_ARRAY, VT_BSTR, VT_I4, VT_UNKNOWN};
use windows::Win32::System::Wmi::IWbemClassObject;
use windows_core::{BSTR, HSTRING, IUnknown, Interface as _};
use windows_host::wmi::com::{ComNamespaces, TimeLimits};
use windows_host::wmi::{EmbeddedSource, Namespaces as _, Value, WmiSession};

use fake_object::{FakeObject, null};
use fake_wmi::{Answer, Request, namespace};

const CIM_STRING: i32 = 8;
const CIM_UINT16: i32 = 18;
const CIM_ARRAY: i32 = 0x2000;

/// Returns a text property of an object.
fn text_of(object: &IWbemClassObject, name: &str) -> String {
    let mut variant = VARIANT::default();
    // SAFETY: name and place live through the call; the tag says that the union holds a string.
    unsafe {
        object
            .Get(&HSTRING::from(name), 0, &mut variant, None, None)
            .expect("fakes work");
        match variant.vt() == VT_BSTR {
            true => variant.Anonymous.Anonymous.Anonymous.bstrVal.to_string(),
            false => String::new(),
        }
    }
}

/// Returns a VARIANT with an array of pointers, which it takes over.
fn array(of: VARENUM, pointers: &[*const ()]) -> VARIANT {
    let mut variant = VARIANT::default();
    // SAFETY: the array has room for what is put there, and the VARIANT, empty before, owns it.
    unsafe {
        let count = u32::try_from(pointers.len()).expect("fakes work");
        let array: *mut SAFEARRAY = SafeArrayCreateVector(of, 0, count);
        let mut start = std::ptr::null_mut();
        SafeArrayAccessData(array, &mut start).expect("fakes work");
        std::ptr::copy_nonoverlapping(pointers.as_ptr(), start.cast(), pointers.len());
        SafeArrayUnaccessData(array).expect("fakes work");
        let held = &mut *variant.Anonymous.Anonymous;
        held.vt = VARENUM(VT_ARRAY.0 | of.0);
        held.Anonymous.parray = array;
    }
    variant
}

fn texts(texts: &[&str]) -> VARIANT {
    let texts = texts.iter().map(|text| BSTR::from(*text).into_raw().cast());
    array(VT_BSTR, &texts.collect::<Vec<_>>())
}

fn unknown(object: FakeObject) -> IUnknown {
    object.com().cast().expect("fakes work")
}

fn named(class: &'static str, name: &str) -> FakeObject {
    FakeObject::new(class, vec![("Name", CIM_STRING, VARIANT::from(name))])
}

fn connected() -> Answer {
    Answer::Objects(Vec::new())
}

fn connect(name: &str) -> Arc<dyn WmiSession> {
    ComNamespaces::default().connect(name).expect("fakes work")
}

#[test]
fn embedded_objects_and_arrays_of_them_are_read_whole() {
    namespace("embedded", |request| match request {
        Request::Connect => connected(),
        _ => {
            let inner = VARIANT::from(unknown(named("Inner", "one")));
            let several = [named("Inner", "two"), named("Inner", "three")];
            let several = several.map(|it| unknown(it).into_raw().cast_const().cast());
            Answer::Objects(vec![
                FakeObject::new(
                    "Outer",
                    vec![
                        ("One", 13, inner),
                        ("Several", 13 | CIM_ARRAY, array(VT_UNKNOWN, &several)),
                        ("Texts", CIM_STRING | CIM_ARRAY, texts(&["a", "", "ß"])),
                        ("Date", 101, VARIANT::from("20260229235959.123456+060")),
                        ("Bytes", 21, VARIANT::from("18446744073709551615")),
                        ("Unset", CIM_STRING, null()),
                    ],
                )
                .at("Outer=@"),
            ])
        }
    });
    let outer = connect("embedded").get("Outer=@").unwrap();
    assert_eq!(outer.path(), Ok("Outer=@"));
    let Value::Object(one) = outer.value("One") else {
        panic!("{outer:?}");
    };
    assert!(one.is("Inner") && one.path.is_none(), "{one:?}");
    assert_eq!(one.text("Name"), Ok("one"));
    let Value::Array(several) = outer.value("Several") else {
        panic!("{outer:?}");
    };
    let names: Vec<_> = several
        .iter()
        .map(|it| match it {
            Value::Object(object) => object.text("Name").unwrap(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(names, ["two", "three"]);
    assert_eq!(outer.texts("Texts").unwrap(), ["a", "", "ß"]);
    assert_eq!(outer.text("Date"), Ok("20260229235959.123456+060"));
    assert_eq!(outer.u64("Bytes"), Ok(u64::MAX));
    assert_eq!(outer.value("Unset"), &Value::Null);
}

#[test]
fn all_rows_of_a_long_query_come() {
    namespace("rows", |request| match request {
        Request::Connect => connected(),
        Request::Query(wql) => {
            let count: usize = wql.parse().unwrap();
            Answer::Objects((0..count).map(|_| named("Row", "x")).collect())
        }
        _ => Answer::Code(0x8004_1001),
    });
    let session = connect("rows");
    for count in [0, 1, 63, 64, 65, 128, 1000] {
        assert_eq!(session.query(&count.to_string()).unwrap().len(), count);
    }
}

#[test]
fn a_provider_explains_an_error_and_its_code_decides() {
    namespace("explained", |request| match request {
        Request::Connect => connected(),
        Request::Get(path) => {
            let text = |text| vec![("Description", CIM_STRING, text)];
            match path {
                "explained" => Answer::Explained(
                    0x8004_1001,
                    FakeObject::new(
                        "__ExtendedStatus",
                        text(VARIANT::from("der Dienst schläft")),
                    ),
                ),
                "bare" => Answer::Explained(
                    0x8004_1001,
                    FakeObject::new("__ExtendedStatus", text(null())),
                ),
                _ => Answer::Code(0x8004_1003),
            }
        }
        _ => Answer::Code(0x8004_1010),
    });
    let session = connect("explained");
    let table = [
        ("explained", 0x8004_1001, "der Dienst schläft (0x80041001)"),
        ("bare", 0x8004_1001, "what Automation says (0x80041001)"),
        ("denied", 0x8004_1003, "(0x80041003)"),
    ];
    for (path, code, end) in table {
        let error = session.get(path).unwrap_err();
        assert_eq!(error.code(), Some(code));
        let text = error.to_string();
        assert!(text.starts_with(&format!("get {path}")), "{text}");
        assert!(text.ends_with(end), "{text}");
    }
    let query = session.query("SELECT * FROM Missing").unwrap_err();
    assert_eq!(query.code(), Some(0x8004_1010));
}

#[test]
fn a_service_that_was_restarted_costs_one_call() {
    const BROKEN: [u32; 6] = [
        0x8007_06BA,
        0x8007_06BE,
        0x8004_1015,
        0x8004_1033,
        0x8001_0108,
        0x8001_0007,
    ];
    for code in BROKEN {
        let connects = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&connects);
        let name = format!("restarted {code:x}");
        namespace(&name, move |request| match request {
            Request::Connect => {
                counter.fetch_add(1, Ordering::Relaxed);
                connected()
            }
            Request::Get("break") => Answer::Code(code),
            _ => Answer::Objects(vec![named("Thing", "x")]),
        });
        let session = connect(&name);
        session.get("fine").unwrap();
        assert_eq!(session.get("break").unwrap_err().code(), Some(code));
        assert_eq!(connects.load(Ordering::Relaxed), 1);
        session.get("fine").unwrap();
        assert_eq!(connects.load(Ordering::Relaxed), 2, "{code:x}");
    }
}

#[test]
fn threads_share_a_session_side_by_side() {
    // Each waits in its call until all are in theirs.
    let all = std::sync::Barrier::new(4);
    namespace("shared", move |request| match request {
        Request::Connect => connected(),
        _ => {
            all.wait();
            Answer::Objects(vec![named("Thing", "x")])
        }
    });
    let session = connect("shared");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..50 {
                    session.get("x").unwrap();
                }
            });
        }
    });
}

#[test]
fn an_error_of_an_object_keeps_the_connection() {
    let connects = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&connects);
    namespace("kept", move |request| match request {
        Request::Connect => {
            counter.fetch_add(1, Ordering::Relaxed);
            connected()
        }
        _ => Answer::Code(0x8004_1002),
    });
    let session = connect("kept");
    for _ in 0..5 {
        assert_eq!(session.get("x").unwrap_err().code(), Some(0x8004_1002));
    }
    assert_eq!(connects.load(Ordering::Relaxed), 1);
}

#[test]
fn a_connection_that_cannot_be_made_anew_says_why_and_is_tried_again() {
    let down = Arc::new(AtomicUsize::new(0));
    let state = Arc::clone(&down);
    namespace("down", move |request| match request {
        Request::Connect if state.load(Ordering::Relaxed) > 0 => Answer::Code(0x8007_06BA),
        Request::Connect => connected(),
        _ if state.load(Ordering::Relaxed) > 0 => Answer::Code(0x8007_06BE),
        _ => Answer::Objects(vec![named("Thing", "x")]),
    });
    let session = connect("down");
    down.store(1, Ordering::Relaxed);
    assert_eq!(session.get("x").unwrap_err().code(), Some(0x8007_06BE));
    assert_eq!(session.get("x").unwrap_err().code(), Some(0x8007_06BA));
    down.store(0, Ordering::Relaxed);
    session.get("x").unwrap();
}

fn limits(rows_ms: u64, call_ms: u64) -> TimeLimits {
    TimeLimits {
        connect: Duration::from_secs(30),
        rows: Duration::from_millis(rows_ms),
        call: Duration::from_millis(call_ms),
    }
}

#[test]
fn a_call_that_hangs_ends_in_its_time_and_holds_up_nobody() {
    let (let_go, held) = channel::<()>();
    let held = Mutex::new(held);
    namespace("hangs", move |request| match request {
        Request::Connect => connected(),
        Request::Get("hang") => {
            // Until the test ends.
            let _ = held.lock().unwrap().recv();
            Answer::Code(0x8004_1001)
        }
        _ => Answer::Objects(vec![named("Thing", "x")]),
    });
    let namespaces = ComNamespaces::with_limits(limits(10_000, 300));
    let session = namespaces.connect("hangs").unwrap();
    let error = session.get("hang").unwrap_err();
    assert_eq!(error.code(), Some(0x8004_1013), "{error}");
    assert!(error.to_string().starts_with("get hang"), "{error}");
    session.get("other").unwrap();
    drop(let_go);
}

#[test]
fn a_provider_that_always_hangs_does_not_fill_the_process_with_threads() {
    let (let_go, held) = channel::<()>();
    let held = Mutex::new(held);
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    namespace("dead", move |request| match request {
        Request::Connect => connected(),
        _ => {
            counter.fetch_add(1, Ordering::Relaxed);
            let _ = held.lock().unwrap().recv();
            Answer::Code(0x8004_1001)
        }
    });
    let namespaces = ComNamespaces::with_limits(limits(10_000, 20));
    let session = namespaces.connect("dead").unwrap();
    for _ in 0..40 {
        assert_eq!(session.get("x").unwrap_err().code(), Some(0x8004_1013));
    }
    assert_eq!(asked.load(Ordering::Relaxed), 32);
    // They come back one after the other, and with them the right to ask.
    drop(let_go);
    let answered = (0..1_000_000).any(|_| {
        std::thread::yield_now();
        session.get("x").unwrap_err().code() == Some(0x8004_1001)
    });
    assert!(answered);
}

#[test]
fn rows_that_never_come_are_not_waited_for() {
    namespace("no rows", |request| match request {
        Request::Connect => connected(),
        _ => Answer::NoRows,
    });
    let namespaces = ComNamespaces::with_limits(limits(10, 30_000));
    let session = namespaces.connect("no rows").unwrap();
    let error = session.query("SELECT * FROM Slow").unwrap_err();
    assert_eq!(error.code(), Some(0x8004_1013), "{error}");
}

#[test]
fn a_method_gets_what_is_named_and_nothing_else() {
    namespace("methods", |request| match request {
        Request::Connect => connected(),
        Request::Get("Service") => Answer::Objects(vec![
            FakeObject::new("Service", Vec::new())
                .with_method(
                    "Do",
                    &[
                        ("Name", CIM_STRING),
                        ("Left", CIM_STRING),
                        ("Numbers", CIM_UINT16 | CIM_ARRAY),
                    ],
                )
                .with_method("Plain", &[]),
        ]),
        Request::Method(path, method, input) => {
            let given = input.map_or_else(String::new, |input| {
                let mut numbers = VARIANT::default();
                // SAFETY: name and place live through the call.
                unsafe { input.Get(&HSTRING::from("Numbers"), 0, &mut numbers, None, None) }
                    .unwrap();
                let (name, left) = (text_of(input, "Name"), text_of(input, "Left"));
                format!("[{name}] [{left}] {:x}", numbers.vt().0)
            });
            Answer::Objects(vec![FakeObject::new(
                "__PARAMETERS",
                vec![
                    ("ReturnValue", 19, VARIANT::from(4096)),
                    (
                        "Heard",
                        CIM_STRING,
                        VARIANT::from(&*format!("{path} {method} {given}")),
                    ),
                ],
            )])
        }
        _ => Answer::Code(0x8004_1002),
    });
    let session = connect("methods");
    let path = r#"\\HOST\methods:Service.Name="x""#;
    let parameters = [
        ("Name", Value::text("")),
        ("Numbers", Value::Array(Vec::new())),
    ];
    let answer = session.call(path, "Do", &parameters).unwrap();
    assert_eq!(answer.u32("ReturnValue"), Ok(4096));
    // An array of nothing has its parameter's type; an empty text is one.
    let expected = format!("{path} Do [] [] {:x}", VT_ARRAY.0 | VT_I4.0);
    assert_eq!(answer.text("Heard"), Ok(expected.as_str()));
    let plain = session.call("Service", "Plain", &[]).unwrap();
    assert_eq!(plain.text("Heard"), Ok("Service Plain "));
    let code = |method, given| session.call("Service", method, given).unwrap_err().code();
    assert_eq!(code("Plain", &[("Name", Value::Null)]), Some(0x8004_102F));
    assert_eq!(code("Do", &[("Nome", Value::Null)]), Some(0x8004_1031));
    assert_eq!(code("Undo", &[]), Some(0x8004_102E));
}

#[test]
fn objects_become_text_in_the_first_encoding_that_works() {
    namespace("texts", |request| match request {
        Request::Connect => connected(),
        Request::Get("Settings") => Answer::Objects(vec![named("Settings", "default")]),
        Request::Get("Refuses") => Answer::Objects(vec![named("Refuses", "default")]),
        Request::Get("Mute") => Answer::Objects(vec![named("Mute", "default")]),
        Request::Get(_) => Answer::Objects(vec![named("Settings", "as it is")]),
        _ => Answer::Code(0x8004_1001),
    });
    let session = connect("texts");
    let change = [("Name", Value::text("changed"))];
    let table: [(EmbeddedSource, &[_], &str); 4] = [
        (
            EmbeddedSource::Class("Settings"),
            &change,
            "1:Settings:changed",
        ),
        (EmbeddedSource::Class("Settings"), &[], "1:Settings:default"),
        (
            EmbeddedSource::Instance("Settings=@"),
            &[],
            "1:Settings:as it is",
        ),
        (
            EmbeddedSource::Class("Refuses"),
            &change,
            "2:Refuses:changed",
        ),
    ];
    for (source, changes, text) in table {
        assert_eq!(session.embedded(source, changes).as_deref(), Ok(text));
    }
    let mute = session
        .embedded(EmbeddedSource::Class("Mute"), &[])
        .unwrap_err();
    assert_eq!(mute.code(), Some(0x8000_4002), "{mute}");
    let unknown = [("Nome", Value::text("x"))];
    let unknown = session.embedded(EmbeddedSource::Class("Settings"), &unknown);
    assert_eq!(unknown.unwrap_err().code(), Some(0x8004_1031));
}
