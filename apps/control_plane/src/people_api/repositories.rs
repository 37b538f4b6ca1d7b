//! Repositories: where backups are stored. Their secrets go in and are never shown, but for the password, once asked
//! for with the caller's own.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use sea_orm::{
    ActiveModelTrait as _, ActiveValue::NotSet, ActiveValue::Set, ColumnTrait as _,
    EntityTrait as _, IntoActiveModel as _, PaginatorTrait as _, QueryFilter as _,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::chores::upkeep::Upkeep;
use crate::credentials::{Refused, check_again};
use crate::live::What;
use crate::people_api::caller::{Operator, Owner, Viewer};
use crate::people_api::error::{ApiError, ApiResult};
use crate::people_api::input::{Input, Params, any_text, text};
use crate::people_api::paging::{Page, Paging};
use crate::people_api::request::{
    ChangeRefusals, Id, LookRefusals, OfTenant, given, page_by_name, path, shown, within, word,
};
use crate::people_api::tenant_choice::new_thing_tenant;
use crate::plane::{Plane, SharedPlane, rfc3339};
use crate::run_rules::finish::{OWN_KINDS_SINCE, retention_payload};
use crate::store::entity::{host, job, point, repo_operation, repository, repository_size, vm};
use crate::store::folders::is_folder_of_one;
use crate::vm_choice::VmRules;

const HOUR_MS: i64 = 3_600_000;

/// The longest interval between two pieces of upkeep: a year.
const EVERY_HOURS_MAX: i64 = 8_760;

/// A password that people choose has at least so many characters.
const PASSWORD_CHARS_MIN: usize = 12;

pub(super) fn routes() -> OpenApiRouter<SharedPlane> {
    OpenApiRouter::new()
        .routes(routes!(all, create))
        .routes(routes!(one, change, remove))
        .routes(routes!(password))
        .routes(routes!(operations, operate))
}

/// Where backups are stored.
#[derive(Debug, Serialize, ToSchema)]
pub struct Repository {
    /// Its id.
    pub id: String,
    /// The tenant.
    pub tenant_id: String,
    /// What people call it.
    pub name: String,
    /// `s3` or `local`.
    pub kind: String,
    /// The S3 server's URL.
    pub endpoint: String,
    /// The S3 region.
    pub region: String,
    /// The bucket.
    pub bucket: String,
    /// The prefix of its blobs.
    pub prefix: String,
    /// The folder of a local repository.
    pub path: String,
    /// The host whose folder it is: the first whose job used it, and the only one that may; null: S3, a share, or nobody's
    /// yet.
    pub host_id: Option<String>,
    /// That host's name.
    pub host_name: String,
    /// The S3 access key; the secret key is never shown.
    pub access_key: String,
    /// How much may be stored in it, by what people decided.
    pub limit_bytes: Option<i64>,
    /// How often quick maintenance is due; 0: never.
    pub quick_every_hours: i64,
    /// How often full maintenance is due; 0: never.
    pub full_every_hours: i64,
    /// How often a verification is due; 0: never.
    pub verify_every_hours: i64,
    /// How much of the data a verification reads, in percent.
    pub verify_percent: i64,
    /// How much is stored in it, when last measured.
    pub stored_bytes: Option<i64>,
    /// When that was.
    pub measured_at: Option<String>,
    /// When quick maintenance last ended well.
    pub last_quick_at: Option<String>,
    /// When full maintenance last ended well.
    pub last_full_at: Option<String>,
    /// When a verification last ended well.
    pub last_verified_at: Option<String>,
    /// When its points were last listed: what went without being told is known since.
    pub last_listed_at: Option<String>,
    /// How many jobs store in it.
    pub job_count: i64,
    /// How many points it holds.
    pub point_count: i64,
    /// Whether maintenance is due.
    pub maintenance_due: bool,
    /// Whether a verification is due.
    pub verification_due: bool,
    /// When it was made.
    pub created_at: String,
}

