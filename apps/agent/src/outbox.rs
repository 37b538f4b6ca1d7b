//! Terminal updates of runs: written down before they are sent, and sent until they are
//! acknowledged, also after a restart, byte for byte the same.
//!
//! ```text
//! posted ─► on its way ─► acknowledged          remembered for a while, for a run ends once
//! ```
//!
//! A terminal update that is lost leaves its run hanging, and its points are never listed. One that is sent
//! again although the server has it lists them twice.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use protocol::WireId;
use protocol::event::Event;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use time_and_chance::{SharedClock, Timestamp};

use crate::control_plane::{ControlPlane, Ends};
use crate::log::Log;
use crate::records;

/// The first pause after an attempt that failed; it doubles with each further one.
const PAUSE_MIN: Duration = Duration::from_secs(5);
/// And is never longer.
const PAUSE_MAX: Duration = Duration::from_mins(5);
/// A server that may still be at work on it gets so much time at the least.
const DOUBT_PAUSE: Duration = Duration::from_secs(10);
/// So many ends that were acknowledged are remembered.
const TOLD_MAX: usize = 50;

/// The last update of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Letter {
    run_id: WireId,
    /// The body as it is sent.
    body: String,
    /// Whether it was sent, and nobody heard whether the server took it.
    #[serde(default)]
    is_in_doubt: bool,
    /// When it was acknowledged.
    #[serde(default)]
    told_at: Option<Timestamp>,
}

#[derive(Debug)]
struct Waiting {
    letter: Letter,
    /// What is told after it.
    last_events: Vec<Event>,
    attempts: u32,
    not_before: Duration,
    /// Somebody is sending it right now.
    is_on_its_way: bool,
}

#[derive(Debug, Default)]
struct Letters {
    waiting: BTreeMap<String, Waiting>,
    /// The last ones that were acknowledged, the oldest first.
    told: VecDeque<Letter>,
}

/// Which updates are to be sent.
#[derive(Debug, Clone, Copy)]
pub enum Which<'r> {
    /// Those whose time has come.
    Due,
    /// All that wait, but for those that the server may be at work on.
    All,
    /// That of one run, if its time has come.
    Of(&'r WireId),
}

/// What is to be told after the ends that the control plane has heard of.
pub type LastEvents = Vec<(WireId, Vec<Event>)>;

/// The outbox.
#[derive(Debug)]
pub struct Outbox {
    folder: PathBuf,
    clock: SharedClock,
    log: Arc<Log>,
    letters: Mutex<Letters>,
}

impl Outbox {
    /// Opens the outbox in a folder, with what waits there from earlier.
    pub fn open(folder: PathBuf, clock: SharedClock, log: Arc<Log>) -> io::Result<Self> {
        let mut letters = Letters::default();
        let mut told = Vec::new();
        for (name, path, read) in records::read_all(&folder, &log)? {
            match serde_json::from_slice::<Letter>(&read) {
                Ok(letter) if letter.told_at.is_some() => told.push(letter),
                Ok(letter) => {
                    let pause = match letter.is_in_doubt {
                        true => DOUBT_PAUSE,
                        false => Duration::ZERO,
                    };
                    let mut waiting = Waiting::new(letter, Vec::new());
                    waiting.not_before = clock.monotonic() + pause;
                    letters.waiting.insert(name, waiting);
                }
                Err(error) => log.error(&format!(
                    "failed to understand {}, which stays there: {error}",
                    path.display()
                )),
            }
        }
        told.sort_by_key(|letter| letter.told_at);
        letters.told = told.into();
        Ok(Self {
            folder,
            clock,
            log,
            letters: Mutex::new(letters),
        })
    }

    /// Takes the last update of a run, and what is to be told after it. Once this returns, it is not lost any
    /// more; what comes later for the same run is dropped, for a run ends once.
    pub fn post(&self, run_id: &WireId, body: Vec<u8>, last_events: Vec<Event>) {
        let mut letters = self.lock();
        if letters.knows(run_id) {
            drop(letters);
            self.log.error(&format!(
                "run {run_id} ended a second time, which is not told"
            ));
            return;
        }
        let letter = Letter {
            run_id: run_id.clone(),
            body: String::from_utf8(body).expect("updates are JSON"),
            is_in_doubt: false,
            told_at: None,
        };
        if let Err(error) = self.write(&letter) {
            // It is sent from memory: only a crash before that loses it.
            self.log.error(&format!(
                "failed to write down how run {run_id} ended, which is lost if the service ends before it is told: {error}"
            ));
        }
        let waiting = Waiting::new(letter, last_events);
        letters.waiting.insert(name_of(run_id), waiting);
    }

