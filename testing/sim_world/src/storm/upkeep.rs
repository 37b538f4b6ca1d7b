//! Maintenance by a machine of its own, between backups and in the middle of them.

use std::time::Duration;

use maintain::{Maintenance, Options, Report};
use progress::Progress;
use time_and_chance::Chance;

use super::Storm;
use crate::place::Place;

/// So many days of maintenance remove whatever nobody needs: sessions that died count as alive for
/// four, collected contents are forgotten and their packs deleted days later.
const DAYS_UNTIL_TIDY: u32 = 9;

impl Storm {
    pub(super) fn maintain(&mut self) -> String {
        let repository = self.draw(2);
        let told = run(&self.place, repository, &self.chance);
        self.count_upkeep(told.1.as_ref());
        if self.draw(3) == 0 {
            self.compare_all_points();
        }
        told.0
    }

    pub(super) fn count_upkeep(&mut self, report: Option<&Report>) {
        if let Some(report) = report {
            self.tally.maintained += 1;
            self.tally.packs_deleted += report.deleted.packs.count as u32;
        }
    }

    /// Lets days pass until maintenance has removed what is in no point.
    pub(super) fn maintain_until_tidy(&mut self) {
        for _ in 0..DAYS_UNTIL_TIDY {
            self.place.clock.advance(Duration::from_hours(25));
            for repository in [0, 1] {
                let report = maintain(&self.place, repository, true)
                    .unwrap_or_else(|error| panic!("maintenance in peace: failed to {error}"));
                assert!(report.is_whole(), "{report:?}");
                self.count_upkeep(Some(&report));
            }
        }
    }
}

/// Maintains a repository, after hours that nobody had in mind; says what came of it.
pub(super) fn run(place: &Place, repository: usize, chance: &Chance) -> (String, Option<Report>) {
    let full = chance.below(4) > 0;
    let hours = [0, 2, 5, 26][chance.below(4) as usize];
    place.clock.advance(Duration::from_hours(hours));
    let what = format!("{hours} hours later repository {repository} is maintained, full: {full}");
    match maintain(place, repository, full) {
        Ok(report) => {
            assert_eq!(report.collected.missing, 0, "{what}: {report:?}");
            let words = format!(
                "{what}: {} contents buried, {} revived, {} packs deleted, {:?}",
                report.collected.buried.count,
                report.collected.revived.count,
                report.deleted.packs.count,
                report.collection_stopped
            );
            (words, Some(report))
        }
        Err(error) => (format!("{what}: failed to {error}"), None),
    }
}

fn maintain(place: &Place, repository: usize, full: bool) -> Result<Report, String> {
    let repo = place
        .open_as_keeper(repository)
        .map_err(|error| error.to_string())?;
    let options = Options {
        full,
        take_ownership: true,
        ..Options::default()
    };
    let progress = Progress::silent();
    Maintenance {
        repo: &repo,
        options,
        progress: &progress,
    }
    .run()
    .map_err(|error| error.to_string())
}