/// Work on a repository.
#[derive(Debug, Serialize, ToSchema)]
pub struct Operation {
    /// Its number.
    pub id: i64,
    /// The repository.
    pub repository_id: String,
    /// `retention_apply`, `maintenance_quick`, `maintenance_full` or `verify`.
    pub kind: String,
    /// `queued`, `running`, `success` or `failed`.
    pub status: String,
    /// The host that took it.
    pub host_id: Option<String>,
    /// How often it was handed out.
    pub attempts: i64,
    /// How it ended; none while it has not.
    #[schema(value_type = Option<Object>)]
    pub result: Value,
    /// When it was queued.
    pub created_at: String,
    /// When it ended.
    pub finished_at: Option<String>,
}

/// A new repository. An existing one of that place is opened, with its password.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewRepository {
    /// The tenant, for people of the installation.
    tenant_id: Option<String>,
    /// What people call it.
    name: String,
    /// `s3` or `local`.
    kind: String,
    /// The S3 server's URL.
    #[serde(default)]
    endpoint: String,
    /// The S3 region.
    #[serde(default)]
    region: String,
    /// The bucket.
    #[serde(default)]
    bucket: String,
    /// The prefix of its blobs.
    #[serde(default)]
    prefix: String,
    /// The folder of a local repository, on the one host that uses it, or a share (`\\server\share`).
    #[serde(default)]
    path: String,
    /// The S3 access key.
    #[serde(default)]
    access_key: String,
    /// The S3 secret key.
    #[serde(default)]
    #[schema(format = Password)]
    secret_key: String,
    /// The repository's password; one is made when it is left out.
    #[schema(format = Password)]
    password: Option<String>,
    /// How much may be stored in it.
    limit_bytes: Option<i64>,
    /// How often quick maintenance is due; 0: never. Left out: 6.
    quick_every_hours: Option<i64>,
    /// How often full maintenance is due; 0: never. Left out: 24.
    full_every_hours: Option<i64>,
    /// How often a verification is due; 0: never. Left out: 168.
    verify_every_hours: Option<i64>,
    /// How much of the data a verification reads, in percent. Left out: 5.
    verify_percent: Option<i64>,
}

/// What is to be changed of a repository; where it lies is fixed.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RepositoryChange {
    /// What people call it.
    name: Option<String>,
    /// The S3 server's URL, where the same bucket is reached by another one.
    endpoint: Option<String>,
    /// The S3 region.
    region: Option<String>,
    /// The S3 access key.
    access_key: Option<String>,
    /// Only null: the folder was moved to another host; it is of the one whose job uses it next.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    host_id: Option<Option<String>>,
    /// The S3 secret key.
    #[schema(format = Password)]
    secret_key: Option<String>,
    /// The repository's password, where the one kept here is wrong or cannot be opened any more.
    #[schema(format = Password)]
    password: Option<String>,
    /// How much may be stored in it; null: no limit.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<i64>)]
    limit_bytes: Option<Option<i64>>,
    /// How often quick maintenance is due; 0: never.
    quick_every_hours: Option<i64>,
    /// How often full maintenance is due; 0: never.
    full_every_hours: Option<i64>,
    /// How often a verification is due; 0: never.
    verify_every_hours: Option<i64>,
    /// How much of the data a verification reads, in percent.
    verify_percent: Option<i64>,
}

/// The caller's own password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PasswordWish {
    /// The caller's own password.
    #[schema(format = Password)]
    password: String,
}

/// The password of a repository, for a stock Kopia.
#[derive(Serialize, ToSchema)]
struct RepositoryPassword {
    /// The password.
    password: String,
}

/// Work that is wanted.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewOperation {
    /// `maintenance_quick`, `maintenance_full`, `retention_apply` or `verify`.
    kind: String,
}

/// Tells whether something that is to happen every so many hours is due. What never happened counts from when the
/// repository was made.
fn is_due(every_hours: i64, last: Option<i64>, made: i64, now: i64) -> bool {
    every_hours > 0 && now - last.unwrap_or(made) >= every_hours.saturating_mul(HOUR_MS)
}

