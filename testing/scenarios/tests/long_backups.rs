//! Backups too long for one checkpoint: several passes, and what is stored stays protected.

#![expect(
    clippy::unwrap_used,
    reason = "in tests and their helpers a panic is the report"
)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use backup::vm::{PointReport, Step};
use backup::{BackupError, BackupErrorKind};
use disk::BlockRead;
use hyperv::sim::SimFault;
use hyperv::{HypervHost, VmId};
use image::ImageReader;
use point::{BackupType, Points};
use progress::{Monitor, News, Progress};
use repo::Writer;
use scenarios::{PASSWORD, World};
use second_reader::SecondReader;
use time_and_chance::{Clock, ManualClock, Timestamp};

const MIB: u64 = 1 << 20;
const SLOT: u64 = 32 * MIB;
const SLOTS: u64 = 24;
/// What the guest wrote into each slot.
const WRITTEN: u64 = MIB;

/// A line that takes its time, by a clock that stands still otherwise.
#[derive(Debug)]
struct SlowLine {
    clock: Arc<ManualClock>,
    /// How long a slot's worth of new data takes.
    per_slot: Mutex<Duration>,
}

impl Monitor for SlowLine {
    fn hear(&self, news: &News<'_>) {
        if let News::DiskAdvances { packed_bytes, .. } = news {
            let per_slot = *self.per_slot.lock().unwrap();
            let share = packed_bytes.min(&WRITTEN) * 1000 / WRITTEN;
            self.clock.advance(per_slot * share as u32 / 1000);
        }
    }
}

/// A VM whose disk has something in every slot, and the line its backups take.
struct Long {
    world: World,
    clock: Arc<ManualClock>,
    line: Arc<SlowLine>,
    vm: VmId,
}

impl Long {
    fn new(seed: u64, per_slot: Duration) -> Self {
        let clock = ManualClock::at(Timestamp::from_second(1_790_000_000).unwrap());
        let mut world = World::with_manual_clock(seed, &clock);
        world.options.workers = 1;
        let vm = world.add_vm("long", SLOTS * SLOT);
        for slot in 0..SLOTS {
            world
                .host
                .write(vm, 0, slot * SLOT, &random(seed ^ slot, WRITTEN))
                .unwrap();
        }
        let line = Arc::new(SlowLine {
            clock: clock.clone(),
            per_slot: Mutex::new(per_slot),
        });
        Self {
            world,
            clock,
            line,
            vm,
        }
    }

    fn progress(&self) -> Progress {
        Progress {
            monitor: self.line.clone(),
            ..Progress::silent()
        }
    }

    fn back_up(&self, goes_on: &(dyn Fn(Step) -> bool + Sync)) -> Result<PointReport, BackupError> {
        self.world
            .back_up_heard(self.vm, "repo", &self.progress(), goes_on)
    }

    /// Returns how many points and how many checkpoint manifests there are.
    fn listed(&self) -> (usize, usize) {
        listed(&self.world, self.vm)
    }

    /// Returns what the guest wrote into each slot, as it is now.
    fn written(&self) -> Vec<u8> {
        written(&self.world.host.open_live_disk(self.vm, 0).unwrap())
    }

    fn assert_is_whole(&self, report: &PointReport, expected: &[u8]) {
        assert!(written(&image(&self.world, report)) == expected);
        self.world.assert_no_checkpoint(self.vm);
        assert_eq!(self.listed(), (1, 0), "nothing is unfinished any more");
    }
}

fn listed(world: &World, vm: VmId) -> (usize, usize) {
    let points = Points::load(&world.repository("repo")).unwrap();
    (points.iter().count(), points.unfinished(vm).count())
}

fn written(disk: &dyn BlockRead) -> Vec<u8> {
    let mut content = vec![0; (SLOTS * WRITTEN) as usize];
    for (slot, part) in (0..).zip(content.chunks_exact_mut(WRITTEN as usize)) {
        disk.read_at(slot * SLOT, part).unwrap();
    }
    content
}

/// Opens the first disk of a point.
fn image(world: &World, report: &PointReport) -> ImageReader {
    let repo = world.repository("repo");
    let object = report.contents[0].parse().unwrap();
    ImageReader::open(&repo, &object).unwrap()
}

fn random(seed: u64, bytes: u64) -> Vec<u8> {
    let mut content = vec![0; bytes as usize];
    time_and_chance::Chance::from_seed(seed).fill(&mut content);
    content
}

