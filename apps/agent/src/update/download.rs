//! Fetching a program: bounded, taken up where the line broke, and never half.

use std::fs::File;
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use time_and_chance::{SharedClock, StopSignal};

use crate::http::{Downloads, Head, LineErrorKind};

/// So often is it tried again without a single byte more.
const TRIES_MAX: u32 = 6;
/// The pause before that; it doubles each time.
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// A signature is not longer.
const SMALL_BYTES_MAX: usize = 64 << 10;

/// What fetches.
#[derive(Debug)]
pub struct Download<'a> {
    /// The line.
    pub line: &'a dyn Downloads,
    /// The time.
    pub clock: &'a SharedClock,
    /// Ends it.
    pub stop: &'a StopSignal,
}

/// What came of asking for a small file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fetched {
    /// This.
    Content(Vec<u8>),
    /// The server has none.
    Nothing,
}

/// How asking for a file went wrong.
enum Wrong {
    /// Asking again may help.
    Now(String),
    /// It will not.
    Always(String),
}

impl Download<'_> {
    /// Fetches a file of at most `bytes_max` into one of this machine, which is made anew, readable by
    /// its owner alone. `tell` hears how far it is, and of how much where that is known.
    pub fn to_file(
        &self,
        url: &str,
        bytes_max: u64,
        target: &Path,
        tell: &mut dyn FnMut(u64, Option<u64>),
    ) -> Result<u64, String> {
        let failed = |error: io::Error| format!("failed to write {}: {error}", target.display());
        let mut file = new_file(target).map_err(failed)?;
        let mut have = 0;
        let mut tries = 0;
        loop {
            let before = have;
            match self.piece(url, bytes_max, &mut file, &mut have, tell) {
                Ok(()) => {
                    file.sync_all().map_err(failed)?;
                    return Ok(have);
                }
                Err(Wrong::Always(why)) => return Err(why),
                Err(Wrong::Now(why)) => {
                    tries = if have > before { 1 } else { tries + 1 };
                    if tries >= TRIES_MAX {
                        return Err(why);
                    }
                    let pause = PAUSE_MIN.saturating_mul(1 << (tries - 1));
                    self.clock
                        .sleep(pause, self.stop)
                        .map_err(|_| "the service is being stopped".to_owned())?;
                }
            }
        }
    }

    /// Asks once for what is missing.
    fn piece(
        &self,
        url: &str,
        bytes_max: u64,
        file: &mut File,
        have: &mut u64,
        tell: &mut dyn FnMut(u64, Option<u64>),
    ) -> Result<(), Wrong> {
        let mut wrong = None;
        let mut begun = false;
        let from = *have;
        let mut take = |head: &Head, piece: &[u8]| {
            let taken = (|| {
                if !begun {
                    begun = true;
                    // A server that has no pieces begins anew.
                    if head.from != *have {
                        if head.from != 0 {
                            let what = "the server sent another piece than it was asked for";
                            return Err(Wrong::Now(what.to_owned()));
                        }
                        *have = 0;
                    }
                    file.set_len(*have).map_err(not_written)?;
                    file.seek(SeekFrom::Start(*have)).map_err(not_written)?;
                }
                if *have + piece.len() as u64 > bytes_max {
                    return Err(Wrong::Always(format!(
                        "the file is longer than the {bytes_max} bytes that it may have"
                    )));
                }
                file.write_all(piece).map_err(not_written)?;
                *have += piece.len() as u64;
                tell(*have, head.total);
                Ok(())
            })();
            match taken {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => {
                    wrong = Some(error);
                    ControlFlow::Break(())
                }
            }
        };
        let fetched = self.line.fetch(url, from, &mut take, self.stop);
        if let Some(wrong) = wrong {
            return Err(wrong);
        }
        let head = fetched.map_err(|error| of_line(&error))?;
        match head.status {
            200 | 206 if head.total.is_none_or(|total| total == *have) => Ok(()),
            200 | 206 => Err(Wrong::Now("the file came in part".to_owned())),
            // What is there is as long as the file, or longer.
            416 if *have > 0 => {
                *have = 0;
                Err(of_status(416))
            }
            status => Err(of_status(status)),
        }
    }

    /// Fetches a small file, if the server has it.
    pub fn small(&self, url: &str) -> Result<Fetched, String> {
        let mut tries = 0;
        loop {
            match self.small_once(url) {
                Ok(fetched) => return Ok(fetched),
                Err(Wrong::Always(why)) => return Err(why),
                Err(Wrong::Now(why)) => {
                    tries += 1;
                    let pause = PAUSE_MIN.saturating_mul(1 << (tries - 1));
                    if tries >= TRIES_MAX || self.clock.sleep(pause, self.stop).is_err() {
                        return Err(why);
                    }
                }
            }
        }
    }

    fn small_once(&self, url: &str) -> Result<Fetched, Wrong> {
        let mut content = Vec::new();
        let mut take = |_: &Head, piece: &[u8]| {
            content.extend_from_slice(piece);
            match content.len() > SMALL_BYTES_MAX {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        };
        let head = self.line.fetch(url, 0, &mut take, self.stop);
        let head = head.map_err(|error| of_line(&error))?;
        match head.status {
            200 | 206 if content.len() > SMALL_BYTES_MAX => Err(Wrong::Always(format!(
                "what lies there is longer than {SMALL_BYTES_MAX} bytes"
            ))),
            200 | 206 => Ok(Fetched::Content(content)),
            // Stores that do not let their names be listed say 403 for what is not there.
            401..=404 | 410 => Ok(Fetched::Nothing),
            status => Err(of_status(status)),
        }
    }
}

