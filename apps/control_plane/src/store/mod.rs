//! The database: SQLite in the data folder, or a PostgreSQL server; one code path for both.
//!
//! Queries stand in files named after what they are about, beside this one. Nobody else names a column.
//!
//! A transaction that changes or locks rows of several kinds does so in this order, or two of them wait for each other on
//! PostgreSQL and one is ended:
//!
//! ```text
//! job ─► run ─► command ─► VM ─► repository ─► operation ─► point ─► host
//! ```
//!
//! Of several VMs, the one with the smallest number comes first.
//!
//! Who only learns from a later row which earlier one is meant reads the later one first, without a lock, then locks the
//! earlier one. New rows may be inserted at any time. Nothing is computed for long while a transaction is open: on SQLite
//! it holds the only connection that writes. What reads much reads beside it ([`Store::reading`]), where people's
//! questions may take long: what fires schedules reads little, and does not wait there.

pub mod agents;
mod ahead;
pub mod alarms;
pub mod audit;
pub mod commands;
pub mod deliveries;
pub mod entity;
mod facts;
pub mod figures;
pub mod fleet;
pub mod folders;
pub mod history;
pub mod inventory;
pub mod leases;
mod migration;
mod old_rows;
pub mod people;
mod points;
pub mod repo_operations;
pub mod runs;
pub mod schedule;
pub mod settings;
pub mod upkeep;
pub mod work;

use std::path::Path;
use std::time::Duration;

