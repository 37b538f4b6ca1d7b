//! The repository's index as this client sees it: which pack holds which content.

pub(crate) mod cache;
pub(crate) mod table;
pub(crate) mod view;
