//! `serve`: one instance of the server.

use std::fs::{File, TryLockError};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use axum_server::Handle;
use axum_server::tls_rustls::RustlsConfig;
use control_plane::certificate::{Certificate, Looked};
use control_plane::chores;
use control_plane::connections::{self, Limits};
use control_plane::log;
use control_plane::plane::{Options, Plane, SharedPlane};
use control_plane::public_url::parsed;
use control_plane::sealing::Sealing;
use control_plane::serve::routes;
use time_and_chance::{Chance, SIM_CLOCK_VARIABLE, SimClock, StopSignal, SystemClock};

use super::Place;

/// How often the files of the certificate are looked at.
const CERTIFICATE_LOOK: Duration = Duration::from_secs(60);

/// How long a caller may take for the TLS handshake.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// How long a caller may take to send the head of a request, the time before the first included.
const HEAD_MAX: Duration = Duration::from_secs(20);

/// How long calls that have begun may go on when the server stops.
const STOP_MAX: Duration = Duration::from_secs(10);

/// The arguments.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  e3-control-plane serve --data /var/lib/e3-control-plane
      to try it: http://127.0.0.1:8080, this machine alone
  e3-control-plane serve --data DIR --listen 0.0.0.0:443 --tls-cert chain.pem --tls-key key.pem --public-url https://backup.example.com
      for good: its own TLS
  e3-control-plane serve --data DIR --trust-proxy --public-url https://backup.example.com
      behind a proxy on this machine that ends TLS and sets X-Forwarded-For
  E3_DATABASE_URL=postgres://e3:SECRET@db/e3 e3-control-plane serve --data DIR …
      on PostgreSQL; every server of one database needs the same secrets.key in its data folder

The first start makes the owner's account: at this machine, or from elsewhere with the code that the log says.
SIGTERM or Ctrl-C stops it; runs go on meanwhile, for agents report when it is back.")]
pub(crate) struct Serve {
    /// Where to listen, such as 0.0.0.0:8443.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    #[command(flatten)]
    place: Place,
    /// The address that agents and people use.
    #[arg(help = "The address that agents and people use, such as https://backup.example.com [default: what they called]", long, value_name = "URL", value_parser = public_url)]
    public_url: Option<String>,
    /// A certificate with its chain, PEM.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The certificate's private key, PEM.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Make a certificate, keep it in the data folder, and use it. Agents must be told to trust it.
    #[arg(long, conflicts_with = "tls_cert")]
    tls_self_signed: bool,
    /// A proxy stands in front, and the last address in X-Forwarded-For says where calls come from.
    #[arg(long)]
    trust_proxy: bool,
    /// Connections at a time; more are refused. Agents hold two each.
    #[arg(long, value_name = "N", default_value_t = 20_000)]
    max_connections: usize,
    /// Connections of one address at a time; not counted with --trust-proxy.
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    max_connections_per_address: usize,
    /// Live by the clock that a simulation's programs share, where every host is simulated (see `e3-backup-agent
    /// sim clock`).
    #[arg(long, value_name = "FILE", env = SIM_CLOCK_VARIABLE)]
    sim_clock: Option<PathBuf>,
    /// Go on with a new secrets.key: what was sealed with the old one cannot be opened and must be given anew.
    #[arg(long)]
    new_secrets_key: bool,
    /// Answer /metrics for everybody, not only for API tokens of the installation.
    #[arg(long)]
    metrics_open: bool,
}

fn public_url(text: &str) -> Result<String, String> {
    parsed(text)
        .ok_or_else(|| "give http:// or https:// and a host, with a port if need be".to_owned())
}

