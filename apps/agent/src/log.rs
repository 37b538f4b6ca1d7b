//! The service's log: lines in a file that is rotated, and on stderr, with secrets taken out.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use protocol::SecretText;
use time_and_chance::SharedClock;

use crate::tap::Tap;

/// The name of the newest file.
pub const FILE_NAME: &str = "agent.log";
/// A file is put aside when it is longer.
const FILE_BYTES_MAX: u64 = 5 << 20;
/// So many files are kept, the newest included.
const FILES_MAX: u32 = 3;
/// A line is not longer: one that quotes a server's page must not push out all others.
const LINE_CHARS_MAX: usize = 4000;
/// What is shorter is no secret: it would be found in every other word.
const SECRET_CHARS_MIN: usize = 6;
/// What stands in the place of a secret.
const REDACTED: &str = "[secret]";

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Level {
    /// Every call and step.
    Debug,
    /// What the service does.
    #[default]
    Info,
    /// What an administrator should look at.
    Warn,
    /// What failed.
    Error,
}

impl FromStr for Level {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        match word.to_ascii_lowercase().as_str() {
            "debug" => Ok(Self::Debug),
            "info" => Ok(Self::Info),
            "warn" | "warning" => Ok(Self::Warn),
            "error" => Ok(Self::Error),
            _ => Err(()),
        }
    }
}

impl Level {
    fn word(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }

    /// Returns syslog's number for it.
    fn priority(self) -> u8 {
        match self {
            Self::Debug => 7,
            Self::Info => 6,
            Self::Warn => 4,
            Self::Error => 3,
        }
    }
}

/// The end of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tail {
    /// The file it is from.
    pub path: PathBuf,
    /// Whether something stands before it.
    pub truncated: bool,
    /// The lines.
    pub content: String,
}

/// Writes lines. Logging never fails: what cannot be written to the file is on stderr.
#[derive(Debug)]
pub struct Log {
    clock: SharedClock,
    path: Option<PathBuf>,
    level: Level,
    on_stderr: bool,
    is_for_the_journal: bool,
    file: Mutex<Option<File>>,
    secrets: Mutex<Secrets>,
    /// Those who collect lines of every level, for as long as they are there.
    taps: Mutex<Vec<Weak<Tap>>>,
}

#[derive(Default)]
struct Secrets {
    known: HashSet<String>,
    /// The longest first: one may be the beginning of another.
    ordered: Vec<SecretText>,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secrets")
    }
}

impl Log {
    /// Returns the log in a folder, which is made if it is not there.
    pub fn in_folder(folder: &Path, level: Level, on_stderr: bool, clock: SharedClock) -> Self {
        let made = local_file::create_private_folders(folder);
        Self {
            path: made.ok().map(|()| folder.join(FILE_NAME)),
            ..Self::nowhere(level, on_stderr, clock)
        }
    }

    /// Returns a log without a file.
    pub fn nowhere(level: Level, on_stderr: bool, clock: SharedClock) -> Self {
        Self {
            clock,
            path: None,
            level,
            on_stderr,
            is_for_the_journal: false,
            file: Mutex::default(),
            secrets: Mutex::default(),
            taps: Mutex::default(),
        }
    }

    /// Returns the log with its lines on stderr as systemd's journal takes them: with the priority in
    /// front that the journal sorts by (sd-daemon(3)), and without the time, which it adds itself.
    pub fn for_the_journal(self) -> Self {
        Self {
            is_for_the_journal: true,
            ..self
        }
    }

    /// Lets a tap hear every line from now on, of every level, for as long as it is there.
    pub fn tapped_by(&self, tap: &Arc<Tap>) {
        self.lock_taps().push(Arc::downgrade(tap));
    }

    /// Takes a secret out of every line from now on.
    pub fn hide(&self, secret: &SecretText) {
        if secret.reveal().chars().count() < SECRET_CHARS_MIN {
            return;
        }
        let mut secrets = self.lock_secrets();
        if secrets.known.insert(secret.reveal().to_owned()) {
            secrets.ordered.push(secret.clone());
            let length = |it: &SecretText| std::cmp::Reverse(it.reveal().len());
            secrets.ordered.sort_by_key(length);
        }
    }

    /// Returns a text without the secrets in it.
    pub fn redacted(&self, text: &str) -> String {
        let mut redacted = text.to_owned();
        for secret in &self.lock_secrets().ordered {
            if redacted.contains(secret.reveal()) {
                redacted = redacted.replace(secret.reveal(), REDACTED);
            }
        }
        redacted
    }

    /// Writes what is of use to whoever looks for a fault.
    pub fn debug(&self, text: &str) {
        self.write(Level::Debug, text);
    }

    /// Writes what the service does.
    pub fn info(&self, text: &str) {
        self.write(Level::Info, text);
    }

    /// Writes what an administrator should look at.
    pub fn warn(&self, text: &str) {
        self.write(Level::Warn, text);
    }

    /// Writes what failed.
    pub fn error(&self, text: &str) {
        self.write(Level::Error, text);
    }

    fn write(&self, level: Level, text: &str) {
        let taps = self.taps();
        if level < self.level && taps.is_empty() {
            return;
        }
        let text = in_one_line(&self.redacted(text));
        let now = self.clock.now();
        let line = format!("{now:.3} {:<5} {text}\n", level.word());
        taps.iter().for_each(|tap| tap.hear(now, &line));
        if level < self.level {
            return;
        }
        if self.on_stderr {
            let echo = match self.is_for_the_journal {
                true => format!("<{}>{text}\n", level.priority()),
                false => line.clone(),
            };
            // Who closed it does not want to know.
            let _ = io::stderr().write_all(echo.as_bytes());
        }
        // It is on stderr already, and there is no other place.
        let _ = self.append(line.as_bytes());
    }

