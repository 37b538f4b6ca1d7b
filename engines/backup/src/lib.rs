//! Backup engines: plan, then run.