fn view(
    row: repository::Model,
    host_name: String,
    (job_count, point_count): (i64, i64),
    now: i64,
) -> Repository {
    let due = |every, last| is_due(every, last, row.created_at, now);
    // A full maintenance does what a quick one does.
    let last_quick = row.last_quick_at.max(row.last_full_at);
    Repository {
        maintenance_due: due(row.quick_every_hours, last_quick)
            || due(row.full_every_hours, row.last_full_at),
        verification_due: due(row.verify_every_hours, row.last_verified_at),
        id: row.id,
        tenant_id: row.tenant_id,
        name: row.name,
        kind: row.kind,
        endpoint: row.endpoint,
        region: row.region,
        bucket: row.bucket,
        prefix: row.prefix,
        path: row.path,
        host_id: row.host_id,
        host_name,
        access_key: row.access_key,
        limit_bytes: row.limit_bytes,
        quick_every_hours: row.quick_every_hours,
        full_every_hours: row.full_every_hours,
        verify_every_hours: row.verify_every_hours,
        verify_percent: row.verify_percent,
        stored_bytes: row.stored_bytes,
        measured_at: row.measured_at.map(rfc3339),
        last_quick_at: row.last_quick_at.map(rfc3339),
        last_full_at: row.last_full_at.map(rfc3339),
        last_verified_at: row.last_verified_at.map(rfc3339),
        last_listed_at: row.last_listed_at.map(rfc3339),
        job_count,
        point_count,
        created_at: rfc3339(row.created_at),
    }
}

async fn views(plane: &Plane, rows: Vec<repository::Model>) -> ApiResult<Vec<Repository>> {
    let ids: Vec<String> = rows.iter().map(|row| row.id.clone()).collect();
    let jobs = plane
        .store
        .job_counts(job::Column::RepositoryId, &ids)
        .await?;
    let points = plane.store.point_counts(&ids).await?;
    let hosts: Vec<&str> = rows
        .iter()
        .filter_map(|row| row.host_id.as_deref())
        .collect();
    let names = plane.store.names(&hosts, &[], &[]).await?;
    let now = plane.now_ms();
    let viewed = rows.into_iter().map(|row| {
        let jobs = jobs.get(&row.id).copied().unwrap_or_default();
        let points = points.get(&row.id).copied().unwrap_or_default();
        let host_name = names.host(row.host_id.as_deref().unwrap_or_default());
        view(row, host_name, (jobs, points), now)
    });
    Ok(viewed.collect())
}

async fn viewed(plane: &Plane, row: repository::Model) -> ApiResult<Repository> {
    let mut views = views(plane, vec![row]).await?;
    views
        .pop()
        .ok_or_else(|| ApiError::not_found("this repository"))
}

impl From<repo_operation::Model> for Operation {
    fn from(row: repo_operation::Model) -> Self {
        Self {
            id: row.id,
            repository_id: row.repository_id,
            kind: row.kind,
            status: row.status,
            host_id: row.host_id,
            attempts: row.attempts,
            result: serde_json::from_str(&row.result_json).unwrap_or_default(),
            created_at: rfc3339(row.created_at),
            finished_at: row.finished_at.map(rfc3339),
        }
    }
}

/// Returns the repository that a caller may know of.
pub(super) async fn found(
    plane: &Plane,
    db: &impl sea_orm::ConnectionTrait,
    tenant_id: Option<&str>,
    id: &str,
) -> ApiResult<repository::Model> {
    let row = plane.store.find_repository(db, tenant_id, id).await?;
    row.ok_or_else(|| ApiError::not_found(format!("repository {}", shown(id))))
}

/// Says why a host cannot use a repository that is the folder of another one, and what to do.
pub(super) async fn of_another_host(
    plane: &Plane,
    db: &impl sea_orm::ConnectionTrait,
    repository: &repository::Model,
    owner_id: &str,
    host: &host::Model,
) -> ApiResult<String> {
    let owner = plane
        .store
        .host_of(db, Some(&repository.tenant_id), owner_id)
        .await?;
    let owner = owner.map_or_else(|| "another host".to_owned(), |owner| owner.name);
    Ok(format!(
        "{} is the folder {} of {owner}; on {} that path is another folder. Make a repository for {}, use one on S3 or on a share, or, if the folder was moved there, have an owner say so at the repository",
        repository.name, repository.path, host.name, host.name
    ))
}

