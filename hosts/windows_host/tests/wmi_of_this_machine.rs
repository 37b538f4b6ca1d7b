//! WMI by COM against the WMI of the machine the tests run on; under Wine, against Wine's.

#![cfg(windows)]

use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use windows_host::wmi::com::ComNamespaces;
use windows_host::wmi::{Namespaces as _, Value, WmiError, WmiObject, WmiSession, with_key};

/// `HKEY_CURRENT_USER` and `HKEY_LOCAL_MACHINE`, as a uint32 above 2^31.
const CURRENT_USER: u32 = 0x8000_0001;
const LOCAL_MACHINE: u32 = 0x8000_0002;

/// A session, and the turn to use it: Wine's WMI runs in this process and does not take two calls
/// at once.
struct Turn {
    session: Arc<dyn WmiSession>,
    _turn: MutexGuard<'static, ()>,
}

impl Deref for Turn {
    type Target = dyn WmiSession;

    fn deref(&self) -> &Self::Target {
        &*self.session
    }
}

fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn connect(namespace: &str) -> Turn {
    let turn = turn();
    let session = ComNamespaces::default().connect(namespace);
    Turn {
        session: session.expect("WMI answers"),
        _turn: turn,
    }
}

fn only(mut rows: Vec<WmiObject>) -> WmiObject {
    assert_eq!(rows.len(), 1, "{rows:?}");
    rows.remove(0)
}

#[test]
fn a_query_gives_objects_with_typed_properties_class_and_path() {
    let session = connect(r"root\cimv2");
    let system = only(
        session
            .query("SELECT * FROM Win32_OperatingSystem")
            .unwrap(),
    );
    assert!(system.is("Win32_OperatingSystem"), "{system:?}");
    assert!(system.path().unwrap().contains("Win32_OperatingSystem"));
    assert!(!system.text("Caption").unwrap().is_empty());
    // uint64 is text, uint32 a number, a date text that starts with the year.
    assert!(matches!(system.value("FreePhysicalMemory"), Value::Text(_)));
    assert!(system.u64("FreePhysicalMemory").unwrap() > 0);
    assert!(matches!(system.value("OSType"), Value::I32(_)));
    let date = system.text("LocalDateTime").unwrap();
    assert!(
        date.starts_with("20") && date[..14].bytes().all(|it| it.is_ascii_digit()),
        "{date}"
    );
    assert_eq!(system.value("Primary"), &Value::Bool(true));
}

#[test]
fn a_condition_in_a_query_is_heard() {
    let session = connect(r"root\cimv2");
    let id = std::process::id();
    let found = session.query(&format!(
        "SELECT * FROM Win32_Process WHERE ProcessId = {id}"
    ));
    assert_eq!(only(found.unwrap()).u32("ProcessId").unwrap(), id);
    let all = session
        .query("SELECT ProcessId FROM Win32_Process")
        .unwrap();
    assert!(all.len() > 1);
}

#[test]
fn an_object_is_got_by_the_path_it_came_with() {
    let session = connect(r"root\cimv2");
    let rows = session.query("SELECT * FROM Win32_LogicalDisk").unwrap();
    let disk = rows.first().expect("there is a disk");
    let again = session.get(disk.path().unwrap()).unwrap();
    assert_eq!(again.text("DeviceID"), disk.text("DeviceID"));
    let path = with_key(
        "Win32_LogicalDisk",
        "DeviceID",
        disk.text("DeviceID").unwrap(),
    );
    assert_eq!(
        session.get(&path).unwrap().text("DeviceID"),
        disk.text("DeviceID")
    );
}

#[test]
fn a_class_tells_its_properties() {
    let session = connect(r"root\cimv2");
    let names = session.class_properties("Win32_OperatingSystem").unwrap();
    assert!(names.iter().any(|name| name == "Caption"), "{names:?}");
    assert!(
        names.iter().all(|name| !name.starts_with("__")),
        "{names:?}"
    );
}

#[test]
fn what_is_not_there_has_its_code() {
    let namespaces = ComNamespaces::default();
    let missing = {
        let _turn = turn();
        namespaces.connect(r"root\no\such\namespace").unwrap_err()
    };
    assert_eq!(missing.code(), Some(0x8004_100E), "{missing}");
    let session = connect(r"root\cimv2");
    let code = |error: WmiError| error.code().expect("a code");
    let gone = session
        .get(r#"Win32_LogicalDisk.DeviceID="?:""#)
        .unwrap_err();
    assert_eq!(code(gone), 0x8004_1002);
    let class = code(session.class_properties("Win32_NoSuchClass").unwrap_err());
    assert!([0x8004_1002, 0x8004_1010].contains(&class), "{class:x}");
    // The session is as good as before.
    assert!(session.class_properties("Win32_OperatingSystem").is_ok());
}

/// A key of the registry that is gone at the end.
struct Key<'a>(&'a dyn WmiSession, &'static str);

impl<'a> Key<'a> {
    fn make(session: &'a dyn WmiSession, name: &'static str) -> Self {
        let key = Self(session, name);
        key.call("CreateKey", &[]);
        key
    }

    fn call(&self, method: &str, more: &[(&str, Value)]) -> WmiObject {
        let mut parameters = vec![
            ("hDefKey", Value::u32(CURRENT_USER)),
            ("sSubKeyName", Value::text(self.1)),
        ];
        parameters.extend(more.iter().cloned());
        let answer = self.0.call("StdRegProv", method, &parameters);
        let answer = answer.expect("it can be called");
        assert_eq!(answer.u32("ReturnValue"), Ok(0), "{method}: {answer:?}");
        answer
    }
}

impl Drop for Key<'_> {
    fn drop(&mut self) {
        self.call("DeleteKey", &[]);
    }
}

#[test]
fn methods_take_and_give_numbers_and_texts() {
    let session = connect(r"root\default");
    let key = Key::make(&*session, r"Software\e3_methods_take_and_give");
    for (name, text) in [("Ünïcode \"quoted\"", "𝄞 \\ \""), ("plain", "")] {
        let name = ("sValueName", Value::text(name));
        let value = ("sValue", Value::text(text));
        key.call("SetStringValue", &[name.clone(), value]);
        let answer = key.call("GetStringValue", &[name]);
        assert_eq!(answer.text("sValue"), Ok(text));
    }
    let names = key.call("EnumValues", &[]);
    let mut found = names.texts("sNames").unwrap();
    found.sort_unstable();
    assert_eq!(found, ["plain", "Ünïcode \"quoted\""]);
    // REG_SZ.
    assert_eq!(names.numbers("Types").unwrap(), [1, 1]);
}

#[test]
fn a_method_reports_in_its_own_code_and_not_as_an_error() {
    let session = connect(r"root\default");
    let parameters = [
        ("hDefKey", Value::u32(LOCAL_MACHINE)),
        ("sSubKeyName", Value::text(r"Software\no\such\key")),
    ];
    let answer = session.call("StdRegProv", "EnumKey", &parameters).unwrap();
    assert_eq!(answer.u32("ReturnValue"), Ok(2));
}

#[test]
fn methods_and_parameters_that_are_not_there_are_not_taken_for_a_missing_object() {
    let session = connect(r"root\default");
    let method = session.call("StdRegProv", "NoSuchMethod", &[]).unwrap_err();
    assert_eq!(method.code(), Some(0x8004_102E), "{method}");
    let unknown = [("noSuchParameter", Value::u32(1))];
    let parameter = session.call("StdRegProv", "EnumKey", &unknown).unwrap_err();
    assert_eq!(parameter.code(), Some(0x8004_1031), "{parameter}");
}
