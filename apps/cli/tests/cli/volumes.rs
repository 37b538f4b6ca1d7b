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

/// The program as it is shipped, beside a vssapi.dll of ours.
#[cfg(windows)]
mod beside_a_fake {
    use std::path::PathBuf;
    use std::process::Command;

    use fake_vssapi::{FakeVss, Fault, Manners};
    use serde_json::Value;
    use tempfile::TempDir;
    use time_and_chance::{Chance, SystemClock};
    use volume::sim::{SimVolumeHost, SimWriterFailure, SimWriterStep};

    struct Machine {
        folder: TempDir,
        sim: SimVolumeHost,
        vss: FakeVss,
        chance: Chance,
    }

    impl Machine {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let program = folder.path().join("e3-backup-agent.exe");
            std::fs::copy(env!("CARGO_BIN_EXE_e3-backup-agent"), program).unwrap();
            let dll = std::env::current_exe().unwrap();
            let dll = dll.with_file_name("fake_vssapi.dll");
            std::fs::copy(dll, folder.path().join("vssapi.dll")).unwrap();
            let machine = folder.path().join("machine");
            let chance = Chance::from_seed(1);
            let sim = SimVolumeHost::new(&machine, SystemClock::new(), chance.clone());
            sim.add_volume("V:\\", 1 << 20).unwrap();
            let manners = Manners::default();
            Self {
                vss: FakeVss::new(&machine, sim.clone(), manners, chance.clone()),
                folder,
                sim,
                chance,
            }
        }

        fn machine(&self) -> PathBuf {
            self.folder.path().join("machine")
        }

        fn json(&self, status: i32, words: &[&str]) -> Value {
            let program = self.folder.path().join("e3-backup-agent.exe");
            let mut run = Command::new(program);
            let ran = run
                .args(words)
                .arg("--json")
                .env("E3_FAKE_HYPERV", self.machine())
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&ran.stderr);
            assert_eq!(ran.status.code(), Some(status), "{said}");
            assert_eq!(self.sim.shadows().unwrap(), [], "nothing is left");
            serde_json::from_slice(&ran.stdout).unwrap()
        }
    }

    #[test]
    fn a_volume_is_frozen_and_writers_are_named() {
        let machine = Machine::new();
        let bad = machine.chance.uuid();
        machine
            .sim
            .add_writer(machine.chance.uuid(), "Good Writer")
            .unwrap();
        let answer = machine.json(0, &["host", "freeze", "V:\\"]);
        assert_eq!(answer["shadows"][0]["volume"], "V:\\", "{answer}");
        assert_eq!(answer["writers"][0]["name"], "Good Writer", "{answer}");
        machine.sim.add_writer(bad, "Bad Writer").unwrap();
        let failure = SimWriterFailure {
            at: SimWriterStep::Freeze,
            code: 0x8004_23F4,
            times: 100,
        };
        machine.sim.fail_writer(bad, failure).unwrap();
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
