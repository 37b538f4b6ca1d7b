//! Orders to pin a point, or to take its pins away: the last one wins. Pure.
//!
//! A host may carry out at once what it is handed at once, and two hosts know nothing of each other. So a later order for
//! a point withdraws those that no host has taken, and waits for the one that a host has.

use serde::{Deserialize, Serialize};

use crate::store::entity::command;

/// The kind of command that pins a point.
pub const PIN_POINT: &str = "pin_point";

/// What such a command says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Pin {
    /// The point.
    pub restore_point_id: i64,
    /// Whether it is to be pinned; else every pin is taken away.
    pub is_pinned: bool,
}

impl Pin {
    /// Reads what a command says; `None` if it is none of these.
    pub fn of(command: &command::Model) -> Option<Self> {
        let says = || serde_json::from_str(&command.payload_json).ok();
        (command.kind == PIN_POINT).then(says).flatten()
    }
}

/// Leaves out of pending commands the orders for points of which an older one is among those without an answer.
pub fn in_turn(pending: Vec<command::Model>, unanswered: &[command::Model]) -> Vec<command::Model> {
    let point_of = |order: &command::Model| Pin::of(order).map(|pin| pin.restore_point_id);
    let waits = |order: &command::Model| {
        let point = point_of(order);
        let is_older = |it: &command::Model| it.id < order.id && point_of(it) == point;
        point.is_some() && unanswered.iter().any(is_older)
    };
    pending.into_iter().filter(|it| !waits(it)).collect()
}
