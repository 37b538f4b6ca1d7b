//! The checks.

use disk::DiskErrorKind;
use time_and_chance::StopSignal;

use super::ContractWorld;
use crate::{
    Freeze, FrozenVolumes, ShadowSetId, VolumeError, VolumeErrorKind, VolumeHost, Writers,
};

const MIB: u64 = 1 << 20;

fn freeze(
    world: &dyn ContractWorld,
    volumes: &[&str],
    writers: Writers,
) -> Result<Box<dyn FrozenVolumes>, VolumeError> {
    let what = Freeze {
        volumes: volumes.iter().map(|&name| name.to_owned()).collect(),
        writers,
    };
    world
        .host()
        .freeze(&what, &mut |_| Ok(()), &StopSignal::new())
}

fn frozen(world: &dyn ContractWorld, volumes: &[&str]) -> Box<dyn FrozenVolumes> {
    freeze(world, volumes, Writers::Require).expect("healthy volumes can be frozen")
}

fn content(frozen: &dyn FrozenVolumes, number: usize) -> Vec<u8> {
    let device = frozen
        .open(&frozen.shadows()[number])
        .expect("a shadow can be opened");
    let mut content = vec![0; device.size_bytes() as usize];
    device.read_at(0, &mut content).expect("it can be read");
    content
}

fn sets(host: &dyn VolumeHost) -> Vec<ShadowSetId> {
    let sets = host.shadow_sets().expect("shadow sets are listed");
    sets.iter().map(|set| set.id).collect()
}

/// Disks hold the volumes that lie on them; names lead from one to the other.
pub fn volumes_are_listed_where_they_lie(world: &dyn ContractWorld) {
    let name = world.hands().add_volume("V:\\", 8 * MIB);
    let host = world.host();
    let volumes = host.volumes().expect("volumes are listed");
    let volume = volumes
        .iter()
        .find(|volume| volume.name == name)
        .expect("the volume is listed");
    assert_eq!(volume.total_bytes, 8 * MIB);
    assert!(volume.is_called("V:\\") && volume.is_called(&name));
    let [extent] = volume.extents.as_slice() else {
        panic!("it lies in one piece: {volume:?}");
    };
    assert_eq!(extent.range.bytes(), 8 * MIB);
    let disks = host.disks().expect("disks are listed");
    let disk = disks
        .iter()
        .find(|disk| disk.name == extent.disk)
        .expect("its disk is listed");
    assert!(extent.range.end() <= disk.total_bytes);
    let is_it = |it: &crate::Partition| it.range == extent.range;
    assert!(disk.partitions.iter().any(is_it), "{disk:?}");
}

/// What is written after the freeze is not read.
pub fn a_frozen_device_stands_still(world: &dyn ContractWorld) {
    let name = world.hands().add_volume("V:\\", MIB);
    world.hands().write(&name, 4096, &[1; 100]);
    let before = frozen(world, &[&name]);
    world.hands().write(&name, 4000, &[2; 1000]);
    let mut expected = vec![0; MIB as usize];
    expected[4096..4196].fill(1);
    assert!(content(before.as_ref(), 0) == expected);
    let after = frozen(world, &["V:\\"]);
    expected[4000..5000].fill(2);
    assert!(content(after.as_ref(), 0) == expected);
    assert!(content(before.as_ref(), 0) != expected);
    assert_ne!(before.id(), after.id());
}

/// The same of files, which are read below a folder.
pub fn frozen_files_stand_still(world: &dyn ContractWorld) {
    let name = world.hands().add_volume_of_files("F:\\");
    world.hands().write_file(&name, "open.db", b"before");
    let frozen = frozen(world, &[&name]);
    world
        .hands()
        .write_file(&name, "open.db", b"after, and longer");
    world.hands().write_file(&name, "new", b"later");
    let [shadow] = frozen.shadows() else {
        panic!("one volume has one shadow");
    };
    assert_eq!(shadow.volume, name);
    let read = |file| std::fs::read(shadow.files.join(file));
    assert_eq!(read("open.db").expect("it can be read"), b"before");
    assert!(read("new").is_err());
}

/// A set holds its volumes in the order of the question, and none later than another.
pub fn several_volumes_are_frozen_at_one_instant(world: &dyn ContractWorld) {
    let one = world.hands().add_volume("V:\\", MIB);
    let other = world.hands().add_volume("W:\\", MIB);
    world.hands().write(&one, 0, &[1; 8]);
    world.hands().write(&other, 0, &[2; 8]);
    let frozen = frozen(world, &[&other, &one]);
    world.hands().write(&one, 0, &[3; 8]);
    world.hands().write(&other, 0, &[3; 8]);
    let starts = [0, 1].map(|number| content(frozen.as_ref(), number)[0]);
    assert_eq!(starts, [2, 1]);
    assert_eq!(sets(world.host().as_ref()), [frozen.id()]);
}

/// The end of a device is where it ends.
pub fn nothing_is_read_past_the_end(world: &dyn ContractWorld) {
    let name = world.hands().add_volume("V:\\", MIB);
    let frozen = frozen(world, &[&name]);
    let device = frozen.open(&frozen.shadows()[0]).expect("it opens");
    assert_eq!(device.size_bytes(), MIB);
    device
        .read_at(MIB - 1, &mut [0])
        .expect("the last byte is there");
    let error = device.read_at(MIB, &mut [0]).expect_err("it has ended");
    assert_eq!(error.kind(), DiskErrorKind::OutOfRange);
}

