//! Calls of the control plane: who calls, what is sent again and when, and whether the server is
//! there.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use protocol::endpoint::Endpoint;
use protocol::identity::Caller;
use protocol::repeat::{Failure, pause_before_next};
use protocol::request::answer_of;
use protocol::update_run::UpdateRun;
use protocol::{Call, NoAnswer, Request, Response, WireId};
use time_and_chance::{SharedClock, StopSignal, Timestamp};

use crate::http::{LineError, LineErrorKind, Transport};
use crate::log::Log;

/// A call is given up after so long.
pub const CALL_MAX: Duration = Duration::from_secs(15);
/// The last update of a run, of which the server may have many rows to write: given up earlier it would be
/// sent again while the server is at work on it.
const LAST_UPDATE_MAX: Duration = Duration::from_secs(60);
/// A call that the server holds until there is work.
pub const LONG_CALL_MAX: Duration = Duration::from_secs(40);
/// A server that wants to be left alone for longer is not waited for within a call.
const PATIENCE: Duration = Duration::from_secs(10);
/// What is refused to versions that are too old is tried again this often.
const TOO_OLD_PAUSE: Duration = Duration::from_mins(10);
/// An endpoint that a server lacks is tried again this often.
const MISSING_PAUSE: Duration = Duration::from_hours(6);
/// What keeps runs alive, or ends them, is never left alone for longer: a run whose heartbeat stays away for
/// twelve minutes is taken for dead, and somebody waits for a cancel.
const URGENT_PAUSE_MAX: Duration = Duration::from_secs(30);

/// A call without a good answer.
#[derive(Debug)]
pub enum CallError {
    /// Nothing came, or the work was told to stop.
    Line(LineError),
    /// The server said no, or something else spoke in its place.
    NoAnswer(NoAnswer),
}

impl std::fmt::Display for CallError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Line(error) => error.fmt(f),
            Self::NoAnswer(no_answer) => no_answer.fmt(f),
        }
    }
}

impl std::error::Error for CallError {}

impl CallError {
    /// Returns how long the server wants to be left alone, if it says so.
    pub fn after(&self) -> Option<Duration> {
        match self {
            Self::NoAnswer(NoAnswer::Retry { after, .. }) => *after,
            _ => None,
        }
    }

    /// Returns that for what keeps runs alive or ends them, which is never left alone for long.
    pub fn after_urgent(&self) -> Option<Duration> {
        self.after().map(|after| after.min(URGENT_PAUSE_MAX))
    }

    /// Returns whether the server understood the call and will never take it. A refusal that comes with a
    /// status of success is none of these: a server in trouble answers so too (1.3).
    pub fn is_final(&self) -> bool {
        matches!(self, Self::NoAnswer(NoAnswer::Refused { http_status, .. }) if (400..500).contains(http_status))
    }

    /// Returns whether the server may have taken the call, or still be at work on it, although nobody heard
    /// its answer.
    pub fn is_in_doubt(&self) -> bool {
        let Self::Line(error) = self else {
            return false;
        };
        matches!(
            error.kind(),
            LineErrorKind::Silence | LineErrorKind::Stopped
        )
    }

    /// Returns whether the server lacks the endpoint.
    pub fn is_missing_endpoint(&self) -> bool {
        matches!(self, Self::NoAnswer(NoAnswer::NoSuchEndpoint))
    }

    /// Returns whether the server does not know this agent any more.
    pub fn is_unauthorized(&self) -> bool {
        matches!(self, Self::NoAnswer(NoAnswer::Unauthorized { .. }))
    }
}

/// Whether the server is there.
#[derive(Debug, Clone, Default)]
pub struct Connection {
    /// When it last answered.
    pub answered_at: Option<Timestamp>,
    /// Since when it does not, and why.
    pub lost: Option<(Timestamp, String)>,
}

/// A change of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// The first answer.
    Connected,
    /// No answer any more.
    Disconnected,
    /// An answer again.
    Restored,
}

/// The control plane, as one agent sees it.
#[derive(Debug)]
pub struct ControlPlane {
    transport: Arc<dyn Transport>,
    clock: SharedClock,
    log: Arc<Log>,
    api_base_url: String,
    caller: Caller,
    connection: Mutex<Connection>,
    turns: Mutex<Vec<Turn>>,
    held: Mutex<BTreeMap<Endpoint, Held>>,
    is_unknown: AtomicBool,
}