/// Refuses a host that is to read from the folder of another one.
pub(super) async fn within_reach(
    plane: &Plane,
    db: &impl sea_orm::ConnectionTrait,
    repository_id: &str,
    host: &host::Model,
) -> ApiResult<()> {
    let repository = repository::Entity::find_by_id(repository_id)
        .one(db)
        .await?;
    let Some(repository) = repository.filter(is_folder_of_one) else {
        return Ok(());
    };
    match &repository.host_id {
        Some(owner) if *owner != host.id => {
            let message = of_another_host(plane, db, &repository, owner, host).await?;
            Err(ApiError::conflict("other_host", message))
        }
        _ => Ok(()),
    }
}

/// Lists repositories, by name.
#[utoipa::path(get, path = "/repositories", tag = "repositories", params(Paging, OfTenant),
    responses((status = 200, body = Page<Repository>), LookRefusals))]
async fn all(
    Viewer(caller): Viewer,
    State(plane): State<SharedPlane>,
    Params(paging): Params<Paging>,
    Params(of): Params<OfTenant>,
) -> ApiResult<Json<Page<Repository>>> {
    let tenant = caller.scope(of.tenant_id.as_deref())?;
    let behind = |after, limit| plane.store.repositories_of(tenant.as_deref(), after, limit);
    let page = page_by_name(&paging, behind, |row| (&row.name, &row.id)).await?;
    Ok(Json(Page {
        items: views(&plane, page.items).await?,
        next: page.next,
    }))
}

/// Shows a repository.
#[utoipa::path(get, path = "/repositories/{id}", tag = "repositories", params(("id" = String, Path)),
    responses((status = 200, body = Repository), LookRefusals))]
async fn one(
    Viewer(caller): Viewer,
    State(plane): State<SharedPlane>,
    Id(id): Id,
) -> ApiResult<Json<Repository>> {
    let row = found(&plane, plane.store.db(), caller.tenant_id.as_deref(), &id).await?;
    viewed(&plane, row).await.map(Json)
}

/// Makes a repository known. It is opened, and made where there is none, by the first job that uses it.
#[utoipa::path(post, path = "/repositories", tag = "repositories", request_body = NewRepository,
    responses((status = 201, body = Repository), ChangeRefusals))]
async fn create(
    Owner(caller): Owner,
    State(plane): State<SharedPlane>,
    Input(new): Input<NewRepository>,
) -> ApiResult<(StatusCode, Json<Repository>)> {
    let tenant_id = new_thing_tenant(&plane, &caller, new.tenant_id.as_deref()).await?;
    let id = plane.new_id();
    let now = plane.now_ms();
    let row = new_row(&plane, &new, &id, &tenant_id, now)?;
    let txn = plane.store.begin().await?;
    let row = row.insert(&txn).await?;
    let entry = caller.did("repository.create", "repository", &id);
    let entry = entry.of_tenant(Some(&tenant_id)).with(json!({
        "name": row.name, "kind": row.kind, "endpoint": row.endpoint, "bucket": row.bucket,
        "prefix": row.prefix, "path": row.path,
    }));
    plane.store.audit(&txn, now, entry).await?;
    txn.commit().await?;
    Ok((StatusCode::CREATED, Json(viewed(&plane, row).await?)))
}

