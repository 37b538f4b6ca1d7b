//! Disks and volumes of this machine, and freezing them.

#[cfg(unix)]
use crate::agent::Agent;

#[cfg(unix)]
#[test]
fn disks_and_volumes_are_listed() {
    let agent = Agent::new();
    let answer = agent.json(0, &["host", "volumes"]);
    for kind in ["disks", "volumes"] {
        for found in answer[kind].as_array().unwrap() {
            assert!(found["total_bytes"].is_u64(), "{found}");
        }
    }
    assert!(answer["shadow_sets"].is_null(), "{answer}");
    agent.succeeds(["host", "volumes"]);
}

#[cfg(unix)]
#[test]
fn a_system_that_freezes_nothing_says_so() {
    let agent = Agent::new();
    let answer = agent.json(1, &["host", "freeze", "/"]);
    assert_eq!(answer["error"]["kind"], "unsupported", "{answer}");
}

/// The program unchanged, beside DLLs of ours in the place of VSS and WMI.
#[cfg(windows)]
mod beside_fakes {
    use fake_vssapi::{FakeVss, Fault, Manners};
    use serde_json::{Value, json};
    use time_and_chance::{Chance, SystemClock};
    use volume::contract::{Hands as _, SimHands};
    use volume::sim::SimVolumeHost;

    use crate::agent::Agent;
    use crate::windows_program::BESIDE_FAKES;

    struct Machine {
        agent: Agent,
        sim: SimVolumeHost,
        hands: SimHands,
        vss: FakeVss,
    }

    impl Machine {
        fn new() -> Self {
            let agent = Agent::running(&*BESIDE_FAKES);
            let folder = agent.path("machine");
            let chance = Chance::from_seed(1);
            let sim = SimVolumeHost::new(&folder, SystemClock::new(), chance.clone());
            sim.add_volume("V:\\", 1 << 20).unwrap();
            let manners = Manners::default();
            Self {
                vss: FakeVss::new(&folder, sim.clone(), manners, chance.clone()),
                hands: SimHands::new(sim.clone(), chance),
                agent: agent.with("E3_FAKE_HYPERV", folder),
                sim,
            }
        }

        fn json(&self, status: i32, words: &[&str]) -> Value {
            let answer = self.agent.json(status, words);
            assert_eq!(self.sim.shadows().unwrap(), [], "nothing is left");
            answer
        }
    }

    #[test]
    fn disks_volumes_and_shadow_sets_are_listed() {
        const MIB: u64 = 1 << 20;
        let machine = Machine::new();
        let [device, files] = [
            machine.sim.find("V:").unwrap().unwrap().name,
            machine.hands.add_volume_of_files(r"C:\mounted über"),
        ];
        let answer = machine.json(0, &["host", "volumes"]);
        assert_eq!(
            answer["disks"],
            json!([{
                "name": "PhysicalDrive0",
                "device": r"\\.\PhysicalDrive0",
                "model": "simulated",
                "serial": null,
                "total_bytes": 3 * MIB,
                "logical_sector_bytes": 512,
                "physical_sector_bytes": 4096,
                "table": "gpt",
                "partitions": [{ "number": 1, "offset": MIB, "bytes": MIB }],
            }])
        );
        let volume = |name: &str| {
            let mut all = answer["volumes"].as_array().unwrap().iter();
            all.find(|it| it["name"] == name).unwrap()
        };
        let place = json!([{ "disk": "PhysicalDrive0", "offset": MIB, "bytes": MIB }]);
        assert_eq!(volume(&device)["mount_points"], json!(["V:\\"]));
        assert_eq!(volume(&device)["extents"], place);
        assert_eq!(volume(&device)["file_system"], "simulated");
        assert_eq!(
            volume(&files)["extents"],
            json!([]),
            "no partition names it"
        );
        assert_eq!(answer["volumes"].as_array().unwrap().len(), 2, "{answer}");
        assert_eq!(answer["shadow_sets"], json!([]));
        let text = machine.agent.succeeds(["host", "volumes"]);
        for word in ["PhysicalDrive0", "V:\\", &device, &files] {
            assert!(text.contains(word), "{word} is not in {text}");
        }

        let set = machine.hands.leave_behind(&device);
        let answer = machine.agent.json(0, &["host", "volumes"]);
        assert_eq!(answer["shadow_sets"][0]["id"], set.to_string(), "{answer}");
        assert_eq!(answer["shadow_sets"][0]["volumes"], json!([device]));
        let text = machine.agent.succeeds(["host", "volumes"]);
        assert!(text.contains(&set.to_string()), "{text}");
    }

    #[test]
    fn a_system_without_storage_management_says_so() {
        let machine = Machine::new();
        let mut command = machine.agent.command(["host", "volumes", "--json"]);
        let outcome = crate::agent::outcome(command.env_remove("E3_FAKE_HYPERV"));
        let answer: Value = serde_json::from_str(&outcome.stdout).unwrap();
        assert_eq!(outcome.status, 1, "{answer}");
        assert_eq!(answer["error"]["kind"], "unsupported", "{answer}");
    }

    #[test]
    fn a_volume_is_frozen_and_writers_are_named() {
        let machine = Machine::new();
        machine.hands.add_writer("Good Writer");
        let answer = machine.json(0, &["host", "freeze", "V:\\"]);
        assert_eq!(answer["shadows"][0]["volume"], "V:\\", "{answer}");
        assert_eq!(answer["writers"][0]["name"], "Good Writer", "{answer}");
        let bad = machine.hands.add_writer("Bad Writer");
        machine.hands.break_writer(bad);
        let answer = machine.json(3, &["host", "freeze", "V:"]);
        let reason = answer["writers"][1]["left_out"].as_str().unwrap();
        assert!(reason.contains("0x800423F4"), "{answer}");
        let words = ["host", "freeze", "V:", "--writers", "require"];
        let answer = machine.json(1, &words);
        assert_eq!(answer["error"]["kind"], "writer_failed", "{answer}");
    }

    #[test]
    fn what_stands_against_it_is_told_at_once() {
        let machine = Machine::new();
        let answer = machine.json(1, &["host", "freeze", "Q:\\"]);
        assert_eq!(answer["error"]["kind"], "volume_not_found", "{answer}");
        let fault = Fault {
            call: "StartSnapshotSet".to_owned(),
            code: 0x8004_2316,
            times: 1,
        };
        machine.vss.add_fault(fault).unwrap();
        let answer = machine.json(1, &["host", "freeze", "V:\\"]);
        assert_eq!(answer["error"]["kind"], "busy", "{answer}");
    }
}
