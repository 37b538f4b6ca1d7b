//! How the schema came to be what it is: migrations in order, run when the server starts.

mod m0001_first;
mod m0002_moved_vms;
mod m0003_damaged_points;
mod m0004_found_points;
mod table;

use sea_orm_migration::prelude::*;

/// All migrations.
pub struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m0001_first::Migration),
            Box::new(m0002_moved_vms::Migration),
            Box::new(m0003_damaged_points::Migration),
            Box::new(m0004_found_points::Migration),
        ]
    }
}
