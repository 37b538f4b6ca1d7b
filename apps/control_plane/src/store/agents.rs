//! Agents: enrolled, seen, and how they are.

use protocol::identity::Program;
use sea_orm::sea_query::{Expr, ExprTrait as _};
use sea_orm::{
    ActiveModelTrait as _, ActiveValue::Set, ColumnTrait as _, Condition, ConnectionTrait, DbErr,
    EntityTrait as _, PaginatorTrait as _, QueryFilter as _, TransactionTrait as _,
};
use serde_json::json;

use crate::store::Store;
use crate::store::entity::{
    agent_event, audit_entry, command, enrolment_token, host, login_session, setting, tenant, user,
};

/// A host's last call is written down once in this time.
const SEEN_EVERY_MS: i64 = 60_000;
/// A host that called within this time counts as online (contract 1.2).
pub const ONLINE_MS: i64 = 180_000;
/// An agent's events of its health: so many a day are kept …
const HEALTH_PER_DAY: u64 = 1_000;
/// … and one of a kind in so much time.
const DEDUPE_MS: i64 = 60_000;
const DAY_MS: i64 = 86_400_000;

/// What an agent says of its machine when it is made known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Newcomer {
    /// What the machine calls itself.
    pub hostname: String,
    /// The machine's own UUID; may be empty.
    pub device_id: String,
    /// The installation's UUID; may be empty.
    pub install_id: String,
    /// A label for people; may be empty.
    pub device_name: String,
    /// The program.
    pub program: Program,
}

/// Ids and secrets for a host that is enrolled.
#[derive(Clone, Debug)]
pub struct Fresh {
    /// The id of a host that is new.
    pub host_id: String,
    /// SHA-256 of the new token, in hex.
    pub token_hash: String,
}

/// Why an agent is not enrolled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotEnrolled {
    /// There is no such token.
    Invalid,
    /// It was taken back.
    Revoked,
    /// It has ended.
    Expired,
    /// It was used as often as it may be.
    Exhausted,
    /// An administrator has disabled the agent of this machine.
    Disabled,
}

/// Why a sign-in is not completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotCompleted {
    /// There is no such session.
    NoSession,
    /// It has ended.
    Expired,
    /// It was used.
    Used,
    /// The tenant is not one of the person's.
    NoTenant,
    /// An administrator has disabled the agent of this machine.
    Disabled,
}

/// What was taken of a batch of events of an agent's health.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HealthTaken {
    /// Events that are kept.
    pub inserted: u64,
    /// Events beyond the limit.
    pub dropped: u64,
    /// Events that came a moment ago.
    pub deduped: u64,
}

impl Store {
    /// Returns a host.
    pub async fn host(&self, id: &str) -> Result<Option<host::Model>, DbErr> {
        host::Entity::find_by_id(id).one(self.reading()).await
    }

    /// Writes down that a host called, now and then, and what it calls with, when that is new (`program`: what is
    /// empty says nothing). Returns whether it counts as online only now.
    pub async fn touch_host(
        &self,
        host: &host::Model,
        program: &Program,
        now: i64,
    ) -> Result<bool, DbErr> {
        let mut changed = host::ActiveModel {
            ..Default::default()
        };
        let mut is_changed = false;
        let news = |sent: &str, kept: &str, chars_max| {
            let sent = protocol::limit::shortened(sent, chars_max);
            (!sent.is_empty() && sent != kept).then_some(sent)
        };
        macro_rules! take {
            ($($sent:ident $kept:ident $chars_max:literal),*) => {
                $(if let Some(word) = news(&program.$sent, &host.$kept, $chars_max) {
                    changed.$kept = Set(word);
                    is_changed = true;
                })*
            };
        }
        take!(version agent_version 64, os os 32, arch arch 16, build build 64);
        let silence = host.last_seen_at.map(|seen| now.saturating_sub(seen));
        // A clock that was set back must not keep a host from being seen.
        if silence.is_none_or(|silence| !(0..SEEN_EVERY_MS).contains(&silence)) {
            changed.last_seen_at = Set(Some(now));
            is_changed = true;
        }
        if is_changed {
            host::Entity::update_many()
                .set(changed)
                .filter(host::Column::Id.eq(&host.id))
                .exec(&self.db)
                .await?;
        }
        Ok(silence.is_none_or(|silence| silence > ONLINE_MS))
    }

    /// Returns the oldest version that agents may have; none: any.
    pub async fn min_agent_version(&self) -> Result<Option<String>, DbErr> {
        let row = setting::Entity::find_by_id("min_agent_version")
            .one(&self.db)
            .await?;
        Ok(row
            .map(|row| row.value.trim().to_owned())
            .filter(|version| !version.is_empty()))
    }

