//! `GetSummaryInformation`: an overview in one call (Hyper-V spec 3.1).

use windows_host::wmi::{Value, WmiObject};

use super::{Answer, Call, Trouble};
use crate::world::Subject;

const CLASS: &str = "Msvm_SummaryInformation";

/// Codes of what can be asked for, with the property that answers and where it comes from: the
/// system or its settings.
const WANTED: [(i32, &str, bool); 9] = [
    (0, "Name", true),
    (1, "ElementName", true),
    (2, "CreationTime", false),
    (10, "Version", false),
    (100, "EnabledState", true),
    (109, "HealthState", true),
    (110, "OperationalStatus", true),
    (114, "ReplicationState", true),
    (115, "ReplicationHealth", true),
];

/// Without settings to tell about, tells about all VMs.
pub(super) fn get(call: &Call<'_>) -> Result<Answer, Trouble> {
    let mut vms = Vec::new();
    match call.parameters.value("SettingData") {
        Value::Null => {
            let all = call.world.instances.iter();
            vms.extend(all.filter_map(|known| match known.subject {
                Subject::Vm(vm) => Some(vm),
                _ => None,
            }));
        }
        _ => {
            for path in call.parameters.texts("SettingData") {
                let at = call.world.object_at(path)?;
                if let Subject::Settings(vm) = call.world.instances[at].subject {
                    vms.push(vm);
                }
            }
        }
    }
    let codes = match call.parameters.value("RequestedInformation") {
        Value::Array(codes) => codes.as_slice(),
        _ => &[],
    };
    let objects = vms.into_iter().map(|vm| {
        let object = |subject: &Subject| {
            let at = call.world.of_subject(subject);
            at.map(|at| &call.world.instances[at].object)
        };
        let system = object(&Subject::Vm(vm));
        let settings = object(&Subject::Settings(vm));
        Value::Object(Box::new(summary(codes, system, settings)))
    });
    Ok(Answer::Done(vec![(
        "SummaryInformation",
        Value::Array(objects.collect()),
    )]))
}

fn summary(codes: &[Value], system: Option<&WmiObject>, settings: Option<&WmiObject>) -> WmiObject {
    let mut summary = WmiObject {
        class: CLASS.to_owned(),
        ..WmiObject::default()
    };
    for (code, name, of_system) in WANTED {
        let source = if of_system { system } else { settings };
        if let Some(source) = source.filter(|_| codes.contains(&Value::I32(code))) {
            summary.set(name, source.value(name).clone());
        }
    }
    summary
}
