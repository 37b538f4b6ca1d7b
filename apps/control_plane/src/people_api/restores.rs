//! Restores: a run for people to watch, and the command that a host carries out (contract 7.1, 7.2).

use std::collections::HashSet;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use protocol::path_map::PathMap;
use sea_orm::EntityTrait as _;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::live::What;
use crate::people_api::caller::Operator;
use crate::people_api::error::{ApiError, ApiResult};
use crate::people_api::hosts;
use crate::people_api::input::{Input, text};
use crate::people_api::points::{self, context_of, disks_of};
use crate::people_api::repositories::within_reach;
use crate::people_api::request::{ChangeRefusals, Id, list, path};
use crate::people_api::runs::{Run, run_views};
use crate::plane::SharedPlane;
use crate::run_rules::finish::{OWN_KINDS_SINCE, is_older};
use crate::store::entity::{host, point, run, vm};
use crate::store::runs::{NewRun, new_run};
use crate::store::work::CommandOrder;

pub(super) fn routes() -> OpenApiRouter<SharedPlane> {
    OpenApiRouter::new().routes(routes!(restore))
}

/// What is to be restored of a point, and where to.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
enum RestoreWish {
    /// Files of a point of files.
    Files {
        /// The host that restores.
        host_id: String,
        /// The folder to restore into.
        target_path: String,
        /// Paths below the point's root; empty: everything.
        #[serde(default)]
        paths: Vec<String>,
    },
    /// Disks of a VM, as files.
    Disks {
        /// The host that restores.
        host_id: String,
        /// The folder to restore into.
        target_path: String,
        /// The disks' paths as the point names them; null: all.
        #[serde(default)]
        disks: Option<Vec<String>>,
    },
    /// A whole VM, made known to Hyper-V.
    Vm {
        /// The host that restores.
        host_id: String,
        /// The folder to restore into.
        target_path: String,
        /// How it is made known.
        #[serde(default)]
        register: RegisterVm,
    },
}

/// How a restored VM is made known to Hyper-V.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
struct RegisterVm {
    /// Whether it gets an id of its own, so that it can stand beside the VM it was made from.
    new_id: bool,
    /// Whether it is started.
    start: bool,
    /// The virtual switch that it is connected to; null: none.
    switch: Option<String>,
    /// Its name; null: the one it had.
    name: Option<String>,
}

impl Default for RegisterVm {
    fn default() -> Self {
        Self {
            new_id: true,
            start: false,
            switch: None,
            name: None,
        }
    }
}

impl RestoreWish {
    fn host_id(&self) -> &str {
        let (Self::Files { host_id, .. } | Self::Disks { host_id, .. } | Self::Vm { host_id, .. }) =
            self;
        host_id
    }

    fn target_path(&self) -> &str {
        let (Self::Files { target_path, .. }
        | Self::Disks { target_path, .. }
        | Self::Vm { target_path, .. }) = self;
        target_path
    }
}

/// What a restore's command says.
struct Plan {
    kind: &'static str,
    payload: Value,
    context: Value,
}

/// Restores a point, or a part of it, through a host.
#[utoipa::path(post, path = "/points/{id}/restore", tag = "points", params(("id" = i64, Path)), request_body = RestoreWish,
    responses((status = 202, body = Run), ChangeRefusals))]
