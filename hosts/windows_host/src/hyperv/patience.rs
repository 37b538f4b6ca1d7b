//! Asking once more what failed in passing: the service starts anew, or WMI has too much to do
//! (Hyper-V spec 16, "retry").

use std::time::Duration;

use hyperv::HypervErrorKind as Kind;
use time_and_chance::{SharedClock, StopSignal};

use super::errors::meaning;
use crate::wmi::WmiError;

/// The first pause, and the longest.
pub(super) const PAUSE_MIN: Duration = Duration::from_millis(100);
pub(super) const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Returns whether a call failed because of something that passes.
pub(super) fn is_passing(error: &WmiError) -> bool {
    let meaning = error.code().and_then(meaning);
    meaning.is_some_and(|(kind, _)| kind == Kind::Unavailable)
}

/// Asks a question again and again, for up to `limit`, while it fails in passing. For what
/// changes nothing: nobody can tell what became of a change whose answer was lost.
pub(super) fn patiently<T>(
    clock: &SharedClock,
    limit: Duration,
    ask: impl Fn() -> Result<T, WmiError>,
) -> Result<T, WmiError> {
    let begun = clock.monotonic();
    let mut pause = PAUSE_MIN;
    loop {
        match ask() {
            Err(error) if is_passing(&error) && clock.monotonic() - begun < limit => {
                let _nobody_stops_it = clock.sleep(pause, &StopSignal::new());
                pause = (pause * 2).min(PAUSE_MAX);
            }
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use time_and_chance::{Clock, ManualClock, Timestamp};

    use super::*;

    fn ask(codes: &[u32]) -> (Result<(), WmiError>, usize, Duration) {
        let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
        let asked = Cell::new(0);
        let shared: SharedClock = clock.clone();
        let answer = patiently(&shared, Duration::from_secs(30), || {
            let number = asked.replace(asked.get() + 1);
            match codes
                .get(number)
                .or(codes.last().filter(|_| codes.len() == 1))
            {
                Some(code) => Err(WmiError::call("look", *code)),
                None => Ok(()),
            }
        });
        (answer, asked.get(), clock.monotonic())
    }

    #[test]
    fn what_passes_is_asked_again_and_nothing_else() {
        let (answer, asked, _) = ask(&[0x8007_06BA, 0x8004_1014, 0x8004_106C]);
        assert_eq!((answer, asked), (Ok(()), 4));
        let (answer, asked, _) = ask(&[0x8004_1003]);
        assert_eq!((answer.is_err(), asked), (true, 1));
    }

    #[test]
    fn what_does_not_pass_ends_with_its_limit() {
        let (answer, asked, waited) = ask(&[0x8007_06BA]);
        assert_eq!(answer.unwrap_err().code(), Some(0x8007_06BA));
        assert!(asked < 30, "{asked}");
        assert!(waited >= Duration::from_secs(30) && waited < Duration::from_secs(40));
    }
}
