//! Channels of the event log, read: what a part of Windows said of late.
//!
//! Unsafe code is run by: `a_channel_that_cannot_be_read_is_an_error`; under Wine, which opens no
//! channel, that is the query alone.

#![expect(unsafe_code, reason = "events are read by calls")]

use std::io;
use std::time::Duration;

use windows::Win32::Foundation::{ERROR_INSUFFICIENT_BUFFER, ERROR_NO_MORE_ITEMS};
use windows::Win32::System::EventLog::{
    EVT_HANDLE, EvtClose, EvtFormatMessage, EvtFormatMessageEvent, EvtNext,
    EvtOpenPublisherMetadata, EvtQuery, EvtQueryChannelPath, EvtQueryReverseDirection, EvtRender,
    EvtRenderEventXml,
};
use windows::core::{Error, HSTRING, PCWSTR};

use crate::calls;
use crate::hyperv::{EventChannels, LoggedEvent};
use crate::win32_error::Win32Error;

/// How long an event may take to be read.
const TIMEOUT_MS: u32 = 5000;
/// An event longer than this is left out.
const TEXT_MAX: u32 = 1 << 20;

/// The channels of this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SystemEventChannels;

impl EventChannels for SystemEventChannels {
    fn newest(
        &self,
        channel: &str,
        publisher: &str,
        age: Duration,
        max: usize,
    ) -> io::Result<Vec<LoggedEvent>> {
        let set = Handle::of_query(channel, age).map_err(io::Error::other)?;
        let mut words = None;
        let mut events = Vec::new();
        while events.len() < max
            && let Some(event) = set.next().map_err(io::Error::other)?
        {
            // Without them, events have their numbers.
            let words = words.get_or_insert_with(|| Handle::of_publisher(publisher).ok());
            let Ok(xml) = event.xml() else { continue };
            let message = words.as_ref().and_then(|known| event.message(known).ok());
            events.push(LoggedEvent { xml, message });
        }
        Ok(events)
    }
}

/// A set of events, an event, or what tells its words; closed on drop.
struct Handle(EVT_HANDLE);

impl Handle {
    /// Asks a channel for warnings and errors, the newest first.
    fn of_query(channel: &str, age: Duration) -> Result<Self, Win32Error> {
        calls::count("event_channel.query");
        let age_ms = age.as_millis();
        let wanted = format!(
            "*[System[(Level=1 or Level=2 or Level=3) and TimeCreated[timediff(@SystemTime) <= {age_ms}]]]"
        );
        let flags = EvtQueryChannelPath.0 | EvtQueryReverseDirection.0;
        // SAFETY: both texts end with 0 and live through the call; this machine is asked.
        unsafe { EvtQuery(None, &HSTRING::from(channel), &HSTRING::from(wanted), flags) }
            .map(Self)
            .map_err(|error| Win32Error::new(format!("read the event log {channel}"), &error))
    }

    /// Opens what tells the words of a publisher's events.
    fn of_publisher(name: &str) -> Result<Self, Win32Error> {
        calls::count("event_channel.publisher");
        // SAFETY: the name ends with 0 and lives through the call; no file and no language are named.
        unsafe { EvtOpenPublisherMetadata(None, &HSTRING::from(name), PCWSTR::null(), 0, 0) }
            .map(Self)
            .map_err(|error| Win32Error::new(format!("ask for the events of {name}"), &error))
    }

    /// Takes the next event of a set; none behind the last.
    fn next(&self) -> Result<Option<Self>, Win32Error> {
        calls::count("event_channel.next");
        let mut events = [0isize];
        let mut returned = 0;
        // SAFETY: the set is open; the place for one event and that for their number are ours.
        let result = unsafe { EvtNext(self.0, &mut events, TIMEOUT_MS, 0, &mut returned) };
        match result {
            Ok(()) if returned == 1 => Ok(Some(Self(EVT_HANDLE(events[0])))),
            Ok(()) => Ok(None),
            Err(error) if error.code() == ERROR_NO_MORE_ITEMS.to_hresult() => Ok(None),
            Err(error) => Err(Win32Error::new("read the next event", &error)),
        }
    }

    /// Returns an event as XML.
    fn xml(&self) -> Result<String, Win32Error> {
        calls::count("event_channel.render");
        text(|buffer, used| {
            let bytes = u32::try_from(size_of_val(buffer)).unwrap_or(u32::MAX);
            let mut properties = 0;
            // SAFETY: the event is open; the place is ours and as long as is said, and the numbers'
            // places are ours.
            let result = unsafe {
                EvtRender(
                    None,
                    self.0,
                    EvtRenderEventXml.0,
                    bytes,
                    Some(buffer.as_mut_ptr().cast()),
                    used,
                    &mut properties,
                )
            };
            // It counts bytes.
            *used = used.div_ceil(2);
            result
        })
    }

    /// Returns an event's words.
    fn message(&self, publisher: &Self) -> Result<String, Win32Error> {
        calls::count("event_channel.message");
        text(|buffer, used| {
            // SAFETY: both are open; the place is ours, and its length is handed over with it.
            unsafe {
                EvtFormatMessage(
                    Some(publisher.0),
                    Some(self.0),
                    0,
                    None,
                    EvtFormatMessageEvent.0,
                    Some(buffer),
                    used,
                )
            }
        })
    }
}

/// Fills a buffer by a call that says how long it must be, in 16-bit characters.
fn text(fill: impl Fn(&mut [u16], &mut u32) -> Result<(), Error>) -> Result<String, Win32Error> {
    let mut buffer = vec![0; 4096];
    loop {
        let mut used = 0;
        match fill(&mut buffer, &mut used) {
            Ok(()) => {
                let end = buffer.iter().position(|it| *it == 0);
                return Ok(String::from_utf16_lossy(
                    &buffer[..end.unwrap_or(buffer.len())],
                ));
            }
            Err(error)
                if error.code() == ERROR_INSUFFICIENT_BUFFER.to_hresult()
                    && used as usize > buffer.len()
                    && used <= TEXT_MAX =>
            {
                buffer.resize(used as usize, 0);
            }
            Err(error) => return Err(Win32Error::new("read an event", &error)),
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: it is ours and open, and not used again. It could only fail if it were not.
        let _ = unsafe { EvtClose(self.0) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_that_cannot_be_read_is_an_error() {
        let age = Duration::from_secs(60);
        let read = SystemEventChannels.newest("no such channel", "no such publisher", age, 4);
        assert!(read.is_err(), "{read:?}");
    }

    #[test]
    fn a_text_is_read_again_where_the_first_place_was_too_short() {
        let wanted: Vec<u16> = "Ereignis ".repeat(1000).encode_utf16().collect();
        let read = text(|buffer, used| {
            *used = u32::try_from(wanted.len()).expect("it is short");
            match buffer.get_mut(..wanted.len()) {
                Some(place) => {
                    place.copy_from_slice(&wanted);
                    Ok(())
                }
                None => Err(ERROR_INSUFFICIENT_BUFFER.to_hresult().into()),
            }
        });
        assert_eq!(read.expect("it fits at last").len(), 9000);
    }
}
