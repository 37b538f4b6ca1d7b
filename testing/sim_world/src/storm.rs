//! Draws what happens next, lets it happen, and holds the world against the truth.

mod checks;
mod runs;
mod upkeep;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use blob::{BlobErrorKind, Operation, Rule, Strike};
use hyperv::VmState;
use hyperv::sim::SimVm;
use point::Points;
use repo::{Repository, Writer};
use time_and_chance::Chance;
use uuid::Uuid;

use crate::outside;
use crate::place::Place;
use crate::truth::{Machine, Truth};

const MACHINES_MAX: usize = 3;

/// A storm: everything that can happen, in an order that follows from the seed.
///
/// The seed decides what is drawn. Threads of the engines draw names of their own beside it,
/// which is why two storms of one seed may differ in identifiers, not in what happens.
#[derive(Debug)]
pub struct Storm {
    seed: u64,
    chance: Chance,
    place: Place,
    truth: Truth,
    /// Repositories as the agents' processes hold them open: by host, then by repository.
    agents: [[Option<Arc<Repository>>; 2]; 2],
    observers: [Arc<Repository>; 2],
    /// Points whose content was compared since they were published.
    compared: BTreeSet<(usize, Uuid)>,
    tally: Tally,
    story: Vec<String>,
}

/// How often the things happened that a storm is about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Backups that read all of some disk.
    pub fulls: u32,
    /// Backups that read what changed.
    pub increments: u32,
    /// Backups that ended as a killed process does.
    pub killed: u32,
    /// Backups that failed or were stopped.
    pub failed: u32,
    /// Points that a run published before it was killed.
    pub orphan_points: u32,
    /// Machines restored.
    pub restored: u32,
    /// Restores that failed.
    pub restores_failed: u32,
    /// Comparisons of a whole point with the truth.
    pub compared: u32,
    /// Maintenances that came to their end.
    pub maintained: u32,
    /// Packs that they deleted.
    pub packs_deleted: u32,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.fulls += other.fulls;
        self.increments += other.increments;
        self.killed += other.killed;
        self.failed += other.failed;
        self.orphan_points += other.orphan_points;
        self.restored += other.restored;
        self.restores_failed += other.restores_failed;
        self.compared += other.compared;
        self.maintained += other.maintained;
        self.packs_deleted += other.packs_deleted;
    }
}

impl Storm {
    /// Returns the world before the storm: one machine on the first host.
    pub fn new(seed: u64) -> Self {
        // What is drawn here must not depend on how much the engines draw.
        let chance = Chance::from_seed(seed);
        let place = Place::new(Chance::from_seed(seed ^ 0xE3E3_E3E3));
        let observers = [0, 1].map(|repository| place.observe(repository));
        let mut storm = Self {
            seed,
            chance,
            place,
            truth: Truth::default(),
            agents: Default::default(),
            observers,
            compared: BTreeSet::new(),
            tally: Tally::default(),
            story: Vec::new(),
        };
        storm.add_machine();
        storm
    }

    /// Lets `steps` things happen, then lets everything calm down, and holds all against the
    /// truth; returns how often what happened.
    ///
    /// # Panics
    /// If anything is not as it must be.
    pub fn rage(mut self, steps: u32) -> Tally {
        for step in 1..=steps {
            let what = self.step();
            self.story.push(format!("{step}. {what}"));
            self.check_points();
            self.check_hosts();
        }
        self.story.push("the storm ends".to_owned());
        self.calm();
        self.tally
    }

    fn add_machine(&mut self) {
        let host = self.place.host(0);
        let name = format!("vm-{}", self.truth.machines.len());
        let vm = host
            .add_vm(&SimVm::new(name, Vec::new()))
            .expect("a VM can be added");
        let mut machine = Machine::new(vm, 0);
        for _ in 0..=self.chance.below(2) {
            outside::add_disk(&host, &mut machine, &self.chance);
        }
        self.truth.machines.push(machine);
    }

    fn step(&mut self) -> String {
        match self.chance.below(100) {
            0..35 => self.disturb(),
            35..69 => self.back_up(),
            69..73 => self.maintain(),
            73..80 => self.restore(),
            80..84 => self.clean_host(),
            84..87 => self.let_time_pass(),
            87..91 => self.copy_state(),
            91..93 => self.restart_agents(),
            93..96 => self.trouble_store(),
            96..98 => self.delete_point(),
            _ => self.end_all_trouble(),
        }
    }

    fn draw(&self, bound: usize) -> usize {
        self.chance.below(bound as u64) as usize
    }

    fn disturb(&mut self) -> String {
        let number = self.draw(self.truth.machines.len());
        let machine = &mut self.truth.machines[number];
        let host = self.place.host(machine.host);
        let what = outside::disturb(&host, machine, &self.chance);
        format!("{}: {what}", machine.vm)
    }

