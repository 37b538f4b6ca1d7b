//! Disks as seen by backup and restore: reading, writing, what changed, which ranges.