async fn restore(
    Operator(caller): Operator,
    State(plane): State<SharedPlane>,
    Id(id): Id,
    Input(wish): Input<RestoreWish>,
) -> ApiResult<(StatusCode, Json<Run>)> {
    let point = points::found(&plane, caller.tenant_id.as_deref(), &id).await?;
    points::still_there(&point)?;
    let chain = plane.store.chain_to(&point).await?;
    let txn = plane.store.begin().await?;
    let host = hosts::found(&plane, &txn, Some(&point.tenant_id), wish.host_id()).await?;
    if host.is_disabled {
        return Err(ApiError::conflict(
            "host_disabled",
            format!(
                "{} is disabled: its agent gets no work; enable it first",
                host.name
            ),
        ));
    }
    within_reach(&plane, &txn, &point.repository_id, &host).await?;
    let vm = match point.vm_id {
        Some(vm_id) => vm::Entity::find_by_id(vm_id).one(&txn).await?,
        None => None,
    };
    let run_id = plane.new_id();
    let plan = plan(&wish, &point, &chain, vm.as_ref(), &host, &run_id)?;
    let run = new_run(
        NewRun {
            id: run_id.clone(),
            tenant_id: &point.tenant_id,
            job_id: point.job_id.as_deref(),
            host_id: &host.id,
            repository_id: &point.repository_id,
            kind: plan.kind,
            engine: &point.engine,
            trigger: "manual",
            point_id: Some(point.id),
            target: serde_json::to_value(&wish).unwrap_or_default(),
            requested_by: &caller.name,
        },
        plane.now_ms(),
    );
    let run = run::Entity::insert(run).exec_with_returning(&txn).await?;
    let order = CommandOrder {
        tenant_id: &point.tenant_id,
        host_id: &host.id,
        run_id: Some(&run_id),
        kind: plan.kind,
        payload: plan.payload,
        context: plan.context,
        requested_by: &caller.name,
    };
    plane
        .store
        .order_command(&txn, order, plane.now_ms())
        .await?;
    let entry = caller
        .did("point.restore", "point", &id)
        .of_tenant(Some(&point.tenant_id))
        .with(json!({"run_id": run_id, "to": wish}));
    plane.store.audit(&txn, plane.now_ms(), entry).await?;
    txn.commit().await?;
    plane.live.tell(&point.tenant_id, What::HostWork, &host.id);
    plane.live.tell(&point.tenant_id, What::Run, &run_id);
    let mut views = run_views(&plane, vec![run]).await?;
    let view = views.pop().ok_or_else(|| ApiError::not_found("this run"))?;
    Ok((StatusCode::ACCEPTED, Json(view)))
}

fn plan(
    wish: &RestoreWish,
    point: &point::Model,
    chain: &[point::Model],
    vm: Option<&vm::Model>,
    host: &host::Model,
    run_id: &str,
) -> ApiResult<Plan> {
    let target_path = target(wish.target_path(), &host.os)?;
    let is_vm = point.engine == "hyperv";
    match wish {
        RestoreWish::Files { paths, .. } => {
            let why = match &*point.engine {
                "hyperv" => Some("this point holds a VM; restore its disks, or the VM"),
                "disk_image" => Some(
                    "this point holds the image of a disk; restore it with the tools of the agent that made it, or with a stock Kopia",
                ),
                _ => None,
            };
            if let Some(why) = why {
                return Err(ApiError::conflict("no_files", why));
            }
            let paths = list("paths", paths, inside)?;
            Ok(Plan {
                kind: "restore",
                payload: json!({
                    "restore_point_id": point.id,
                    "manifest_id": point.manifest_id,
                    "target_path": target_path,
                    "mount": false,
                    "target_agent_uuid": host.id,
                    "selected_paths": paths,
                    "restore_run_id": run_id,
                    "restore_run_uuid": run_id,
                    "repository_id": point.repository_id,
                }),
                context: context_of(point),
            })
        }
        RestoreWish::Disks { .. } | RestoreWish::Vm { .. } if !is_vm => Err(ApiError::conflict(
            "no_vm",
            "this point holds no VM; restore its files",
        )),
        RestoreWish::Disks { disks, .. } => {
            let chosen = chosen(&disks_of(point), disks.as_deref())?;
            let payload = vm_payload(point, chain, vm, &target_path, run_id, &chosen)?;
            Ok(Plan {
                kind: "hyperv_restore",
                payload,
                context: context_of(point),
            })
        }
        RestoreWish::Vm { register, .. } => {
            if is_older(&host.agent_version, OWN_KINDS_SINCE) {
                return Err(ApiError::conflict(
                    "agent_outdated",
                    format!(
                        "the agent on {} brings back disks, and does not register VMs: update it to {OWN_KINDS_SINCE}, choose another host, or restore the disks and make the VM of them yourself",
                        host.name
                    ),
                ));
            }
            let name = register.name.as_deref();
            let switch = register.switch.as_deref();
            let mut payload = vm_payload(point, chain, vm, &target_path, run_id, &disks_of(point))?;
            payload["register"] = json!({
                "new_id": register.new_id,
                "start": register.start,
                "switch": switch.map(|it| text("register.switch", it)).transpose()?,
                "name": name.map(|it| text("register.name", it)).transpose()?,
            });
            Ok(Plan {
                kind: "hyperv_restore",
                payload,
                context: context_of(point),
            })
        }
    }
}

