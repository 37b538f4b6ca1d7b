//! End-to-end stories, one file each.