    /// Lets the end of a run be told once more that was acknowledged: a server that takes the run for going
    /// on has lost it.
    pub fn tell_again(&self, run_id: &WireId) {
        let mut letters = self.lock();
        let place = letters
            .told
            .iter()
            .position(|it| it.run_id.names_same(run_id));
        let Some(mut letter) = place.and_then(|place| letters.told.remove(place)) else {
            return;
        };
        letter.told_at = None;
        self.note(&letter);
        let waiting = Waiting::new(letter, Vec::new());
        letters.waiting.insert(name_of(run_id), waiting);
    }

    /// Returns whether the run has ended and the control plane may not know yet.
    pub fn holds(&self, run_id: &WireId) -> bool {
        self.lock().waiting.contains_key(&name_of(run_id))
    }

    /// Returns whether the run has ended, as far as that is remembered.
    pub fn knows(&self, run_id: &WireId) -> bool {
        self.lock().knows(run_id)
    }

    /// Returns how many updates wait.
    pub fn len(&self) -> usize {
        self.lock().waiting.len()
    }

    /// Returns whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.lock().waiting.is_empty()
    }

    /// Lets the update of a run be sent without further waiting.
    pub fn hurry(&self, run_id: &WireId) {
        if let Some(it) = self.lock().waiting.get_mut(&name_of(run_id)) {
            it.not_before = Duration::ZERO;
        }
    }

    /// Sends updates, each once; returns what is to be told after those that arrived.
    pub fn deliver(&self, which: Which<'_>, plane: &ControlPlane, ends: Ends<'_>) -> LastEvents {
        let mut tried = BTreeSet::new();
        let mut afterwards = Vec::new();
        while !ends.stop.is_stopped()
            && let Some(name) = self.take_one(which, &tried)
        {
            afterwards.extend(self.deliver_one(&name, plane, ends));
            tried.insert(name);
        }
        afterwards
    }

    /// Takes one that is to be sent, so that nobody else sends it meanwhile.
    fn take_one(&self, which: Which<'_>, tried: &BTreeSet<String>) -> Option<String> {
        let now = self.clock.monotonic();
        let mut letters = self.lock();
        let mut wanted = letters.waiting.iter_mut().filter(|(name, it)| {
            let is_wanted = match which {
                Which::Due => it.not_before <= now,
                Which::All => it.not_before <= now || !it.letter.is_in_doubt,
                Which::Of(run_id) => it.not_before <= now && it.letter.run_id.names_same(run_id),
            };
            is_wanted && !it.is_on_its_way && !tried.contains(*name)
        });
        let (name, it) = wanted.next()?;
        it.is_on_its_way = true;
        Some(name.clone())
    }

    fn deliver_one(
        &self,
        name: &str,
        plane: &ControlPlane,
        ends: Ends<'_>,
    ) -> Option<(WireId, Vec<Event>)> {
        let mut letter = self.lock().waiting.get(name)?.letter.clone();
        // What a crash leaves now may be there already.
        letter.is_in_doubt = true;
        self.note(&letter);
        let sent = plane.send_last_update(&letter.run_id, letter.body.as_bytes(), ends);
        letter.is_in_doubt = matches!(&sent, Err(error) if error.is_in_doubt());
        let run_id = letter.run_id.clone();
        match sent {
            Ok(()) => {
                self.log.info(&format!("the end of run {run_id} is told"));
                Some((run_id, self.is_told(name, letter)))
            }
            Err(error) if error.is_final() => {
                self.log.error(&format!(
                    "the control plane will never take how run {run_id} ended: {error}"
                ));
                Some((run_id, self.is_told(name, letter)))
            }
            Err(error) => {
                self.log.debug(&format!(
                    "the end of run {run_id} could not be told yet: {error}"
                ));
                self.note(&letter);
                let doubt_pause = match letter.is_in_doubt {
                    true => DOUBT_PAUSE,
                    false => Duration::ZERO,
                };
                let mut letters = self.lock();
                let it = letters.waiting.get_mut(name)?;
                it.letter.is_in_doubt = letter.is_in_doubt;
                let doubled = PAUSE_MIN.saturating_mul(1 << it.attempts.min(10));
                let pause = doubled
                    .min(PAUSE_MAX)
                    .max(doubt_pause)
                    .max(error.after().unwrap_or_default());
                it.attempts += 1;
                it.not_before = self.clock.monotonic() + pause;
                it.is_on_its_way = false;
                None
            }
        }
    }

    /// Notes that the control plane knows, and returns what is to be told after that.
    fn is_told(&self, name: &str, mut letter: Letter) -> Vec<Event> {
        letter.told_at = Some(self.clock.now());
        if self.write(&letter).is_err() {
            // Without room for more, this is enough to keep it from being sent again.
            let _ = fs::remove_file(self.path(&letter.run_id));
        }
        let mut letters = self.lock();
        letters.told.push_back(letter);
        if letters.told.len() > TOLD_MAX
            && let Some(oldest) = letters.told.pop_front()
        {
            let path = self.path(&oldest.run_id);
            // What stays is read again and forgotten later.
            let _ = fs::remove_file(path);
        }
        let waiting = letters.waiting.remove(name);
        waiting.map_or_else(Vec::new, |it| it.last_events)
    }

    fn note(&self, letter: &Letter) {
        if let Err(error) = self.write(letter) {
            self.log.error(&format!(
                "failed to write down how far the end of run {} is told: {error}",
                letter.run_id
            ));
        }
    }

    fn write(&self, letter: &Letter) -> io::Result<()> {
        let bytes = serde_json::to_vec(letter).expect("texts and numbers have JSON");
        local_file::replace(&self.path(&letter.run_id), &bytes)
    }

    fn path(&self, run_id: &WireId) -> PathBuf {
        records::path(&self.folder, &name_of(run_id))
    }

    fn lock(&self) -> MutexGuard<'_, Letters> {
        self.letters
            .lock()
            .expect("nobody panics while he holds it")
    }
}