#[test]
fn a_first_backup_too_long_for_one_checkpoint_completes_in_several_passes() {
    // A checkpoint lasts for ten slots of the twenty-four.
    let long = Long::new(40, Duration::from_secs(72 * 60));
    let frozen = Mutex::new(Vec::new());
    let passes = AtomicU64::new(0);
    let report = long
        .back_up(&|step| {
            match step {
                Step::Announced => {
                    *frozen.lock().unwrap() = long.written();
                    let earlier = passes.fetch_add(1, Ordering::Relaxed);
                    assert_eq!(
                        long.listed(),
                        (0, usize::from(earlier > 0)),
                        "what earlier passes stored is protected and no point"
                    );
                }
                // What the guest writes from here on belongs to a later pass.
                Step::CheckpointJournaled => {
                    let pass = passes.load(Ordering::Relaxed);
                    let write = random(pass, 1000);
                    long.world.host.write(long.vm, 0, pass, &write).unwrap();
                }
                _ => {}
            }
            true
        })
        .unwrap();
    assert_eq!(passes.into_inner(), 3);
    assert_eq!(report.warnings.len(), 2, "{:?}", report.warnings);
    assert_eq!(report.descriptor.backup_type(), BackupType::Full);
    let disk = &report.descriptor.disks[0];
    assert!(
        disk.uploaded_bytes < 6 * WRITTEN,
        "the last pass stored four slots and what changed: {}",
        disk.uploaded_bytes
    );
    assert!(long.clock.monotonic() > Duration::from_hours(24));
    long.assert_is_whole(&report, &frozen.into_inner().unwrap());
}

#[test]
fn a_pass_that_brings_under_a_tenth_fails_and_names_the_line_it_takes() {
    // A checkpoint lasts for two slots of the twenty-four.
    let long = Long::new(41, Duration::from_hours(6));
    let error = long.back_up(&|_| true).unwrap_err();
    assert_eq!(error.kind(), BackupErrorKind::TooLong);
    let text = error.to_string();
    // 22 MiB are missing, and a pass has 12 hours.
    for words in ["less than a tenth", "22.0 MiB", "a line of 0.001 MB/s"] {
        assert!(text.contains(words), "{text:?} does not say {words:?}");
    }
    long.world.assert_no_checkpoint(long.vm);
    assert_eq!(long.listed(), (0, 1), "what is stored stays protected");

    *long.line.per_slot.lock().unwrap() = Duration::from_secs(1);
    let report = long.back_up(&|_| true).unwrap();
    let uploaded = report.descriptor.disks[0].uploaded_bytes;
    // What the first run stored makes up for the image's front and its lists.
    assert!(uploaded < SLOTS * WRITTEN, "{uploaded}");
    long.assert_is_whole(&report, &long.written());
}

#[test]
fn a_checkpoint_given_up_for_want_of_room_is_followed_by_another_once_there_is_room() {
    // It is looked after every ten seconds: the first look is behind the tenth slot.
    let long = Long::new(42, Duration::from_secs(1));
    let passes = AtomicU64::new(0);
    let report = long
        .back_up(&|step| {
            if step == Step::CheckpointJournaled && passes.fetch_add(1, Ordering::Relaxed) == 0 {
                // That look, and two more while the run waits for room.
                let fault = SimFault::parse(&["low-space"]).unwrap();
                let host = &long.world.host;
                host.add_fault(long.vm, fault, Some(3)).unwrap();
            }
            true
        })
        .unwrap();
    assert_eq!(passes.into_inner(), 2);
    assert!(report.warnings[0].contains("free"), "{:?}", report.warnings);
    long.assert_is_whole(&report, &long.written());
}

#[test]
fn a_checkpoint_manifest_appears_protects_and_goes() {
    let mut world = World::new(43);
    world.options.checkpoint_manifest_every = Duration::ZERO;
    let vm = world.add_vm("long", 3 * SLOT);
    for slot in [0, 2] {
        let content = random(slot, 5 * MIB);
        world
            .host
            .write(vm, 0, slot * SLOT + MIB, &content)
            .unwrap();
    }
    let error = world
        .back_up_until(vm, "repo", &|step| step != Step::DataSettled)
        .unwrap_err();
    assert_eq!(error.kind(), BackupErrorKind::Killed);
    assert_eq!(listed(&world, vm), (0, 1), "it is no point");

    let reader = SecondReader::open(&world.path("repo"), PASSWORD).unwrap();
    assert_eq!(reader.audit(), Vec::<String>::new());
    let snapshots = reader.snapshots();
    let [snapshot] = &snapshots[..] else {
        panic!("newer ones replace older ones: {snapshots:?}");
    };
    assert_eq!(snapshot.incomplete, "checkpoint");
    let files: Vec<String> = reader
        .walk(snapshot)
        .unwrap()
        .into_iter()
        .filter(|entry| entry.kind == "f")
        .map(|entry| entry.path)
        .collect();
    assert!(
        matches!(&files[..], [one] if one.ends_with(".partial")),
        "{files:?}"
    );
    let named = reader.read_file(snapshot, &files[0]).unwrap();
    let disk = world.disk(vm, 0);
    let slot = |number: usize| &disk[number * SLOT as usize..][..SLOT as usize];
    assert!(
        named == [slot(0), slot(2)].concat(),
        "what is stored is named"
    );

    let report = world.back_up(vm, "repo").unwrap();
    assert_eq!(
        report.descriptor.backup_type(),
        BackupType::Full,
        "it is no base"
    );
    assert_eq!(report.descriptor.disks[0].uploaded_bytes, 0);
    assert_eq!(listed(&world, vm), (1, 0));
    let reader = SecondReader::open(&world.path("repo"), PASSWORD).unwrap();
    assert_eq!(reader.snapshots().len(), 1);
}

