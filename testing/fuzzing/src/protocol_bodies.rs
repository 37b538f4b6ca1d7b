//! Bodies for what agents and control planes read from each other.

use protocol::agent_events::PushAgentEvents;
use protocol::commands::{Command, Poll, PollCommands};
use protocol::enrolment::{Enroll, Login, LoginSteps, Machine};
use protocol::event::Event;
use protocol::form;
use protocol::hyperv_discover::HypervDiscover;
use protocol::log_chunk::PushLogChunk;
use protocol::next_run::{NextRun, Offer, Run};
use protocol::packing::{pack, unpack};
use protocol::repo_operations::PollRepoOperations;
use protocol::reports::ReportBrowse;
use protocol::request::answer_of;
use protocol::run_events::PushEvents;
use protocol::update_run::UpdateRun;
use protocol::volumes::ReportVolumes;
use protocol::{Call, Request, Response, SecretText, WireId};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Reads an answer of each kind: the first byte chooses the status of HTTP.
pub(crate) fn answer(data: &[u8]) {
    let Some((&first, body)) = data.split_first() else {
        return;
    };
    let statuses = [200, 400, 401, 403, 404, 426, 429, 500];
    let response = Response {
        http_status: statuses[usize::from(first) % statuses.len()],
        headers: vec![(
            "Retry-After".to_owned(),
            String::from_utf8_lossy(body).into_owned(),
        )],
        body: body.to_vec(),
    };
    if let Ok(Offer::Run(run)) = answer_of(&NextRun, &response) {
        says_the_same::<Run>(&run);
    }
    if let Ok(polled) = answer_of(&Poll { long: true }, &response) {
        for command in &polled.commands {
            says_the_same::<Command>(command);
            drop((command.order(), command.context()));
        }
    }
    drop(answer_of(&PollRepoOperations, &response));
    let run_id = WireId::Number(1);
    drop(answer_of(
        &PollCommands {
            run_id: run_id.clone(),
        },
        &response,
    ));
    drop(answer_of(
        &PushEvents::new(run_id.clone(), "1", Vec::new()),
        &response,
    ));
    let vms = Vec::new();
    drop(answer_of(
        &HypervDiscover {
            job_id: run_id,
            vms,
        },
        &response,
    ));
    let (token, machine) = (SecretText::default(), Machine::default());
    drop(answer_of(
        &Enroll {
            token: token.clone(),
            machine: machine.clone(),
        },
        &response,
    ));
    let login = Login {
        email: String::new(),
        password: token,
        machine,
        steps: LoginSteps::Two,
    };
    drop(answer_of(&login, &response));
}

/// Reads what agents send, and sends what was read.
pub(crate) fn body(data: &[u8]) {
    sends_the_same::<UpdateRun>(data);
    sends_the_same::<HypervDiscover>(data);
    sends_the_same::<ReportVolumes>(data);
    sends_the_same::<PushLogChunk>(data);
    sends_the_same::<PushEvents>(data);
    sends_the_same::<PushAgentEvents>(data);
    if let Ok(event) = serde_json::from_slice::<Event>(data) {
        let compact = event.compacted();
        assert_eq!(compact.compacted(), compact);
    }
    if let Ok(report) = serde_json::from_slice::<ReportBrowse>(data) {
        drop(report.result_json());
    }
}

/// Reads a form and a packed document.
pub(crate) fn packed(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let fields = form::decode(&text);
    assert_eq!(form::decode(&form::encode(&fields)), fields);
    const BYTES_MAX: u64 = 1 << 20;
    if let Ok(plain) = unpack(&text, BYTES_MAX) {
        assert_eq!(unpack(&pack(&plain), BYTES_MAX).unwrap(), plain);
    }
}

fn says_the_same<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(read: &T) {
    let again = serde_json::to_vec(read).unwrap();
    assert_eq!(serde_json::from_slice::<T>(&again).unwrap(), *read);
}

/// What was read is sent within the server's limits, and read and sent once more it is the same.
fn sends_the_same<C: Call + DeserializeOwned>(data: &[u8]) {
    let caller = protocol::identity::Caller::default();
    if let Ok(call) = serde_json::from_slice::<C>(data) {
        let first = Request::new(&call, &caller).body;
        let again: C = serde_json::from_slice(&first).unwrap();
        assert_eq!(Request::new(&again, &caller).body, first);
    }
}
