//! VMs: what there is, and how well it is protected.

use axum::Json;
use axum::extract::State;
use sea_orm::{ActiveModelTrait as _, ActiveValue::Set, IntoActiveModel as _};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::health::Health;
use crate::leftovers;
use crate::live::What;
use crate::people_api::caller::{Operator, Viewer};
use crate::people_api::error::{ApiError, ApiResult};
use crate::people_api::input::{Input, Params, any_text};
use crate::people_api::paging::{Page, Paging};
use crate::people_api::points::{Point, point_views};
use crate::people_api::request::{
    ChangeRefusals, Id, LookRefusals, given, name_cursor, name_of_cursor, number, within,
};
use crate::people_api::vm_row::{Glance, Ground, HISTORY_MS, VmRow};
use crate::plane::{Plane, SharedPlane, rfc3339};
use crate::store::entity::vm;
use crate::store::history::{HistoryOf, PointFilter};

/// So many VMs the first screen shows as rows.
const ROWS_MAX: usize = 1_000;

/// The longest objective: ten years.
pub(super) const OBJECTIVE_HOURS_MAX: i64 = 87_600;

pub(super) fn routes() -> OpenApiRouter<SharedPlane> {
    OpenApiRouter::new()
        .routes(routes!(all))
        .routes(routes!(one, change))
        .routes(routes!(points))
}

#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct VmFilter {
    /// The tenant, for people of the installation.
    tenant_id: Option<String>,
    /// Of this host alone.
    host_id: Option<String>,
    /// With this in its name.
    q: Option<String>,
    /// `yes`: that an active job protects; `no`: that none does.
    protected: Option<String>,
    /// Which are this well protected: `good`, `warning`, `bad`, `unprotected` or `excused`.
    health: Option<String>,
}

/// A VM with its disks and what lies around of it.
#[derive(Debug, Serialize, ToSchema)]
pub struct VmDetails {
    /// What its row says.
    #[serde(flatten)]
    pub row: VmRow,
    /// Its disks.
    pub disks: Vec<VmDisk>,
    /// Checkpoints that somebody left on it.
    pub leftovers: Vec<Leftover>,
    /// Its processors; 0 when unknown.
    pub cpu_count: i64,
    /// Its memory in MiB; 0 when unknown.
    pub memory_mb: i64,
    /// When it was first listed.
    pub first_seen_at: String,
    /// When it was last listed.
    pub last_seen_at: String,
    /// When a full list no longer had it.
    pub gone_at: Option<String>,
}

/// A disk of a VM.
#[derive(Debug, Serialize, ToSchema)]
pub struct VmDisk {
    /// Its file.
    pub path: String,
    /// What the guest sees.
    pub size_bytes: i64,
    /// What the file takes.
    pub used_bytes: i64,
    /// `VHDX` or `VHD`.
    pub format: String,
    /// Whether what changes is tracked.
    pub is_tracked: bool,
}

/// A checkpoint that somebody left on a VM.
#[derive(Debug, Serialize, ToSchema)]
pub struct Leftover {
    /// What it is.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// When it was made.
    pub created_at: Option<String>,
}

impl From<leftovers::Leftover> for Leftover {
    fn from(it: leftovers::Leftover) -> Self {
        Self {
            kind: it.kind,
            name: it.name,
            created_at: it.created_at.map(rfc3339),
        }
    }
}

/// What is to be changed of a VM.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct VmChange {
    /// How old its last good point may be; null: what its jobs say.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<i64>)]
    objective_hours: Option<Option<i64>>,
    /// Whether it needs no backup.
    is_excused: Option<bool>,
}

/// Lists VMs that are there, by name, each with how well it is protected.
#[utoipa::path(get, path = "/vms", tag = "vms", params(Paging, VmFilter),
    responses((status = 200, body = Page<VmRow>), LookRefusals))]
