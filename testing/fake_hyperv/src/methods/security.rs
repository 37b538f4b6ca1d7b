//! Key protectors of VMs with a virtual TPM (Hyper-V spec 9.2; high).

use windows_host::wmi::Value;

use super::management::named;
use super::parameters::read;
use super::{Answer, Call, Trouble};
use crate::failure::Refusal;
use crate::world::Subject;

const CLASS: &str = "Msvm_SecuritySettingData";

/// Whose security settings a call is about.
fn owner(call: &Call<'_>) -> Result<hyperv::VmId, Trouble> {
    let text = call.parameters.text("SecuritySettingData")?;
    let settings = read(call.model.schema(), CLASS, text)?;
    match *named(call, &settings)? {
        Subject::Security(vm) => Ok(vm),
        _ => Err(Refusal::InvalidParameter.into()),
    }
}

/// Answers at once; a VM that has none gives an empty one.
pub(super) fn get(call: &Call<'_>) -> Result<Answer, Trouble> {
    let vm = owner(call)?;
    let known = call.model.extras().key_protectors.get(&vm).cloned();
    let protector = Value::Bytes(known.unwrap_or_default());
    Ok(Answer::Done(vec![("KeyProtector", protector)]))
}

/// Answers at once.
pub(super) fn set(call: &Call<'_>) -> Result<Answer, Trouble> {
    let vm = owner(call)?;
    let Value::Bytes(protector) = call.parameters.value("KeyProtector") else {
        return Err(Refusal::InvalidParameter.into());
    };
    let mut extras = call.model.extras();
    extras.key_protectors.insert(vm, protector.clone());
    Ok(Answer::Done(Vec::new()))
}
