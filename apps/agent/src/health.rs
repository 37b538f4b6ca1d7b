//! Events of the service's own health, sent now and then in one batch.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use protocol::agent_events::{AgentEvent, Connection, Health as What, PushAgentEvents};
use protocol::identifier::CommandId;
use protocol::{NoAnswer, WireId};
use time_and_chance::{SharedClock, StopSignal};

use crate::control_plane::{CallError, ControlPlane, Turn};
use crate::log::Log;

/// So many wait; the oldest go when more come.
const WAITING_MAX: usize = 512;
/// So many go at once.
const BATCH_MAX: usize = 100;

/// What happened to the service, as far as it is not sent yet.
#[derive(Debug)]
pub struct Health {
    clock: SharedClock,
    log: Arc<Log>,
    waiting: Mutex<VecDeque<AgentEvent>>,
}

impl Health {
    /// Returns an empty queue.
    pub fn new(clock: SharedClock, log: Arc<Log>) -> Self {
        Self {
            clock,
            log,
            waiting: Mutex::default(),
        }
    }

    /// Notes what happened.
    pub fn note(&self, what: What) {
        let mut event = AgentEvent::new(what, self.clock.now());
        for value in event.params_json.values_mut() {
            if let Some(text) = value.as_str() {
                *value = self.log.redacted(text).into();
            }
        }
        let mut waiting = self.lock();
        if waiting.len() >= WAITING_MAX {
            waiting.pop_front();
        }
        waiting.push_back(event);
    }

    /// Notes that a run began.
    pub fn run_started(&self, run_id: &WireId, job_id: Option<&WireId>) {
        self.note(What::RunStarted {
            run_id: run_id.clone(),
            // A restore may have none, and the text has a place for it all the same.
            job_id: Some(job_id.cloned().unwrap_or(WireId::Text(String::new()))),
        });
    }

    /// Notes that a run ended.
    pub fn run_finished(&self, run_id: &WireId, status: &str) {
        self.note(What::RunFinished {
            run_id: run_id.clone(),
            status: status.to_owned(),
        });
    }

    /// Notes that a command arrived.
    pub fn command_received(&self, command_id: CommandId, command: &str) {
        self.note(What::CommandReceived {
            command_id,
            command: command.to_owned(),
        });
    }

    /// Notes how a command ended.
    pub fn command_ended(&self, command_id: CommandId, command: &str, failure: Option<&str>) {
        let command = command.to_owned();
        self.note(match failure {
            None => What::CommandCompleted {
                command_id,
                command,
                status: "completed".to_owned(),
            },
            Some(error) => What::CommandFailed {
                command_id,
                command,
                error: error.to_owned(),
            },
        });
    }

    /// Sends what waits, together with the turns that the connection took.
    pub fn send(&self, plane: &ControlPlane, stop: &StopSignal) {
        for turn in plane.take_turns() {
            let state = match turn {
                Turn::Connected => Connection::Connected,
                Turn::Disconnected => Connection::Disconnected,
                Turn::Restored => Connection::Restored,
            };
            self.note(What::ServerConnection { state });
        }
        loop {
            let events: Vec<AgentEvent> = {
                let mut waiting = self.lock();
                let count = waiting.len().min(BATCH_MAX);
                waiting.drain(..count).collect()
            };
            if events.is_empty() {
                return;
            }
            let mut push = PushAgentEvents {
                agent_version: plane.caller().program.version.clone(),
                events,
                after_firewall: false,
            };
            let mut sent = plane.call(&push, stop);
            if matches!(sent, Err(CallError::NoAnswer(NoAnswer::Firewall { .. }))) {
                push.after_firewall = true;
                sent = plane.call(&push, stop);
            }
            match sent {
                Ok(_) => {}
                // Older servers have no place for it.
                Err(error) if error.is_final() || error.is_missing_endpoint() => {}
                Err(error) => {
                    self.log.debug(&format!("events of health wait: {error}"));
                    let mut waiting = self.lock();
                    for event in push.events.into_iter().rev() {
                        waiting.push_front(event);
                    }
                    let excess = waiting.len().saturating_sub(WAITING_MAX);
                    waiting.drain(..excess);
                    return;
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<AgentEvent>> {
        self.waiting
            .lock()
            .expect("nobody panics while he holds it")
    }
}