async fn all(
    Viewer(caller): Viewer,
    State(plane): State<SharedPlane>,
    Params(paging): Params<Paging>,
    Params(filter): Params<VmFilter>,
) -> ApiResult<Json<Page<VmRow>>> {
    let tenant = caller.scope(filter.tenant_id.as_deref())?;
    let tenant = tenant.as_deref();
    let limit = paging.limit()?;
    let after = name_of_cursor(paging.after())?;
    let q = any_text("q", filter.q.as_deref().unwrap_or_default())?.to_lowercase();
    let protected = match filter.protected.as_deref() {
        None => None,
        Some("yes") => Some(true),
        Some("no") => Some(false),
        Some(_) => return Err(ApiError::invalid("protected", "say yes or no")),
    };
    let health: Option<Health> = match filter.health.as_deref() {
        None => None,
        Some(word) => Some(serde_json::from_value(json!(word)).map_err(|_| {
            let words = "say good, warning, bad, unprotected or excused";
            ApiError::invalid("health", words)
        })?),
    };
    let ground = Ground::read(&plane, tenant).await?;
    let mut vms = plane
        .store
        .vms_of(tenant, filter.host_id.as_deref())
        .await?;
    vms.retain(|vm| {
        vm.name.to_lowercase().contains(&q)
            && protected.is_none_or(|wanted| ground.is_protected(vm) == wanted)
    });
    if let Some(health) = health {
        let glances = glances(&plane, &ground, tenant, &vms).await?;
        let mut glances = glances.iter();
        vms.retain(|_| glances.next().is_some_and(|it| it.health == health));
    }
    let key = |vm: &vm::Model| (vm.name.to_lowercase(), vm.id);
    vms.sort_by_cached_key(key);
    if let Some((name, id)) = after {
        let id = number("VM", &id)?;
        vms.retain(|vm| key(vm) > (name.clone(), id));
    }
    let page = Page::of(
        vms,
        limit,
        |vm| name_cursor(&vm.name.to_lowercase(), &vm.id.to_string()),
        |vm| vm,
    );
    Ok(Json(Page {
        items: rows(&plane, &ground, page.items).await?,
        next: page.next,
    }))
}

async fn rows(plane: &Plane, ground: &Ground, vms: Vec<vm::Model>) -> ApiResult<Vec<VmRow>> {
    let now = plane.now_ms();
    let ids: Vec<i64> = vms.iter().map(|vm| vm.id).collect();
    let history = plane
        .store
        .vm_history(HistoryOf::Vms(&ids), now - HISTORY_MS)
        .await?;
    Ok(ground.rows(vms, &history, now))
}

/// Judges VMs of a tenant that are there, in the order in which they are given.
async fn glances(
    plane: &Plane,
    ground: &Ground,
    tenant_id: Option<&str>,
    vms: &[vm::Model],
) -> ApiResult<Vec<Glance>> {
    let now = plane.now_ms();
    let newest = plane
        .store
        .vm_history(HistoryOf::Newest(tenant_id), now - HISTORY_MS)
        .await?;
    Ok(ground.glances(vms, &newest, now))
}

/// Returns a glance at each VM of a tenant that is there, and rows of those that need to be looked at most.
pub(super) async fn at_a_glance(
    plane: &Plane,
    tenant_id: Option<&str>,
) -> ApiResult<(Vec<Glance>, Vec<VmRow>)> {
    let ground = Ground::read(plane, tenant_id).await?;
    let vms = plane.store.vms_of(tenant_id, None).await?;
    let glances = glances(plane, &ground, tenant_id, &vms).await?;
    let mut worst: Vec<(vm::Model, Health)> = vms
        .into_iter()
        .zip(glances.iter().map(|it| it.health))
        .collect();
    worst.sort_by_cached_key(|(vm, health)| (health.urgency(), vm.name.to_lowercase(), vm.id));
    worst.truncate(ROWS_MAX);
    let worst = worst.into_iter().map(|(vm, _)| vm).collect();
    Ok((glances, rows(plane, &ground, worst).await?))
}

