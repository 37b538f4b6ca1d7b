//! RH-17: in which form methods take embedded instances. A checkpoint is taken for each, named, its
//! configuration imported and given up, and destroyed.

use hyperv::{CheckpointId, HypervError, HypervErrorKind, RequestedConsistency, Vm};
use windows_host::hyperv::Beliefs;
use windows_host::wmi::TextForm;

use crate::error::{SelfTestError, host_error};
use crate::options::{Connect, Connected};
use crate::probes::Bench;
use crate::verdicts::{TextOutcome, TextTry};

/// Either form of texts, the spec's choice first.
pub(crate) const FORMS: [TextForm; 2] = [TextForm::CimDtd20, TextForm::WmiDtd20];

impl Bench<'_> {
    /// Tries either form of texts; the host is asked in the one it takes from then on.
    pub(crate) fn texts(
        &mut self,
        connect: &dyn Connect,
        vm: &Vm,
    ) -> Result<Vec<TextTry>, SelfTestError> {
        let mut tries = Vec::new();
        if self.on.probing.is_none() {
            return Ok(tries);
        }
        for form in FORMS {
            self.phase("trying how Hyper-V wants to be told")?;
            let on = connect.connect(&in_form(form));
            let on = on.map_err(host_error("connect"))?;
            let taken = self.try_freeze(&on, RequestedConsistency::Crash)?;
            let outcome = match taken {
                Ok(checkpoint) => {
                    tries.push(TextTry {
                        method: "ModifySystemSettings",
                        form,
                        outcome: self.name_outcome(checkpoint)?,
                    });
                    self.texts_of_restores(&on, form, vm, checkpoint, &mut tries)?;
                    self.destroy(checkpoint)?;
                    TextOutcome::Taken
                }
                Err(error) => outcome_of(&error),
            };
            tries.push(TextTry {
                method: "CreateSnapshot",
                form,
                outcome,
            });
        }
        Ok(tries)
    }

    /// Whether a checkpoint got the name that was put into words.
    fn name_outcome(&self, checkpoint: CheckpointId) -> Result<TextOutcome, SelfTestError> {
        let listed = self.on.host.checkpoints(self.vm);
        let listed = listed.map_err(host_error("list checkpoints"))?;
        let named = listed
            .iter()
            .any(|known| known.id == checkpoint && known.name == self.journal.mark);
        Ok(match named {
            true => TextOutcome::Taken,
            false => TextOutcome::Refused("the checkpoint kept its first name".to_owned()),
        })
    }

    /// Imports the VM's configuration under a new id, connects the planned VM's adapters to
    /// nothing, and gives it up.
    fn texts_of_restores(
        &mut self,
        on: &Connected,
        form: TextForm,
        vm: &Vm,
        checkpoint: CheckpointId,
        tries: &mut Vec<TextTry>,
    ) -> Result<(), SelfTestError> {
        let Ok(files) = on.host.configuration_files(self.vm, checkpoint) else {
            return Ok(());
        };
        let imported = self.import(on, &files, |on, planned| {
            if vm.network_adapters.is_empty() {
                return None;
            }
            let nowhere = vec![None; vm.network_adapters.len()];
            Some(on.host.set_planned_switches(planned, &nowhere))
        })?;
        if let Ok(Some(set)) = imported {
            tries.push(TextTry {
                method: "ModifyResourceSettings",
                form,
                outcome: match set {
                    Ok(()) => TextOutcome::Taken,
                    Err(error) => outcome_of(&error),
                },
            });
        }
        Ok(())
    }
}

/// Returns what is believed where a form is tried.
pub(crate) fn in_form(form: TextForm) -> Beliefs {
    Beliefs {
        text_form: form,
        ..Beliefs::default()
    }
}

fn outcome_of(error: &HypervError) -> TextOutcome {
    match error.kind() {
        HypervErrorKind::Invalid => TextOutcome::Refused(error.to_string()),
        _ => TextOutcome::Failed(error.to_string()),
    }
}
