//! Restore engines: virtual machines, disks, files.
