//! The repository's index as this client sees it: which pack holds which content.

pub(crate) mod cache;
pub(crate) mod index_blob;
mod merge;
mod sealed_pieces;
mod table;
mod table_writer;
pub(crate) mod view;
