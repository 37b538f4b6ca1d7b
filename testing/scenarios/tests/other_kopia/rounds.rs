//! Short rounds in which both clients work on one repository, in random order, and both judge it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use disk::BlockRead as _;
use hyperv::VmId;
use image::ImageReader;
use kopia::directory::{DirectoryEntry, EntryType};
use maintain::Maintenance;
use point::Points;
use progress::Progress;
use repo::{CreateOptions, Repository, Writer};
use scenarios::World;
use snapshot::{Snapshots, read_directory};
use time_and_chance::Chance;
use verify::{VerifyOptions, verify};

use crate::other_client::OtherClient;

const MIB: u64 = 1 << 20;
const STEPS: u64 = 8;
/// No file of theirs has more bytes.
const FILE_BYTES_MAX: u64 = 40_000;
const REPOSITORY: &str = "repo";

/// What a snapshot must give back.
#[derive(Clone)]
enum Content {
    /// A VM's only disk.
    Disk(Vec<u8>),
    /// The files of a folder.
    Files(BTreeMap<String, Vec<u8>>),
}

/// One repository, its two clients, and what it must hold.
struct Round<'a> {
    world: World,
    vm: VmId,
    other: &'a dyn OtherClient,
    chance: Chance,
    /// What the other client stores.
    folder: PathBuf,
    expected: BTreeMap<String, Content>,
    restored: u64,
}

/// Does a round with a repository of this kind; `connect` gives the other client, given the
/// repository's folder and one for itself.
pub fn play(
    seed: u64,
    kind: &CreateOptions,
    connect: &dyn Fn(&World, &Path, &Path) -> Box<dyn OtherClient>,
) {
    println!(
        "round {seed}: format {}, {}, {}, {}, {:?}",
        kind.format_version,
        kind.hash.name(),
        kind.encryption.name(),
        kind.splitter,
        kind.compression
    );
    let world = World::new(seed);
    world.create_repository(REPOSITORY, kind);
    let vm = world.add_vm("vm", 16 * MIB);
    world.host.write_random(vm, 0, 2 * MIB, seed).unwrap();
    let other = connect(&world, &world.path(REPOSITORY), &world.path("other"));
    let folder = world.path("theirs");
    fs::create_dir_all(&folder).unwrap();
    let mut round = Round {
        vm,
        other: other.as_ref(),
        chance: Chance::from_seed(seed),
        folder,
        expected: BTreeMap::new(),
        restored: 0,
        world,
    };
    round.back_up();
    for _ in 0..STEPS {
        round.step();
        round.check_lists();
    }
    round.they_maintain();
    round.check_everything();
    round.we_maintain();
    round.back_up();
    round.check_everything();
}

