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

use crate::fault::{Fault, FaultPlan};
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
    let (place, fault, reply) = {
        let mut state = shared.lock();
        let fault = state.faults.next(&call.endpoint);
        if fault == Some(Fault::DeliveredTwice) {
            state.world.deliver_again = true;
        }
        let (reply, waits) = do_effect(shared, &mut state, &call, fault.as_ref());
        let place = record(shared, &mut state, call, fault.clone(), &reply);
        if fault == Some(Fault::Restart) {
            shared.restart(&mut state);
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        drop(state);
        match waits {
            true => (place, fault, wait_for_work(shared, place)),
            false => (place, fault, reply),
        }
    };
    {
        // Before it is sent: whoever has the answer may already move the clock.
        let mut state = shared.lock();
        state.calls[place].answered_at = shared.clock.monotonic();
        state.calls[place].answer = serde_json::from_slice(&reply.body).unwrap_or_default();
    }
    let sent = send(shared, connection, fault.as_ref(), &reply);
    shared.lock().calls[place].was_answered &= sent.is_ok();
    sent
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
) -> usize {
    let at = shared.clock.monotonic();
    let is_own = fault.as_ref().is_none_or(Fault::is_answered);
    let had_effect = fault.as_ref().is_none_or(Fault::has_effect) && reply.http_status == 200;
    state.calls.push(Recorded {
        number: state.calls.len() as u64 + 1,
        at,
        answered_at: at,
        call,
        http_status: faulty_status(fault.as_ref()).unwrap_or(reply.http_status),
        fault,
        answer: serde_json::from_slice(&reply.body).unwrap_or_default(),
        had_effect,
        was_answered: is_own,
    });
    state.calls.len() - 1
}

/// Returns the status that a fault puts in the place of the server's own; 0 when none is sent.
fn faulty_status(fault: Option<&Fault>) -> Option<u16> {
    Some(match fault? {
        Fault::ServerError | Fault::ServerErrorAfterEffect => 500,
        Fault::Firewall => 403,
        Fault::RateLimited { .. } => 429,
        Fault::TooOld { .. } => 426,
        Fault::Unauthorized => 401,
        Fault::Garbage => 200,
        Fault::TimeOutBeforeEffect
        | Fault::TimeOutAfterEffect
        | Fault::Reset
        | Fault::AnswerLost
        | Fault::AnswerCut
        | Fault::Restart => 0,
        Fault::Slow { .. } | Fault::DeliveredTwice => return None,
    })
}

/// Holds a long poll on the clock until there is work that wakes it, then serves it again.
fn wait_for_work(shared: &Shared, place: usize) -> Reply {
    let begun = shared.lock().calls[place].at;
    loop {
        let go_on = shared.look_again();
        let mut state = shared.lock();
        let call = state.calls[place].call.clone();
        let held = shared.clock.monotonic().saturating_sub(begun);
        let is_long_enough = held >= Duration::from_secs(state.world.settings.long_poll_secs);
        let now = shared.now(&state.world.settings);
        let is_awaited = routes::commands::is_awaited(&state.world, &call, now);
        if is_awaited || is_long_enough || !go_on {
            return match routes::serve(&mut state.world, &call, now) {
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
    match fault {
        None | Some(Fault::DeliveredTwice) => http::write_reply(connection, reply, true),
        Some(Fault::ServerError | Fault::ServerErrorAfterEffect) => {
            http::write_reply(connection, &Reply::fail(500, "Server error"), true)
        }
        Some(Fault::Firewall) => http::write_reply(connection, &Reply::html(403), true),
        Some(Fault::RateLimited { retry_after_secs }) => {
            let limited = Reply::fail(429, "Rate limit exceeded");
            let limited = limited.with_header("Retry-After", retry_after_secs.to_string());
            http::write_reply(connection, &limited, true)
        }
        Some(Fault::TooOld { min_version }) => {
            let body = serde_json::json!({"status": "fail", "code": "agent_version_too_old",
                "message": "Agent version too old", "min_version": min_version, "reported_version": ""});
            http::write_reply(connection, &Reply::json(426, &body), true)
        }
        Some(Fault::Unauthorized) => {
            http::write_reply(connection, &Reply::fail(401, "Unauthorized"), true)
        }
        Some(Fault::Garbage) => {
            let garbage = Reply {
                body: b"<br /><b>Warning</b>: Undefined index {".to_vec(),
                ..reply.clone()
            };
            http::write_reply(connection, &garbage, true)
        }
        Some(Fault::TimeOutBeforeEffect | Fault::TimeOutAfterEffect) => {
            hold(shared, connection);
            cut()
        }
        Some(Fault::AnswerCut) => {
            http::write_reply(connection, reply, false)?;
            cut()
        }
        Some(Fault::Slow { millis }) => {
            // The server may end meanwhile: nobody waits for the answer then.
            if shared
                .stop
                .wait_real_time(Duration::from_millis(*millis))
                .is_err()
            {
                return cut();
            }
            http::write_reply(connection, reply, true)
        }
        Some(Fault::Reset | Fault::AnswerLost | Fault::Restart) => cut(),
    }
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
