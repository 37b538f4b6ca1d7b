//! Nothing is gained by calling again and again: no handle, no memory.

use windows::Win32::System::Variant::VARIANT;
use windows_core::{IUnknown, Interface as _};
use windows_host::wmi::com::ComNamespaces;
use windows_host::wmi::{EmbeddedSource, Namespaces as _, Value};

use super::fake_object::FakeObject;
use super::fake_wmi::{Answer, Request, namespace};
use super::held::{alone, gains_nothing};
use super::{CIM_ARRAY, CIM_STRING, connect, connected, named, texts};

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
    alone("leaks::calls_gain_neither_handles_nor_memory", look);
}

fn look() {
    namespace("leaks", |request| match request {
        Request::Connect => connected(),
        Request::Get("missing") => Answer::Explained(0x8004_1002, named("__ExtendedStatus", "x")),
        _ => Answer::Objects(vec![rich()]),
    });
    let session = connect("leaks");
    gains_nothing("query", || {
        drop(session.query("SELECT * FROM Rich").expect("it works"))
    });
    gains_nothing("get", || drop(session.get("Rich=@").expect("it works")));
    gains_nothing("failure", || {
        drop(session.get("missing").expect_err("it fails"))
    });
    gains_nothing("class", || {
        drop(session.class_properties("Rich").expect("it works"))
    });
    gains_nothing("call", || {
        let given = [
            ("Name", Value::text("a text")),
            ("Texts", Value::texts(["a", "b"])),
        ];
        drop(session.call("Rich=@", "Do", &given).expect("it works"));
    });
    gains_nothing("embedded", || {
        let change = [("Name", Value::text("changed"))];
        drop(
            session
                .embedded(EmbeddedSource::Class("Rich"), &change)
                .expect("it works"),
        );
    });
    gains_nothing("connect", || {
        drop(ComNamespaces::default().connect("leaks").expect("it works"));
    });
}
