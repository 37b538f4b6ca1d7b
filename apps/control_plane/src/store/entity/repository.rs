//! Where backups are stored.

use sea_orm::entity::prelude::*;

/// Where backups are stored.
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "repositories")]
pub struct Model {
    /// Its id, a UUID.
    #[sea_orm(primary_key, auto_increment = false)]
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
    /// The prefix of its blobs, without a guaranteed slash.
    pub prefix: String,
    /// The folder of a local repository.
    pub path: String,
    /// The host whose folder it is: the first that a job used it from; none for S3, for a share, and before.
    pub host_id: Option<String>,
    /// The S3 access key.
    pub access_key: String,
    /// The sealed S3 secret key.
    pub secret_key_sealed: Option<Vec<u8>>,
    /// The sealed password of the repository.
    pub password_sealed: Vec<u8>,
    /// How much may be stored in it, by what people decided.
    pub limit_bytes: Option<i64>,
    /// Points that a verification found damaged, and that are still there.
    pub damaged_points: i64,
    /// How much is stored in it, when last measured.
    pub stored_bytes: Option<i64>,
    /// When that was (milliseconds since 1970, UTC).
    pub measured_at: Option<i64>,
    /// How often quick maintenance is due; 0: never by us.
    pub quick_every_hours: i64,
    /// How often full maintenance is due; 0: never by us.
    pub full_every_hours: i64,
    /// How often a verification is due; 0: never by us.
    pub verify_every_hours: i64,
    /// How much of the data a verification reads, in percent.
    pub verify_percent: i64,
    /// When quick maintenance last ended well (milliseconds since 1970, UTC).
    pub last_quick_at: Option<i64>,
    /// When full maintenance last ended well (milliseconds since 1970, UTC).
    pub last_full_at: Option<i64>,
    /// When a verification last ended well (milliseconds since 1970, UTC).
    pub last_verified_at: Option<i64>,
    /// When all of its points were last listed (milliseconds since 1970, UTC).
    pub last_listed_at: Option<i64>,
    /// When it was made (milliseconds since 1970, UTC).
    pub created_at: i64,
}

/// Rows are joined by their ids, in queries.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
