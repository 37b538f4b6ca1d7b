//! Lines of the log that somebody collects for a while, in bounded memory.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};

use time_and_chance::Timestamp;

/// What waits is no longer: the oldest lines go when more come.
const WAITING_BYTES_MAX: usize = 4 << 20;

/// Collects lines.
#[derive(Debug, Default)]
pub struct Tap(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<(Timestamp, String)>,
    bytes: usize,
    /// Lines that went since the last piece.
    lost: u64,
    is_closed: bool,
}

/// Lines that follow each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// The lines.
    pub text: String,
    /// When the first and the last were written.
    pub between: (Timestamp, Timestamp),
}

impl Tap {
    /// Takes a line, with its end, that was written at a moment.
    pub fn hear(&self, at: Timestamp, line: &str) {
        let mut state = self.lock();
        if state.is_closed {
            return;
        }
        state.bytes += line.len();
        state.waiting.push_back((at, line.to_owned()));
        while state.bytes > WAITING_BYTES_MAX {
            let Some((_, gone)) = state.waiting.pop_front() else {
                return;
            };
            state.bytes -= gone.len();
            state.lost += 1;
        }
    }

    /// Takes no line any more, or again.
    pub fn close(&self, is_closed: bool) {
        self.lock().is_closed = is_closed;
    }

    /// Returns how many bytes of lines wait.
    pub fn waiting_bytes(&self) -> usize {
        self.lock().bytes
    }

    /// Takes the oldest lines, whole ones and at least one, as many as have room in `bytes_max`.
    pub fn take(&self, bytes_max: usize) -> Option<Piece> {
        let mut state = self.lock();
        let first = state.waiting.front()?.0;
        let mut piece = Piece {
            text: String::new(),
            between: (first, first),
        };
        if state.lost > 0 {
            let lost = std::mem::take(&mut state.lost);
            piece.text = format!("({lost} lines before this could not be kept)\n");
        }
        let mut is_first = true;
        while let Some((at, line)) = state.waiting.front() {
            if !is_first && piece.text.len() + line.len() > bytes_max {
                break;
            }
            is_first = false;
            piece.text.push_str(line);
            piece.between.1 = *at;
            let bytes = line.len();
            state.bytes -= bytes;
            state.waiting.pop_front();
        }
        Some(piece)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("nobody panics while he holds it")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn pieces_hold_whole_lines_in_their_order() {
        let tap = Tap::default();
        (1..=3).for_each(|second| tap.hear(at(second), &format!("line {second}\n")));
        assert_eq!(tap.waiting_bytes(), 21);
        let piece = tap.take(20).unwrap();
        assert_eq!(piece.text, "line 1\nline 2\n");
        assert_eq!(piece.between, (at(1), at(2)));
        assert_eq!(tap.take(1).unwrap().text, "line 3\n");
        assert_eq!((tap.take(20), tap.waiting_bytes()), (None, 0));
        tap.close(true);
        tap.hear(at(4), "line 4\n");
        assert_eq!(tap.take(20), None);
    }

    #[test]
    fn what_nobody_takes_does_not_grow_and_the_gap_is_told() {
        let tap = Tap::default();
        let line = format!("{}\n", "x".repeat(999));
        for second in 0..5_000 {
            tap.hear(at(second), &line);
        }
        assert!(tap.waiting_bytes() <= WAITING_BYTES_MAX);
        let piece = tap.take(10).unwrap();
        let gone = 5_000 - (WAITING_BYTES_MAX / 1_000) as i64;
        let told = format!("({gone} lines before this could not be kept)\n");
        assert!(piece.text.starts_with(&told), "{}", &piece.text[..60]);
        assert_eq!(piece.between.0, at(gone));
    }
}
