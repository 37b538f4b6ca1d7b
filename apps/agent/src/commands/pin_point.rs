//! `pin_point`: a restore point stays whatever retention says, or no longer. A command of our own control plane.

use point::Points;
use protocol::commands::{Command, PinPoint};
use repo::Writer;
use snapshot::Snapshots;

use super::{Reply, context, failed};
use crate::cancellation::Cancellation;
use crate::destination::Destination;
use crate::parts::Parts;
use crate::repositories::Absent;

/// The pin's name, which `points pin` gives too.
const PIN: &str = "keep";

/// Pins a point, or takes all its pins away, whoever set them: one that is left would keep it.
pub fn carry_out(parts: &Parts, command: &Command, order: &PinPoint) -> Result<Reply, String> {
    let is_pinned = order
        .is_pinned
        .ok_or("the payload of `pin_point` does not say whether the point is to be pinned")?;
    let context = context(command)?;
    let destination = Destination::of(&context.destination, &parts.config).map_err(failed)?;
    let cancellation = Cancellation::below(&parts.stop);
    let lease = parts
        .repositories
        .open(&destination, Absent::IsAnError, 0, &cancellation)
        .map_err(failed)?;
    let repository = lease.repository();
    let manifest_id = match order.manifest_id.as_str() {
        "" => &context.manifest_id,
        named => named,
    };
    let points = Points::load(repository).map_err(failed)?;
    let point = points.find(manifest_id).map_err(failed)?;
    let pins = &point.snapshot().manifest.pins;
    if pins.is_empty() == is_pinned {
        let writer = Writer::new(repository, 1).map_err(failed)?;
        Snapshots::edit(&writer, point.id(), |manifest| match is_pinned {
            true => manifest.pins.push(PIN.to_owned()),
            false => manifest.pins.clear(),
        })
        .map_err(failed)?;
    }
    Ok(Reply::Done(match is_pinned {
        true => "the point is pinned".to_owned(),
        false => "the point has no pins".to_owned(),
    }))
}