    /// Makes an agent known by an enrolment token: the one of the same machine again, with a new token of its own, or
    /// a new one.
    pub async fn enrol(
        &self,
        token_hash: &str,
        newcomer: &Newcomer,
        fresh: &Fresh,
        address: &str,
        now: i64,
    ) -> Result<Result<host::Model, NotEnrolled>, DbErr> {
        let txn = self.db.begin().await?;
        let token = enrolment_token::Entity::find()
            .filter(enrolment_token::Column::TokenHash.eq(token_hash))
            .one(&txn)
            .await?;
        let Some(token) = token else {
            txn.rollback().await?;
            return Ok(Err(NotEnrolled::Invalid));
        };
        if token.revoked_at.is_some() {
            txn.rollback().await?;
            return Ok(Err(NotEnrolled::Revoked));
        }
        if token.expires_at.is_some_and(|end| now >= end) {
            txn.rollback().await?;
            return Ok(Err(NotEnrolled::Expired));
        }
        let uses = enrolment_token::Column::UseCount;
        let used = enrolment_token::Entity::update_many()
            .col_expr(uses, Expr::col(uses).add(1))
            .filter(enrolment_token::Column::Id.eq(&token.id))
            .filter(enrolment_token::Column::RevokedAt.is_null())
            .filter(
                Condition::any()
                    .add(enrolment_token::Column::MaxUses.is_null())
                    .add(Expr::col(uses).lt(Expr::col(enrolment_token::Column::MaxUses))),
            )
            .exec(&txn)
            .await?;
        if used.rows_affected == 0 {
            txn.rollback().await?;
            return Ok(Err(NotEnrolled::Exhausted));
        }
        let by = format!("enrolment token {}", token.description);
        let host = settle(
            &txn,
            &token.tenant_id,
            newcomer,
            fresh,
            (&by, None, address),
            now,
        )
        .await?;
        let Some(host) = host else {
            txn.rollback().await?;
            return Ok(Err(NotEnrolled::Disabled));
        };
        txn.commit().await?;
        Ok(Ok(host))
    }

    /// Begins an agent's sign-in.
    pub async fn begin_login(&self, session: login_session::Model) -> Result<(), DbErr> {
        let row: login_session::ActiveModel = session.into();
        login_session::Entity::insert(row.reset_all())
            .exec_without_returning(&self.db)
            .await?;
        Ok(())
    }

    /// Returns the tenants that a person may enrol agents of.
    pub async fn tenants_of(&self, user: &user::Model) -> Result<Vec<tenant::Model>, DbErr> {
        let all = tenant::Entity::find();
        match &user.tenant_id {
            Some(own) => all.filter(tenant::Column::Id.eq(own)).all(&self.db).await,
            None => all.all(&self.db).await,
        }
    }

    /// Returns a sign-in that may be completed, and whose it is.
    pub async fn login(
        &self,
        token_hash: &str,
        now: i64,
    ) -> Result<Result<(login_session::Model, user::Model), NotCompleted>, DbErr> {
        let session = login_session::Entity::find_by_id(token_hash)
            .one(&self.db)
            .await?;
        let Some(session) = session else {
            return Ok(Err(NotCompleted::NoSession));
        };
        if session.consumed_at.is_some() {
            return Ok(Err(NotCompleted::Used));
        }
        if now >= session.expires_at {
            return Ok(Err(NotCompleted::Expired));
        }
        let user = user::Entity::find_by_id(&session.user_id)
            .one(&self.db)
            .await?
            .filter(|user| !user.is_disabled);
        Ok(user
            .map(|user| (session, user))
            .ok_or(NotCompleted::NoSession))
    }

    /// Completes a sign-in: it is used up, and the agent belongs to the tenant.
    pub async fn complete_login(
        &self,
        (session, user): &(login_session::Model, user::Model),
        tenant_id: &str,
        newcomer: &Newcomer,
        fresh: &Fresh,
        address: &str,
        now: i64,
    ) -> Result<Result<host::Model, NotCompleted>, DbErr> {
        let txn = self.db.begin().await?;
        let used = login_session::Entity::update_many()
            .set(login_session::ActiveModel {
                consumed_at: Set(Some(now)),
                ..Default::default()
            })
            .filter(login_session::Column::TokenHash.eq(&session.token_hash))
            .filter(login_session::Column::ConsumedAt.is_null())
            .exec(&txn)
            .await?;
        if used.rows_affected == 0 {
            txn.rollback().await?;
            return Ok(Err(NotCompleted::Used));
        }
        let exists = tenant::Entity::find_by_id(tenant_id).one(&txn).await?;
        let is_own = user.tenant_id.as_deref().is_none_or(|own| own == tenant_id);
        if exists.is_none() || !is_own {
            txn.rollback().await?;
            return Ok(Err(NotCompleted::NoTenant));
        }
        let by = (user.email.as_str(), Some(user.id.clone()), address);
        let Some(host) = settle(&txn, tenant_id, newcomer, fresh, by, now).await? else {
            txn.rollback().await?;
            return Ok(Err(NotCompleted::Disabled));
        };
        txn.commit().await?;
        Ok(Ok(host))
    }

