//! A table as a value, and what makes and drops it on any database.

use sea_orm_migration::prelude::*;

/// A table.
pub(super) struct Table {
    pub(super) name: &'static str,
    pub(super) columns: &'static [(&'static str, Kind)],
    pub(super) unique: &'static [&'static [&'static str]],
    pub(super) indexes: &'static [&'static [&'static str]],
}

/// What a column holds.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    /// A text that is the primary key.
    Key,
    /// A number that the database gives, the primary key.
    Auto,
    /// A text.
    Text,
    /// A text, or nothing.
    TextOrNull,
    /// A 64-bit number.
    Int,
    /// A 64-bit number, or nothing.
    IntOrNull,
    /// Yes or no.
    Bool,
    /// A 64-bit floating point number.
    Real,
    /// Bytes.
    Blob,
    /// Bytes, or nothing.
    BlobOrNull,
}

/// Makes the table and its indexes.
pub(super) async fn create(manager: &SchemaManager<'_>, table: &Table) -> Result<(), DbErr> {
    let mut statement = sea_orm_migration::prelude::Table::create();
    statement.table(table.name);
    for &(name, kind) in table.columns {
        statement.col(column(name, kind));
    }
    manager.create_table(statement.to_owned()).await?;
    for (columns, is_unique) in table
        .unique
        .iter()
        .map(|columns| (columns, true))
        .chain(table.indexes.iter().map(|columns| (columns, false)))
    {
        let mut index = Index::create();
        index
            .name(format!("{}_{}", table.name, columns.join("_")))
            .table(table.name);
        for &column in *columns {
            index.col(column);
        }
        if is_unique {
            index.unique();
        }
        manager.create_index(index.to_owned()).await?;
    }
    Ok(())
}

/// Drops the table.
pub(super) async fn drop(manager: &SchemaManager<'_>, table: &Table) -> Result<(), DbErr> {
    manager
        .drop_table(
            sea_orm_migration::prelude::Table::drop()
                .table(table.name)
                .to_owned(),
        )
        .await
}

fn column(name: &'static str, kind: Kind) -> ColumnDef {
    let mut column = ColumnDef::new(name);
    match kind {
        Kind::Key => column.text().not_null().primary_key(),
        Kind::Auto => column
            .big_integer()
            .not_null()
            .auto_increment()
            .primary_key(),
        Kind::Text => column.text().not_null(),
        Kind::TextOrNull => column.text().null(),
        Kind::Int => column.big_integer().not_null(),
        Kind::IntOrNull => column.big_integer().null(),
        Kind::Bool => column.boolean().not_null(),
        Kind::Real => column.double().not_null(),
        Kind::Blob => column.blob().not_null(),
        Kind::BlobOrNull => column.blob().null(),
    };
    column
}