    fn append(&self, line: &[u8]) -> io::Result<()> {
        let Some(path) = &self.path else {
            return Ok(());
        };
        let mut open = self.file.lock().expect("nobody panics while he writes");
        let mut file = match open.take() {
            Some(file) => file,
            None => File::options().create(true).append(true).open(path)?,
        };
        file.write_all(line)?;
        if file.metadata()?.len() < FILE_BYTES_MAX {
            *open = Some(file);
            return Ok(());
        }
        drop(file);
        for number in (1..FILES_MAX).rev() {
            let older = match number {
                1 => path.clone(),
                _ => numbered(path, number - 1),
            };
            if older.exists() {
                fs::rename(older, numbered(path, number))?;
            }
        }
        Ok(())
    }

    /// Returns the last lines of the newest file, as many as have room in `bytes_max`.
    pub fn tail(&self, bytes_max: u64) -> io::Result<Tail> {
        let path = self.path.as_deref();
        let path = path.ok_or_else(|| io::Error::other("there is no log file"))?;
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        let start = length.saturating_sub(bytes_max);
        file.seek(SeekFrom::Start(start))?;
        let mut bytes = Vec::new();
        file.take(bytes_max).read_to_end(&mut bytes)?;
        let text = String::from_utf8_lossy(&bytes);
        let whole_lines = match start {
            0 => &*text,
            _ => text.split_once('\n').map_or("", |(_, rest)| rest),
        };
        Ok(Tail {
            path: path.to_owned(),
            truncated: start > 0,
            content: self.redacted(whole_lines),
        })
    }

    fn taps(&self) -> Vec<Arc<Tap>> {
        let mut taps = self.lock_taps();
        taps.retain(|tap| tap.strong_count() > 0);
        taps.iter().filter_map(Weak::upgrade).collect()
    }

    fn lock_taps(&self) -> MutexGuard<'_, Vec<Weak<Tap>>> {
        self.taps.lock().expect("nobody panics while he looks")
    }

    fn lock_secrets(&self) -> MutexGuard<'_, Secrets> {
        self.secrets.lock().expect("nobody panics while he looks")
    }
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

/// Returns a text in one line: whatever comes from outside stays in it.
fn in_one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for letter in text.chars().take(LINE_CHARS_MAX) {
        match letter {
            '\n' => line.push_str(" | "),
            letter if letter.is_control() => {
                let _ = write!(line, "{}", letter.escape_default());
            }
            letter => line.push(letter),
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use time_and_chance::{ManualClock, Timestamp};

    use super::*;

    fn log(folder: &Path) -> Log {
        let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
        Log::in_folder(folder, Level::Info, false, clock)
    }

    #[test]
    fn secrets_are_in_no_line_and_in_no_tail() {
        let folder = tempfile::tempdir().unwrap();
        let log = log(folder.path());
        log.info("before: hush-hush");
        log.hide(&SecretText::new("hush-hush"));
        log.hide(&SecretText::new("hush-hush-hush"));
        log.hide(&SecretText::new("a"));
        log.error("failed to use hush-hush-hush and hush-hush\nat all");
        let tail = log.tail(1 << 20).unwrap();
        assert!(!tail.content.contains("hush"), "{}", tail.content);
        let expected =
            "1970-01-01T00:00:00.000Z error failed to use [secret] and [secret] | at all\n";
        assert!(tail.content.ends_with(expected), "{}", tail.content);
        assert!(!tail.truncated);
    }

    #[test]
    fn a_tap_hears_every_level_without_secrets_and_the_file_does_not_grow_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let log = log(folder.path());
        log.hide(&SecretText::new("hush-hush"));
        let tap = Arc::new(Tap::default());
        log.tapped_by(&tap);
        log.debug("trying hush-hush");
        log.warn("second");
        let heard = tap.take(1 << 20).unwrap().text;
        let expected = "1970-01-01T00:00:00.000Z debug trying [secret]\n1970-01-01T00:00:00.000Z warn  second\n";
        assert_eq!(heard, expected);
        drop(tap);
        log.debug("nobody is there");
        let tail = log.tail(1 << 20).unwrap();
        assert_eq!(tail.content, "1970-01-01T00:00:00.000Z warn  second\n");
    }

    #[test]
    fn a_tail_holds_whole_lines() {
        let folder = tempfile::tempdir().unwrap();
        let log = log(folder.path());
        log.debug("never written");
        log.warn("first");
        log.warn("second");
        let tail = log.tail(45).unwrap();
        assert!(tail.truncated);
        assert_eq!(tail.content, "1970-01-01T00:00:00.000Z warn  second\n");
    }

    #[test]
    fn files_are_put_aside_and_the_oldest_goes() {
        let folder = tempfile::tempdir().unwrap();
        let log = log(folder.path());
        let text = "x".repeat(LINE_CHARS_MAX);
        for _ in 0..4 * FILE_BYTES_MAX / LINE_CHARS_MAX as u64 {
            log.info(&text);
        }
        let mut names: Vec<_> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["agent.log", "agent.log.1", "agent.log.2"]);
    }
}