fn new_row(
    plane: &Plane,
    new: &NewRepository,
    id: &str,
    tenant_id: &str,
    now: i64,
) -> ApiResult<repository::ActiveModel> {
    let kind = word("kind", &new.kind, &["s3", "local"])?;
    let mut secret_key = None;
    let [
        mut endpoint,
        mut region,
        mut bucket,
        mut prefix,
        mut folder,
        mut access_key,
    ] = <[String; 6]>::default();
    if kind == "s3" {
        endpoint = url("endpoint", &new.endpoint)?;
        region = any_text("region", &new.region)?;
        bucket = text("bucket", &new.bucket)?;
        prefix = path("prefix", &new.prefix)?.trim_matches('/').to_owned();
        access_key = text("access_key", &new.access_key)?;
        secret_key = Some(secret("secret_key", &new.secret_key, 1)?);
    } else {
        folder = path("path", &new.path)?;
        if folder.is_empty() {
            return Err(ApiError::invalid(
                "path",
                "name the folder of the repository",
            ));
        }
    }
    let password = match &new.password {
        Some(password) => secret("password", password, PASSWORD_CHARS_MIN)?,
        None => hex::encode(plane.chance.bytes::<32>()),
    };
    Ok(repository::ActiveModel {
        id: Set(id.to_owned()),
        tenant_id: Set(tenant_id.to_owned()),
        name: Set(text("name", &new.name)?),
        kind: Set(kind),
        endpoint: Set(endpoint),
        region: Set(region),
        bucket: Set(bucket),
        prefix: Set(prefix),
        path: Set(folder),
        host_id: Set(None),
        access_key: Set(access_key),
        secret_key_sealed: Set(secret_key.map(|it| seal(plane, id, "secret_key", &it))),
        password_sealed: Set(seal(plane, id, "password", &password)),
        limit_bytes: Set(limit_bytes(new.limit_bytes)?),
        damaged_points: Set(0),
        stored_bytes: Set(None),
        measured_at: Set(None),
        quick_every_hours: Set(every(
            "quick_every_hours",
            new.quick_every_hours.unwrap_or(6),
        )?),
        full_every_hours: Set(every(
            "full_every_hours",
            new.full_every_hours.unwrap_or(24),
        )?),
        verify_every_hours: Set(every(
            "verify_every_hours",
            new.verify_every_hours.unwrap_or(168),
        )?),
        verify_percent: Set(percent(new.verify_percent.unwrap_or(5))?),
        last_quick_at: Set(None),
        last_full_at: Set(None),
        last_verified_at: Set(None),
        last_listed_at: Set(None),
        created_at: Set(now),
    })
}

fn seal(plane: &Plane, id: &str, what: &str, secret: &str) -> Vec<u8> {
    let of = format!("repository/{id}/{what}");
    plane.sealing.seal(&of, secret.as_bytes())
}

fn every(field: &str, hours: i64) -> ApiResult<i64> {
    within(field, hours, 0..=EVERY_HOURS_MAX)
}

fn percent(percent: i64) -> ApiResult<i64> {
    within("verify_percent", percent, 0..=100)
}

fn limit_bytes(limit: Option<i64>) -> ApiResult<Option<i64>> {
    limit
        .map(|limit| within("limit_bytes", limit, 1..=i64::MAX))
        .transpose()
}

/// Takes a secret as it is: blanks around it belong to it.
fn secret(field: &str, value: &str, chars_min: usize) -> ApiResult<String> {
    let chars = value.chars().count();
    if chars < chars_min || chars > 1_000 {
        let message = format!("it has {chars_min} to 1000 characters");
        return Err(ApiError::invalid(field, message));
    }
    if value.chars().any(char::is_control) {
        return Err(ApiError::invalid(field, "it holds control characters"));
    }
    Ok(value.to_owned())
}

fn url(field: &str, value: &str) -> ApiResult<String> {
    let value = text(field, value)?;
    let rest = value
        .strip_prefix("https://")
        .or_else(|| value.strip_prefix("http://"));
    let host = rest.map(|rest| rest.split(['/', '?', '#']).next().unwrap_or_default());
    match host {
        Some(host) if !host.is_empty() && !host.contains(['@', ' ']) => {
            Ok(value.trim_end_matches('/').to_owned())
        }
        _ => Err(ApiError::invalid(
            field,
            "write it as https://s3.example.com, without a name or password in it",
        )),
    }
}

/// Changes a repository: its name, keys, limit and upkeep.
#[utoipa::path(patch, path = "/repositories/{id}", tag = "repositories", params(("id" = String, Path)),
    request_body = RepositoryChange, responses((status = 200, body = Repository), ChangeRefusals))]