/// Does something once, when a run tells of a phase.
struct AtPhase {
    phase: &'static str,
    act: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl std::fmt::Debug for AtPhase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AtPhase({})", self.phase)
    }
}

impl Monitor for AtPhase {
    fn hear(&self, news: &News<'_>) {
        if matches!(news, News::Phase { phase, .. } if *phase == self.phase)
            && let Some(act) = self.act.lock().unwrap().take()
        {
            act();
        }
    }
}

#[test]
fn a_checkpoint_manifest_names_nothing_of_a_base_that_is_gone() {
    for base_goes in [false, true] {
        let mut world = World::new(44);
        world.options.checkpoint_manifest_every = Duration::ZERO;
        let vm = world.add_vm("long", 2 * SLOT);
        world.host.write_random(vm, 0, 4 * MIB, 1).unwrap();
        let base = world.back_up(vm, "repo").unwrap();
        world.host.write_random(vm, 0, MIB, 2).unwrap();
        let world = Arc::new(world);
        let there = Arc::clone(&world);
        let act = move || {
            if base_goes {
                let writer = Writer::new(&there.repository("repo"), 1).unwrap();
                Points::withdraw(&writer, &base.point_id).unwrap();
            }
        };
        let progress = Progress {
            monitor: Arc::new(AtPhase {
                phase: "storing the disks",
                act: Mutex::new(Some(Box::new(act))),
            }),
            ..Progress::silent()
        };
        world
            .back_up_heard(vm, "repo", &progress, &|step| step != Step::DataStored)
            .unwrap_err();
        let expected = if base_goes { (0, 0) } else { (1, 1) };
        assert_eq!(listed(&world, vm), expected);
    }
}

const KILLED_BYTES: u64 = 200 * MIB;
const KILLED_WORLD: &str = "E3_SCENARIO_KILLED_WORLD";

/// Returns how many bytes of blobs are in a repository's folder; what is still being written
/// has another name.
fn blobs_bytes(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return 0;
    };
    entries
        .map(|entry| {
            let path = entry.unwrap().path();
            match std::fs::metadata(&path) {
                Ok(found) if found.is_dir() => blobs_bytes(&path),
                Ok(found) if path.extension() == Some("f".as_ref()) => found.len(),
                // A temporary file may go while it is looked at.
                _ => 0,
            }
        })
        .sum()
}

/// Backs up until nine tenths are stored, and dies as in a power failure.
fn back_up_and_die(root: PathBuf) {
    let world = World::enter(root, 45);
    let vm = world.host.vms().unwrap()[0].id;
    let packs = world.path("repo").join("p");
    let outcome = world.back_up_hooked(
        vm,
        "repo",
        Box::new(move |_, _, _| {
            if blobs_bytes(&packs) >= KILLED_BYTES / 10 * 9 {
                std::process::abort();
            }
        }),
    );
    panic!("it should be dead: {outcome:?}");
}

/// The test is its own victim: it runs itself again as another process, which dies.
#[test]
fn killed_at_nine_tenths_of_a_full_the_next_run_uploads_the_rest() {
    const NAME: &str = "killed_at_nine_tenths_of_a_full_the_next_run_uploads_the_rest";
    if let Some(root) = std::env::var_os(KILLED_WORLD) {
        return back_up_and_die(PathBuf::from(root));
    }
    let world = World::new(45);
    let vm = world.add_vm("killed", KILLED_BYTES + SLOT);
    for (place, seed) in (0..KILLED_BYTES).step_by(50 * MIB as usize).zip(0..) {
        let content = random(seed, 50 * MIB);
        world.host.write(vm, 0, place, &content).unwrap();
    }
    drop(world.repository("repo"));
    let died = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", NAME, "--nocapture"])
        .env(KILLED_WORLD, world.path(""))
        .output()
        .unwrap();
    assert!(
        !died.status.success() && died.status.code().is_none(),
        "{}",
        String::from_utf8_lossy(&died.stderr)
    );
    let report = world.back_up(vm, "repo").unwrap();
    let uploaded = report.descriptor.disks[0].uploaded_bytes;
    assert!(
        uploaded <= KILLED_BYTES * 15 / 100,
        "{} MiB of {} were uploaded again",
        uploaded / MIB,
        KILLED_BYTES / MIB
    );
    let (stored, disk) = (
        image(&world, &report),
        world.host.open_live_disk(vm, 0).unwrap(),
    );
    let mut pieces = [vec![0; SLOT as usize], vec![0; SLOT as usize]];
    for place in (0..KILLED_BYTES).step_by(SLOT as usize) {
        stored.read_at(place, &mut pieces[0]).unwrap();
        disk.read_at(place, &mut pieces[1]).unwrap();
        assert!(pieces[0] == pieces[1], "at {place}");
    }
    world.assert_no_checkpoint(vm);
}
