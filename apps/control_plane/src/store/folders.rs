//! Whose folder a local repository is: the same path on another host is another folder.

use sea_orm::sea_query::Expr;
use sea_orm::{
    ColumnTrait as _, ConnectionTrait, DbErr, EntityTrait as _, QueryFilter as _, QuerySelect as _,
};

use crate::store::Store;
use crate::store::entity::{job, repository};

/// Tells whether a repository is a folder that each host has for itself: no S3, and no share, which is the same from
/// everywhere (`\\server\share`).
pub fn is_folder_of_one(repository: &repository::Model) -> bool {
    repository.kind == "local" && !is_share(&repository.path)
}

fn is_share(path: &str) -> bool {
    let path = path.replace('/', "\\");
    let is_device = path.starts_with(r"\\?\") || path.starts_with(r"\\.\");
    path.starts_with(r"\\") && !is_device
}

impl Store {
    /// Takes a folder for a host, if it is nobody's and no other job uses it from another host (but for `job_id`, which is
    /// being moved). Returns whose it is.
    pub async fn take_folder(
        &self,
        txn: &impl ConnectionTrait,
        repository: &repository::Model,
        host_id: &str,
        job_id: Option<&str>,
    ) -> Result<String, DbErr> {
        if let Some(owner) = &repository.host_id {
            return Ok(owner.clone());
        }
        let mut others = job::Entity::find()
            .filter(job::Column::RepositoryId.eq(&repository.id))
            .filter(job::Column::Status.ne("deleted"))
            .filter(job::Column::HostId.ne(host_id))
            .limit(1);
        if let Some(job_id) = job_id {
            others = others.filter(job::Column::Id.ne(job_id));
        }
        if let Some(other) = others.one(txn).await? {
            return Ok(other.host_id);
        }
        repository::Entity::update_many()
            .col_expr(
                repository::Column::HostId,
                Expr::value(Some(host_id.to_owned())),
            )
            .filter(repository::Column::Id.eq(&repository.id))
            .filter(repository::Column::HostId.is_null())
            .exec(txn)
            .await?;
        // Somebody else may have taken it in this very moment.
        let row = repository::Entity::find_by_id(&repository.id)
            .one(txn)
            .await?;
        Ok(row
            .and_then(|row| row.host_id)
            .unwrap_or_else(|| host_id.to_owned()))
    }

    /// Lets go of the folders of a host that is removed: whoever has the disk now uses them next.
    pub async fn leave_folders(
        &self,
        txn: &impl ConnectionTrait,
        host_id: &str,
    ) -> Result<(), DbErr> {
        repository::Entity::update_many()
            .col_expr(repository::Column::HostId, Expr::value(None::<String>))
            .filter(repository::Column::HostId.eq(host_id))
            .exec(txn)
            .await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_the_same_from_everywhere_and_a_folder_is_not() {
        for (path, expected) in [
            (r"E:\Vault", false),
            ("/srv/vault", false),
            (r"\\?\E:\Vault", false),
            (r"\\nas\vault", true),
            ("//nas/vault", true),
        ] {
            assert_eq!(is_share(path), expected, "{path}");
        }
    }
}
