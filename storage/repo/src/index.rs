//! The repository's index as this client sees it: which pack holds which content.

pub(crate) mod cache;
pub(crate) mod index_blob;
pub(crate) mod merge;
mod sealed_pieces;
pub(crate) mod table;
mod table_writer;
pub(crate) mod view;
