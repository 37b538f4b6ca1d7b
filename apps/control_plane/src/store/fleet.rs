//! Hosts, VMs and repositories, as people see them.

use std::collections::HashMap;

use sea_orm::sea_query::OnConflict;
use sea_orm::{
    ActiveValue::{NotSet, Set},
    ColumnTrait as _, Condition, ConnectionTrait, DbErr, EntityTrait as _, QueryFilter as _,
    QueryOrder as _, QuerySelect as _, QueryTrait as _,
};

use crate::store::entity::{host, job, repository, repository_size, run, tenant, vm};
use crate::store::{Store, behind};

/// What people call hosts, repositories and jobs, by their ids.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// Hosts.
    pub hosts: HashMap<String, String>,
    /// Repositories.
    pub repositories: HashMap<String, String>,
    /// Jobs.
    pub jobs: HashMap<String, String>,
}

impl Names {
    /// Returns the name of a host; empty when it is gone.
    pub fn host(&self, id: &str) -> String {
        self.hosts.get(id).cloned().unwrap_or_default()
    }

    /// Returns the name of a repository; empty when it is gone.
    pub fn repository(&self, id: &str) -> String {
        self.repositories.get(id).cloned().unwrap_or_default()
    }

    /// Returns the name of a job; empty when it is gone.
    pub fn job(&self, id: &str) -> String {
        self.jobs.get(id).cloned().unwrap_or_default()
    }
}

impl Store {
    /// Returns the names of hosts, repositories and jobs; of repeated and empty ids no more is asked.
    pub async fn names(
        &self,
        hosts: &[&str],
        repositories: &[&str],
        jobs: &[&str],
    ) -> Result<Names, DbErr> {
        macro_rules! named {
            ($table:ident, $ids:expr) => {{
                let ids: std::collections::BTreeSet<&str> = $ids.iter().copied().collect();
                let rows: Vec<(String, String)> = match ids.is_empty() {
                    true => Vec::new(),
                    false => {
                        $table::Entity::find()
                            .filter($table::Column::Id.is_in(ids))
                            .select_only()
                            .columns([$table::Column::Id, $table::Column::Name])
                            .into_tuple()
                            .all(self.reading())
                            .await?
                    }
                };
                rows.into_iter().collect()
            }};
        }
        Ok(Names {
            hosts: named!(host, hosts),
            repositories: named!(repository, repositories),
            jobs: named!(job, jobs),
        })
    }

    /// Returns the figures that agents sent of runs (`stats_json`), by the runs' ids.
    pub async fn stats_of(&self, runs: &[&str]) -> Result<Vec<(String, String)>, DbErr> {
        let ids: std::collections::BTreeSet<&str> = runs.iter().copied().collect();
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        run::Entity::find()
            .filter(run::Column::Id.is_in(ids))
            .select_only()
            .columns([run::Column::Id, run::Column::StatsJson])
            .into_tuple()
            .all(self.reading())
            .await
    }

    /// Returns hosts by name, behind the one with this name and id, `limit` at most.
    pub async fn hosts_of(
        &self,
        tenant_id: Option<&str>,
        after: Option<(String, String)>,
        limit: u64,
    ) -> Result<Vec<host::Model>, DbErr> {
        use host::Column;
        host::Entity::find()
            .apply_if(tenant_id, |q, it| q.filter(Column::TenantId.eq(it)))
            .apply_if(after, |q, row| {
                q.filter(behind(Column::Name, Column::Id, row))
            })
            .order_by_asc(Column::Name)
            .order_by_asc(Column::Id)
            .limit(limit)
            .all(self.reading())
            .await
    }

    /// Returns all hosts.
    pub async fn all_hosts(&self, tenant_id: Option<&str>) -> Result<Vec<host::Model>, DbErr> {
        host::Entity::find()
            .apply_if(tenant_id, |q, it| q.filter(host::Column::TenantId.eq(it)))
            .order_by_asc(host::Column::Name)
            .all(self.reading())
            .await
    }

    /// Returns a host, if it is of the tenant.
    pub async fn host_of(
        &self,
        db: &impl ConnectionTrait,
        tenant_id: Option<&str>,
        id: &str,
    ) -> Result<Option<host::Model>, DbErr> {
        host::Entity::find_by_id(id)
            .apply_if(tenant_id, |q, it| q.filter(host::Column::TenantId.eq(it)))
            .one(db)
            .await
    }

    /// Returns how many VMs each host has.
    pub async fn vm_counts(&self, host_ids: &[String]) -> Result<HashMap<String, i64>, DbErr> {
        let rows: Vec<(String, i64)> = vm::Entity::find()
            .filter(vm::Column::HostId.is_in(host_ids))
            .filter(vm::Column::GoneAt.is_null())
            .select_only()
            .column(vm::Column::HostId)
            .column_as(vm::Column::Id.count(), "vms")
            .group_by(vm::Column::HostId)
            .into_tuple()
            .all(self.reading())
            .await?;
        Ok(rows.into_iter().collect())
    }

