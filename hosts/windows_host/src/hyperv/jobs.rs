//! Jobs: what their states mean, and what they say when they fail (Hyper-V spec 2.6, 2.7).

use std::time::Duration;

use hyperv::HypervErrorKind as Kind;

use super::embedded::Embedded;
use super::errors::meaning;
use super::return_codes::ReturnCode;
use crate::wmi::{Value, WmiError, WmiObject};

/// The first pause between two looks at a job, and the longest.
const PAUSE_MIN: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// What a job's state means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum JobPhase {
    /// Not over yet.
    Waiting,
    /// It succeeded, maybe with warnings.
    Completed,
    /// Somebody ended it.
    Cancelled,
    /// It failed.
    Failed,
    /// A state that is not documented: neither success nor failure.
    Unknown(u16),
}

impl JobPhase {
    /// Decodes `JobState`.
    pub(super) fn of(state: u16) -> Self {
        match state {
            2..=6 | 12 => Self::Waiting,
            7 | 32768 => Self::Completed,
            8 | 9 => Self::Cancelled,
            10 | 11 => Self::Failed,
            other => Self::Unknown(other),
        }
    }
}

/// Returns the pause before the look number `look`, counted from 0: longer and longer.
pub(super) fn pause(look: u32) -> Duration {
    PAUSE_MIN.saturating_mul(1 << look.min(8)).min(PAUSE_MAX)
}

/// Something a job says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct JobMessage {
    /// What it says, in the host's language.
    pub text: String,
    /// The HRESULTs within the text, in order.
    pub codes: Vec<u32>,
    /// Whether it is only a warning or a note (`PerceivedSeverity` of `CIM_Error`: 2 and 3).
    pub is_warning: bool,
}

impl JobMessage {
    /// Reads the answer of `GetErrorEx`.
    pub(super) fn all(answer: &WmiObject) -> Result<Vec<Self>, WmiError> {
        let errors: &[Value] = match answer.value("Errors") {
            Value::Null => &[],
            Value::Array(errors) => errors,
            other => return Err(WmiError::shape(format!("Errors of a job is {other:?}"))),
        };
        Ok(errors
            .iter()
            .map(|error| Self::of(&Embedded::read(error)))
            .collect())
    }

    fn of(error: &Embedded) -> Self {
        let text = ["Message", "ProbableCause", "MessageID"]
            .iter()
            .find_map(|name| error.text(name).filter(|text| !text.trim().is_empty()))
            .unwrap_or("Hyper-V gives no reason")
            .trim()
            .to_owned();
        Self {
            codes: codes_in(&text),
            text,
            is_warning: matches!(error.number("PerceivedSeverity"), Some(2 | 3)),
        }
    }

    /// Returns what the job object itself says, for a job that `GetErrorEx` says nothing of.
    pub(super) fn of_job(job: &WmiObject) -> Option<Self> {
        let text = ["ErrorDescription", "ErrorSummaryDescription"]
            .iter()
            .find_map(|name| match job.value(name) {
                Value::Text(text) if !text.trim().is_empty() => Some(text.trim().to_owned()),
                _ => None,
            })?;
        Some(Self {
            codes: codes_in(&text),
            text,
            is_warning: false,
        })
    }
}

/// Why a job failed, as far as codes tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reason {
    /// What a caller can act on; none if no code says anything.
    pub kind: Option<Kind>,
    /// The code it rests on, or else the first there is.
    pub code: Option<u32>,
    /// What the code means.
    pub text: Option<&'static str>,
}