impl Letters {
    fn knows(&self, run_id: &WireId) -> bool {
        self.waiting.contains_key(&name_of(run_id))
            || self.told.iter().any(|it| it.run_id.names_same(run_id))
    }
}

impl Waiting {
    fn new(letter: Letter, last_events: Vec<Event>) -> Self {
        Self {
            letter,
            last_events,
            attempts: 0,
            not_before: Duration::ZERO,
            is_on_its_way: false,
        }
    }
}

/// Returns the name of a run's files: whatever a server calls it, it is one of a file.
pub fn name_of(run_id: &WireId) -> String {
    hex::encode(&Sha256::digest(run_id.to_string().to_ascii_lowercase())[..16])
}

#[cfg(test)]
mod tests {
    use protocol::endpoint::Endpoint;
    use serde_json::json;
    use time_and_chance::StopSignal;

    use super::*;
    use crate::http::LineErrorKind;
    use crate::parts::Parts;
    use crate::test_parts::{TestLine, clock, no_answer, parts, success};

    fn run() -> WireId {
        WireId::Text("0195d2a4-0000-7000-8000-000000000001".to_owned())
    }

    fn post(parts: &Parts) {
        let body = json!({"run_id": run().to_string(), "status": "success"});
        parts
            .outbox
            .post(&run(), body.to_string().into_bytes(), Vec::new());
    }

    fn deliver(parts: &Parts, which: Which<'_>) {
        let stop = StopSignal::new();
        parts.outbox.deliver(which, &parts.plane, Ends::by(&stop));
    }

