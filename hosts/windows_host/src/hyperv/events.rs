//! What Hyper-V wrote into the event log about a VM: put beside errors that it explains
//! (Hyper-V spec 2.7).

use std::fmt::Debug;
use std::io;
use std::time::Duration;

use hyperv::VmId;

use super::instance_id::guid_text;

const CHANNEL: &str = "Microsoft-Windows-Hyper-V-VMMS-Admin";
const PUBLISHER: &str = "Microsoft-Windows-Hyper-V-VMMS";
/// So many of the newest are looked through, and so many of a VM are told.
const LOOKED_THROUGH_MAX: usize = 32;
const TOLD_MAX: usize = 3;
/// A message is told up to here.
const MESSAGE_CHARS_MAX: usize = 400;

/// An event of a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedEvent {
    /// All of it.
    pub xml: String,
    /// Its message in the host's language, where that can be had.
    pub message: Option<String>,
}

/// Reads channels of the event log.
pub trait EventChannels: Send + Sync + Debug {
    /// Returns warnings and errors that are no older than `age`, the newest first, `max` at most.
    fn newest(
        &self,
        channel: &str,
        publisher: &str,
        age: Duration,
        max: usize,
    ) -> io::Result<Vec<LoggedEvent>>;
}

/// Returns what was logged about a VM, to be put behind an error; nothing if nothing was, or if the
/// log cannot be read.
pub(super) fn about(channels: &dyn EventChannels, vm: VmId, age: Duration) -> String {
    let found = channels.newest(CHANNEL, PUBLISHER, age, LOOKED_THROUGH_MAX);
    let id = guid_text(vm.0);
    let of_vm = found.unwrap_or_default().into_iter();
    let of_vm = of_vm.filter(|event| event.xml.to_uppercase().contains(&id));
    let told: Vec<String> = of_vm.take(TOLD_MAX).map(|event| shown(&event)).collect();
    match told.is_empty() {
        true => String::new(),
        false => format!("; {CHANNEL} has {}", told.join("; ")),
    }
}

fn shown(event: &LoggedEvent) -> String {
    let number = number_of(&event.xml).map_or("an event".to_owned(), |id| format!("event {id}"));
    match &event.message {
        Some(message) => {
            let words: Vec<&str> = message.split_whitespace().collect();
            let text: String = words.join(" ").chars().take(MESSAGE_CHARS_MAX).collect();
            format!("{number}: {text}")
        }
        None => number,
    }
}

/// Finds `<EventID …>number</EventID>`.
fn number_of(xml: &str) -> Option<u32> {
    let (_, rest) = xml.split_once("<EventID")?;
    let (_, rest) = rest.split_once('>')?;
    let (number, _) = rest.split_once('<')?;
    number.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[derive(Debug)]
    struct Logged(Vec<LoggedEvent>);

    impl EventChannels for Logged {
        fn newest(
            &self,
            channel: &str,
            _: &str,
            _: Duration,
            max: usize,
        ) -> io::Result<Vec<LoggedEvent>> {
            assert_eq!(channel, "Microsoft-Windows-Hyper-V-VMMS-Admin");
            Ok(self.0.iter().take(max).cloned().collect())
        }
    }

    fn event(id: &str, vm: &str, message: Option<&str>) -> LoggedEvent {
        LoggedEvent {
            xml: format!(
                "<Event><System>{id}</System><UserData><VmId>{vm}</VmId></UserData></Event>"
            ),
            message: message.map(str::to_owned),
        }
    }

    #[test]
    fn events_of_the_vm_are_told_with_their_numbers_and_no_others() {
        let vm = VmId(Uuid::from_u128(0xABC));
        let id = vm.to_string();
        let log = Logged(vec![
            event(
                "<EventID>19100</EventID>",
                &id,
                Some("Fehler\r\n 0x80070020"),
            ),
            event(
                "<EventID>1</EventID>",
                &VmId(Uuid::nil()).to_string(),
                Some("other"),
            ),
            event(
                "<EventID Qualifiers='3'>19070</EventID>",
                &id.to_uppercase(),
                None,
            ),
            event("<EventID>?", &id, None),
        ]);
        let told = about(&log, vm, Duration::from_secs(1));
        assert!(
            told.contains("event 19100: Fehler 0x80070020; event 19070; an event"),
            "{told}"
        );
        assert!(!told.contains("other"), "{told}");
        assert_eq!(about(&Logged(Vec::new()), vm, Duration::ZERO), "");
    }
}