async fn change(
    Owner(caller): Owner,
    State(plane): State<SharedPlane>,
    Id(id): Id,
    Input(change): Input<RepositoryChange>,
) -> ApiResult<Json<Repository>> {
    let txn = plane.store.begin().await?;
    let before = found(&plane, &txn, caller.tenant_id.as_deref(), &id).await?;
    let mut row = before.clone().into_active_model();
    if before.kind != "s3" {
        for (field, value) in [
            ("endpoint", &change.endpoint),
            ("region", &change.region),
            ("access_key", &change.access_key),
            ("secret_key", &change.secret_key),
        ] {
            if value.is_some() {
                let message = "a repository in a folder has none";
                return Err(ApiError::invalid(field, message));
            }
        }
    }
    let mut changed = Vec::new();
    macro_rules! set {
        ($member:ident, $value:ident => $taken:expr) => {
            if let Some($value) = &change.$member {
                row.$member = Set($taken?);
                changed.push(stringify!($member));
            }
        };
    }
    set!(name, it => text("name", it));
    set!(endpoint, it => url("endpoint", it));
    set!(region, it => any_text("region", it));
    set!(access_key, it => text("access_key", it));
    set!(limit_bytes, it => limit_bytes(*it));
    set!(quick_every_hours, it => every("quick_every_hours", *it));
    set!(full_every_hours, it => every("full_every_hours", *it));
    set!(verify_every_hours, it => every("verify_every_hours", *it));
    set!(verify_percent, it => percent(*it));
    if let Some(key) = &change.secret_key {
        let key = secret("secret_key", key, 1)?;
        row.secret_key_sealed = Set(Some(seal(&plane, &id, "secret_key", &key)));
        changed.push("secret_key");
    }
    if let Some(password) = &change.password {
        let password = secret("password", password, PASSWORD_CHARS_MIN)?;
        row.password_sealed = Set(seal(&plane, &id, "password", &password));
        changed.push("password");
    }
    match &change.host_id {
        Some(Some(_)) => {
            let message =
                "it can only be taken away (null); then it is the host's whose job uses it next";
            return Err(ApiError::invalid("host_id", message));
        }
        Some(None) => {
            row.host_id = Set(None);
            changed.push("host_id");
        }
        None => {}
    }
    let row = match row.is_changed() {
        true => row.update(&txn).await?,
        false => before,
    };
    let entry = caller.did("repository.update", "repository", &id);
    let entry = entry
        .of_tenant(Some(&row.tenant_id))
        .with(json!({"name": row.name, "changed": changed}));
    plane.store.audit(&txn, plane.now_ms(), entry).await?;
    txn.commit().await?;
    viewed(&plane, row).await.map(Json)
}

/// Forgets a repository that nothing uses any more. What lies in it stays where it is.
#[utoipa::path(delete, path = "/repositories/{id}", tag = "repositories", params(("id" = String, Path)),
    responses((status = 204), ChangeRefusals))]
async fn remove(
    Owner(caller): Owner,
    State(plane): State<SharedPlane>,
    Id(id): Id,
) -> ApiResult<StatusCode> {
    let txn = plane.store.begin().await?;
    let row = found(&plane, &txn, caller.tenant_id.as_deref(), &id).await?;
    let jobs = plane.store.jobs_in_repository(&txn, &id).await?;
    let points = point::Entity::find()
        .filter(point::Column::RepositoryId.eq(&id))
        .filter(point::Column::ExpiredAt.is_null())
        .count(&txn)
        .await?;
    if jobs + points > 0 {
        return Err(ApiError::conflict(
            "in_use",
            format!(
                "{jobs} jobs store in {}, and it holds {points} points; delete the jobs first, and let retention \
                 remove the points",
                row.name
            ),
        ));
    }
    repository_size::Entity::delete_many()
        .filter(repository_size::Column::RepositoryId.eq(&id))
        .exec(&txn)
        .await?;
    repository::Entity::delete_by_id(&id).exec(&txn).await?;
    let entry = caller.did("repository.delete", "repository", &id);
    let entry = entry
        .of_tenant(Some(&row.tenant_id))
        .with(json!({"name": row.name}));
    plane.store.audit(&txn, plane.now_ms(), entry).await?;
    txn.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Shows a repository's password, for a stock Kopia, to somebody who gives the own one.
#[utoipa::path(post, path = "/repositories/{id}/password", tag = "repositories", params(("id" = String, Path)),
    request_body = PasswordWish, responses((status = 200, body = RepositoryPassword), ChangeRefusals))]
