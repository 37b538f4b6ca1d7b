//! A Kopia repository opened on a blob store: contents, objects, manifests.
