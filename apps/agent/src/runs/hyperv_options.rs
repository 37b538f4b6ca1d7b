//! How a run's VMs are backed up, as its job says.

use std::time::Duration;

use backup::vm::{ConsistencyPolicy, Options};
use protocol::next_run::Run;

use super::stages;

/// Returns what the engine is told.
pub fn options(run: &Run, free_bytes_min: u64, workers: usize) -> Options {
    let config = &run.hyperv_config;
    Options {
        full: !config.reads_changes_only(),
        consistency: match config.wants_application_consistency() {
            true if config.is_consistency_required => ConsistencyPolicy::RequireApplication,
            true => ConsistencyPolicy::Application,
            false => ConsistencyPolicy::Crash,
        },
        quiesce_max: Some(Duration::from_secs(
            config.quiesce_timeout_seconds_or_default(),
        )),
        compression: stages::compression_of(&run.policy_json, run.compression_enabled),
        workers,
        free_bytes_min,
        ..Options::default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn told(config: Value) -> (bool, ConsistencyPolicy, Option<Duration>) {
        let whole = json!({"run_id": 1, "job_id": 2, "engine": "hyperv", "hyperv_config": config});
        let run: Run = serde_json::from_value(whole).unwrap();
        let options = options(&run, 7, 3);
        assert_eq!((options.free_bytes_min, options.workers), (7, 3));
        (options.full, options.consistency, options.quiesce_max)
    }

    #[test]
    fn the_engine_is_told_what_the_job_says() {
        let within = |seconds| Some(Duration::from_secs(seconds));
        let application = ConsistencyPolicy::Application;
        for nothing in [json!({}), json!([]), Value::Null] {
            assert_eq!(told(nothing), (false, application, within(300)));
        }
        let crash = json!({"consistency_level": "crash", "quiesce_timeout_seconds": "45"});
        assert_eq!(told(crash), (false, ConsistencyPolicy::Crash, within(45)));
        let required = json!({"consistency_level": "application", "is_consistency_required": true});
        let or_none = ConsistencyPolicy::RequireApplication;
        assert_eq!(told(required), (false, or_none, within(300)));
        let full = json!({"enable_rct": false, "quiesce_timeout_seconds": 7});
        assert_eq!(told(full), (true, application, within(7)));
        let on = json!({"enable_rct": 1, "consistency_level": "application"});
        assert_eq!(told(on), (false, application, within(300)));
    }
}