async fn password(
    Owner(caller): Owner,
    State(plane): State<SharedPlane>,
    Id(id): Id,
    Input(own): Input<PasswordWish>,
) -> ApiResult<Json<RepositoryPassword>> {
    let row = found(&plane, plane.store.db(), caller.tenant_id.as_deref(), &id).await?;
    if caller.session.is_none() {
        return Err(ApiError::forbidden(
            "a program does not get a repository's password; sign in and ask for it yourself",
        ));
    }
    check_again(&plane, &caller.user_id, &own.password)
        .await
        .map_err(|refused| not_shown(&refused))?;
    let txn = plane.store.begin().await?;
    let entry = caller.did("repository.password", "repository", &id);
    let entry = entry
        .of_tenant(Some(&row.tenant_id))
        .with(json!({"name": row.name}));
    plane.store.audit(&txn, plane.now_ms(), entry).await?;
    txn.commit().await?;
    let of = format!("repository/{id}/password");
    let password = plane.sealing.open_text(&of, &row.password_sealed)?;
    Ok(Json(RepositoryPassword {
        password: password.as_str().to_owned(),
    }))
}

fn not_shown(refused: &Refused) -> ApiError {
    match refused {
        Refused::Locked { wait_ms } => ApiError::too_many("locked", refused.to_string(), *wait_ms),
        Refused::Busy => ApiError::too_many("busy", refused.to_string(), 1_000),
        Refused::Wrong { .. } | Refused::CodeNeeded => ApiError::new(
            StatusCode::FORBIDDEN,
            "wrong_credentials",
            "this is not your password",
        ),
        Refused::Store(_) | Refused::Sealing(_) => {
            crate::log::error(format_args!("people's API: {refused}"));
            ApiError::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "internal",
                "the server could not do this; its log says why",
            )
        }
    }
}

/// Lists work on a repository, newest first.
#[utoipa::path(get, path = "/repositories/{id}/operations", tag = "repositories", params(("id" = String, Path), Paging),
    responses((status = 200, body = Page<Operation>), LookRefusals))]
async fn operations(
    Viewer(caller): Viewer,
    State(plane): State<SharedPlane>,
    Id(id): Id,
    Params(paging): Params<Paging>,
) -> ApiResult<Json<Page<Operation>>> {
    let limit = paging.limit()?;
    let below = paging.after_number()?;
    found(&plane, plane.store.db(), caller.tenant_id.as_deref(), &id).await?;
    let rows = plane.store.operations_of(&id, below, limit + 1).await?;
    Ok(Json(Page::of(
        rows,
        limit,
        |row| row.id.to_string(),
        Operation::from,
    )))
}

/// Queues work on a repository, for a host that has stored points in it.
#[utoipa::path(post, path = "/repositories/{id}/operations", tag = "repositories", params(("id" = String, Path)),
    request_body = NewOperation, responses((status = 202, body = Operation), ChangeRefusals))]
