//! NextRun (contract 3.1), and the run object that it hands out (contract 4).

use axum::Json;
use axum::extract::State;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use protocol::WireId;
use protocol::identifier::VmNumber;
use protocol::next_run::{Destination, Engine, HypervConfig, HypervVm, Policy, Run};
use serde_json::json;

use crate::agent_api::call::NextRunCall;
use crate::agent_api::destination::destination;
use crate::agent_api::refusal::{Answer, success};
use crate::live::What;
use crate::plane::SharedPlane;
use crate::run_rules::change::object;
use crate::run_rules::finish::sources_of;
use crate::store::entity::vm;
use crate::store::runs::Offer;
use crate::vm_choice::{VmRules, bare_guid, is_wild};

/// Hands out a run.
pub(super) async fn next_run(State(plane): State<SharedPlane>, call: NextRunCall) -> Answer {
    let no_run = || Ok(Json(json!({"status": "no_run"})));
    let NextRunCall::Asks(call) = call else {
        return no_run();
    };
    let now = plane.now_ms();
    let Some(offer) = plane.store.offer_run(&call.host.id, now).await? else {
        call.has_no_run(&plane);
        return no_run();
    };
    let made = match &offer.repository {
        Some(repository) => destination(&plane.sealing, repository, Some(&offer.job))
            .map_err(|error| error.to_string()),
        None => Err("the job's repository does not exist any more; choose another".to_owned()),
    };
    let tell = || {
        plane
            .live
            .tell(&offer.run.tenant_id, What::Run, &offer.run.id)
    };
    let destination = match made {
        Ok(destination) => destination,
        Err(why) => {
            plane.store.fail_run(&offer.run.id, &why, now).await?;
            tell();
            return no_run();
        }
    };
    let vms = match offer.job.engine.as_str() {
        "hyperv" => plane.store.all_vms_of_host(&call.host.id).await?,
        _ => Vec::new(),
    };
    tell();
    Ok(success(
        json!({"run": run_object(&offer, destination, &vms)}),
    ))
}

/// Returns what an agent is told of a run. `vms` are those of its host, those that are gone included.
fn run_object(offer: &Offer, destination: Destination, vms: &[vm::Model]) -> Run {
    let (run, job) = (&offer.run, &offer.job);
    let is_hyperv = job.engine == "hyperv";
    let rules = VmRules::of_json(&job.vms_json);
    let policy: Policy = serde_json::from_str(&job.policy_json).unwrap_or_default();
    Run {
        run_id: WireId::Text(run.id.clone()),
        job_id: Some(WireId::Text(job.id.clone())),
        engine: Engine::from(job.engine.as_str()),
        source_type: "local_agent".to_owned(),
        source_paths: if is_hyperv {
            Vec::new()
        } else {
            sources_of(job)
        },
        source_path: String::new(),
        destination,
        source_uuid: job.id.replace('-', ""),
        local_include_glob: String::new(),
        local_exclude_glob: String::new(),
        compression_enabled: policy.compression.as_deref() != Some("none"),
        schedule_json: object(&job.schedule_json),
        retention_json: serde_json::from_str(&job.retention_json).unwrap_or_default(),
        policy_json: policy,
        network_credentials: None,
        hyperv_config: match is_hyperv {
            true => hyperv_config(&rules, &job.consistency, vms),
            false => HypervConfig::default(),
        },
        hyperv_vms: match is_hyperv {
            true => chosen_vms(&rules, vms),
            false => Vec::new(),
        },
        resume: offer.is_resumed,
        last_heartbeat_at: run
            .heartbeat_at
            .filter(|_| offer.is_resumed)
            .map(without_zone),
    }
}

/// Returns the VMs of a job that the server knows, and those that the job names by themselves whether it knows them or
/// not.
fn chosen_vms(rules: &VmRules, vms: &[vm::Model]) -> Vec<HypervVm> {
    let named: Vec<String> = rules.guids.iter().map(|guid| bare_guid(guid)).collect();
    let is_wanted = |vm: &&vm::Model| {
        // A VM that was chosen by itself and is gone is missed; one that a pattern chose is not.
        let counts = vm.gone_at.is_none() || named.contains(&vm.guid);
        counts && rules.is_chosen(&vm.guid, &vm.name)
    };
    let mut chosen: Vec<HypervVm> = vms
        .iter()
        .filter(is_wanted)
        .map(|vm| HypervVm {
            vm_id: VmNumber(u64::try_from(vm.id).unwrap_or(0)),
            vm_name: vm.name.clone(),
            vm_guid: vm.guid.clone(),
            last_checkpoint_id: vm.last_checkpoint_id.clone(),
            last_rct_ids: serde_json::from_str(&vm.last_rct_ids_json).unwrap_or_default(),
        })
        .collect();
    for guid in named {
        if !vms.iter().any(|vm| vm.guid == guid) {
            chosen.push(HypervVm {
                vm_id: VmNumber(0),
                vm_name: guid.clone(),
                vm_guid: guid,
                last_checkpoint_id: None,
                last_rct_ids: Default::default(),
            });
        }
    }
    chosen
}

