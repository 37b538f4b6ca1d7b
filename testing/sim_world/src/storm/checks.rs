//! What must be true after every step.

use std::collections::BTreeSet;
use std::sync::Arc;

use backup::vm::MARK;
use blob::{BlobStore, FilesystemStore, NewLayout, PutOptions};
use disk::BlockRead;
use image::ImageReader;
use point::{Point, Points};
use repo::Repository;
use second_reader::SecondReader;
use time_and_chance::Chance;
use uuid::Uuid;

use super::Storm;
use crate::outside;
use crate::place::PASSWORD;
use crate::truth::Disks;

impl Storm {
    /// Every point that the truth knows is listed, and no other; new ones and one old one are
    /// compared.
    pub(super) fn check_points(&mut self) {
        for repository in [0, 1] {
            let observer = self.observers[repository].clone();
            let points = Points::load(&observer).expect("points can be listed");
            assert_eq!(points.snapshots().unreadable(), []);
            let listed: BTreeSet<Uuid> = points.iter().filter_map(|point| point.point()).collect();
            let known: BTreeSet<Uuid> = self.truth.points[repository].keys().copied().collect();
            assert_eq!(listed, known, "the points of repository {repository}");
            let drawn = self.draw(points.iter().count().max(1));
            for (number, point) in points.iter().enumerate() {
                let id = point.point().expect("all are ours");
                if self.compared.insert((repository, id)) || number == drawn {
                    self.compare(&observer, repository, &point);
                }
            }
        }
    }

    pub(super) fn compare_all_points(&mut self) {
        for repository in [0, 1] {
            let observer = self.observers[repository].clone();
            for point in Points::load(&observer)
                .expect("points can be listed")
                .iter()
            {
                self.compare(&observer, repository, &point);
            }
        }
    }

    fn compare(&mut self, observer: &Arc<Repository>, repository: usize, point: &Point<'_>) {
        let id = point.point().expect("all are ours");
        let held = &self.truth.points[repository][&id];
        let stored = read_point(observer, point);
        assert_same(
            &stored,
            held,
            &format!("point {id} of repository {repository}"),
        );
        self.tally.compared += 1;
    }

    /// One machine's disks are what its guest wrote, and what is not ours is still there.
    pub(super) fn check_hosts(&mut self) {
        let number = self.draw(self.truth.machines.len());
        let machine = &self.truth.machines[number];
        let host = self.place.host(machine.host);
        let Some(view) = outside::look(&host, machine) else {
            panic!("machine {} is gone", machine.vm);
        };
        for id in machine
            .foreign
            .iter()
            .chain(machine.checkpoints.iter().map(|(id, _)| id))
        {
            assert!(
                view.checkpoints.iter().any(|known| known.id == *id),
                "checkpoint {id} of {} is not ours and is gone",
                machine.vm
            );
        }
        if view.away {
            return;
        }
        let mut live = Disks::new();
        for (number, disk) in view.vm.disks.iter().enumerate() {
            let reader = host
                .open_live_disk(machine.vm, number as u32)
                .expect("a live disk opens");
            live.insert(disk.original_path.display().to_string(), read_all(&reader));
        }
        assert_same(&live, &machine.disks, &format!("machine {}", machine.vm));
    }

    /// Asserts that no checkpoint of ours is on a machine.
    pub(super) fn assert_nothing_of_ours(&self, number: usize) {
        let machine = &self.truth.machines[number];
        let host = self.place.host(machine.host);
        let view = outside::look(&host, machine).expect("the machine is there");
        let ours: Vec<_> = view
            .checkpoints
            .iter()
            .filter(|checkpoint| checkpoint.name.starts_with(MARK))
            .collect();
        assert!(ours.is_empty(), "left on {}: {ours:?}", machine.vm);
    }

    /// Another reader, written from the specification alone, finds nothing wrong.
    pub(super) fn audit(&self) {
        for store in &self.place.stores {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("copy");
            let copy =
                FilesystemStore::create(&path, NewLayout::Sharded, Chance::from_seed(1)).unwrap();
            for blob in store.list_all("").unwrap() {
                let content = store.get(&blob.name).unwrap();
                copy.put(&blob.name, &[&content], &PutOptions::default())
                    .unwrap();
            }
            let reader = SecondReader::open(&path, PASSWORD).unwrap();
            assert_eq!(reader.audit(), Vec::<String>::new());
        }
    }
}

/// Returns all disks of a point by their original paths.
fn read_point(repo: &Arc<Repository>, point: &Point<'_>) -> Disks {
    let opened = point.open(repo).expect("a listed point opens");
    let disks = opened.descriptor().disks.iter();
    disks
        .map(|disk| {
            let object = opened.disk_object(disk).expect("the point holds its disk");
            let image = ImageReader::open(repo, &object).expect("the image opens");
            (disk.original_path.clone(), read_all(&image))
        })
        .collect()
}

pub(super) fn read_all(disk: &dyn BlockRead) -> Arc<Vec<u8>> {
    let mut bytes = vec![0; disk.size_bytes() as usize];
    disk.read_at(0, &mut bytes).expect("the disk can be read");
    Arc::new(bytes)
}

pub(super) fn assert_same(found: &Disks, wanted: &Disks, what: &str) {
    let names = |disks: &Disks| disks.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(found), names(wanted), "{what}: its disks");
    for (name, content) in wanted {
        let other = &found[name];
        assert_eq!(other.len(), content.len(), "{what}, {name}: its length");
        if content == other {
            continue;
        }
        let differs = content.iter().zip(other.iter()).position(|(a, b)| a != b);
        assert_eq!(differs, None, "{what}, {name}: the first byte that differs");
    }
}
