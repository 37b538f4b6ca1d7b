//! The e3-backup-agent executable, one file per command.
fn main() {}
