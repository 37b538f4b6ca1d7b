//! Which calls may be sent again, how often, and after which pause.

use std::time::Duration;

use crate::endpoint::Endpoint;
use crate::envelope::NoAnswer;

/// The pause before the one compact repetition of events that a firewall refused.
const COMPACT_PAUSE: Duration = Duration::from_millis(200);

/// Why a call failed, as far as repeating it is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The line: end of file, reset, broken pipe, no connection.
    Line,
    /// Nothing came in time. The server may still be at work on it.
    Silence,
    /// The server: 429 or 5xx.
    Server {
        /// How long it wants to be left alone.
        after: Option<Duration>,
    },
    /// A firewall: another form of the same call may pass.
    Firewall,
    /// Anything that stays as it is.
    Final,
}

impl From<&NoAnswer> for Failure {
    fn from(no_answer: &NoAnswer) -> Self {
        match no_answer {
            NoAnswer::Retry { after, .. } => Self::Server { after: *after },
            NoAnswer::Firewall {
                http_status: 403 | 406,
            } => Self::Firewall,
            _ => Self::Final,
        }
    }
}

/// Returns how long to wait before a call is sent again, if it may be, after `attempts` that failed.
///
/// A server that asks for more patience than the pause gets it; one that asks for longer than
/// `patience` is not asked again: the next round of the caller will. Nor is an update of a run repeated that
/// the server may still be at work on: the results of a last one would be recorded twice, and of the
/// others the next one says more.
pub fn pause_before_next(
    endpoint: Endpoint,
    attempts: u32,
    failure: Failure,
    patience: Duration,
) -> Option<Duration> {
    let (attempts_max, step_ms, line_only) = match endpoint {
        Endpoint::UpdateRun => (3, 250, false),
        Endpoint::PushEvents => (4, 300, false),
        Endpoint::PushAgentEvents | Endpoint::PushLogChunk => (3, 300, false),
        Endpoint::PollCommands => (2, 250, true),
        _ => return None,
    };
    if attempts >= attempts_max {
        return None;
    }
    let pause = Duration::from_millis(step_ms).saturating_mul(attempts);
    match failure {
        Failure::Silence if endpoint == Endpoint::UpdateRun => None,
        Failure::Line | Failure::Silence => Some(pause),
        Failure::Server { .. } if line_only => None,
        Failure::Server { after } => {
            Some(pause.max(after.unwrap_or_default())).filter(|it| *it <= patience.max(pause))
        }
        Failure::Firewall if endpoint == Endpoint::PushEvents => Some(COMPACT_PAUSE),
        Failure::Firewall | Failure::Final => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    fn pauses(endpoint: Endpoint, failure: Failure) -> Vec<u64> {
        let pause = |attempts| pause_before_next(endpoint, attempts, failure, PATIENCE);
        (1..)
            .map_while(pause)
            .map(|pause| pause.as_millis() as u64)
            .collect()
    }

    #[test]
    fn each_call_is_repeated_as_the_contract_says() {
        let busy = Failure::Server { after: None };
        assert_eq!(pauses(Endpoint::UpdateRun, busy), [250, 500]);
        assert_eq!(pauses(Endpoint::PushEvents, busy), [300, 600, 900]);
        assert_eq!(pauses(Endpoint::PushAgentEvents, busy), [300, 600]);
        assert_eq!(pauses(Endpoint::PushLogChunk, Failure::Line), [300, 600]);
        assert_eq!(pauses(Endpoint::PollCommands, Failure::Line), [250]);
        assert_eq!(pauses(Endpoint::PollCommands, busy), [0; 0]);
        for endpoint in [
            Endpoint::NextRun,
            Endpoint::CompleteCommand,
            Endpoint::Enroll,
        ] {
            assert_eq!(pauses(endpoint, Failure::Line), [0; 0], "{endpoint:?}");
        }
    }

    #[test]
    fn what_stays_as_it_is_is_not_repeated() {
        for endpoint in Endpoint::ALL {
            assert_eq!(pauses(*endpoint, Failure::Final), [0; 0], "{endpoint:?}");
        }
        assert_eq!(pauses(Endpoint::UpdateRun, Failure::Firewall), [0; 0]);
        assert_eq!(pauses(Endpoint::UpdateRun, Failure::Silence), [0; 0]);
        assert_eq!(pauses(Endpoint::PollCommands, Failure::Silence), [250]);
        assert_eq!(pauses(Endpoint::PushEvents, Failure::Firewall)[0], 200);
    }

    #[test]
    fn a_server_is_left_alone_as_long_as_it_asks_or_not_asked_again() {
        let asks = |seconds| Failure::Server {
            after: Some(Duration::from_secs(seconds)),
        };
        assert_eq!(pauses(Endpoint::UpdateRun, asks(2)), [2000, 2000]);
        assert_eq!(pauses(Endpoint::UpdateRun, asks(11)), [0; 0]);
    }
}