    /// Takes events of an agent's health, without those that came a moment ago, up to what is kept of a day.
    pub async fn push_agent_events(
        &self,
        events: Vec<agent_event::ActiveModel>,
        host: &host::Model,
        now: i64,
    ) -> Result<HealthTaken, DbErr> {
        let txn = self.db.begin().await?;
        let of_host = agent_event::Entity::find().filter(agent_event::Column::HostId.eq(&host.id));
        let today = now - now.rem_euclid(DAY_MS);
        let kept = of_host
            .clone()
            .filter(agent_event::Column::ReceivedAt.gte(today))
            .count(&txn)
            .await?;
        let lately = of_host
            .filter(agent_event::Column::ReceivedAt.gt(now - DEDUPE_MS))
            .all(&txn)
            .await?;
        let mut known: std::collections::HashSet<String> =
            lately.into_iter().map(|event| event.dedupe_key).collect();
        let mut room = HEALTH_PER_DAY.saturating_sub(kept);
        let mut taken = HealthTaken::default();
        let mut rows = Vec::new();
        for event in events {
            let key = event.dedupe_key.clone().take().unwrap_or_default();
            if !key.is_empty() && known.contains(&key) {
                taken.deduped += 1;
            } else if room == 0 {
                taken.dropped += 1;
            } else {
                known.insert(key);
                room -= 1;
                taken.inserted += 1;
                rows.push(event);
            }
        }
        for rows in rows.chunks(500) {
            agent_event::Entity::insert_many(rows.to_vec())
                .exec_without_returning(&txn)
                .await?;
        }
        txn.commit().await?;
        Ok(taken)
    }

    /// Replaces a host's list of volumes.
    pub async fn report_volumes(
        &self,
        host_id: &str,
        volumes_json: String,
        now: i64,
    ) -> Result<(), DbErr> {
        host::Entity::update_many()
            .set(host::ActiveModel {
                volumes_json: Set(volumes_json),
                volumes_at: Set(Some(now)),
                ..Default::default()
            })
            .filter(host::Column::Id.eq(host_id))
            .exec(&self.db)
            .await?;
        Ok(())
    }
}

/// Makes the host of a machine: the one that it was before, or a new one. `None` if an administrator disabled it.
/// `by` says who did it: in words, which person, and from where.
async fn settle<C: ConnectionTrait>(
    txn: &C,
    tenant_id: &str,
    newcomer: &Newcomer,
    fresh: &Fresh,
    by: (&str, Option<String>, &str),
    now: i64,
) -> Result<Option<host::Model>, DbErr> {
    let before = match newcomer.device_id.as_str() {
        "" => None,
        device_id => {
            host::Entity::find()
                .filter(host::Column::TenantId.eq(tenant_id))
                .filter(host::Column::DeviceId.eq(device_id))
                .one(txn)
                .await?
        }
    };
    if before.as_ref().is_some_and(|host| host.is_disabled) {
        return Ok(None);
    }
    let text = |text: &str| Set(text.to_owned());
    let mut row = host::ActiveModel {
        token_hash: text(&fresh.token_hash),
        hostname: text(&newcomer.hostname),
        install_id: text(&newcomer.install_id),
        agent_version: text(&newcomer.program.version),
        os: text(&newcomer.program.os),
        arch: text(&newcomer.program.arch),
        build: text(&newcomer.program.build),
        last_seen_at: Set(Some(now)),
        ..Default::default()
    };
    let is_new = before.is_none();
    let host = match before {
        Some(before) => {
            row.id = Set(before.id);
            row.update(txn).await?
        }
        None => {
            let name = match newcomer.device_name.as_str() {
                "" => &newcomer.hostname,
                name => name,
            };
            row.id = text(&fresh.host_id);
            row.tenant_id = text(tenant_id);
            row.device_id = text(&newcomer.device_id);
            row.name = text(name);
            row.is_disabled = Set(false);
            row.volumes_json = text("[]");
            row.volumes_at = Set(None);
            row.inventory_at = Set(None);
            row.created_at = Set(now);
            row.insert(txn).await?
        }
    };
    audit_entry::ActiveModel {
        at: Set(now),
        tenant_id: Set(Some(tenant_id.to_owned())),
        user_id: Set(by.1),
        actor: text(by.0),
        action: text(if is_new {
            "host.enrol"
        } else {
            "host.enrol_again"
        }),
        object_kind: text("host"),
        object_id: text(&host.id),
        detail_json: Set(
            json!({"hostname": host.hostname, "version": host.agent_version}).to_string(),
        ),
        address: text(by.2),
        ..Default::default()
    }
    .insert(txn)
    .await?;
    // So that people can choose among its VMs at once.
    command::ActiveModel {
        tenant_id: text(tenant_id),
        host_id: text(&host.id),
        run_id: Set(None),
        kind: text("list_hyperv_vms"),
        payload_json: text("{}"),
        context_json: text("{}"),
        status: text("pending"),
        result_message: text(""),
        result_json: text(""),
        requested_by: text("enrolment"),
        created_at: Set(now),
        delivered_at: Set(None),
        finished_at: Set(None),
        ..Default::default()
    }
    .insert(txn)
    .await?;
    Ok(Some(host))
}
