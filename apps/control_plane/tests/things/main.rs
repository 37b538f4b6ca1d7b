//! Hosts, VMs, repositories, jobs, runs, points, restores and the first screen, through the server's own routes.

mod ground;
mod hosts;
mod jobs;
mod repositories;
mod restores;
mod runs;
#[path = "../server/mod.rs"]
mod server;
mod vms;
