//! Backing up files and folders.

pub mod rules;
