//! Blob stores: where a repository's blobs rest, and wrappers that add one behaviour each.
