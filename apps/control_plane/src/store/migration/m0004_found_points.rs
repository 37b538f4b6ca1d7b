//! When a point of a VM was last proven, and which points of a tenant are newest, is found by an index, however many points
//! there are.

use sea_orm_migration::prelude::*;

/// See the module.
pub struct Migration;

const INDEXES: [[&str; 2]; 2] = [["vm_id", "proven_at"], ["tenant_id", "id"]];

fn name(columns: &[&str]) -> String {
    format!("points_{}", columns.join("_"))
}

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0004_found_points"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for columns in INDEXES {
            let mut index = Index::create();
            index.name(name(&columns)).table("points");
            for column in columns {
                index.col(column);
            }
            manager.create_index(index).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for columns in INDEXES {
            let index = Index::drop()
                .name(name(&columns))
                .table("points")
                .to_owned();
            manager.drop_index(index).await?;
        }
        Ok(())
    }
}
