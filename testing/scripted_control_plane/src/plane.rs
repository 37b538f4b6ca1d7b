//! The server: a thread that listens, a thread per connection, and the handle that tests hold.

use std::collections::BTreeMap;
use std::io::{self, BufReader};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use jiff::SignedDuration;
use serde_json::Value;
use time_and_chance::{SharedClock, StopSignal};

use crate::fault::{Fault, FaultPlan, faulty_status, outgoing};
use crate::http;
use crate::record::{Call, Recorded};
use crate::reply::Reply;
use crate::routes::{self, Served};
use crate::rules::{self, Timeline, Violation};
use crate::world::{Now, Settings, World};

/// How often what is held looks whether it may go on, in real time.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// How often the watchdog makes its pass.
const WATCHDOG_EVERY: Duration = Duration::from_secs(60);

/// How often a call of this process that is held looks whether it may go on, on the clock.
const HELD_LOOK: Duration = Duration::from_secs(1);

/// What came back for a call of this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status of HTTP.
    pub http_status: u16,
    /// The headers.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// A running server.
pub struct ControlPlane {
    shared: Arc<Shared>,
    address: SocketAddr,
    listener: Option<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    clock: SharedClock,
    stop: StopSignal,
    /// Whether connections are refused.
    is_down: AtomicBool,
    /// Raised by a restart: connections of an earlier life are cut.
    life: AtomicU64,
}

struct State {
    world: World,
    faults: FaultPlan,
    calls: Vec<Recorded>,
    /// How many calls before these are not kept any more.
    forgotten: u64,
    timeline: Timeline,
    last_watchdog: Duration,
    connections: BTreeMap<u64, TcpStream>,
    next_connection: u64,
}

impl ControlPlane {
    /// Starts a server on a free port of this machine.
    pub fn start(settings: Settings, clock: SharedClock) -> io::Result<Self> {
        Self::listen("127.0.0.1:0", settings, clock)
    }