    /// Returns the VMs that are there: all of the tenant, or those of a host.
    pub async fn vms_of(
        &self,
        tenant_id: Option<&str>,
        host_id: Option<&str>,
    ) -> Result<Vec<vm::Model>, DbErr> {
        use vm::Column;
        vm::Entity::find()
            .filter(Column::GoneAt.is_null())
            .apply_if(tenant_id, |q, it| q.filter(Column::TenantId.eq(it)))
            .apply_if(host_id, |q, it| q.filter(Column::HostId.eq(it)))
            .order_by_asc(Column::Id)
            .all(self.reading())
            .await
    }

    /// Returns a VM, gone or not, if it is of the tenant.
    pub async fn vm_of(
        &self,
        db: &impl ConnectionTrait,
        tenant_id: Option<&str>,
        id: i64,
    ) -> Result<Option<vm::Model>, DbErr> {
        vm::Entity::find_by_id(id)
            .apply_if(tenant_id, |q, it| q.filter(vm::Column::TenantId.eq(it)))
            .one(db)
            .await
    }

    /// Returns the names of the zones that tenants live in, by tenant.
    pub async fn time_zones(
        &self,
        tenant_id: Option<&str>,
    ) -> Result<HashMap<String, String>, DbErr> {
        let rows = tenant::Entity::find()
            .apply_if(tenant_id, |q, it| q.filter(tenant::Column::Id.eq(it)))
            .all(self.reading())
            .await?;
        Ok(rows.into_iter().map(|it| (it.id, it.time_zone)).collect())
    }

    /// Returns repositories by name, behind the one with this name and id, `limit` at most.
    pub async fn repositories_of(
        &self,
        tenant_id: Option<&str>,
        after: Option<(String, String)>,
        limit: u64,
    ) -> Result<Vec<repository::Model>, DbErr> {
        use repository::Column;
        repository::Entity::find()
            .apply_if(tenant_id, |q, it| q.filter(Column::TenantId.eq(it)))
            .apply_if(after, |q, row| {
                q.filter(behind(Column::Name, Column::Id, row))
            })
            .order_by_asc(Column::Name)
            .order_by_asc(Column::Id)
            .limit(limit)
            .all(self.reading())
            .await
    }

    /// Returns a repository, if it is of the tenant.
    pub async fn find_repository(
        &self,
        db: &impl ConnectionTrait,
        tenant_id: Option<&str>,
        id: &str,
    ) -> Result<Option<repository::Model>, DbErr> {
        repository::Entity::find_by_id(id)
            .apply_if(tenant_id, |q, it| {
                q.filter(repository::Column::TenantId.eq(it))
            })
            .one(db)
            .await
    }

    /// Notes how much a repository holds, now and for the chart of its days.
    pub async fn note_stored_bytes(
        &self,
        db: &impl ConnectionTrait,
        repository: &repository::Model,
        stored_bytes: i64,
        now: i64,
    ) -> Result<(), DbErr> {
        use repository_size::Column;
        repository::Entity::update_many()
            .col_expr(
                repository::Column::StoredBytes,
                sea_orm::sea_query::Expr::value(Some(stored_bytes)),
            )
            .col_expr(
                repository::Column::MeasuredAt,
                sea_orm::sea_query::Expr::value(Some(now)),
            )
            .filter(repository::Column::Id.eq(&repository.id))
            .exec(db)
            .await?;
        let measured = repository_size::ActiveModel {
            id: NotSet,
            tenant_id: Set(repository.tenant_id.clone()),
            repository_id: Set(repository.id.clone()),
            day: Set(day_of(now)),
            stored_bytes: Set(stored_bytes),
        };
        repository_size::Entity::insert(measured)
            .on_conflict(
                OnConflict::columns([Column::RepositoryId, Column::Day])
                    .update_column(Column::StoredBytes)
                    .to_owned(),
            )
            .exec_without_returning(db)
            .await?;
        Ok(())
    }

    /// Returns how much repositories held on the days from the one of `since` on, and on the last day before it.
    pub async fn repository_sizes(
        &self,
        tenant_id: Option<&str>,
        since: i64,
    ) -> Result<Vec<repository_size::Model>, DbErr> {
        use repository_size::Column;
        let of_tenant = || {
            repository_size::Entity::find()
                .apply_if(tenant_id, |q, it| q.filter(Column::TenantId.eq(it)))
        };
        let before = of_tenant()
            .filter(Column::Day.lt(day_of(since)))
            .select_only()
            .column_as(Column::Id.max(), "newest")
            .group_by(Column::RepositoryId)
            .into_query();
        of_tenant()
            .filter(
                Condition::any()
                    .add(Column::Day.gte(day_of(since)))
                    .add(Column::Id.in_subquery(before)),
            )
            .order_by_asc(Column::Day)
            .all(self.reading())
            .await
    }
}

/// Returns the day of a moment, in UTC: `2026-03-01`.
pub fn day_of(ms: i64) -> String {
    let moment = jiff::Timestamp::from_millisecond(ms).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    let day = jiff::tz::TimeZone::UTC.to_datetime(moment).date();
    day.to_string()
}
