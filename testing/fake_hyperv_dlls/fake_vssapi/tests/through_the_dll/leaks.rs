//! Nothing is gained by calling again and again: no handle, no memory.

use std::time::Duration;

use time_and_chance::StopSignal;
use volume::contract::ContractWorld as _;
use volume::{Freeze, Writers};
use windows_host::vss::com::ComVss;
use windows_host::vss::{Context, Vss as _, Wait};

use crate::apart;
use crate::held::Bounds;
use crate::world::World;

/// Looks after `first` calls, and again after as many more or 10,000 in all.
fn gains_nothing(what: &str, first: u32, call: impl FnMut()) {
    let bounds = Bounds { first, handles: 16 };
    crate::held::gains_nothing(what, bounds, call);
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
