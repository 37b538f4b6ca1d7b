//! What the service takes from the program around it: real parts, or simulated ones.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hyperv::SharedHypervHost;
use protocol::SecretText;
use protocol::identity::Program;
use secrets::SecretStore;
use time_and_chance::{Chance, SharedClock, TimeZone};
use volume::StorageLayout;

use crate::http::{Downloads, Transport};
use crate::pulse::Pulse;
use crate::update::ReleaseKeys;
use crate::volumes::Turn;

/// Opens the Hyper-V host of this machine, or one that plays it; the text is `hyperv_host` of the
/// configuration, and the error says for people why there is none.
pub type OpenHost = Arc<dyn Fn(&str) -> Result<SharedHypervHost, String> + Send + Sync>;

/// Connects to a share such as `\\server\share` of another machine, as a user (`DOMAIN\name`) with a
/// password; what it returns ends the connection when it is dropped. The error says for people why not.
pub type ConnectShare =
    Arc<dyn Fn(&str, &str, &SecretText) -> Result<ShareConnection, String> + Send + Sync>;

/// A connection to a share, which ends with it.
pub type ShareConnection = Box<dyn Send>;

/// Where things are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// What must survive a restart.
    pub state: PathBuf,
    /// What may be deleted at any time.
    pub cache: PathBuf,
    /// The log.
    pub logs: PathBuf,
}

/// How often things are done. The control plane's contract sets most of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cadence {
    /// How often a run tells how far it is, if there is something to tell.
    pub progress: Duration,
    /// A run that has nothing to tell says that it lives this often: a minute is the limit.
    pub heartbeat: Duration,
    /// How often a run looks whether it was cancelled.
    pub cancel_look: Duration,
    /// How often volumes are reported.
    pub volumes: Duration,
    /// How long whoever needs this machine's disks waits while they are listed for somebody else: people wait
    /// no longer than ten seconds for a list.
    pub turn: Duration,
    /// How often events of the service's health are sent.
    pub health: Duration,
    /// How often events of runs are sent.
    pub events: Duration,
    /// How often the service looks for what is due.
    pub look: Duration,
    /// How long an answer that the server may hold back is waited for when the service ends: what it hands
    /// out at this moment is handed out once.
    pub grace: Duration,
}

impl Default for Cadence {
    fn default() -> Self {
        Self {
            progress: Duration::from_secs(2),
            heartbeat: Duration::from_secs(30),
            cancel_look: Duration::from_secs(3),
            volumes: Duration::from_mins(5),
            turn: Duration::from_secs(8),
            health: Duration::from_secs(30),
            events: Duration::from_secs(2),
            look: Duration::from_secs(1),
            grace: Duration::from_secs(1),
        }
    }
}

/// Everything that is chosen outside.
#[derive(Clone)]
pub struct Ports {
    /// The time.
    pub clock: SharedClock,
    /// Keys, names and jitter.
    pub chance: Chance,
    /// The line to the control plane.
    pub transport: Arc<dyn Transport>,
    /// Fetches files from elsewhere.
    pub downloads: Arc<dyn Downloads>,
    /// The file of this program, which an update replaces, if it is known.
    pub executable: Option<PathBuf>,
    /// The keys that releases of this program are signed with.
    pub release_keys: ReleaseKeys,
    /// The Hyper-V host.
    pub open_host: OpenHost,
    /// The machine's disks and volumes.
    pub storage: Arc<dyn StorageLayout>,
    /// Whose turn it is to enumerate them, however often the service begins anew.
    pub enumerating: Turn,
    /// Connects to shares of other machines.
    pub connect_share: ConnectShare,
    /// What keeps passwords.
    pub secrets: Arc<dyn SecretStore>,
    /// The machine's name.
    pub host_name: String,
    /// What is said about the program.
    pub program: Program,
    /// Where things are kept.
    pub places: Places,
    /// The time zone that weeks are counted in.
    pub time_zone: TimeZone,
    /// How often things are done.
    pub cadence: Cadence,
    /// Where the service shows that it lives.
    pub pulse: Pulse,
}

impl fmt::Debug for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ports")
            .field("host_name", &self.host_name)
            .field("places", &self.places)
            .finish_non_exhaustive()
    }
}