    fn let_time_pass(&mut self) -> String {
        let hours = [1, 30, 24 * 8][self.draw(3)];
        self.place.clock.advance(Duration::from_hours(hours));
        format!("{hours} hours pass")
    }

    fn copy_state(&mut self) -> String {
        let (host, back) = (self.draw(2), self.draw(2) == 1);
        let done = self.place.copy_state(host, back);
        match (back, done) {
            (false, _) => format!("the state folder of host {host} is put aside"),
            (true, true) => format!("an older state folder of host {host} comes back"),
            (true, false) => "nothing: no state folder was put aside".to_owned(),
        }
    }

    fn restart_agents(&mut self) -> String {
        let host = self.draw(2);
        self.agents[host] = Default::default();
        let cache = self.draw(3) == 0;
        if cache {
            self.place.lose_cache(host);
        }
        format!("the agent on host {host} starts anew, without its cache: {cache}")
    }

    fn trouble_store(&mut self) -> String {
        let operations = [
            Operation::Put,
            Operation::Put,
            Operation::Get,
            Operation::GetRange,
            Operation::List,
            Operation::Metadata,
            Operation::Delete,
        ];
        let operation = operations[self.draw(operations.len())];
        let reads = matches!(operation, Operation::Get | Operation::GetRange);
        let strikes = [
            Strike::Fail(BlobErrorKind::Unavailable),
            Strike::FailAfter(BlobErrorKind::Unavailable),
            Strike::Fail(BlobErrorKind::Denied),
            Strike::FailAfter(BlobErrorKind::Denied),
            Strike::Fail(BlobErrorKind::Full),
            Strike::Slow(Duration::from_secs(300)),
            // What is read may be damaged on its way; what is written may not, or nothing can
            // be promised.
            Strike::FlipBit(self.chance.below(1 << 20)),
            Strike::Truncate(self.chance.below(1 << 10)),
        ];
        let strike = strikes[self.draw(strikes.len() - if reads { 0 } else { 2 })].clone();
        let prefix = ["", "p", "q", "x", "s"][self.draw(5)];
        let repository = self.draw(2);
        let (skip, times) = (self.chance.below(6), 1 + self.chance.below(12));
        let words = format!("{operation:?} of {prefix}…: {strike:?}, {times} times after {skip}");
        let rule = Rule::on(operation, strike)
            .named(prefix)
            .after(skip)
            .times(times);
        self.place.faulty[repository].add(rule);
        format!("repository {repository} is in trouble: {words}")
    }

    fn delete_point(&mut self) -> String {
        let repository = self.draw(2);
        let number = self.draw(self.truth.points[repository].len().max(1));
        let Some(point) = self.truth.points[repository].keys().nth(number).copied() else {
            return "nothing: there is no point to delete".to_owned();
        };
        let observer = &self.observers[repository];
        let id = Points::load(observer)
            .expect("points can be listed")
            .by_point(point)
            .map(|found| found.id().to_owned())
            .expect("the point is listed");
        Points::withdraw(&Writer::new(observer, 1).unwrap(), &id).unwrap();
        self.truth.points[repository].remove(&point);
        format!("another client deletes point {point} of repository {repository}")
    }

    fn end_all_trouble(&mut self) -> String {
        for store in &self.place.faulty {
            store.clear();
        }
        for machine in &mut self.truth.machines {
            let host = self.place.host(machine.host);
            host.clear_faults(machine.vm).unwrap();
            outside::foreign_ends(&host, machine);
        }
        "all trouble ends".to_owned()
    }

    /// Without trouble everything works: each machine is backed up into both repositories,
    /// nothing of ours stays, and every point is what it was. Days of maintenance later that is
    /// still so, nothing is left in the stores that no point needs, and the backups go on.
    fn calm(&mut self) {
        // A merge that still runs keeps the other product from ending; it goes on with each look.
        for _ in 0..10 {
            self.end_all_trouble();
        }
        self.back_all_up_in_peace();
        self.check_points();
        self.compare_all_points();
        self.maintain_until_tidy();
        self.compare_all_points();
        self.audit();
        self.back_all_up_in_peace();
        self.check_points();
    }

    fn back_all_up_in_peace(&mut self) {
        for number in 0..self.truth.machines.len() {
            let machine = &self.truth.machines[number];
            let host = self.place.host(machine.host);
            host.set_state(machine.vm, VmState::Running).unwrap();
            for repository in [0, 1] {
                self.back_up_in_peace(number, repository);
            }
            self.assert_nothing_of_ours(number);
        }
    }
}

impl Drop for Storm {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "the storm of seed {} failed (E3_STORM_SEED={} replays it); what happened:\n{}",
                self.seed,
                self.seed,
                self.story.join("\n")
            );
        }
    }
}
