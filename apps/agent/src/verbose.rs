//! The verbose log of a run, pushed in pieces while an administrator wants it (control-plane API
//! 3.5). It ends by itself, and nothing in it is a run's concern: it has a thread of its own, and what
//! cannot be pushed is dropped.

use std::sync::Arc;
use std::time::Duration;

use protocol::log_chunk::{CHUNKS_MAX, PushLogChunk};
use protocol::{NoAnswer, WireId};

use crate::control_plane::CallError;
use crate::parts::Parts;
use crate::tap::{Piece, Tap};

/// A piece is not longer: compressed, it has room in a call, whatever is in it.
const PIECE_BYTES_MAX: usize = 768 << 10;
/// A piece is pushed this long after the one before, unless there are too few left for that.
const APART_MIN: Duration = Duration::from_secs(10);
/// The pause after a piece that could not be pushed; it doubles with each further time.
const PAUSE_MIN: Duration = Duration::from_secs(2);
/// And is never longer.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// Once the run is over, or the time is up, a piece is tried so often.
const LAST_TRIES_MAX: u32 = 4;

/// What decides whether a piece is pushed now.
#[derive(Debug, Clone, Copy)]
struct Situation {
    now: Duration,
    /// When the last piece was pushed, or all began.
    last: Duration,
    /// When it ends.
    until: Duration,
    waiting_bytes: usize,
    pieces_left: u64,
    /// The run has ended, or the time is up.
    is_over: bool,
}

/// Returns whether a piece is pushed now: in the end, when it is full, and else so often that those
/// that are left last for the time that is left.
fn is_due(it: Situation) -> bool {
    let left = it.until.saturating_sub(it.now);
    let pieces = u32::try_from(it.pieces_left.max(1)).unwrap_or(u32::MAX);
    let apart = (left / pieces).max(APART_MIN);
    let has_waited = it.now.saturating_sub(it.last) >= apart;
    it.waiting_bytes > 0 && (it.is_over || has_waited || it.waiting_bytes >= PIECE_BYTES_MAX)
}

/// Pushes the verbose log of a run until it is over, nobody wants it any more, or the server takes
/// no more of it.
pub fn push(parts: &Parts, run_id: &WireId) {
    let tap = Arc::new(Tap::default());
    parts.log.tapped_by(&tap);
    parts.log.info(&format!(
        "the verbose log of run {run_id} is pushed from now on"
    ));
    let why = Pusher::new(parts, run_id, &tap).push();
    parts.verbose.with(run_id, |it| it.until = None);
    parts.log.info(&format!(
        "the verbose log of run {run_id} is not pushed any more: {why}"
    ));
}

struct Pusher<'p> {
    parts: &'p Parts,
    run_id: &'p WireId,
    tap: &'p Tap,
    /// A piece under way, its number, and how often it was tried.
    piece: Option<(Piece, u64, u32)>,
}

/// What became of a try.
enum Tried {
    Pushed,
    /// Another try may help, after so long.
    Later(Duration),
    /// None will.
    Refused(CallError),
}

impl<'p> Pusher<'p> {
    fn new(parts: &'p Parts, run_id: &'p WireId, tap: &'p Tap) -> Self {
        Self {
            parts,
            run_id,
            tap,
            piece: None,
        }
    }

    /// Pushes until there is a reason to end, which is returned.
    fn push(mut self) -> String {
        let (clock, cadence) = (&self.parts.ports.clock, &self.parts.ports.cadence);
        let mut last = clock.monotonic();
        let mut not_before = last;
        loop {
            let now = clock.monotonic();
            let state = self
                .parts
                .verbose
                .with(self.run_id, |it| (it.next, it.until));
            let Some((next, Some(until))) = state else {
                return "it was forgotten".to_owned();
            };
            let end = match self.parts.active.holds(self.run_id) {
                false => Some("the run is over"),
                true if now >= until => Some("the time is up"),
                true => None,
            };
            // What others go on to say is not the run's; and more time may have been given.
            self.tap.close(end.is_some());
            let pieces_left = CHUNKS_MAX.saturating_sub(next);
            let situation = Situation {
                now,
                last,
                until,
                waiting_bytes: self.tap.waiting_bytes(),
                pieces_left,
                is_over: end.is_some(),
            };
            if self.piece.is_none() && is_due(situation) {
                if pieces_left == 0 {
                    return format!("the server takes {CHUNKS_MAX} pieces of a run");
                }
                last = now;
                self.take();
            }
            if self.piece.is_some() && now >= not_before {
                match self.try_piece() {
                    Tried::Pushed => {}
                    Tried::Later(pause) => not_before = now + pause,
                    Tried::Refused(error) => return error.to_string(),
                }
            }
            match (end, &self.piece) {
                (Some(why), None) if self.tap.waiting_bytes() == 0 && self.is_the_end_at(until) => {
                    return why.to_owned();
                }
                (Some(why), Some((.., tries))) if *tries >= LAST_TRIES_MAX => {
                    return format!("{why}, and the rest cannot be pushed");
                }
                _ => {}
            }
            if clock.sleep(cadence.look, &self.parts.stop).is_err() {
                return "the service ends".to_owned();
            }
        }
    }

    /// Ends it, unless more time was given since the end was known.
    fn is_the_end_at(&self, until: Duration) -> bool {
        let ended = self.parts.verbose.with(self.run_id, |it| {
            let is_the_end = it.until == Some(until);
            if is_the_end {
                it.until = None;
            }
            is_the_end
        });
        ended.unwrap_or(true)
    }