use sea_orm::sqlx::sqlite::{SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sea_orm::sqlx::{Connection as _, Error as SqlxError};
use sea_orm::{
    ColumnTrait, Condition, ConnectOptions, ConnectionTrait, Database, DatabaseBackend,
    DatabaseConnection, DatabaseTransaction, DbErr, TransactionTrait as _,
};
use sea_orm_migration::MigratorTrait;

/// How long a call waits for a connection, and SQLite for its one writer.
const WAIT_MAX: Duration = Duration::from_secs(20);

/// Connections to a PostgreSQL server, at most.
const CONNECTIONS_MAX: u32 = 24;

/// Connections that read SQLite's file, at most: one for the watch, and others for people.
const READERS_MAX: u32 = 3;

/// What instances on one PostgreSQL server wait for that start at once: a number of our own choice.
const MIGRATING: i64 = 0x6533_6370;

/// Returns what stands behind a row in a list by name: rows of one name are told apart by their ids.
pub(crate) fn behind(
    name_column: impl ColumnTrait,
    id_column: impl ColumnTrait,
    (name, id): (String, String),
) -> Condition {
    let same_name = Condition::all()
        .add(name_column.eq(&name))
        .add(id_column.gt(id));
    Condition::any().add(name_column.gt(name)).add(same_name)
}

/// Tells whether a connection that is given back holds no transaction, so that another one may begin on it; else it is
/// closed.
///
/// When the disk is full, SQLite ends a transaction by itself, and what should end it fails. The driver would take all
/// that follows for parts of a transaction that goes on, and none of it would ever be committed.
async fn is_free(connection: &mut SqliteConnection) -> Result<bool, SqlxError> {
    // What rolls back is only queued; this is answered behind it.
    connection.ping().await?;
    Ok(!connection.is_in_transaction())
}

/// A database that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{doing}: {source}")]
pub struct StoreError {
    doing: String,
    source: DbErr,
}

/// The database, opened and of the newest schema. Clones share its connections.
#[derive(Clone, Debug)]
pub struct Store {
    db: DatabaseConnection,
    reading: DatabaseConnection,
}

impl Store {
    /// Opens the SQLite file `control_plane.db` in `data`, making it when it is missing.
    pub async fn in_folder(data: &Path) -> Result<Self, StoreError> {
        let file = data.join("control_plane.db");
        Self::at(&format!("sqlite://{}?mode=rwc", file.display())).await
    }

    /// Opens a database by its URL: `sqlite://FILE?mode=rwc` or `postgres://USER:PASSWORD@HOST/NAME`.
    pub async fn at(url: &str) -> Result<Self, StoreError> {
        // The URL holds a password, so errors name the kind alone.
        let kind = url.split(':').next().unwrap_or_default().to_owned();
        let doing = |what: &str| format!("{what} the {kind} database");
        let mut options = connect_options(url);
        if kind == "sqlite" {
            // One writer at a time is SQLite's rule: a single connection waits its turn instead of failing.
            options
                .max_connections(1)
                .min_connections(1)
                .idle_timeout(None::<Duration>)
                .max_lifetime(None::<Duration>)
                .map_sqlx_sqlite_opts(|options| {
                    options
                        .journal_mode(SqliteJournalMode::Wal)
                        .synchronous(SqliteSynchronous::Normal)
                        .busy_timeout(WAIT_MAX)
                })
                .map_sqlx_sqlite_pool_opts(|options| {
                    options.after_release(|connection, _| Box::pin(is_free(connection)))
                });
        } else {
            options.max_connections(CONNECTIONS_MAX);
        }
        let opened = |db: Result<DatabaseConnection, DbErr>| {
            db.map_err(|source| StoreError {
                doing: doing("opening"),
                source,
            })
        };
        let db = opened(Database::connect(options).await)?;
        migrate(&db).await.map_err(|source| StoreError {
            doing: doing("bringing the schema up to date in"),
            source,
        })?;
        let reading = match db.get_database_backend() {
            DatabaseBackend::Sqlite => opened(Database::connect(reader_options(url)).await)?,
            _ => db.clone(),
        };
        Ok(Self { db, reading })
    }

    /// Returns what queries run on.
    pub fn db(&self) -> &DatabaseConnection {
        &self.db
    }

    /// Returns what queries run on that only read, and may read much: they see all that is committed when they begin, and
    /// nobody who writes waits for them.
    pub fn reading(&self) -> &DatabaseConnection {
        &self.reading
    }

    /// Begins a transaction. Until it ends, every query runs on it: SQLite has no second connection.
    pub async fn begin(&self) -> Result<DatabaseTransaction, DbErr> {
        self.db.begin().await
    }

    /// Counts statements from now on.
    #[cfg(test)]
    pub(crate) fn count_statements(&mut self) -> std::sync::Arc<std::sync::atomic::AtomicUsize> {
        let count = std::sync::Arc::<std::sync::atomic::AtomicUsize>::default();
        for db in [&mut self.db, &mut self.reading] {
            let counted = count.clone();
            db.set_metric_callback(move |_| {
                counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            });
        }
        count
    }

    /// Tells whether several instances may use the database at once, so that rows are locked when they are claimed.
    pub fn is_shared(&self) -> bool {
        self.db.get_database_backend() == DatabaseBackend::Postgres
    }
}

fn connect_options(url: &str) -> ConnectOptions {
    let mut options = ConnectOptions::new(url);
    options
        .acquire_timeout(WAIT_MAX)
        .connect_timeout(WAIT_MAX)
        .sqlx_logging(false);
    options
}

/// Returns how SQLite's file is opened beside who writes it.
fn reader_options(url: &str) -> ConnectOptions {
    let mut options = connect_options(url);
    options
        .max_connections(READERS_MAX)
        .min_connections(1)
        .map_sqlx_sqlite_opts(|options| options.read_only(true).busy_timeout(WAIT_MAX));
    options
}

/// Brings the schema up to date. Of several instances that start at once one does it, and the others wait.
async fn migrate(db: &DatabaseConnection) -> Result<(), DbErr> {
    if db.get_database_backend() != DatabaseBackend::Postgres {
        return migration::Migrator::up(db, None).await;
    }
    let turn = db.begin().await?;
    let take_turn = format!("SELECT pg_advisory_xact_lock({MIGRATING})");
    turn.execute_unprepared(&take_turn).await?;
    migration::Migrator::up(db, None).await?;
    turn.commit().await
}

#[cfg(test)]
mod tests {
    use sea_orm::{ActiveModelTrait as _, ActiveValue::Set, EntityTrait as _};

    use super::entity::tenant;
    use super::*;

    fn a_tenant(id: &str) -> tenant::ActiveModel {
        tenant::ActiveModel {
            id: Set(id.to_owned()),
            name: Set("Ünicode GmbH".to_owned()),
            time_zone: Set("Europe/Berlin".to_owned()),
            created_at: Set(1),
        }
    }

    #[tokio::test]
    async fn who_reads_keeps_nobody_from_writing_and_sees_what_is_committed() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = Store::in_folder(folder.path()).await.expect("opened");
        let tenants = async |db: &DatabaseTransaction| {
            let rows = tenant::Entity::find().all(db).await;
            rows.expect("read").len()
        };
        let long = store.reading().begin().await.expect("begun");
        assert_eq!(tenants(&long).await, 0);
        a_tenant("a").insert(store.db()).await.expect("inserted");
        let next = store.reading().begin().await.expect("begun");
        assert_eq!((tenants(&long).await, tenants(&next).await), (0, 1));
        let refused = a_tenant("b").insert(store.reading()).await;
        assert!(refused.is_err(), "nobody writes there");
    }

    #[tokio::test]
    async fn the_schema_is_made_once_and_holds_what_the_entities_say() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = Store::in_folder(folder.path()).await.expect("opened");
        a_tenant("a").insert(store.db()).await.expect("inserted");
        let again = Store::in_folder(folder.path()).await.expect("opened again");
        let rows = tenant::Entity::find().all(again.db()).await.expect("read");
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0].name, "Ünicode GmbH");
        // Every table can be read with the columns that its entity names.
        macro_rules! readable {
            ($($table:ident)*) => {
                $(super::entity::$table::Entity::find()
                    .one(again.db())
                    .await
                    .expect(stringify!($table));)*
            };
        }
        readable!(
            agent_event alarm alarm_channel api_token audit_entry command delivery enrolment_token
            host job lease log_chunk login_session notice point repo_operation repository
            repository_size run
            run_event run_log session setting user vm
        );
    }
}
