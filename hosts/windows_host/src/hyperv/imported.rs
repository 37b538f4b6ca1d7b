//! Which planned VM an import or a definition made: known for certain, or not at all.
//!
//! Others import VMs too, even of the same definition at the same moment, so that being new tells
//! nothing. What tells is the job, which names what it made, and the folder, which is nobody else's:
//! a VM that is defined is told it, and an imported one keeps its files where its definition came
//! from until it is told otherwise (Hyper-V spec 10.1 steps 3 and 4; low).

use std::path::Path;

use hyperv::{HypervError, HypervErrorKind as Kind, VmId, vm_folder};
use uuid::Uuid;

use super::method::{Answer, Failed};
use super::planned_system::{self, PLANNED, list};
use super::provider::Provider;
use crate::wmi::key_of;

/// The planned VMs of the host before one is made.
#[derive(Debug)]
pub(super) struct Before(Vec<VmId>);

impl Before {
    pub(super) fn of(provider: &Provider) -> Result<Self, HypervError> {
        let known = list(provider)?.into_iter().map(|(id, _)| id);
        Ok(Self(known.collect()))
    }

    /// Returns the planned VM that a method made, which answered like this: with its result in
    /// `parameter`, by its job, or not so that anybody heard it.
    ///
    /// # Errors
    /// The method's own. If nobody knows what became of it and no planned VM came since, that too;
    /// if some came and none of them is known for the method's, the error names them: they are left
    /// alone, for they may be somebody else's.
    pub(super) fn made(
        &self,
        provider: &Provider,
        doing: &str,
        answer: Result<Answer, Failed>,
        parameter: &str,
        folder: &Path,
    ) -> Result<VmId, HypervError> {
        let (named, why) = match answer {
            Ok(answer) => {
                let text = format!("{doing}: Hyper-V did so and does not say what it made");
                let unnamed = HypervError::new(Kind::OutcomeUnknown, text);
                (provider.made(&answer, parameter, PLANNED), unnamed)
            }
            // Its end was not seen, but what it made may be; else it would stay there for nobody.
            Err(failed) if failed.error.kind() == Kind::OutcomeUnknown => {
                let named = failed.job.map(|job| provider.affected_by(&job, PLANNED));
                let named = named.and_then(Result::ok).unwrap_or_default();
                (named, failed.error)
            }
            Err(failed) => return Err(failed.error),
        };
        if let Some(id) = named.iter().find_map(|path| id_at(path)) {
            return Ok(id);
        }
        let mut new = list(provider)?;
        new.retain(|(id, _)| !self.0.contains(id));
        let mut ours = Vec::new();
        for (id, _) in &new {
            match planned_system::folder(provider, *id) {
                Ok(Some(root)) if vm_folder::holds(folder, &root) => ours.push(*id),
                Ok(_) => {}
                Err(error) if error.kind() == Kind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        match (ours.as_slice(), new.is_empty()) {
            ([id], _) => Ok(*id),
            (_, true) => Err(why),
            _ => Err(in_doubt(&new, why)),
        }
    }
}

fn in_doubt(new: &[(VmId, String)], why: HypervError) -> HypervError {
    let shown: Vec<String> = new
        .iter()
        .map(|(id, name)| format!("{name} ({id})"))
        .collect();
    let text = format!(
        "find the planned VM that was made: it may be one of those that came meanwhile, but nothing tells which: {}; they are left as they are, for they may be somebody else's: remove what nobody needs, then restore again",
        shown.join(", ")
    );
    let error = HypervError::new(Kind::OutcomeUnknown, text);
    match why.code() {
        Some(code) => error.with_code(code),
        None => error,
    }
    .caused_by(why)
}

/// Returns the GUID in the path of a system.
pub(super) fn id_at(path: &str) -> Option<VmId> {
    Some(VmId(Uuid::parse_str(&key_of(path, "Name")?).ok()?))
}
