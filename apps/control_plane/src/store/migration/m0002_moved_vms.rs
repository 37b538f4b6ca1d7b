//! When a VM came to the host that it is on: what ran there before was not to take it.

use sea_orm_migration::prelude::*;

/// See the module.
pub struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0002_moved_vms"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let mut column = ColumnDef::new("came_at");
        column.big_integer().null();
        let change = Table::alter().table("vms").add_column(column).to_owned();
        manager.alter_table(change).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let change = Table::alter()
            .table("vms")
            .drop_column("came_at")
            .to_owned();
        manager.alter_table(change).await
    }
}
