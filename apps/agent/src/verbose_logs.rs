//! Which runs' verbose logs are wanted, and until when.

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use protocol::WireId;

/// Runs whose verbose log is or was wanted.
#[derive(Debug, Default)]
pub struct VerboseLogs(Mutex<Vec<OfRun>>);

/// One of them.
#[derive(Debug)]
pub struct OfRun {
    /// The run.
    pub run_id: WireId,
    /// The number of the next piece: no two of a run may have the same.
    pub next: u64,
    /// Until when it is wanted, in time since some moment; `None` if nobody pushes it any more.
    pub until: Option<Duration>,
}

/// What to do about a run whose verbose log is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begun {
    /// Whoever asks is to push it.
    Here,
    /// It is being pushed already, and is for longer now.
    Longer,
}

impl VerboseLogs {
    /// Notes that a run's verbose log is wanted until `until`; forgets runs that are over. `first` is the number
    /// of its first piece here: a service that died meanwhile may have pushed others.
    pub fn want(
        &self,
        run_id: &WireId,
        until: Duration,
        first: u64,
        is_active: impl Fn(&WireId) -> bool,
    ) -> Begun {
        let mut runs = self.lock();
        runs.retain(|it| it.until.is_some() || is_active(&it.run_id));
        match runs.iter_mut().find(|it| it.run_id.names_same(run_id)) {
            Some(known) => {
                let is_pushed = known.until.is_some();
                known.until = known.until.max(Some(until));
                match is_pushed {
                    true => Begun::Longer,
                    false => Begun::Here,
                }
            }
            None => {
                runs.push(OfRun {
                    run_id: run_id.clone(),
                    next: first,
                    until: Some(until),
                });
                Begun::Here
            }
        }
    }

    /// Looks at a run whose verbose log is or was wanted, `None` if it is not.
    pub fn with<T>(&self, run_id: &WireId, look: impl FnOnce(&mut OfRun) -> T) -> Option<T> {
        let mut runs = self.lock();
        let found = runs.iter_mut().find(|it| it.run_id.names_same(run_id));
        found.map(look)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<OfRun>> {
        self.0.lock().expect("nobody panics while he looks")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_log_of_a_run_is_pushed_once_and_its_pieces_have_numbers_of_their_own() {
        let logs = VerboseLogs::default();
        let run = WireId::Text("a".to_owned());
        let want = |until| logs.want(&run, seconds(until), 0, |_| true);
        assert_eq!(want(60), Begun::Here);
        assert_eq!(want(90), Begun::Longer);
        assert_eq!(want(30), Begun::Longer);
        let until = || logs.with(&run, |it| (it.next, it.until));
        assert_eq!(until(), Some((0, Some(seconds(90)))));
        logs.with(&run, |it| (it.next, it.until) = (3, None));
        assert_eq!(want(200), Begun::Here);
        assert_eq!(until(), Some((3, Some(seconds(200)))));
        // Once it is over it is forgotten.
        logs.with(&run, |it| it.until = None);
        assert_eq!(logs.want(&run, seconds(300), 0, |_| false), Begun::Here);
        assert_eq!(until(), Some((0, Some(seconds(300)))));
    }
}
