//! A host's jobs, for information, and runs that are started from there (contract 3.13 and 3.14).

use axum::extract::State;
use protocol::retention::Retention;
use serde_json::{Value, json};

use crate::agent_api::call::{AgentCall, uuid_of};
use crate::agent_api::refusal::{Answer, Refusal, success};
use crate::live::What;
use crate::plane::SharedPlane;
use crate::run_rules::change::object;
use crate::run_rules::finish::sources_of;
use crate::store::entity::{job, repository};
use crate::store::runs::NotQueued;

/// Lists a host's jobs.
pub(super) async fn fetch_jobs(State(plane): State<SharedPlane>, call: AgentCall) -> Answer {
    let jobs = plane.store.jobs_of_host(&call.host.id).await?;
    let listed: Vec<Value> = jobs.iter().map(described).collect();
    Ok(success(json!({"jobs": listed})))
}

fn described(job: &job::Model) -> Value {
    let schedule = object(&job.schedule_json);
    let retention: Retention = serde_json::from_str(&job.retention_json).unwrap_or_default();
    let (mode, value) = match (retention.keep_last, retention.keep_days) {
        (Some(count), _) => ("keep_last_n", count),
        (None, Some(days)) => ("keep_days", days),
        (None, None) => ("none", 0),
    };
    json!({
        "id": job.id, "name": job.name, "source_type": "local_agent", "source_display_name": job.name,
        "source_path": sources_of(job).first(), "local_include_glob": "", "local_exclude_glob": "",
        "local_bandwidth_limit_kbps": job.bandwidth_kib_s, "dest_prefix": "", "backup_mode": "archive",
        "encryption_enabled": true, "validation_mode": "none",
        "schedule_type": schedule.get("kind"), "schedule_time": schedule.get("at"),
        "schedule_weekday": schedule.get("days"), "retention_mode": mode, "retention_value": value,
        "status": job.status, "agent_uuid": job.host_id, "engine": job.engine,
    })
}

/// Queues a run of a job. The run that NextRun then hands out carries the keys; this answer carries none.
pub(super) async fn start_run(State(plane): State<SharedPlane>, call: AgentCall) -> Answer {
    let job_id = uuid_of(&call.members()?, "job_id")?;
    let (host, now) = (&call.host, plane.now_ms());
    let queued = plane
        .store
        .start_run(&job_id, &host.id, plane.new_id(), &host.hostname, now)
        .await?;
    let run = match queued {
        Ok(run) => run,
        Err(NotQueued::NoJob) => return Err(Refusal::new(404, "Job not found")),
        Err(NotQueued::NotActive) => return Err(Refusal::invalid("Job is not active")),
        Err(NotQueued::AlreadyRunning(run)) => {
            return Err(Refusal::new(409, "A run of this job goes on")
                .code("ALREADY_RUNNING")
                .with("existing_run_id", json!(run.id))
                .with("run_id", json!(run.id))
                .with("existing_run_status", json!(run.status)));
        }
    };
    plane.live.tell(&run.tenant_id, What::Run, &run.id);
    let job = plane.store.job_of_host(&job_id, &host.id).await?;
    let repository = plane.store.repository_of(&run).await?;
    Ok(success(started(&run.id, job.as_ref(), repository.as_ref())))
}

fn started(
    run_id: &str,
    job: Option<&job::Model>,
    repository: Option<&repository::Model>,
) -> Value {
    let of = |read: fn(&repository::Model) -> &String| repository.map_or("", |it| read(it));
    json!({
        "run_id": run_id,
        "source_path": job.map(sources_of).unwrap_or_default().first(),
        "dest_bucket_name": of(|it| &it.bucket),
        "dest_prefix": of(|it| &it.prefix),
        "dest_endpoint": of(|it| &it.endpoint),
        "dest_region": of(|it| &it.region),
    })
}
