//! Snapshots: manifests and directory trees in a repository.
