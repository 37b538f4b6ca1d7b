//! A method to be called, and what came of it.

use std::time::Duration;

use hyperv::{HypervError, VmId};

use super::jobs::JobMessage;
use crate::wmi::{Value, WmiObject};

/// A method to be called, and how it is told of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Change<'a> {
    /// What is being done, on what.
    pub doing: &'a str,
    /// The object's path.
    pub object: &'a str,
    /// The method.
    pub method: &'static str,
    /// Its in-parameters.
    pub parameters: &'a [(&'a str, Value)],
    /// How long its job may take.
    pub limit: Duration,
    /// Whether its job is cancelled then. One that ends a checkpoint is not: it may be waiting for
    /// a merge, which is better done late than never (RH-18).
    pub is_cancelled_in_the_end: bool,
    /// The VM that may be busy.
    pub vm: Option<VmId>,
}

/// A method that was called: its out-parameters, and its job if there was one.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Answer {
    /// Its out-parameters.
    pub out: WmiObject,
    /// Its job's path.
    pub job: Option<String>,
}

/// A call that failed, or its job.
#[derive(Debug)]
pub(super) struct Failed {
    /// Why, for callers.
    pub error: HypervError,
    /// Whether any code told why.
    pub is_explained: bool,
    /// Whether Hyper-V itself refused, by what the method returned or how its job failed; not where
    /// nothing came of the call, or somebody cancelled the job.
    pub is_refusal: bool,
    /// What the job said.
    pub messages: Vec<JobMessage>,
    /// The job's path, if the failure was a job's.
    pub job: Option<String>,
}

impl From<HypervError> for Failed {
    fn from(error: HypervError) -> Self {
        Self {
            error,
            is_explained: true,
            is_refusal: false,
            messages: Vec::new(),
            job: None,
        }
    }
}

impl From<Failed> for HypervError {
    fn from(failed: Failed) -> Self {
        failed.error
    }
}
