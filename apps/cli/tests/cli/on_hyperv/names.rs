//! Names that are hard to carry: through the command line, WQL, object paths, texts of embedded
//! objects, folders and JSON, there and back.

use serde_json::Value;

use super::machine::{MIB, Machine};

#[test]
fn vms_are_backed_up_and_restored_whatever_their_names_hold() {
    let machine = Machine::new();
    let long = "x".repeat(100);
    let alone = [
        "\"quoted\" 'and' \\ <back> & ]]> 100 % [of] _all* ?",
        "Bücher 名前 \u{1F600}",
        &long,
    ];
    let add = |name: &str| machine.add_vm(name, 4 * MIB, MIB);
    let twins = [add("twin"), add("twin")];
    let ids = alone.map(add);

    let listed = machine.agent.json(0, &["host", "list"]);
    let names = names_of(&listed);
    assert_eq!(names, [&["twin", "twin"][..], &alone].concat());
    for (name, id) in alone.iter().zip(ids) {
        let shown = machine.agent.json(0, &["host", "show", name]);
        assert_eq!(shown["vm"]["id"], id.to_string(), "{name}");
    }
    // Two of one name are told apart by their GUIDs alone.
    let refused = machine.backup(2, &["TWIN"]).to_string();
    for twin in twins {
        assert!(refused.contains(&twin.to_string()), "{refused}");
    }
    let guid = twins[1].to_string();
    let shown = machine.agent.json(0, &["host", "show", &guid]);
    assert_eq!(shown["vm"]["name"], "twin");

    let all = ["--all", "--parallel", "2"];
    let full = machine.backup(0, &all);
    assert_eq!(names_of(&full), names);
    for vm in twins.iter().chain(&ids) {
        machine.guest_writes(*vm, 64 << 10);
    }
    let increments = machine.backup(0, &all);
    for point in increments["vms"].as_array().unwrap() {
        assert_eq!(point["type"], "incremental", "{point}");
    }
    let points = ["points", "list", "--repo", "repo", "--vm", alone[0]];
    let points = machine.agent.json(0, &points);
    assert_eq!(points["points"].as_array().unwrap().len(), 2, "{points}");
    for (name, id) in alone.iter().zip(ids) {
        let mut made = increments["vms"].as_array().unwrap().iter();
        let made = made.find(|point| point["guid"] == id.to_string()).unwrap();
        let point = made["point_id"].as_str().unwrap();
        let restore = ["restore", "vm", point, "--repo", "repo", "--new-id"];
        let restore = [&restore[..], &["--host", "hyperv:"]].concat();
        let restored = machine.agent.json(0, &restore);
        let copy = restored["guid"].as_str().unwrap().parse().unwrap();
        assert_eq!(machine.view(copy).vm.name, *name);
        assert!(machine.disk(copy, 0) == machine.disk(id, 0), "{name}");
    }
}

fn names_of(document: &Value) -> Vec<&str> {
    let vms = document["vms"].as_array().unwrap().iter();
    vms.map(|vm| vm["name"].as_str().unwrap()).collect()
}
