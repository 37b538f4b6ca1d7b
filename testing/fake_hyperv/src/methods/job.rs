//! What jobs are asked (Hyper-V spec 2.6 and 2.7).

use windows_host::wmi::Value;

use super::{Answer, Call, Trouble};
use crate::failure::Refusal;
use crate::jobs;
use crate::world::Subject;

/// `RequestedState`: terminate.
const TERMINATE: u32 = 4;

fn texts(call: &Call<'_>) -> Vec<String> {
    let Subject::Job(id) = call.target else {
        return Vec::new();
    };
    let jobs = call.model.jobs();
    let job = jobs.iter().find(|job| job.id == *id);
    let errors = job.map(|job| job.errors()).unwrap_or_default();
    jobs::error_texts(call.model.schema(), errors)
}

pub(super) fn error(call: &Call<'_>) -> Result<Answer, Trouble> {
    let first = texts(call).into_iter().next();
    let first = first.map_or(Value::Null, Value::Text);
    Ok(Answer::Done(vec![("Error", first)]))
}

pub(super) fn errors(call: &Call<'_>) -> Result<Answer, Trouble> {
    Ok(Answer::Done(vec![("Errors", Value::texts(texts(call)))]))
}

pub(super) fn request_state(call: &Call<'_>) -> Result<Answer, Trouble> {
    if call.parameters.number("RequestedState")? != TERMINATE {
        return Err(Refusal::InvalidParameter.into());
    }
    let Subject::Job(id) = call.target else {
        return Err(Refusal::NotSupported.into());
    };
    let mut jobs = call.model.jobs();
    let job = jobs.iter_mut().find(|job| job.id == *id);
    job.map_or(Err(Refusal::InvalidState), |job| job.cancel())?;
    Ok(Answer::Done(Vec::new()))
}
