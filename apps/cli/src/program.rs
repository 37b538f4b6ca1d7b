//! What a control plane is told of the program.

use protocol::identity::Program;

/// Returns what is said about this program.
pub fn program() -> Program {
    Program {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        os: std::env::consts::OS.to_owned(),
        arch: Program::arch_word(std::env::consts::ARCH).to_owned(),
        build: std::env::var("E3_AGENT_BUILD").unwrap_or_default(),
    }
}