/// Shows a VM.
#[utoipa::path(get, path = "/vms/{id}", tag = "vms", params(("id" = i64, Path)),
    responses((status = 200, body = VmDetails), LookRefusals))]
async fn one(
    Viewer(caller): Viewer,
    State(plane): State<SharedPlane>,
    Id(id): Id,
) -> ApiResult<Json<VmDetails>> {
    let row = found(&plane, plane.store.db(), caller.tenant_id.as_deref(), &id).await?;
    details(&plane, row).await.map(Json)
}

/// Returns the VM that a caller may know of.
pub(super) async fn found(
    plane: &Plane,
    db: &impl sea_orm::ConnectionTrait,
    tenant_id: Option<&str>,
    id: &str,
) -> ApiResult<vm::Model> {
    let number = number("VM", id)?;
    let row = plane.store.vm_of(db, tenant_id, number).await?;
    row.ok_or_else(|| ApiError::not_found(format!("VM {number}")))
}

async fn details(plane: &Plane, vm: vm::Model) -> ApiResult<VmDetails> {
    let tenant_id = vm.tenant_id.clone();
    let ground = Ground::read(plane, Some(&tenant_id)).await?;
    let mut rows = rows(plane, &ground, vec![vm.clone()]).await?;
    let row = rows
        .pop()
        .ok_or_else(|| ApiError::not_found(format!("VM {}", vm.id)))?;
    Ok(VmDetails {
        row,
        disks: disks(&vm.disks_json),
        leftovers: leftovers::read(&vm.leftovers_json)
            .into_iter()
            .map(Leftover::from)
            .collect(),
        cpu_count: vm.cpu_count,
        memory_mb: vm.memory_mb,
        first_seen_at: rfc3339(vm.first_seen_at),
        last_seen_at: rfc3339(vm.last_seen_at),
        gone_at: vm.gone_at.map(rfc3339),
    })
}

/// Disks lie in the store as agents list them.
fn disks(json: &str) -> Vec<VmDisk> {
    let disks: Vec<Value> = serde_json::from_str(json).unwrap_or_default();
    let text = |disk: &Value, name: &str| disk[name].as_str().unwrap_or_default().to_owned();
    disks
        .iter()
        .map(|disk| VmDisk {
            path: text(disk, "path"),
            size_bytes: disk["size_bytes"].as_i64().unwrap_or_default(),
            used_bytes: disk["used_bytes"].as_i64().unwrap_or_default(),
            format: text(disk, "vhd_format"),
            is_tracked: disk["rct_enabled"].as_bool().unwrap_or_default(),
        })
        .collect()
}

/// Changes how old a VM's last good point may be, or excuses it from being protected.
#[utoipa::path(patch, path = "/vms/{id}", tag = "vms", params(("id" = i64, Path)), request_body = VmChange,
    responses((status = 200, body = VmDetails), ChangeRefusals))]
async fn change(
    Operator(caller): Operator,
    State(plane): State<SharedPlane>,
    Id(id): Id,
    Input(change): Input<VmChange>,
) -> ApiResult<Json<VmDetails>> {
    let txn = plane.store.begin().await?;
    let row = found(&plane, &txn, caller.tenant_id.as_deref(), &id).await?;
    let (tenant_id, host_id) = (row.tenant_id.clone(), row.host_id.clone());
    let before = row.clone();
    let mut row = row.into_active_model();
    let mut detail = json!({"name": before.name});
    if let Some(hours) = change.objective_hours {
        if let Some(hours) = hours {
            within("objective_hours", hours, 1..=OBJECTIVE_HOURS_MAX)?;
        }
        detail["objective_hours"] = json!(hours);
        row.objective_hours = Set(hours);
    }
    if let Some(is_excused) = change.is_excused {
        detail["is_excused"] = json!(is_excused);
        row.is_excused = Set(is_excused);
    }
    let row = match row.is_changed() {
        true => row.update(&txn).await?,
        false => before,
    };
    let entry = caller.did("vm.update", "vm", &id);
    let entry = entry.of_tenant(Some(&tenant_id)).with(detail);
    plane.store.audit(&txn, plane.now_ms(), entry).await?;
    txn.commit().await?;
    plane.live.tell(&tenant_id, What::Host, host_id);
    details(&plane, row).await.map(Json)
}

