//! The simulated host as a person looks at it.

use std::path::PathBuf;

use serde::Serialize;

use super::SimHost;
use super::fault::FaultRecord;
use crate::{Checkpoint, HypervError, MergeState, Vm, VmId};

/// Everything there is on a simulated host.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SimView {
    /// Its name.
    pub name: String,
    /// Its folder.
    pub folder: PathBuf,
    /// The newest configuration version it can run.
    pub configuration_version: String,
    /// Its virtual switches.
    pub switches: Vec<String>,
    /// Its VMs.
    pub vms: Vec<SimVmView>,
    /// Planned VMs.
    pub planned: Vec<SimPlannedView>,
    /// Faults that belong to no VM.
    pub faults: Vec<FaultRecord>,
}

/// A VM and all that hangs on it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SimVmView {
    /// The VM as the port shows it.
    #[serde(flatten)]
    pub vm: Vm,
    /// Where its files are.
    pub folder: PathBuf,
    /// Its checkpoints.
    pub checkpoints: Vec<Checkpoint>,
    /// Its reference points.
    pub reference_points: Vec<SimPointView>,
    /// "idle", "running" or "stuck: …".
    pub merge: String,
    /// Faults that wait for their calls.
    pub faults: Vec<FaultRecord>,
    /// Whether it moved to another host.
    pub away: bool,
}

/// A planned VM.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SimPlannedView {
    /// Its GUID.
    pub id: VmId,
    /// Its name.
    pub name: String,
}

/// A reference point.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SimPointView {
    /// Its `InstanceID`.
    pub id: String,
    /// Whether level 1 was obtained.
    pub application_level: bool,
    /// The tracking ids it pins, one per tracked disk.
    pub change_ids: Vec<String>,
}

impl SimHost {
    /// Returns everything there is, without letting anything go on.
    pub fn show(&self) -> Result<SimView, HypervError> {
        let mut session = self.session()?;
        let mut vms = Vec::new();
        for index in 0..session.state.vms.len() {
            let away = std::mem::take(&mut session.state.vms[index].away);
            let record = session.state.vms[index].clone();
            let view = SimVmView {
                vm: session.vm_view(record.id)?,
                folder: session.path(&record.folder),
                checkpoints: session.checkpoints(record.id)?,
                merge: match session.merge_state(record.id)? {
                    MergeState::Idle => "idle".to_owned(),
                    MergeState::Running(_) => "running".to_owned(),
                    MergeState::Stuck(why) => format!("stuck: {why}"),
                },
                reference_points: record
                    .reference_points
                    .into_iter()
                    .map(|point| SimPointView {
                        id: point.id,
                        application_level: point.application_level,
                        change_ids: point.disks.into_iter().map(|disk| disk.change_id).collect(),
                    })
                    .collect(),
                faults: record.faults,
                away,
            };
            session.state.vms[index].away = away;
            vms.push(view);
        }
        let state = &session.state;
        let planned = state.planned.iter().map(|planned| SimPlannedView {
            id: planned.id,
            name: planned.name.clone(),
        });
        Ok(SimView {
            name: state.name.clone(),
            folder: self.root.to_path_buf(),
            configuration_version: state.configuration_version.clone(),
            switches: state.switches.clone(),
            vms,
            planned: planned.collect(),
            faults: state.faults.clone(),
        })
    }
}
