//! Events of runs on their way to the control plane: best effort, and never a run's concern.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use protocol::event::Event;
use protocol::run_events::PushEvents;
use protocol::{NoAnswer, WireId};
use time_and_chance::StopSignal;

use crate::control_plane::{CallError, ControlPlane};
use crate::log::Log;

/// So many events wait; the oldest go when more come.
const WAITING_MAX: usize = 2000;
/// So many go at once.
const BATCH_MAX: usize = 100;

/// Events that wait to be sent.
#[derive(Debug)]
pub struct Events {
    log: Arc<Log>,
    waiting: Mutex<VecDeque<(WireId, Event)>>,
    /// One batch at a time, so that they arrive in order.
    sending: Mutex<()>,
}

impl Events {
    /// Returns an empty queue.
    pub fn new(log: Arc<Log>) -> Self {
        Self {
            log,
            waiting: Mutex::default(),
            sending: Mutex::default(),
        }
    }

    /// Lets an event wait to be sent. Secrets are taken out of it here.
    pub fn push(&self, run_id: &WireId, mut event: Event) {
        for value in event.params_json.values_mut() {
            if let Some(text) = value.as_str() {
                *value = self.log.redacted(text).into();
            }
        }
        let params = serde_json::to_string(&event.params_json).unwrap_or_default();
        self.log
            .debug(&format!("run {run_id}: {} {params}", event.message_id));
        let mut waiting = self.lock();
        if waiting.len() >= WAITING_MAX {
            waiting.pop_front();
        }
        waiting.push_back((run_id.clone(), event));
    }

    /// Sends what waits, until it is sent or the line fails.
    pub fn send(&self, plane: &ControlPlane, stop: &StopSignal) {
        let _one_at_a_time = self.sending.lock().expect("nobody panics while he sends");
        while let Some((run_id, batch)) = self.next_batch() {
            let version = plane.caller().program.version.clone();
            let push = PushEvents::new(run_id.clone(), version, batch);
            let refused_by_firewall = |sent: &Result<_, CallError>| {
                matches!(sent, Err(CallError::NoAnswer(NoAnswer::Firewall { .. })))
            };
            let mut sent = plane.call(&push, stop);
            if refused_by_firewall(&sent) {
                sent = plane.call(&push.clone().for_firewall(), stop);
            }
            match sent {
                Ok(_) => {}
                Err(CallError::Line(_)) => {
                    self.put_back(run_id, push.events);
                    return;
                }
                Err(error) => self.log.debug(&format!(
                    "{} events of run {run_id} are lost: {error}",
                    push.events.len()
                )),
            }
        }
    }

    fn next_batch(&self) -> Option<(WireId, Vec<Event>)> {
        let mut waiting = self.lock();
        let run_id = waiting.front()?.0.clone();
        let of_run = waiting.iter().take_while(|(of, _)| *of == run_id);
        let count = of_run.count().min(BATCH_MAX);
        let events = waiting.drain(..count).map(|(_, event)| event);
        Some((run_id, events.collect()))
    }

    fn put_back(&self, run_id: WireId, events: Vec<Event>) {
        let mut waiting = self.lock();
        for event in events.into_iter().rev() {
            waiting.push_front((run_id.clone(), event));
        }
        let excess = waiting.len().saturating_sub(WAITING_MAX);
        waiting.drain(..excess);
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(WireId, Event)>> {
        self.waiting
            .lock()
            .expect("nobody panics while he holds it")
    }
}
