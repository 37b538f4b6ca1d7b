//! How many points of a repository a verification found damaged: alarms are judged by it, and no index finds them.

use sea_orm_migration::prelude::*;

/// See the module.
pub struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0003_damaged_points"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let mut column = ColumnDef::new("damaged_points");
        column.big_integer().not_null().default(0);
        let change = Table::alter()
            .table("repositories")
            .add_column(column)
            .to_owned();
        manager.alter_table(change).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let change = Table::alter()
            .table("repositories")
            .drop_column("damaged_points")
            .to_owned();
        manager.alter_table(change).await
    }
}
