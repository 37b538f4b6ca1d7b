//! The program `e3-control-plane`: reads the command line, puts an instance together, serves until told to stop.

mod commands;

use clap::{Parser, Subcommand};
use mimalloc::MiMalloc;

use commands::serve::Serve;
use commands::user::User;

/// Ten thousand connections come and go: the system's allocator keeps the gaps between them, and grows (docs/performance.md).
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// The server that backup agents poll, with a dashboard for people.
#[derive(Parser)]
#[command(
    version,
    about,
    after_help = "\
Examples:
  e3-control-plane serve --data /var/lib/e3-control-plane
      on this machine alone, at http://127.0.0.1:8080, with SQLite
  e3-control-plane serve --data DIR --listen 0.0.0.0:8443 --tls-self-signed
      for others, at https, with a certificate of its own making
  e3-control-plane user reset-password ann@example.com --data DIR
      when an owner has lost the password"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serves agents and people until it is told to stop.
    Serve(Serve),
    /// Helps people who cannot sign in any more.
    #[command(subcommand)]
    User(User),
}

fn main() -> anyhow::Result<()> {
    // What thousands of small buffers touch would be 2 MiB each time. A kernel that knows no such pages refuses.
    #[cfg(target_os = "linux")]
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    rustls::crypto::ring::default_provider()
        .install_default()
        .map_err(|_| anyhow::anyhow!("another provider of cryptography was chosen before"))?;
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        match arguments.command {
            Command::Serve(serve) => serve.run().await,
            Command::User(user) => user.run().await,
        }
    })
}