/// What ends a call before its answer is there.
#[derive(Debug, Clone, Copy)]
pub struct Ends<'s> {
    /// Keeps it from being sent, or sent again.
    pub stop: &'s StopSignal,
    /// Gives up waiting for the answer to what is on its way, which the server may have taken by then.
    pub cut: &'s StopSignal,
}

impl<'s> Ends<'s> {
    /// Returns one signal as what ends a call, whatever came of it.
    pub fn by(stop: &'s StopSignal) -> Self {
        Self { stop, cut: stop }
    }
}

/// An endpoint that is left alone for a while.
#[derive(Debug, Clone)]
struct Held {
    until: Duration,
    because: NoAnswer,
}

impl ControlPlane {
    /// Returns the control plane at an address.
    pub fn new(
        transport: Arc<dyn Transport>,
        clock: SharedClock,
        log: Arc<Log>,
        api_base_url: String,
        caller: Caller,
    ) -> Self {
        if let Some(identity) = &caller.identity {
            log.hide(&identity.token);
        }
        Self {
            transport,
            clock,
            log,
            api_base_url,
            caller,
            connection: Mutex::default(),
            turns: Mutex::default(),
            held: Mutex::default(),
            is_unknown: AtomicBool::new(false),
        }
    }

    /// Returns who calls.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// Returns whether the server is there.
    pub fn connection(&self) -> Connection {
        let connection = self.connection.lock();
        connection.expect("nobody panics while he looks").clone()
    }

    /// Takes the turns that the connection took since the last look.
    pub fn take_turns(&self) -> Vec<Turn> {
        let mut turns = self.turns.lock().expect("nobody panics while he looks");
        std::mem::take(&mut *turns)
    }

    /// Returns whether the server said last that it does not know this agent.
    pub fn is_unknown_there(&self) -> bool {
        self.is_unknown.load(Ordering::Relaxed)
    }

    /// Makes a call, as often as the contract lets it be made.
    pub fn call<C: Call>(&self, call: &C, stop: &StopSignal) -> Result<C::Answer, CallError> {
        self.call_within(call, CALL_MAX, Ends::by(stop))
    }

    /// Makes a call whose answer may take `within`.
    pub fn call_within<C: Call>(
        &self,
        call: &C,
        within: Duration,
        ends: Ends<'_>,
    ) -> Result<C::Answer, CallError> {
        let request = Request::new(call, &self.caller);
        self.send(call, &request, within, ends)
    }

    /// Makes a call that must not be cut off: what it hands out is handed out once, or what comes after it
    /// must not overtake it. Once it is on its way its answer is waited for.
    pub fn call_through<C: Call>(&self, call: &C, ends: Ends<'_>) -> Result<C::Answer, CallError> {
        self.call_within(call, CALL_MAX, ends)
    }

    /// Sends the last update of a run, which was made earlier, byte for byte.
    pub fn send_last_update(
        &self,
        run_id: &WireId,
        body: &[u8],
        ends: Ends<'_>,
    ) -> Result<(), CallError> {
        let call = UpdateRun::heartbeat(run_id.clone(), &self.caller.program);
        let request = Request {
            body: body.to_owned(),
            ..Request::new(&call, &self.caller)
        };
        self.send(&call, &request, LAST_UPDATE_MAX, ends)
    }

    fn send<C: Call>(
        &self,
        call: &C,
        request: &Request,
        within: Duration,
        ends: Ends<'_>,
    ) -> Result<C::Answer, CallError> {
        self.wait_until_welcome(request.endpoint, ends.stop)?;
        if ends.stop.is_stopped() || ends.cut.is_stopped() {
            let what = format!("call {}: stopped on request", request.path);
            let unsent = LineError::new(LineErrorKind::Unsent, what);
            return Err(CallError::Line(unsent));
        }
        let mut attempts = 0;
        loop {
            let sent = self
                .transport
                .send(&self.api_base_url, request, within, ends.cut);
            attempts += 1;
            let (error, failure) = match sent {
                Ok(response) => match self.judge(call, &response) {
                    Ok(answer) => return Ok(answer),
                    Err(no_answer) => {
                        let failure = Failure::from(&no_answer);
                        (CallError::NoAnswer(no_answer), failure)
                    }
                },
                Err(error) => {
                    let failure = match error.kind() {
                        LineErrorKind::Stopped | LineErrorKind::Unsent => {
                            return Err(CallError::Line(error));
                        }
                        LineErrorKind::Silence => Failure::Silence,
                        LineErrorKind::Line => Failure::Line,
                    };
                    self.note_lost(&error.to_string());
                    (CallError::Line(error), failure)
                }
            };
            self.log.debug(&format!("{request:?}: {error}"));
            // A firewall wants another form of the call, which is the caller's to make.
            let again = match failure {
                Failure::Firewall => None,
                failure => pause_before_next(request.endpoint, attempts, failure, PATIENCE),
            };
            match again {
                Some(pause) if self.clock.sleep(pause, ends.stop).is_ok() => {}
                _ => return Err(error),
            }
        }
    }