async fn operate(
    Operator(caller): Operator,
    State(plane): State<SharedPlane>,
    Id(id): Id,
    Input(new): Input<NewOperation>,
) -> ApiResult<(StatusCode, Json<Operation>)> {
    let verify = Upkeep::Verify.kind();
    let known = [
        "maintenance_quick",
        "maintenance_full",
        "retention_apply",
        verify,
    ];
    let kind = word("kind", &new.kind, &known)?;
    let now = plane.now_ms();
    let txn = plane.store.begin().await?;
    let row = found(&plane, &txn, caller.tenant_id.as_deref(), &id).await?;
    let hosts = plane.store.hosts_working_on(&txn, &row).await?;
    if hosts.is_empty() {
        return Err(ApiError::conflict(
            "no_host",
            format!(
                "no host that may work has stored a point in {} yet, and only who has knows its password; let a job run first",
                row.name
            ),
        ));
    }
    if kind == verify && !plane.store.can_be_verified(&id).await? {
        return Err(ApiError::conflict(
            "agent_outdated",
            format!(
                "no agent that works on {} knows how to verify: update one of them to {OWN_KINDS_SINCE}",
                row.name
            ),
        ));
    }
    if let Some(open) = plane.store.operation_going_on(&txn, &id, &kind).await? {
        return Err(ApiError::conflict(
            "already_queued",
            format!("operation {} does the same, and has not ended", open.id),
        ));
    }
    if kind == "retention_apply" {
        let jobs = job::Entity::find()
            .filter(job::Column::RepositoryId.eq(&id))
            .filter(job::Column::Status.ne("deleted"))
            .all(&txn)
            .await?;
        let is_alone = match &jobs[..] {
            [only] => {
                let store = &plane.store;
                !store
                    .holds_others(&txn, &id, &only.id, &only.host_id)
                    .await?
            }
            _ => false,
        };
        if !is_alone {
            return Err(ApiError::conflict(
                "not_alone",
                format!(
                    "{} holds points of several jobs or hosts, whose paths may be the same; each job's rule is applied at the end of its runs",
                    row.name
                ),
            ));
        }
    }
    let payloads = match &*kind {
        "retention_apply" => rules_of_jobs(&txn, &id).await?,
        it if it == verify => vec![json!({"percent": row.verify_percent})],
        _ => vec![json!({})],
    };
    let mut queued = None;
    for payload in payloads {
        let operation = repo_operation::ActiveModel {
            id: NotSet,
            tenant_id: Set(row.tenant_id.clone()),
            repository_id: Set(id.clone()),
            kind: Set(kind.clone()),
            token: Set(plane.new_token()),
            payload_json: Set(payload.to_string()),
            status: Set("queued".to_owned()),
            host_id: Set(None),
            attempts: Set(0),
            not_before: Set(now),
            locked_until: Set(None),
            result_json: Set("{}".to_owned()),
            created_at: Set(now),
            finished_at: Set(None),
        };
        queued = Some(operation.insert(&txn).await?);
    }
    let Some(operation) = queued else {
        let message = format!("the jobs that store in {} keep everything", row.name);
        return Err(ApiError::conflict("no_rule", message));
    };
    let entry = caller.did("repository.operation", "repository", &id);
    let entry = entry
        .of_tenant(Some(&row.tenant_id))
        .with(json!({"kind": kind, "operation_id": operation.id}));
    plane.store.audit(&txn, now, entry).await?;
    txn.commit().await?;
    for host in hosts {
        plane.live.tell(&row.tenant_id, What::HostWork, host);
    }
    Ok((StatusCode::ACCEPTED, Json(operation.into())))
}

/// Returns what retention is told of each job: its own rule, for its own sources.
async fn rules_of_jobs(
    db: &impl sea_orm::ConnectionTrait,
    repository_id: &str,
) -> ApiResult<Vec<Value>> {
    let jobs = job::Entity::find()
        .filter(job::Column::RepositoryId.eq(repository_id))
        .filter(job::Column::Status.ne("deleted"))
        .all(db)
        .await?;
    let vms = vm::Entity::find()
        .filter(vm::Column::HostId.is_in(jobs.iter().map(|job| &*job.host_id)))
        .all(db)
        .await?;
    let payload = |job: &job::Model| {
        let rules = VmRules::of_json(&job.vms_json);
        let chosen = vms
            .iter()
            .filter(|vm| vm.host_id == job.host_id && rules.is_chosen(&vm.guid, &vm.name));
        let guids: Vec<String> = chosen.map(|vm| vm.guid.clone()).collect();
        retention_payload(job, &guids)
    };
    Ok(jobs.iter().filter_map(payload).collect())
}