/// Lists the points of a VM, newest first.
#[utoipa::path(get, path = "/vms/{id}/points", tag = "vms", params(("id" = i64, Path), Paging),
    responses((status = 200, body = Page<Point>), LookRefusals))]
async fn points(
    Viewer(caller): Viewer,
    State(plane): State<SharedPlane>,
    Id(id): Id,
    Params(paging): Params<Paging>,
) -> ApiResult<Json<Page<Point>>> {
    let limit = paging.limit()?;
    let below = paging.after_number()?;
    let vm = found(&plane, plane.store.db(), caller.tenant_id.as_deref(), &id).await?;
    let wanted = PointFilter {
        tenant_id: Some(&vm.tenant_id),
        vm_id: Some(vm.id),
        below,
        ..PointFilter::default()
    };
    let rows = plane.store.points_of(&wanted, limit + 1).await?;
    let page = Page::of(rows, limit, |row| row.id.to_string(), |row| row);
    Ok(Json(Page {
        items: point_views(&plane, page.items).await?,
        next: page.next,
    }))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use sea_orm::{ActiveValue::NotSet, EntityTrait as _};
    use time_and_chance::{Chance, ManualClock, Timestamp};

    use super::*;
    use crate::plane::Options;
    use crate::sealing::Sealing;
    use crate::store::Store;

    #[tokio::test]
    async fn rows_of_five_hundred_vms_take_as_many_statements_as_one() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut store = Store::in_folder(folder.path()).await.expect("a database");
        let count = store.count_statements();
        let chance = Chance::from_seed(1);
        let sealing = Sealing::in_folder(folder.path(), &chance).expect("a key");
        let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
        let plane = Plane::new(store, clock, chance, sealing, Options::default());
        let mut taken = Vec::new();
        for vms in [0..1, 1..500] {
            let rows = vms.map(|number| vm::ActiveModel {
                id: NotSet,
                tenant_id: Set("tenant".to_owned()),
                host_id: Set("host".to_owned()),
                guid: Set(format!("{number:08}")),
                name: Set(format!("vm {number}")),
                generation: Set(2),
                is_linux: Set(false),
                state: Set(String::new()),
                is_tracked: Set(false),
                cpu_count: Set(0),
                memory_mb: Set(0),
                disks_json: Set("[]".to_owned()),
                leftovers_json: Set("[]".to_owned()),
                last_checkpoint_id: Set(None),
                last_rct_ids_json: Set("{}".to_owned()),
                objective_hours: Set(None),
                is_excused: Set(false),
                first_seen_at: Set(0),
                came_at: Set(None),
                last_seen_at: Set(0),
                gone_at: Set(None),
            });
            vm::Entity::insert_many(rows)
                .exec_without_returning(plane.store.db())
                .await
                .expect("VMs");
            let before = count.load(Ordering::Relaxed);
            let seen = at_a_glance(&plane, Some("tenant")).await.expect("rows");
            assert_eq!(seen.0.len(), seen.1.len());
            taken.push((seen.1.len(), count.load(Ordering::Relaxed) - before));
        }
        let [(one, few), (all, many)] = taken[..] else {
            panic!("{taken:?}");
        };
        assert_eq!((one, all), (1, 500));
        assert_eq!(few, many);
        assert!((1..=16).contains(&many), "{many}");
    }
}
