//! What a run of VMs read of each disk and why: figures that our own control plane shows, and others pass over.

use std::sync::Mutex;

use point::{BackupType, DiskDescriptor, VmDescriptor};
use protocol::limit::shortened;
use protocol::moment::rfc3339;
use serde_json::{Map, Value, json};

use crate::retention::Retained;

/// The figures of one run take no more, in bytes of JSON: the server keeps them in a column, and firewalls mind
/// bodies that are large.
const BYTES_MAX: usize = 48 * 1024;
/// The longest reason that is told.
const REASON_CHARS_MAX: usize = 200;

/// The figures of one run.
#[derive(Debug, Default)]
pub struct DiskStats {
    vms: Mutex<Vec<Value>>,
    retained: Mutex<Option<Retained>>,
}

impl DiskStats {
    /// Notes what a point was made of.
    pub fn note(&self, point: &VmDescriptor) {
        let vm = json!({
            "vm_guid": point.guid.to_string().to_uppercase(),
            "frozen_at": rfc3339(point.frozen_at),
            "disks": point.disks.iter().map(figures).collect::<Vec<_>>(),
        });
        self.vms
            .lock()
            .expect("nobody panics while he notes")
            .push(vm);
    }

    /// Notes what retention did.
    pub fn note_retained(&self, retained: Option<Retained>) {
        *self.retained.lock().expect("nobody panics while he notes") = retained;
    }

    /// Returns the figures for the server; of VMs for which there is no room, how many they are.
    pub fn document(&self) -> Map<String, Value> {
        let vms = self.vms.lock().expect("nobody panics while he notes");
        let mut document = within(&vms, BYTES_MAX);
        let retained = self.retained.lock().expect("nobody panics while he notes");
        if let Some(retained) = &*retained {
            document.insert("retention".to_owned(), retained.figures());
        }
        document
    }
}

fn within(vms: &[Value], bytes_max: usize) -> Map<String, Value> {
    let mut told = Vec::new();
    let mut bytes = 0;
    for vm in vms {
        bytes += vm.to_string().len() + 1;
        if bytes > bytes_max {
            break;
        }
        told.push(vm.clone());
    }
    let mut document = Map::new();
    if vms.is_empty() {
        return document;
    }
    let left_out = vms.len() - told.len();
    document.insert("vms".to_owned(), told.into());
    if left_out > 0 {
        document.insert("vms_left_out".to_owned(), left_out.into());
    }
    document
}

fn figures(disk: &DiskDescriptor) -> Value {
    let kind = match disk.backup_type {
        BackupType::Full => "full",
        BackupType::Incremental => "incremental",
    };
    let why = disk.full_reason.as_deref();
    json!({
        "path": disk.original_path,
        "type": kind,
        "full_reason": why.map(|why| shortened(why, REASON_CHARS_MAX)),
        "read_bytes": disk.read_bytes,
        "changed_bytes": disk.changed_bytes,
        "uploaded_bytes": disk.uploaded_bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_stay_within_their_room_and_say_of_how_many_there_are_none() {
        let vms: Vec<Value> = (0..10).map(|vm| json!({ "vm_guid": vm })).collect();
        let bytes = vms[0].to_string().len() + 1;
        let document = within(&vms, bytes * 4);
        assert_eq!(document["vms"].as_array().unwrap().len(), 4);
        assert_eq!(document["vms_left_out"], 6);
        let whole = within(&vms, BYTES_MAX);
        assert_eq!(whole.len(), 1);
        assert!(within(&[], BYTES_MAX).is_empty());
    }
}