    /// Starts a server on `address`.
    pub fn listen(address: &str, settings: Settings, clock: SharedClock) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                world: World::new(settings),
                faults: FaultPlan::default(),
                calls: Vec::new(),
                forgotten: 0,
                timeline: Timeline::default(),
                last_watchdog: Duration::ZERO,
                connections: BTreeMap::new(),
                next_connection: 0,
            }),
            clock,
            stop: StopSignal::new(),
            is_down: AtomicBool::new(false),
            life: AtomicU64::new(0),
        });
        let of_thread = Arc::clone(&shared);
        let listener = std::thread::spawn(move || accept(&of_thread, &listener));
        Ok(Self {
            shared,
            address,
            listener: Some(listener),
        })
    }

    /// Returns the base URL of the API.
    pub fn url(&self) -> String {
        format!("http://{}/modules/addons/cloudstorage/api", self.address)
    }

    /// Looks at the rows, or changes them.
    pub fn with<T>(&self, look: impl FnOnce(&mut World) -> T) -> T {
        look(&mut self.shared.lock().world)
    }

    /// Queues a command that the agent is to get, and returns its number.
    pub fn queue_command(&self, order: crate::world::CommandOrder) -> u64 {
        let now = self.now();
        self.with(|world| world.queue_command(order, now))
    }

    /// Asks a run to stop.
    pub fn request_cancel(&self, run_id: &Value) {
        let now = self.now();
        self.with(|world| world.request_cancel(run_id, now));
    }

    /// Plans a fault for the `call`th call of an endpoint from now on, counted from 1. The endpoint is a
    /// script's name without its ending.
    pub fn inject(&self, endpoint: &str, call: u64, fault: Fault) {
        self.shared.lock().faults.inject(endpoint, call, fault);
    }

    /// Returns all calls so far.
    pub fn calls(&self) -> Vec<Recorded> {
        self.shared.lock().calls.clone()
    }

    /// Returns all calls of an endpoint so far.
    pub fn calls_of(&self, endpoint: &str) -> Vec<Recorded> {
        let calls = self.calls().into_iter();
        calls
            .filter(|recorded| recorded.call.endpoint == endpoint)
            .collect()
    }

    /// Serves a call of this very process, without a connection; `None` where nothing, or no whole answer,
    /// is sent. What is held is held on the clock, whoever moves it.
    pub fn serve_here(
        &self,
        method: &str,
        target: &str,
        headers: BTreeMap<String, String>,
        body: Vec<u8>,
    ) -> Option<Answer> {
        let shared = &self.shared;
        if shared.is_down.load(Ordering::SeqCst) {
            return None;
        }
        let call = Call::new(method.to_owned(), target, headers, body);
        let pause = || shared.clock.sleep(HELD_LOOK, &shared.stop).is_ok();
        let (number, fault, reply) = answer(shared, call, &pause)?;
        // What was held when the server went down is cut, as connections are.
        let is_cut = fault == Some(Fault::AnswerCut) || shared.is_down.load(Ordering::SeqCst);
        let sent = outgoing(fault.as_ref(), &reply).filter(|_| !is_cut);
        if let Some(recorded) = shared.lock().call_mut(number) {
            recorded.was_answered &= sent.is_some();
        }
        let sent = sent?;
        Some(Answer {
            http_status: sent.http_status,
            headers: sent.headers,
            body: sent.body,
        })
    }

    /// Forgets the calls so far: whoever plays a week has looked at them.
    pub fn forget_calls(&self) {
        let mut state = self.shared.lock();
        state.forgotten += state.calls.len() as u64;
        state.calls.clear();
    }

    /// Returns what of the calls so far breaks a rule of the contract.
    pub fn violations(&self) -> Vec<Violation> {
        let state = self.shared.lock();
        rules::violations(&state.calls, &state.world, &state.timeline)
    }

    /// Returns what was handed out and has no end yet: runs and commands.
    pub fn unfinished(&self) -> Vec<Violation> {
        rules::unfinished(&self.shared.lock().world)
    }

    /// Makes a pass of the watchdog now.
    pub fn watchdog(&self) {
        let now = self.now();
        self.with(|world| world.watchdog(now));
    }

    /// Says that the agent was killed: what it was doing it may do again.
    pub fn agent_was_killed(&self) {
        let now = self.now();
        self.shared.lock().timeline.kills.push(now);
    }

    /// Refuses connections from now on, and cuts those that are open.
    pub fn go_down(&self) {
        self.shared.is_down.store(true, Ordering::SeqCst);
        let now = self.now();
        self.shared
            .lock()
            .timeline
            .outages
            .push((now, Duration::MAX));
        self.shared.cut_connections();
    }

    /// Takes connections again.
    pub fn come_back(&self) {
        let now = self.now();
        if let Some(outage) = self.shared.lock().timeline.outages.last_mut() {
            outage.1 = outage.1.min(now);
        }
        self.shared.is_down.store(false, Ordering::SeqCst);
    }

    /// Cuts all connections and forgets what is only in memory; rows stay.
    pub fn restart(&self) {
        self.shared.restart(&mut self.shared.lock());
    }

    fn now(&self) -> Duration {
        self.shared.clock.monotonic()
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        self.shared.stop.stop();
        self.shared.cut_connections();
        // Wakes the thread that waits for connections.
        drop(TcpStream::connect(self.address));
        if let Some(listener) = self.listener.take() {
            drop(listener.join());
        }
    }
}

impl State {
    /// Returns a call that is still kept.
    fn call_mut(&mut self, number: u64) -> Option<&mut Recorded> {
        let place = number.checked_sub(self.forgotten + 1)?;
        self.calls.get_mut(usize::try_from(place).ok()?)
    }