    /// Takes what waits as the next piece.
    fn take(&mut self) {
        let taken = self.tap.take(PIECE_BYTES_MAX);
        let number = self.parts.verbose.with(self.run_id, |it| {
            it.next += 1;
            it.next - 1
        });
        self.piece = taken.zip(number).map(|(mut piece, number)| {
            // Before it is sent: so a number that the server knows already is this very piece's, whose
            // answer was lost.
            self.parts.runs_begun.note_pieces(self.run_id, number + 1);
            // It may hold what was not known to be a secret when it was written.
            piece.text = self.parts.log.redacted(&piece.text);
            (piece, number, 0)
        });
    }

    fn try_piece(&mut self) -> Tried {
        let Some((piece, number, tries)) = &mut self.piece else {
            return Tried::Pushed;
        };
        *tries += 1;
        let plane = &self.parts.plane;
        let version = &plane.caller().program.version;
        let run_id = self.run_id.clone();
        let call = PushLogChunk::new(run_id, *number, &piece.text, piece.between, version);
        let Some(call) = call else {
            // One line is never that long.
            self.piece = None;
            return Tried::Pushed;
        };
        match plane.call(&call, &self.parts.stop) {
            Ok(_) => {
                self.piece = None;
                Tried::Pushed
            }
            Err(error) if is_hopeless(&error) => Tried::Refused(error),
            Err(error) => {
                let doubled = PAUSE_MIN.saturating_mul(1 << (*tries - 1).min(6));
                Tried::Later(
                    doubled
                        .min(PAUSE_MAX)
                        .max(error.after().unwrap_or_default()),
                )
            }
        }
    }
}

fn is_hopeless(error: &CallError) -> bool {
    let is_too_old = matches!(error, CallError::NoAnswer(NoAnswer::TooOld { .. }));
    is_too_old || error.is_final() || error.is_missing_endpoint() || error.is_unauthorized()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use protocol::endpoint::Endpoint;
    use time_and_chance::Clock as _;

    use super::*;
    use crate::http::LineErrorKind;
    use crate::runs_begun::BegunRun;
    use crate::test_parts::{TestLine, clock, no_answer, parts, success};

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn pieces_last_for_the_time_and_the_end_leaves_nothing() {
        let quiet = Situation {
            now: seconds(100),
            last: seconds(95),
            until: seconds(100 + 120),
            waiting_bytes: 1,
            pieces_left: 60,
            is_over: false,
        };
        let of_hours = Situation {
            until: seconds(100 + 4 * 3600),
            last: seconds(0),
            ..quiet
        };
        for (situation, expected) in [
            (quiet, false),
            (
                Situation {
                    last: seconds(90),
                    ..quiet
                },
                true,
            ),
            (
                Situation {
                    is_over: true,
                    ..quiet
                },
                true,
            ),
            (
                Situation {
                    is_over: true,
                    waiting_bytes: 0,
                    ..quiet
                },
                false,
            ),
            (
                Situation {
                    last: seconds(0),
                    waiting_bytes: 0,
                    ..quiet
                },
                false,
            ),
            (
                Situation {
                    waiting_bytes: PIECE_BYTES_MAX,
                    ..quiet
                },
                true,
            ),
            // Sixty pieces for four hours: one in four minutes.
            (of_hours, false),
            (
                Situation {
                    now: seconds(240),
                    ..of_hours
                },
                true,
            ),
            (
                Situation {
                    pieces_left: 0,
                    until: seconds(100),
                    ..of_hours
                },
                true,
            ),
        ] {
            assert_eq!(is_due(situation), expected, "{situation:?}");
        }
    }

    /// Pushes the log of a run that is over, and returns the numbers of what was sent.
    fn pushed(folder: &std::path::Path) -> (Vec<serde_json::Value>, u64) {
        let is_lost = std::sync::atomic::AtomicBool::new(false);
        let line = TestLine::new(move |request, _| match request.endpoint {
            // The server has it, and the answer does not come.
            Endpoint::PushLogChunk if !is_lost.swap(true, Ordering::SeqCst) => {
                no_answer(LineErrorKind::Silence)
            }
            Endpoint::PushLogChunk => success(r#"{"duplicate": true, "remaining_capacity": 59}"#),
            _ => success("{}"),
        });
        let clock = clock();
        let parts = parts(folder, &line, clock.clone());
        let run_id = WireId::Number(7);
        parts.runs_begun.add(&BegunRun {
            run_id: run_id.clone(),
            is_backup: true,
            begun_at: clock.now(),
            pieces: 0,
        });
        let first = parts.runs_begun.pieces(&run_id);
        let until = clock.monotonic() + seconds(60);
        parts.verbose.want(&run_id, until, first, |_| true);
        push(&parts, &run_id);
        let sent = line.documents(Endpoint::PushLogChunk);
        let numbers = sent.into_iter().map(|it| it["chunk_seq"].clone());
        (numbers.collect(), parts.runs_begun.pieces(&run_id))
    }

    #[test]
    fn a_piece_whose_answer_was_lost_comes_once_and_no_number_twice_after_a_crash() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(pushed(folder.path()), (vec![0.into(), 0.into()], 1));
        assert_eq!(pushed(folder.path()), (vec![1.into(), 1.into()], 2));
    }
}
