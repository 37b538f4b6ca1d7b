//! A frozen disk that is open, and what it is asked.

use disk::{ChangeId, Changes, DiskSource, RangeSet};
use hyperv::{FrozenDisk, HypervError, HypervErrorKind, ReferencePoint};
use uuid::Uuid;

use crate::error::{SelfTestError, host_error};

/// The frozen disks of a round, closed again: which each is, and the id it tells.
pub(crate) type Ids = Vec<(Uuid, Option<String>)>;

/// A frozen disk, open.
pub(crate) struct OpenDisk {
    pub frozen: FrozenDisk,
    pub source: Box<dyn DiskSource>,
}

/// Returns which each disk is, and the tracking id it tells.
pub(crate) fn ids(disks: &[OpenDisk]) -> Result<Ids, SelfTestError> {
    let ids = disks.iter().map(|disk| {
        let id = disk.source.change_id().map_err(|error| {
            let doing = "ask a frozen disk for its tracking id";
            HypervError::new(HypervErrorKind::Failed, doing).caused_by(error)
        })?;
        let id = id.map(|id| id.as_str().to_owned());
        Ok((disk.source.virtual_disk_id(), id))
    });
    ids.collect::<Result<_, HypervError>>()
        .map_err(host_error("look at the frozen disks"))
}

/// Returns the id that a point has of a disk.
pub(crate) fn id_in<'a>(point: &'a ReferencePoint, disk: &OpenDisk) -> Option<&'a ChangeId> {
    let frozen = &disk.frozen;
    let place = (frozen.controller, frozen.controller_number, frozen.location);
    let found = point.disks.iter().find(|listed| {
        listed.virtual_disk_id == disk.source.virtual_disk_id()
            && (listed.controller, listed.controller_number, listed.location) == place
    });
    found.map(|listed| &listed.change_id)
}

/// Returns what changed since an instant, or why the disk cannot tell.
pub(crate) fn changes(disk: &OpenDisk, base: &ChangeId) -> Result<RangeSet, String> {
    match disk.source.changes_since(base) {
        Changes::Ranges(ranges) => Ok(ranges),
        Changes::Unknown(reason) => Err(match reason.code {
            Some(code) => format!("{} (0x{code:08X})", reason.text),
            None => reason.text,
        }),
    }
}

/// Returns whether the file lies on another machine.
pub(crate) fn is_on_share(disk: &OpenDisk) -> bool {
    let path = disk.frozen.path.to_string_lossy();
    path.starts_with(r"\\") && !path.starts_with(r"\\?\") && !path.starts_with(r"\\.\")
}