/// Nothing is left, whether it is released in so many words or dropped.
pub fn release_and_drop_leave_nothing(world: &dyn ContractWorld) {
    let name = world.hands().add_volume("V:\\", MIB);
    let first = frozen(world, &[&name]);
    let second = frozen(world, &[&name]);
    assert_eq!(sets(world.host().as_ref()).len(), 2);
    first.release().expect("it can be released");
    assert_eq!(sets(world.host().as_ref()), [second.id()]);
    drop(second);
    assert_eq!(sets(world.host().as_ref()), []);
}

/// A journal that cannot be written stops the freeze before anything is there.
pub fn a_failing_announcement_stops_it_all(world: &dyn ContractWorld) {
    let name = world.hands().add_volume("V:\\", MIB);
    let what = Freeze {
        volumes: vec![name],
        writers: Writers::None,
    };
    let host = world.host();
    let mut announced = Vec::new();
    let frozen = host.freeze(
        &what,
        &mut |id| {
            announced.push(id);
            Err(std::io::Error::other("the journal is full"))
        },
        &StopSignal::new(),
    );
    let error = frozen.expect_err("it is not frozen");
    assert!(error.to_string().contains("the journal is full"), "{error}");
    assert_eq!(announced.len(), 1);
    assert_eq!(sets(host.as_ref()), []);
}

/// Stopped is stopped.
pub fn a_stopped_freeze_leaves_nothing(world: &dyn ContractWorld) {
    let name = world.hands().add_volume("V:\\", MIB);
    let what = Freeze {
        volumes: vec![name],
        writers: Writers::LeaveOutFailing,
    };
    let stop = StopSignal::new();
    stop.stop();
    let host = world.host();
    let error = host
        .freeze(&what, &mut |_| Ok(()), &stop)
        .expect_err("it is stopped");
    assert_eq!(error.kind(), VolumeErrorKind::Stopped, "{error}");
    assert_eq!(sets(host.as_ref()), []);
}

/// No volume, the same volume twice, one that is not there.
pub fn what_cannot_be_frozen_is_named(world: &dyn ContractWorld) {
    let name = world.hands().add_volume("V:\\", MIB);
    let nobody = "\\\\?\\Volume{00000000-0000-4000-8000-000000000000}\\";
    for (volumes, kind) in [
        (vec![], VolumeErrorKind::Invalid),
        (vec![name.as_str(), "V:\\"], VolumeErrorKind::Invalid),
        (vec![name.as_str(), nobody], VolumeErrorKind::NotFound),
    ] {
        let error = freeze(world, &volumes, Writers::Require).expect_err("it makes no sense");
        assert_eq!(error.kind(), kind, "{volumes:?}: {error}");
        if kind == VolumeErrorKind::NotFound {
            assert!(error.to_string().contains(nobody), "{error}");
        }
        assert_eq!(sets(world.host().as_ref()), []);
    }
}

/// A writer that fails is named, and the others do their part.
pub fn a_writer_may_be_left_out(world: &dyn ContractWorld) {
    let name = world.hands().add_volume("V:\\", MIB);
    let good = world.hands().add_writer("Good Writer");
    let bad = world.hands().add_writer("Bad Writer");
    world.hands().break_writer(bad);
    let frozen = freeze(world, &[&name], Writers::LeaveOutFailing).expect("the others go on");
    let outcome = |id| {
        let mut all = frozen.writers().iter();
        all.find(|writer| writer.id == id)
            .expect("the writer is named")
    };
    assert_eq!(outcome(good).left_out, None);
    assert!(outcome(bad).left_out.is_some());
    assert_eq!(outcome(bad).name, "Bad Writer");
}

/// One that is needed fails it all.
pub fn a_writer_that_is_needed_may_not_fail(world: &dyn ContractWorld) {
    let name = world.hands().add_volume("V:\\", MIB);
    let writer = world.hands().add_writer("Bad Writer");
    drop(frozen(world, &[&name]));
    world.hands().break_writer(writer);
    let error = freeze(world, &[&name], Writers::Require).expect_err("it is needed");
    assert_eq!(error.kind(), VolumeErrorKind::WriterFailed, "{error}");
    assert!(error.to_string().contains("Bad Writer"), "{error}");
    assert_eq!(sets(world.host().as_ref()), []);
}

/// Frozen as after a crash: nobody's failure counts.
pub fn without_writers_none_is_asked(world: &dyn ContractWorld) {
    let name = world.hands().add_volume("V:\\", MIB);
    let writer = world.hands().add_writer("Bad Writer");
    world.hands().break_writer(writer);
    let frozen = freeze(world, &[&name], Writers::None).expect("no writer is asked");
    assert_eq!(frozen.writers(), []);
}

/// What a program that died has left is told apart from others' by the name that it was given.
pub fn a_leftover_is_found_by_its_name(world: &dyn ContractWorld) {
    let name = world.hands().add_volume("V:\\", MIB);
    let ours = world.hands().leave_behind(&name);
    let others = world.hands().leave_behind(&name);
    let host = world.host();
    let mut found = sets(host.as_ref());
    found.sort();
    let mut expected = vec![ours, others];
    expected.sort();
    assert_eq!(found, expected);
    let listed = host.shadow_sets().expect("they are listed");
    assert!(listed.iter().all(|set| set.volumes == [name.as_str()]));
    host.remove_shadow_set(ours).expect("it can be removed");
    assert_eq!(sets(host.as_ref()), [others]);
    let error = host.remove_shadow_set(ours).expect_err("it is gone");
    assert_eq!(error.kind(), VolumeErrorKind::NotFound, "{error}");
}