fn of_line(error: &crate::http::LineError) -> Wrong {
    let why = format!("failed to {error}");
    match error.kind() {
        LineErrorKind::Line | LineErrorKind::Silence => Wrong::Now(why),
        LineErrorKind::Stopped | LineErrorKind::Unsent => {
            Wrong::Always("the service is being stopped".to_owned())
        }
    }
}

fn of_status(status: u16) -> Wrong {
    let why = format!("the server answers HTTP {status}");
    match status {
        408 | 416 | 425 | 429 | 500.. => Wrong::Now(why),
        _ => Wrong::Always(why),
    }
}

fn not_written(error: io::Error) -> Wrong {
    Wrong::Always(format!("failed to write what was fetched: {error}"))
}

/// Makes a file for its owner alone in place of what was there.
fn new_file(path: &Path) -> io::Result<File> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use time_and_chance::{ManualClock, Timestamp};

    use super::*;
    use crate::http::LineError;

    /// What the server does with a request.
    #[derive(Debug, Clone)]
    enum Act {
        /// Sends the file from where it was asked for, and breaks off after so many bytes.
        From(usize),
        /// Sends it from the beginning.
        Whole,
        Status(u16),
        Silence,
    }

    #[derive(Debug)]
    struct Server {
        file: Vec<u8>,
        acts: Mutex<Vec<Act>>,
        asked: Mutex<Vec<u64>>,
    }

    impl Downloads for Server {
        fn fetch(
            &self,
            _: &str,
            from: u64,
            take: &mut dyn FnMut(&Head, &[u8]) -> ControlFlow<()>,
            _: &StopSignal,
        ) -> Result<Head, LineError> {
            self.asked.lock().unwrap().push(from);
            let mut acts = self.acts.lock().unwrap();
            let act = if acts.is_empty() {
                Act::Silence
            } else {
                acts.remove(0)
            };
            let broken = || LineError::new(LineErrorKind::Line, "fetch it");
            let (from, bytes_max) = match act {
                Act::From(bytes_max) => (from, bytes_max),
                Act::Whole => (0, usize::MAX),
                Act::Silence => return Err(broken()),
                Act::Status(status) => {
                    return Ok(Head {
                        status,
                        from: 0,
                        total: None,
                    });
                }
            };
            let head = Head {
                status: if from == 0 { 200 } else { 206 },
                from,
                total: Some(self.file.len() as u64),
            };
            let rest = &self.file[from as usize..];
            let sent = &rest[..rest.len().min(bytes_max)];
            for piece in sent.chunks(3) {
                if take(&head, piece).is_break() {
                    return Ok(head);
                }
            }
            match sent.len() < rest.len() {
                true => Err(broken()),
                false => Ok(head),
            }
        }
    }

    struct Case {
        server: Server,
        folder: tempfile::TempDir,
        clock: SharedClock,
    }

    impl Case {
        fn new(acts: &[Act]) -> Self {
            Self {
                server: Server {
                    file: b"a program".to_vec(),
                    acts: Mutex::new(acts.to_vec()),
                    asked: Mutex::default(),
                },
                folder: tempfile::tempdir().unwrap(),
                clock: ManualClock::at(Timestamp::UNIX_EPOCH),
            }
        }

        fn fetched(&self, bytes_max: u64) -> Result<Vec<u8>, String> {
            let target = self.folder.path().join("new");
            std::fs::write(&target, "what an earlier one left, and longer").unwrap();
            let download = self.download();
            let bytes = download.to_file("u", bytes_max, &target, &mut |_, _| {})?;
            let content = std::fs::read(target).unwrap();
            assert_eq!(content.len() as u64, bytes);
            Ok(content)
        }

        fn download(&self) -> Download<'_> {
            static NEVER: std::sync::OnceLock<StopSignal> = std::sync::OnceLock::new();
            Download {
                line: &self.server,
                clock: &self.clock,
                stop: NEVER.get_or_init(StopSignal::new),
            }
        }

        fn asked(&self) -> Vec<u64> {
            self.server.asked.lock().unwrap().clone()
        }
    }

    #[test]
    fn a_line_that_breaks_costs_only_what_was_on_its_way() {
        let case = Case::new(&[
            Act::From(4),
            Act::Silence,
            Act::From(3),
            Act::Status(503),
            Act::From(99),
        ]);
        assert_eq!(case.fetched(9).unwrap(), b"a program");
        assert_eq!(case.asked(), [0, 4, 4, 7, 7]);
    }

    #[test]
    fn a_server_without_pieces_begins_anew() {
        let case = Case::new(&[Act::From(4), Act::Whole]);
        assert_eq!(case.fetched(9).unwrap(), b"a program");
        let case = Case::new(&[Act::From(4), Act::Status(416), Act::Whole]);
        assert_eq!(case.fetched(9).unwrap(), b"a program");
    }

    #[test]
    fn what_never_comes_or_is_too_long_is_given_up() {
        let silent = Case::new(&[Act::From(4)]);
        assert!(silent.fetched(9).is_err());
        assert!(silent.asked().len() <= 10, "{:?}", silent.asked());
        let missing = Case::new(&[Act::Status(404)]);
        assert!(missing.fetched(9).unwrap_err().contains("HTTP 404"));
        assert_eq!(missing.asked().len(), 1);
        let long = Case::new(&[Act::Whole]);
        assert!(long.fetched(8).unwrap_err().contains("longer than"));
    }

    #[test]
    fn a_small_file_is_there_or_not_and_silence_is_neither() {
        let small = |acts: &[Act]| Case::new(acts).download().small("u");
        let content = Fetched::Content(b"a program".to_vec());
        assert_eq!(small(&[Act::Status(500), Act::Whole]), Ok(content));
        for status in [403, 404, 410] {
            assert_eq!(small(&[Act::Status(status)]), Ok(Fetched::Nothing));
        }
        assert!(small(&[]).is_err());
        assert!(small(&[Act::Status(400)]).is_err());
    }
}