/// Finds the reason in a failed job's messages and its `ErrorCode`. A code that says what to do
/// goes before one that says "failed"; HRESULTs go before the return code.
pub(super) fn reason(messages: &[JobMessage], error_code: Option<u32>) -> Reason {
    let known: Vec<(u32, Kind, &'static str)> = messages
        .iter()
        .flat_map(|message| &message.codes)
        .filter_map(|&code| meaning(code).map(|(kind, text)| (code, kind, text)))
        .collect();
    let telling = known
        .iter()
        .find(|(_, kind, _)| *kind != Kind::Failed)
        .or(known.first());
    if let Some(&(code, kind, text)) = telling {
        return Reason {
            kind: Some(kind),
            code: Some(code),
            text: Some(text),
        };
    }
    let returned = error_code.map(ReturnCode::decode);
    match returned {
        Some(ReturnCode::Failed(failure)) if !matches!(failure.code, 2 | 32768) => Reason {
            kind: Some(failure.kind),
            code: Some(failure.code),
            text: Some(failure.text),
        },
        _ => {
            let unknown = messages.iter().flat_map(|message| &message.codes).next();
            Reason {
                kind: None,
                code: unknown.copied().or(error_code.filter(|code| *code != 0)),
                text: None,
            }
        }
    }
}

/// Finds every `0x` with eight hex digits.
fn codes_in(text: &str) -> Vec<u32> {
    let pieces = text.split("0x").skip(1);
    pieces
        .filter_map(|piece| {
            let digits = piece.get(..8)?;
            let ends = !piece[8..].starts_with(|c: char| c.is_ascii_hexdigit());
            u32::from_str_radix(digits, 16).ok().filter(|_| ends)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_documented_state_has_its_meaning() {
        for (states, phase) in [
            (&[2, 3, 4, 5, 6, 12][..], JobPhase::Waiting),
            (&[7, 32768], JobPhase::Completed),
            (&[8, 9], JobPhase::Cancelled),
            (&[10, 11], JobPhase::Failed),
        ] {
            for &state in states {
                assert_eq!(JobPhase::of(state), phase, "{state}");
            }
        }
        assert_eq!(JobPhase::of(13), JobPhase::Unknown(13));
        assert_eq!(JobPhase::of(0), JobPhase::Unknown(0));
    }

    #[test]
    fn pauses_grow_from_a_quarter_second_to_two() {
        let pauses: Vec<u128> = [0, 1, 2, 3, 4, u32::MAX]
            .map(|look| pause(look).as_millis())
            .to_vec();
        assert_eq!(pauses, [250, 500, 1000, 2000, 2000, 2000]);
    }

    fn message(text: &str) -> JobMessage {
        JobMessage {
            text: text.to_owned(),
            codes: codes_in(text),
            is_warning: false,
        }
    }

    #[test]
    fn the_code_decides_in_whatever_language_the_text_is() {
        for (texts, error_code, kind, code) in [
            (
                &["Der Vorgang ist fehlgeschlagen (0x800423F4)."][..],
                None,
                Some(Kind::GuestRefused),
                Some(0x8004_23F4),
            ),
            (
                &["échec", "fichier utilisé (0x80070020)"],
                Some(32768),
                Some(Kind::InUse),
                Some(0x8007_0020),
            ),
            // "Missing" says less than "denied".
            (
                &["(0x80070002)", "(0x80070005)"],
                None,
                Some(Kind::Denied),
                Some(0x8007_0005),
            ),
            (
                &["(0x80070002)"],
                Some(32768),
                Some(Kind::Failed),
                Some(0x8007_0002),
            ),
            (&["busy"], Some(32775), Some(Kind::Busy), Some(32775)),
            (&["(0x80004005)"], Some(32768), None, Some(0x8000_4005)),
            (&[], Some(32768), None, Some(32768)),
            (&[], None, None, None),
            (
                &["0x800700200 is no code, 0x8007 neither, 0x"],
                None,
                None,
                None,
            ),
        ] {
            let messages: Vec<_> = texts.iter().map(|text| message(text)).collect();
            let found = reason(&messages, error_code);
            assert_eq!((found.kind, found.code), (kind, code), "{texts:?}");
        }
    }

    #[test]
    fn messages_are_read_with_their_severity() {
        let error = |severity: &str| {
            Value::text(format!(
                r#"<INSTANCE CLASSNAME="Msvm_Error"><PROPERTY NAME="Message" TYPE="string"><VALUE>gone (0x80070002)</VALUE></PROPERTY><PROPERTY NAME="PerceivedSeverity" TYPE="uint16"><VALUE>{severity}</VALUE></PROPERTY></INSTANCE>"#
            ))
        };
        let mut answer = WmiObject::default();
        answer.set(
            "Errors",
            Value::Array(vec![error("3"), error("6"), Value::text("<broken")]),
        );
        let messages = JobMessage::all(&answer).unwrap();
        let warnings: Vec<bool> = messages.iter().map(|message| message.is_warning).collect();
        assert_eq!(warnings, [true, false, false]);
        assert_eq!(messages[0].codes, [0x8007_0002]);
        assert_eq!(messages[2].text, "Hyper-V gives no reason");
        assert_eq!(JobMessage::all(&WmiObject::default()), Ok(Vec::new()));
        answer.set("Errors", true);
        assert!(JobMessage::all(&answer).is_err());
    }
}
