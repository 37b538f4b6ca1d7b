//! The Windows event log: our source in "Application", and entries written to it.
//!
//! The texts come from a program of Windows' own that holds a hundred entries "%1", so no file of
//! messages has to be shipped and kept in place for the entries to stay readable.
//!
//! Unsafe code is run by: `an_entry_is_written_to_a_registered_source`,
//! `wrappers_gain_neither_handles_nor_memory`.

#![expect(unsafe_code, reason = "the event log and the registry are calls")]

use windows::Win32::Foundation::{ERROR_FILE_NOT_FOUND, ERROR_SUCCESS, HANDLE, WIN32_ERROR};
use windows::Win32::System::EventLog::{
    DeregisterEventSource, EVENTLOG_ERROR_TYPE, EVENTLOG_INFORMATION_TYPE, EVENTLOG_WARNING_TYPE,
    RegisterEventSourceW, ReportEventW,
};
use windows::Win32::System::Registry::{
    HKEY_LOCAL_MACHINE, REG_DWORD, REG_EXPAND_SZ, REG_VALUE_TYPE, RegDeleteTreeW, RegSetKeyValueW,
};
use windows::core::{Error, HSTRING, PCWSTR};

use crate::calls;
use crate::win32_error::Win32Error;

const SOURCES: &str = r"SYSTEM\CurrentControlSet\Services\EventLog\Application";
/// Its entries 1 to 1000 are "%1".
const MESSAGES: &str = r"%SystemRoot%\System32\EventCreate.exe";
/// The first and the last entry there.
const EVENT_IDS: std::ops::RangeInclusive<u32> = 1..=1000;
/// The longest text an entry takes, in 16-bit characters.
const TEXT_MAX: usize = 31_839;

/// How much an entry matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Something went as it should.
    Information,
    /// Something wants looking at.
    Warning,
    /// Something failed.
    Error,
}

/// Registers a source, so that its entries can be read. Doing it again does no harm.
///
/// # Errors
/// If the right to change the registry is missing.
pub fn register(source: &str) -> Result<(), Win32Error> {
    calls::count("event_log.register");
    let file: Vec<u8> = MESSAGES
        .encode_utf16()
        .chain([0])
        .flat_map(u16::to_le_bytes)
        .collect();
    set_value(source, "EventMessageFile", REG_EXPAND_SZ, &file)?;
    let types = EVENTLOG_ERROR_TYPE.0 | EVENTLOG_WARNING_TYPE.0 | EVENTLOG_INFORMATION_TYPE.0;
    let types = u32::from(types).to_le_bytes();
    set_value(source, "TypesSupported", REG_DWORD, &types)
}

fn set_value(
    source: &str,
    name: &str,
    kind: REG_VALUE_TYPE,
    value: &[u8],
) -> Result<(), Win32Error> {
    let size = u32::try_from(value.len()).expect("our values are short");
    // SAFETY: both names end with 0, and they and the value live through the call, which gets the
    // value's true length.
    let result = unsafe {
        RegSetKeyValueW(
            HKEY_LOCAL_MACHINE,
            &HSTRING::from(key(source)),
            &HSTRING::from(name),
            kind.0,
            Some(value.as_ptr().cast()),
            size,
        )
    };
    checked(result, || {
        format!("register the source {source} of the event log")
    })
}

/// Takes a source's registration away; one that is not there is no error.
///
/// # Errors
/// If the right to change the registry is missing.
pub fn unregister(source: &str) -> Result<(), Win32Error> {
    calls::count("event_log.unregister");
    // SAFETY: the name ends with 0 and lives through the call.
    let result = unsafe { RegDeleteTreeW(HKEY_LOCAL_MACHINE, &HSTRING::from(key(source))) };
    match result {
        ERROR_FILE_NOT_FOUND => Ok(()),
        other => checked(other, || {
            format!("take away the source {source} of the event log")
        }),
    }
}

fn key(source: &str) -> String {
    format!(r"{SOURCES}\{source}")
}

fn checked(result: WIN32_ERROR, doing: impl Fn() -> String) -> Result<(), Win32Error> {
    match result {
        ERROR_SUCCESS => Ok(()),
        other => {
            let error = Error::from_hresult(other.to_hresult());
            Err(Win32Error::new(doing(), &error))
        }
    }
}

/// A source that is open for writing.
#[derive(Debug)]
pub struct EventLog(HANDLE);

// SAFETY: the handle stands for no thread, and the calls that take it may be made from any and at
// the same time.
unsafe impl Send for EventLog {}
// SAFETY: as above.
unsafe impl Sync for EventLog {}

impl EventLog {
    /// Opens a source.
    ///
    /// # Errors
    /// If the event log service does not run.
    pub fn open(source: &str) -> Result<Self, Win32Error> {
        calls::count("event_log.open");
        // SAFETY: the name ends with 0 and lives through the call; null is this machine.
        let handle = unsafe { RegisterEventSourceW(PCWSTR::null(), &HSTRING::from(source)) };
        let handle =
            handle.map_err(|error| Win32Error::new("open the Windows event log", &error))?;
        Ok(Self(handle))
    }

    /// Writes an entry. `event` says what kind of thing happened, for those who filter by it.
    ///
    /// # Errors
    /// If the log is full or the event log service does not run.
    ///
    /// # Panics
    /// If `event` is not from 1 to 1000, the only ones that have a text.
    pub fn report(&self, severity: Severity, event: u32, text: &str) -> Result<(), Win32Error> {
        calls::count("event_log.report");
        assert!(EVENT_IDS.contains(&event), "there is no event {event}");
        let kind = match severity {
            Severity::Information => EVENTLOG_INFORMATION_TYPE,
            Severity::Warning => EVENTLOG_WARNING_TYPE,
            Severity::Error => EVENTLOG_ERROR_TYPE,
        };
        let text = HSTRING::from(shortened(text));
        // SAFETY: the source is open; the text ends with 0 and lives through the call. There is
        // no user and no data.
        unsafe {
            ReportEventW(
                self.0,
                kind,
                0,
                event,
                None,
                0,
                Some(&[PCWSTR(text.as_ptr())]),
                None,
            )
        }
        .map_err(|error| Win32Error::new("write to the Windows event log", &error))
    }
}

impl Drop for EventLog {
    fn drop(&mut self) {
        // SAFETY: it is ours and open, and not used again. It could only fail if it were not.
        let _ = unsafe { DeregisterEventSource(self.0) };
    }
}

/// Returns as much of a text as an entry takes.
fn shortened(text: &str) -> &str {
    let mut room = TEXT_MAX;
    for (at, character) in text.char_indices() {
        match room.checked_sub(character.len_utf16()) {
            Some(left) => room = left,
            None => return &text[..at],
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_written_to_a_registered_source() {
        const SOURCE: &str = "e3-backup-agent-test";
        register(SOURCE).expect("it can be registered");
        register(SOURCE).expect("and again");
        let log = EventLog::open(SOURCE).expect("it can be opened");
        for severity in [Severity::Information, Severity::Warning, Severity::Error] {
            log.report(severity, 1, "Sicherung läuft: %1 \"x\"")
                .expect("it can be written");
        }
        log.report(Severity::Information, 1000, &"ü".repeat(40_000))
            .expect("a text that is too long is shortened");
        drop(log);
        unregister(SOURCE).expect("it can be taken away");
        unregister(SOURCE).expect("and again");
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        assert_eq!(shortened("short"), "short");
        let long = "𝄞".repeat(20_000);
        assert_eq!(shortened(&long).chars().count(), TEXT_MAX / 2);
    }
}