impl Serve {
    /// Runs the command.
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        self.place.make_folder()?;
        // Held until the end: SQLite has one server.
        let _lock = match self.place.database {
            Some(_) => None,
            None => Some(lock(&self.place.data)?),
        };
        let chance = Chance::from_system();
        let sealing = Sealing::in_folder(&self.place.data, &chance)?;
        let store = self.place.store().await?;
        if self.new_secrets_key {
            store.seal_from_now_on(&sealing).await?;
        } else if !store.is_sealed_with(&sealing).await? {
            bail!(
                "the secrets in this database were sealed with another secrets.key than the one in {}; put that one there, or, if it is lost for good, start once with --new-secrets-key and give all secrets anew",
                self.place.data.display()
            );
        }
        let tls = self.tls().await?;
        let public_url = self.public_url.clone().unwrap_or_default();
        let options = Options {
            is_secure: tls.is_some() || public_url.starts_with("https://"),
            promises_https: !self.tls_self_signed && public_url.starts_with("https://"),
            public_url,
            trusts_proxy: self.trust_proxy,
            are_metrics_open: self.metrics_open,
        };
        let clock = match &self.sim_clock {
            Some(file) => SimClock::following(file)?,
            None => SystemClock::new(),
        };
        let plane = Plane::new(store, clock, chance, sealing, options);
        let stop = StopSignal::new();
        let runtime = tokio::runtime::Handle::current();
        let chores = chores::start(plane.clone(), runtime, stop.clone())
            .context("starting the thread of the chores")?;
        let handle = Handle::new();
        tokio::spawn(stop_when_told(handle.clone(), plane.clone()));
        let served = self.listen(plane, tls, handle).await;
        stop.stop();
        let _its_panic_was_printed = tokio::task::spawn_blocking(move || chores.join()).await?;
        served?;
        log::info("stopped");
        Ok(())
    }

    async fn listen(
        &self,
        plane: SharedPlane,
        tls: Option<RustlsConfig>,
        handle: Handle<SocketAddr>,
    ) -> anyhow::Result<()> {
        let limits = Limits {
            connections_max: self.max_connections,
            // Behind a proxy all connections are the proxy's.
            per_address_max: (!self.trust_proxy).then_some(self.max_connections_per_address),
            handshake: HANDSHAKE_MAX,
            head: HEAD_MAX,
        };
        let scheme = if tls.is_some() { "https" } else { "http" };
        let routes = routes(plane.clone());
        tokio::spawn(announce(handle.clone(), plane, scheme));
        connections::serve(self.listen, routes, tls, limits, handle)
            .await
            .with_context(|| {
                format!(
                    "listening on {}; if another program does already, choose another address with --listen",
                    self.listen
                )
            })
    }

    async fn tls(&self) -> anyhow::Result<Option<RustlsConfig>> {
        let (cert, key) = match (&self.tls_cert, &self.tls_key) {
            (Some(cert), Some(key)) => (cert.clone(), key.clone()),
            _ if self.tls_self_signed => self.own_certificate()?,
            _ => return Ok(None),
        };
        let certificate = Certificate::load(cert, key).await?;
        let config = certificate.config();
        tokio::spawn(follow(certificate));
        Ok(Some(config))
    }

    /// Returns a certificate and its key that lie in the data folder, making them when they are missing.
    fn own_certificate(&self) -> anyhow::Result<(PathBuf, PathBuf)> {
        let cert = self.place.data.join("tls.crt");
        let key = self.place.data.join("tls.key");
        if cert.exists() && key.exists() {
            return Ok((cert, key));
        }
        let mut names = vec![
            "localhost".to_owned(),
            "127.0.0.1".to_owned(),
            "::1".to_owned(),
        ];
        if !self.listen.ip().is_unspecified() && !self.listen.ip().is_loopback() {
            names.push(self.listen.ip().to_string());
        }
        if let Some(host) = self.public_url.as_deref().and_then(host) {
            names.push(host);
        }
        let made = rcgen::generate_simple_self_signed(names).context("making a certificate")?;
        local_file::replace(&key, made.signing_key.serialize_pem().as_bytes())
            .with_context(|| format!("writing {}", key.display()))?;
        local_file::replace(&cert, made.cert.pem().as_bytes())
            .with_context(|| format!("writing {}", cert.display()))?;
        log::info(format_args!(
            "made a certificate: have agents trust {}",
            cert.display()
        ));
        Ok((cert, key))
    }
}

/// Takes a renewed certificate, for as long as the server runs.
async fn follow(mut certificate: Certificate) {
    loop {
        tokio::time::sleep(CERTIFICATE_LOOK).await;
        match certificate.look_again().await {
            Ok(Looked::Same) => {}
            Ok(Looked::Renewed) => log::info("the certificate was renewed, and is used"),
            Err(error) => log::error(format_args!(
                "{error}; the certificate before it stays in use: put the new one and its key in place"
            )),
        }
    }
}

/// Returns the host of an address.
fn host(url: &str) -> Option<String> {
    let uri = url.parse::<axum::http::Uri>().ok()?;
    let host = uri.host()?;
    Some(host.trim_matches(['[', ']']).to_owned())
}

/// Takes the data folder for this process alone.
fn lock(data: &Path) -> anyhow::Result<File> {
    let path = data.join("control_plane.lock");
    let doing = || format!("locking {}", path.display());
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .with_context(doing)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => bail!(
            "another e3-control-plane serves from {}; stop it first, or use PostgreSQL (--database), which several may share",
            data.display()
        ),
        Err(TryLockError::Error(error)) => Err(error).with_context(doing),
    }
}

async fn announce(handle: Handle<SocketAddr>, plane: SharedPlane, scheme: &str) {
    let Some(address) = handle.listening().await else {
        return;
    };
    log::info(format_args!(
        "e3-control-plane {} listens at {scheme}://{address}",
        env!("CARGO_PKG_VERSION")
    ));
    if matches!(plane.store.has_users(plane.store.db()).await, Ok(false)) {
        let url = match &*plane.options.public_url {
            "" if address.ip().is_unspecified() => {
                format!("{scheme}://ADDRESS-OF-THIS-SERVER:{}", address.port())
            }
            "" => format!("{scheme}://{address}"),
            url => url.trim_end_matches('/').to_owned(),
        };
        let code = plane.setup_code.text();
        log::info(format_args!(
            "nobody has an account yet: make the owner's at {url}/setup#code={code} (the setup code is {code}; at this machine itself, by localhost, none is needed)"
        ));
    }
}

/// Ends everything in good order: streams and long polls at once, other calls within a few seconds.
async fn stop_when_told(handle: Handle<SocketAddr>, plane: SharedPlane) {
    if let Err(error) = told().await {
        log::warn(format_args!("cannot hear of being told to stop: {error}"));
        return;
    }
    log::info("stopping");
    plane.live.stop();
    handle.graceful_shutdown(Some(STOP_MAX));
}

#[cfg(unix)]
async fn told() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => Ok(()),
        interrupted = tokio::signal::ctrl_c() => interrupted,
    }
}

#[cfg(not(unix))]
async fn told() -> std::io::Result<()> {
    tokio::signal::ctrl_c().await
}