impl Round<'_> {
    fn step(&mut self) {
        let step = self.chance.below(9);
        println!("  step {step}, {} snapshots", self.expected.len());
        match step {
            0 | 1 => self.back_up(),
            2 | 3 => self.they_store(),
            4 => self.they_delete(),
            5 => self.we_delete(),
            6 => self.they_pin(),
            7 => match self.chance.below(2) {
                0 => self.they_maintain(),
                _ => self.we_maintain(),
            },
            _ => self.both_at_work(),
        }
    }

    fn repository(&self) -> Arc<Repository> {
        self.world.repository(REPOSITORY)
    }

    fn back_up(&mut self) {
        let seed = self.chance.next_u64();
        let (host, vm) = (&self.world.host, self.vm);
        host.write_random(vm, 0, MIB / 4, seed).unwrap();
        let report = self.world.back_up(vm, REPOSITORY).unwrap();
        let disk = Content::Disk(self.world.disk(vm, 0));
        self.expected.insert(report.point_id, disk);
    }

    /// Changes what the other client stores; returns it.
    fn change_folder(&self) -> BTreeMap<String, Vec<u8>> {
        for _ in 0..3 {
            let name = format!("file-{}.bin", self.chance.below(5));
            let bytes = usize::try_from(self.chance.below(FILE_BYTES_MAX)).unwrap();
            let mut content = vec![0; bytes];
            self.chance.fill(&mut content);
            // Half of it is worth compressing.
            content[..bytes / 2].fill(b'x');
            fs::write(self.folder.join(name), content).unwrap();
        }
        files_in(&self.folder)
    }

    fn they_store(&mut self) {
        let files = self.change_folder();
        let id = self.other.store(&self.folder);
        self.expected.insert(id, Content::Files(files));
    }

    /// Draws a snapshot, if there is more than one.
    fn any(&self) -> Option<String> {
        let count = self.expected.len() as u64;
        let place = self.chance.below(count.max(1));
        let id = self.expected.keys().nth(usize::try_from(place).unwrap());
        id.filter(|_| count > 1).cloned()
    }

    fn they_delete(&mut self) {
        if let Some(id) = self.any() {
            self.other.delete(&id);
            self.expected.remove(&id);
        }
    }

    fn we_delete(&mut self) {
        if let Some(id) = self.any() {
            let writer = Writer::new(&self.repository(), 1).unwrap();
            Snapshots::delete(&writer, &id).unwrap();
            self.expected.remove(&id);
        }
    }

    fn they_pin(&mut self) {
        if let Some(id) = self.any() {
            let new = self.other.pin(&id);
            let content = self.expected.remove(&id).unwrap();
            self.expected.insert(new, content);
        }
    }

    fn they_maintain(&mut self) {
        self.other.maintain();
    }

    fn we_maintain(&mut self) {
        let repo = self.repository();
        let maintenance = Maintenance {
            repo: &repo,
            options: maintain::Options {
                full: true,
                take_ownership: true,
                ..maintain::Options::default()
            },
            progress: &Progress::silent(),
        };
        let report = maintenance.run().unwrap();
        assert!(report.is_whole(), "{report:?}");
    }

    /// Both store, and both maintain, at the same time.
    fn both_at_work(&mut self) {
        let files = self.change_folder();
        let (other, folder) = (self.other, self.folder.clone());
        let stored = std::thread::scope(|scope| {
            let theirs = scope.spawn(move || {
                let id = other.store(&folder);
                other.maintain_beside_others();
                id
            });
            self.back_up();
            self.we_maintain();
            self.back_up();
            theirs.join().unwrap()
        });
        self.expected.insert(stored, Content::Files(files));
    }

    fn check_lists(&self) {
        let expected: BTreeSet<String> = self.expected.keys().cloned().collect();
        let repo = self.repository();
        let points = Points::load(&repo).unwrap();
        assert!(points.snapshots().unreadable().is_empty());
        let listed: BTreeSet<String> = points.iter().map(|point| point.id().to_owned()).collect();
        assert_eq!(listed, expected, "our list");
        assert_eq!(self.other.list(), expected, "the other client's list");
    }

    /// Both clients read everything, and each gives every snapshot back.
    fn check_everything(&mut self) {
        self.check_lists();
        self.other.verify();
        let repo = self.repository();
        let options = VerifyOptions {
            data_percent: 100.0,
            seed: 1,
            readers: 2,
            points: Vec::new(),
            until: None,
        };
        let found = verify(&repo, &options, &Progress::silent()).unwrap();
        assert!(found.is_sound(), "{found:?}");
        for (id, content) in self.expected.clone() {
            self.restored += 1;
            let to = self.world.path(&format!("restored-{}", self.restored));
            self.other.restore(&id, &to);
            match content {
                Content::Disk(disk) => {
                    self.compare_image(&to, &disk);
                    assert!(disk_of(&repo, &id) == disk, "{id} as we restore it");
                }
                Content::Files(files) => {
                    assert_eq!(files_in(&to), files, "{id} as they restore it");
                    assert_eq!(files_of(&repo, &id), files, "{id} as we restore it");
                }
            }
            fs::remove_dir_all(&to).unwrap();
        }
    }

    /// Compares the restored canonical VHDX with the disk by `qemu-img`.
    fn compare_image(&self, restored: &Path, disk: &[u8]) {
        let images: Vec<PathBuf> = fs::read_dir(restored.join("disks"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        let [image] = &images[..] else {
            panic!("a VM with one disk has {images:?}");
        };
        let raw = self.world.path("expected.raw");
        fs::write(&raw, disk).unwrap();
        let compared = Command::new("qemu-img")
            .args(["compare", "-f", "vhdx", "-F", "raw"])
            .args([image, &raw])
            .output()
            .unwrap();
        assert!(compared.status.success(), "{compared:?}");
    }
}

/// Reads the files of a folder.
fn files_in(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
    entries
        .map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            (name, fs::read(entry.path()).unwrap())
        })
        .collect()
}

/// Reads the disk of a VM's point.
fn disk_of(repo: &Arc<Repository>, id: &str) -> Vec<u8> {
    let points = Points::load(repo).unwrap();
    let point = points.find(id).unwrap().open(repo).unwrap();
    let object = point.disk_object(&point.descriptor().disks[0]).unwrap();
    let image = ImageReader::open(repo, &object).unwrap();
    let mut bytes = vec![0; usize::try_from(image.size_bytes()).unwrap()];
    image.read_at(0, &mut bytes).unwrap();
    bytes
}

/// Reads the files of a snapshot of a folder.
fn files_of(repo: &Arc<Repository>, id: &str) -> BTreeMap<String, Vec<u8>> {
    let points = Points::load(repo).unwrap();
    let point = points.find(id).unwrap();
    let root = point.root().unwrap();
    let entries = read_directory(repo, &root.object).unwrap().entries;
    let is_file = |entry: &DirectoryEntry| entry.entry_type == EntryType::File;
    assert!(entries.iter().all(is_file));
    entries
        .into_iter()
        .map(|entry| {
            let bytes = repo.read_object(&entry.object, FILE_BYTES_MAX).unwrap();
            (entry.name, bytes)
        })
        .collect()
}
