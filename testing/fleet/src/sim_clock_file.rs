//! The clock that server, agent and host share, and how time passes on it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use time_and_chance::{SharedClock, SignedDuration, SimTime, SystemClock, Timestamp};

/// Time is moved on in steps, so that whoever sleeps wakes, does what is due and sleeps again.
const STEP: SignedDuration = SignedDuration::from_hours(1);
/// So long they have for it, in real time.
const STEP_REAL: Duration = Duration::from_millis(120);

/// The clock's file, and whoever moves it.
#[derive(Debug)]
pub struct SimClockFile {
    path: PathBuf,
    real: SharedClock,
    setting: SimTime,
}

impl SimClockFile {
    /// Makes the clock.
    pub fn create(path: &Path, time: Timestamp, rate: u32) -> anyhow::Result<Self> {
        let real = SystemClock::new();
        let clock = Self {
            path: path.to_owned(),
            setting: SimTime::first(time, real.now(), rate),
            real,
        };
        clock.write()?;
        Ok(clock)
    }

    /// Returns the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns what the clock says.
    pub fn now(&self) -> Timestamp {
        self.setting.at(self.real.now())
    }

    /// Lets time pass until a moment, step by step; none passes if it is over.
    pub async fn pass_until(&mut self, moment: Timestamp) -> anyhow::Result<()> {
        loop {
            let left = moment.duration_since(self.now());
            if left <= SignedDuration::ZERO {
                return Ok(());
            }
            let step = Duration::try_from(left.min(STEP)).context("a step is short")?;
            self.setting = self.setting.advanced(step, self.real.now());
            self.write()?;
            tokio::time::sleep(STEP_REAL).await;
        }
    }

    /// Sets the clock to real time, which it follows from then on.
    pub fn follow_real_time(&mut self) -> anyhow::Result<()> {
        let now = self.real.now();
        self.setting = self.setting.set_to(now, now).running(1, now);
        self.write()
    }

    fn write(&self) -> anyhow::Result<()> {
        local_file::replace(&self.path, self.setting.to_string().as_bytes())
            .with_context(|| format!("writing {}", self.path.display()))
    }
}
