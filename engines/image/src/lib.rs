//! Disks as objects in a repository: ImageWriter and ImageReader.
