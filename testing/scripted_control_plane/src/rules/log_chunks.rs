//! Verbose logs: pushed only where one is wanted, in pieces whose numbers rise.

use std::collections::BTreeMap;

use super::Violation;
use crate::packed;
use crate::record::Recorded;
use crate::world::{World, id_text};

pub(super) fn check(calls: &[Recorded], world: &World) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut last: BTreeMap<String, u64> = BTreeMap::new();
    for recorded in calls {
        if recorded.call.endpoint != "agent_push_log_chunk" {
            continue;
        }
        let body = &recorded.call.body;
        let run = id_text(&body["run_id"]);
        let is_wanted = world.commands.iter().any(|it| {
            let is_delivered = it.delivered.is_some_and(|at| at <= recorded.at);
            it.name == "enable_verbose_admin_logging" && is_delivered && id_text(&it.run_id) == run
        });
        let mut wrong = Vec::new();
        if !is_wanted {
            wrong.push("nobody wants the verbose log of this run".to_owned());
        }
        match body["content_b64"].as_str().and_then(packed::text) {
            Some(text) if Some(text.lines().count() as u64) != body["line_count"].as_u64() => {
                wrong.push("the count of lines is another one than that of the text".to_owned());
            }
            Some(_) => {}
            None => wrong.push("the text cannot be unpacked".to_owned()),
        }
        let number = body["chunk_seq"].as_u64().unwrap_or_default();
        let before = last.insert(run, number);
        if before.is_some_and(|before| number < before) {
            wrong.push("its number is below that of the piece before".to_owned());
        }
        let all = wrong.into_iter();
        found.extend(all.map(|what| Violation::of(recorded, what)));
    }
    found
}