fn vm_payload(
    point: &point::Model,
    chain: &[point::Model],
    vm: Option<&vm::Model>,
    target_path: &str,
    run_id: &str,
    disks: &PathMap,
) -> ApiResult<Value> {
    if disks.is_empty() {
        return Err(ApiError::conflict(
            "no_disks",
            "this point names no disks; choose another one",
        ));
    }
    let chain: Vec<Value> = match &*point.backup_type {
        "incremental" => chain
            .iter()
            .map(|link| {
                json!({
                    "backup_point_id": link.id,
                    "manifest_id": link.manifest_id,
                    "backup_type": wire_type(link),
                    "disk_manifests": disks_of(link),
                })
            })
            .collect(),
        _ => vec![json!(point.manifest_id)],
    };
    Ok(json!({
        "restore_point_id": point.id,
        "target_path": target_path,
        "backup_type": wire_type(point),
        "restore_run_id": run_id,
        "restore_run_uuid": run_id,
        "vms": [{
            "backup_point_id": point.id,
            "vm_name": point.name,
            "vm_guid": vm.map(|vm| &*vm.guid).unwrap_or_default(),
            "subfolder": "",
            "disk_manifests": disks,
            "restore_chain": chain,
            "backup_type": wire_type(point),
        }],
    }))
}

fn wire_type(point: &point::Model) -> &'static str {
    match &*point.backup_type {
        "incremental" => "Incremental",
        _ => "Full",
    }
}

fn chosen(of_point: &PathMap, wanted: Option<&[String]>) -> ApiResult<PathMap> {
    let Some(wanted) = wanted else {
        return Ok(of_point.clone());
    };
    let wanted: HashSet<String> = list("disks", wanted, path)?.into_iter().collect();
    if wanted.is_empty() {
        return Err(ApiError::invalid("disks", "name a disk, or null for all"));
    }
    if let Some(foreign) = wanted.iter().find(|it| of_point.get(it).is_none()) {
        let message = format!("the point has no disk {foreign}");
        return Err(ApiError::invalid("disks", message));
    }
    let chosen = of_point.iter().filter(|(path, _)| wanted.contains(*path));
    Ok(chosen.collect())
}

/// Takes a folder on a host: a whole path, without steps upwards.
fn target(folder: &str, os: &str) -> ApiResult<String> {
    let folder = path("target_path", folder)?;
    let letters = folder.as_bytes();
    let is_windows = (letters.first().is_some_and(u8::is_ascii_alphabetic)
        && letters.get(1) == Some(&b':')
        && matches!(letters.get(2), Some(b'\\' | b'/')))
        || folder.starts_with(r"\\");
    // A host that is simulated on Linux has disks of Windows.
    if !is_windows && (os == "windows" || !folder.starts_with('/')) {
        return Err(ApiError::invalid(
            "target_path",
            match os {
                "linux" => r"give a whole path, such as /srv/restore",
                _ => r"give a whole path, such as D:\Restore",
            },
        ));
    }
    if steps_up(&folder) {
        return Err(ApiError::invalid("target_path", "it must not hold `..`"));
    }
    Ok(folder)
}

fn inside(field: &str, wanted: &str) -> ApiResult<String> {
    let wanted = path(field, wanted)?;
    if wanted.is_empty() || steps_up(&wanted) {
        let message = "name paths below the point's root, without `..`";
        return Err(ApiError::invalid(field, message));
    }
    Ok(wanted)
}

fn steps_up(path: &str) -> bool {
    path.split(['/', '\\']).any(|step| step == "..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_whole_path_of_the_hosts_own_kind() {
        for (folder, os, fits) in [
            (r"D:\Restore", "windows", true),
            (r"\\server\share\x", "windows", true),
            ("/srv", "windows", false),
            ("Restore", "windows", false),
            ("D:", "windows", false),
            (r"D:\a\..\..\Windows", "windows", false),
            ("/srv/restore", "linux", true),
            ("srv", "linux", false),
            ("/srv/../etc", "linux", false),
            (r"D:\Restore", "linux", true),
            ("", "", false),
            ("/srv", "", true),
        ] {
            assert_eq!(target(folder, os).is_ok(), fits, "{folder} on {os}");
        }
    }
}
