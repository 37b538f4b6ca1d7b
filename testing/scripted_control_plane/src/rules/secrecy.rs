//! Secrets: no key, password or token comes back, but where it belongs.

use super::Violation;
use crate::record::Recorded;
use crate::world::World;

/// Where tokens and passwords belong into the body.
const MAY_CARRY: [&str; 2] = ["agent_enroll", "agent_login"];

pub(super) fn check(calls: &[Recorded], world: &World) -> Vec<Violation> {
    let mut secrets: Vec<&String> = world
        .secrets
        .iter()
        .filter(|secret| secret.len() >= 6)
        .collect();
    secrets.sort();
    secrets.dedup();
    let mut found = Vec::new();
    for recorded in calls
        .iter()
        .filter(|it| !MAY_CARRY.contains(&it.call.endpoint.as_str()))
    {
        let call = &recorded.call;
        let packed = call
            .unpacked
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default();
        let plain = String::from_utf8_lossy(&call.raw);
        let is_in = |secret: &&&String| {
            [&packed, &*plain, &call.query]
                .iter()
                .any(|text| text.contains(secret.as_str()))
        };
        if secrets.iter().any(|secret| is_in(&secret)) {
            found.push(Violation::of(recorded, "a secret is in it"));
        }
    }
    found
}