    /// Keeps a connection so that it can be cut.
    fn keep(&mut self, connection: &TcpStream) -> u64 {
        self.next_connection += 1;
        if let Ok(copy) = connection.try_clone() {
            self.connections.insert(self.next_connection, copy);
        }
        self.next_connection
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // What a panicking test left behind is still worth a look.
        self.state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn now(&self, settings: &Settings) -> Now {
        let off = SignedDuration::from_secs(settings.clock_off_secs);
        let wall = self.clock.now();
        Now {
            wall: wall.checked_add(off).unwrap_or(wall),
            since: self.clock.monotonic(),
        }
    }

    fn cut_connections(&self) {
        for connection in std::mem::take(&mut self.lock().connections).into_values() {
            // It may be gone already.
            drop(connection.shutdown(Shutdown::Both));
        }
    }

    fn restart(&self, state: &mut State) {
        self.life.fetch_add(1, Ordering::SeqCst);
        state.world.calls_of_second.clear();
        state.world.sessions.clear();
        for connection in std::mem::take(&mut state.connections).into_values() {
            drop(connection.shutdown(Shutdown::Both));
        }
    }

    /// Waits a little, in real time; `false` when the server ends.
    fn look_again(&self) -> bool {
        self.stop.wait_real_time(LOOK_EVERY).is_ok()
    }
}

fn accept(shared: &Arc<Shared>, listener: &TcpListener) {
    for connection in listener.incoming() {
        if shared.stop.is_stopped() {
            return;
        }
        let Ok(connection) = connection else {
            continue;
        };
        if shared.is_down.load(Ordering::SeqCst) {
            drop(connection);
            continue;
        }
        let of_thread = Arc::clone(shared);
        std::thread::spawn(move || {
            let number = of_thread.lock().keep(&connection);
            serve_connection(&of_thread, connection);
            of_thread.lock().connections.remove(&number);
        });
    }
}

fn serve_connection(shared: &Shared, mut connection: TcpStream) {
    let life = shared.life.load(Ordering::SeqCst);
    // Small answers must not wait for one another.
    drop(connection.set_nodelay(true));
    let Ok(copy) = connection.try_clone() else {
        return;
    };
    let mut reader = BufReader::new(copy);
    while let Ok(Some(call)) = http::read_call(&mut reader) {
        let is_cut =
            shared.life.load(Ordering::SeqCst) != life || shared.is_down.load(Ordering::SeqCst);
        if is_cut || serve_call(shared, &mut connection, call).is_err() {
            break;
        }
    }
    drop(connection.shutdown(Shutdown::Both));
}

/// Serves a call; an error means that the connection is to be cut.
fn serve_call(shared: &Shared, connection: &mut TcpStream, call: Call) -> io::Result<()> {
    let answered = answer(shared, call, &|| shared.look_again());
    let (number, fault, reply) = answered.ok_or(io::ErrorKind::ConnectionReset)?;
    let sent = send(shared, connection, fault.as_ref(), &reply);
    if let Some(recorded) = shared.lock().call_mut(number) {
        recorded.was_answered &= sent.is_ok();
    }
    sent
}

/// Does what a call asks for and records it; returns its number, what goes wrong with its answer, and the
/// answer. `None` when the server is started anew in place of that; `pause` waits a little, until the
/// server ends.
fn answer(
    shared: &Shared,
    call: Call,
    pause: &dyn Fn() -> bool,
) -> Option<(u64, Option<Fault>, Reply)> {
    let (number, fault, reply) = {
        let mut state = shared.lock();
        let fault = state.faults.next(&call.endpoint);
        if fault == Some(Fault::DeliveredTwice) {
            state.world.deliver_again = true;
        }
        let (reply, waits) = do_effect(shared, &mut state, &call, fault.as_ref());
        let held = waits.then(|| call.clone());
        let number = record(shared, &mut state, call, fault.clone(), &reply);
        if fault == Some(Fault::Restart) {
            shared.restart(&mut state);
            return None;
        }
        drop(state);
        match held {
            Some(call) => (number, fault, wait_for_work(shared, &call, pause)),
            None => (number, fault, reply),
        }
    };
    // Before it is sent: whoever has the answer may already move the clock.
    let mut state = shared.lock();
    if let Some(recorded) = state.call_mut(number) {
        recorded.answered_at = shared.clock.monotonic();
        recorded.answer = serde_json::from_slice(&reply.body).unwrap_or_default();
    }
    Some((number, fault, reply))
}

/// Returns the reply, and whether it may be held until there is work.
fn do_effect(
    shared: &Shared,
    state: &mut State,
    call: &Call,
    fault: Option<&Fault>,
) -> (Reply, bool) {
    let now = shared.now(&state.world.settings);
    if state.world.settings.watchdog
        && now.since.saturating_sub(state.last_watchdog) >= WATCHDOG_EVERY
    {
        state.last_watchdog = now.since;
        state.world.watchdog(now.since);
    }
    if fault.is_some_and(|fault| !fault.has_effect()) {
        return (Reply::fail(500, "Server error"), false);
    }
    match routes::serve(&mut state.world, call, now) {
        Served::Reply(reply) => (reply, false),
        Served::Waits(reply) => (reply, fault.is_none()),
    }
}

fn record(
    shared: &Shared,
    state: &mut State,
    call: Call,
    fault: Option<Fault>,
    reply: &Reply,
) -> u64 {
    let at = shared.clock.monotonic();
    let is_own = fault.as_ref().is_none_or(Fault::is_answered);
    let had_effect = fault.as_ref().is_none_or(Fault::has_effect) && reply.http_status == 200;
    let number = state.forgotten + state.calls.len() as u64 + 1;
    state.calls.push(Recorded {
        number,
        at,
        answered_at: at,
        call,
        http_status: faulty_status(fault.as_ref()).unwrap_or(reply.http_status),
        fault,
        answer: serde_json::from_slice(&reply.body).unwrap_or_default(),
        had_effect,
        was_answered: is_own,
    });
    number
}

/// Holds a long poll on the clock until there is work that wakes it, then serves it again.
fn wait_for_work(shared: &Shared, call: &Call, pause: &dyn Fn() -> bool) -> Reply {
    let begun = shared.clock.monotonic();
    loop {
        let go_on = pause();
        let mut state = shared.lock();
        let held = shared.clock.monotonic().saturating_sub(begun);
        let is_long_enough = held >= Duration::from_secs(state.world.settings.long_poll_secs);
        let now = shared.now(&state.world.settings);
        let is_awaited = routes::commands::is_awaited(&state.world, call, now);
        if is_awaited || is_long_enough || !go_on {
            return match routes::serve(&mut state.world, call, now) {
                Served::Reply(reply) | Served::Waits(reply) => reply,
            };
        }
    }
}

fn send(
    shared: &Shared,
    connection: &mut TcpStream,
    fault: Option<&Fault>,
    reply: &Reply,
) -> io::Result<()> {
    let cut = || Err(io::ErrorKind::ConnectionReset.into());
    let wall = {
        let state = shared.lock();
        shared.now(&state.world.settings).wall
    };
    let reply = &reply.clone().with_header("Date", http_date(wall));
    let Some(sent) = outgoing(fault, reply) else {
        if let Some(Fault::TimeOutBeforeEffect | Fault::TimeOutAfterEffect) = fault {
            hold(shared, connection);
        }
        return cut();
    };
    if let Some(Fault::Slow { millis }) = fault {
        // The server may end meanwhile: nobody waits for the answer then.
        let late = Duration::from_millis(*millis);
        if shared.stop.wait_real_time(late).is_err() {
            return cut();
        }
    }
    let is_whole = fault != Some(&Fault::AnswerCut);
    http::write_reply(connection, &sent, is_whole)?;
    if is_whole { Ok(()) } else { cut() }
}

/// Says nothing until the other side gives up, or for as long as the settings say.
fn hold(shared: &Shared, connection: &TcpStream) {
    let hold_millis = shared.lock().world.settings.hold_millis;
    let rounds = hold_millis / LOOK_EVERY.as_millis() as u64;
    drop(connection.set_nonblocking(true));
    for _ in 0..rounds {
        let gave_up = matches!(connection.peek(&mut [0]), Ok(0));
        if gave_up || !shared.look_again() {
            break;
        }
    }
    drop(connection.set_nonblocking(false));
}

fn http_date(wall: jiff::Timestamp) -> String {
    wall.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}