    fn judge<C: Call>(&self, call: &C, response: &Response) -> Result<C::Answer, NoAnswer> {
        let answer = answer_of(call, response);
        // Whatever it said, the line is there: one script that fails on every call, or a firewall
        // that minds one body, does not make the server lost.
        self.note_answered();
        let is_unknown = matches!(answer, Err(NoAnswer::Unauthorized { .. }));
        if is_unknown
            && !self.is_unknown.swap(is_unknown, Ordering::Relaxed)
            && let Err(no_answer) = &answer
        {
            self.log.error(&no_answer.to_string());
        }
        self.is_unknown.store(is_unknown, Ordering::Relaxed);
        if let Err(no_answer) = &answer {
            self.hold(C::ENDPOINT, no_answer);
        }
        answer
    }

    /// Leaves an endpoint alone if the server wants that, or would say the same again.
    fn hold(&self, endpoint: Endpoint, because: &NoAnswer) {
        let pause = match because {
            NoAnswer::Retry {
                after: Some(after), ..
            } => match endpoint {
                Endpoint::UpdateRun | Endpoint::PollCommands => (*after).min(URGENT_PAUSE_MAX),
                _ => *after,
            },
            NoAnswer::NoSuchEndpoint => MISSING_PAUSE,
            NoAnswer::TooOld { .. } => {
                self.log.error(&because.to_string());
                TOO_OLD_PAUSE
            }
            _ => return,
        };
        let held = Held {
            until: self.clock.monotonic() + pause,
            because: because.clone(),
        };
        let mut all = self.lock_held();
        match because {
            // The gate is the same for all of them.
            NoAnswer::TooOld { .. } => {
                let gated = Endpoint::ALL.iter().filter(|it| it.has_version_gate());
                all.extend(gated.map(|it| (*it, held.clone())));
            }
            _ => {
                all.insert(endpoint, held);
            }
        }
    }

    /// Waits as long as an endpoint is to be left alone, if that is not for long.
    fn wait_until_welcome(&self, endpoint: Endpoint, stop: &StopSignal) -> Result<(), CallError> {
        let now = self.clock.monotonic();
        let held = self.lock_held().get(&endpoint).cloned();
        let Some(held) = held.filter(|held| held.until > now) else {
            return Ok(());
        };
        let left = held.until - now;
        if left <= PATIENCE && self.clock.sleep(left, stop).is_ok() {
            return Ok(());
        }
        Err(CallError::NoAnswer(match held.because {
            because @ NoAnswer::NoSuchEndpoint => because,
            because => NoAnswer::Retry {
                http_status: 0,
                after: Some(left),
                message: because.to_string(),
            },
        }))
    }

    fn lock_held(&self) -> MutexGuard<'_, BTreeMap<Endpoint, Held>> {
        self.held.lock().expect("nobody panics while he looks")
    }

    fn note_answered(&self) {
        let mut connection = self
            .connection
            .lock()
            .expect("nobody panics while he looks");
        let turn = match (&connection.answered_at, &connection.lost) {
            (_, Some(_)) => Some(Turn::Restored),
            (None, None) => Some(Turn::Connected),
            _ => None,
        };
        connection.answered_at = Some(self.clock.now());
        connection.lost = None;
        drop(connection);
        if let Some(turn) = turn {
            self.log.info("the control plane answers");
            self.note_turn(turn);
        }
    }

    fn note_lost(&self, why: &str) {
        let mut connection = self
            .connection
            .lock()
            .expect("nobody panics while he looks");
        let is_news = connection.lost.is_none();
        if is_news {
            connection.lost = Some((self.clock.now(), why.to_owned()));
        }
        drop(connection);
        if is_news {
            self.log.warn(&format!(
                "the control plane does not answer; work goes on without it: {why}"
            ));
            self.note_turn(Turn::Disconnected);
        }
    }

    fn note_turn(&self, turn: Turn) {
        /// A line that comes and goes all day long is told of now and then.
        const TURNS_MAX: usize = 32;
        let mut turns = self.turns.lock().expect("nobody panics while he looks");
        if turns.len() < TURNS_MAX {
            turns.push(turn);
        }
    }
}