/// Returns how a job's VMs are backed up. The agent takes all of its VMs, those that the server has not heard of
/// included, only where no pattern would have to be known there.
fn hyperv_config(rules: &VmRules, consistency: &str, vms: &[vm::Model]) -> HypervConfig {
    let takes_all = rules.all && !rules.exclude.iter().any(|pattern| is_wild(pattern));
    let mut exclude_vms = Vec::new();
    if takes_all {
        exclude_vms.extend(rules.exclude.iter().cloned());
        let left_out = vms
            .iter()
            .filter(|vm| !rules.is_chosen(&vm.guid, &vm.name))
            .map(|vm| vm.guid.clone());
        exclude_vms.extend(left_out);
    }
    HypervConfig {
        vms: Vec::new(),
        exclude_vms,
        backup_all_vms: takes_all,
        enable_rct: Some(true),
        consistency_level: match consistency {
            "crash" => "crash",
            _ => "application",
        }
        .to_owned(),
        is_consistency_required: consistency == "require-application",
        quiesce_timeout_seconds: None,
        instant_restore_enabled: false,
    }
}

/// Returns a time as this API's servers write it: in UTC, without saying so.
fn without_zone(ms: i64) -> String {
    let at = Timestamp::from_millisecond(ms).unwrap_or(Timestamp::UNIX_EPOCH);
    TimeZone::UTC
        .to_datetime(at)
        .strftime("%Y-%m-%d %H:%M:%S")
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run_rules::points::test_vm;

    fn rules(json: &str) -> VmRules {
        VmRules::of_json(json)
    }

    fn names(rules: &VmRules, vms: &[vm::Model]) -> Vec<String> {
        let chosen = chosen_vms(rules, vms).into_iter();
        chosen
            .map(|vm| format!("{} {}", vm.vm_id, vm.vm_name))
            .collect()
    }

    #[test]
    fn chosen_vms_are_those_of_the_rules() {
        let mut gone = test_vm(3, "web-old");
        gone.gone_at = Some(1);
        let vms = [test_vm(1, "web"), test_vm(2, "db"), gone];
        let include = rules(r#"{"include":["web*"]}"#);
        assert_eq!(names(&include, &vms), ["1 web"]);
        let by_itself = format!(
            r#"{{"guids":["{}","{{5f3b0000-0000-4000-8000-000000000009}}"]}}"#,
            vms[2].guid
        );
        assert_eq!(
            names(&rules(&by_itself), &vms),
            ["3 web-old", "0 5F3B0000-0000-4000-8000-000000000009"]
        );
        assert!(names(&rules("{}"), &vms).is_empty());
    }

    #[test]
    fn all_vms_are_left_to_the_agent_unless_it_would_have_to_know_patterns() {
        let vms = [test_vm(1, "web"), test_vm(2, "db")];
        let config = hyperv_config(&rules(r#"{"all":true}"#), "crash", &vms);
        assert!(config.backup_all_vms && config.exclude_vms.is_empty());
        assert_eq!(config.consistency_level, "crash");
        assert!(!config.is_consistency_required);
        let config = hyperv_config(&rules(r#"{"all":true,"exclude":["DB"]}"#), "", &vms);
        assert!(config.backup_all_vms);
        assert_eq!(config.exclude_vms, ["DB", vms[1].guid.as_str()]);
        let wild = rules(r#"{"all":true,"exclude":["d*"]}"#);
        let config = hyperv_config(&wild, "require-application", &vms);
        assert!(!config.backup_all_vms && config.exclude_vms.is_empty());
        assert_eq!(config.consistency_level, "application");
        assert!(config.is_consistency_required);
        assert_eq!(names(&wild, &vms), ["1 web"]);
    }

    #[test]
    fn times_have_no_zone() {
        assert_eq!(without_zone(1_772_362_500_999), "2026-03-01 10:55:00");
    }
}
