//! What plays hosts for the real server: five thousand agents at once (`load`), or one host through thirty nights
//! (`nights`, the second half of `./demo`).
//!
//! ```text
//! load     server ◄─ calls of many simulated agents, each from an address of its own ─► figures
//! nights   clock file ─► server, agent, simulated host; people's API ─► jobs;  faults, writes, a silent night
//! ```
//!
//! The server and the agent are the executables that are shipped, started as programs of their own.

pub mod line;
pub mod people;
pub mod sim_clock_file;
pub mod started;
pub mod story;