    #[test]
    fn an_end_that_nobody_answers_in_time_is_left_to_the_server_for_a_while() {
        let (folder, clock) = (tempfile::tempdir().unwrap(), clock());
        let line = TestLine::new(|_, _| no_answer(LineErrorKind::Silence));
        let parts = parts(folder.path(), &line, clock.clone());
        post(&parts);
        let sent = || line.bodies(Endpoint::UpdateRun);
        deliver(&parts, Which::Due);
        deliver(&parts, Which::Due);
        deliver(&parts, Which::All);
        assert_eq!(sent().len(), 1, "the server may be at work on it");
        clock.advance(DOUBT_PAUSE);
        deliver(&parts, Which::Due);
        assert_eq!(sent().len(), 2);
        assert_eq!(sent()[0], sent()[1]);
    }

    #[test]
    fn an_end_that_was_on_its_way_when_the_service_died_is_not_sent_again_at_once() {
        let (folder, clock) = (tempfile::tempdir().unwrap(), clock());
        let cut = TestLine::new(|_, _| no_answer(LineErrorKind::Stopped));
        let first = parts(folder.path(), &cut, clock.clone());
        post(&first);
        deliver(&first, Which::Due);
        drop(first);
        let line = TestLine::quiet();
        let second = parts(folder.path(), &line, clock.clone());
        deliver(&second, Which::Due);
        assert!(line.bodies(Endpoint::UpdateRun).is_empty());
        clock.advance(DOUBT_PAUSE);
        deliver(&second, Which::Due);
        let sent = line.bodies(Endpoint::UpdateRun);
        assert_eq!(sent, cut.bodies(Endpoint::UpdateRun));
        assert!(second.outbox.is_empty());
    }

    #[test]
    fn an_end_that_was_told_is_remembered_and_told_again_only_when_that_is_wanted() {
        let (folder, clock) = (tempfile::tempdir().unwrap(), clock());
        let line = TestLine::quiet();
        let open = || parts(folder.path(), &line, clock.clone());
        let first = open();
        post(&first);
        deliver(&first, Which::Of(&run()));
        post(&first);
        assert!(first.outbox.is_empty() && first.outbox.knows(&run()));
        let second = open();
        post(&second);
        assert!(second.outbox.is_empty() && second.outbox.knows(&run()));
        second.outbox.tell_again(&run());
        // It is to be told even if the service dies now.
        let third = open();
        assert!(third.outbox.holds(&run()));
        deliver(&third, Which::Due);
        let sent = line.bodies(Endpoint::UpdateRun);
        assert_eq!((sent.len(), &sent[0]), (2, &sent[1]));
    }

    #[test]
    fn not_every_end_is_remembered_for_ever() {
        let (folder, clock) = (tempfile::tempdir().unwrap(), clock());
        let line = TestLine::quiet();
        let first = parts(folder.path(), &line, clock.clone());
        for number in 1..=TOLD_MAX as i64 + 7 {
            clock.advance(Duration::from_secs(1));
            let run_id = WireId::Number(number);
            first.outbox.post(&run_id, b"{}".to_vec(), Vec::new());
            deliver(&first, Which::Due);
        }
        let kept = fs::read_dir(&first.outbox.folder).unwrap().count();
        assert_eq!(kept, TOLD_MAX);
        let second = parts(folder.path(), &line, clock.clone());
        assert!(!second.outbox.knows(&WireId::Number(7)));
        assert!(second.outbox.knows(&WireId::Number(8)));
    }

    #[test]
    fn what_is_told_after_an_end_waits_until_the_end_has_arrived() {
        let (folder, clock) = (tempfile::tempdir().unwrap(), clock());
        let is_up = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let heard = Arc::clone(&is_up);
        let line =
            TestLine::new(
                move |_, _| match heard.load(std::sync::atomic::Ordering::SeqCst) {
                    true => success("{}"),
                    false => no_answer(LineErrorKind::Line),
                },
            );
        let parts = parts(folder.path(), &line, clock.clone());
        let last = protocol::event::CompletedWarning {};
        parts.outbox.post(&run(), b"{}".to_vec(), vec![last.into()]);
        let stop = StopSignal::new();
        let deliver = || {
            let which = Which::Due;
            parts.outbox.deliver(which, &parts.plane, Ends::by(&stop))
        };
        assert!(deliver().is_empty());
        is_up.store(true, std::sync::atomic::Ordering::SeqCst);
        clock.advance(PAUSE_MAX);
        assert_eq!(deliver()[0].1.len(), 1);
    }
}
