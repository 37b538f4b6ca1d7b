//! A PostgreSQL server that lives as long as this process, in a temporary folder, on a socket there.

use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use control_plane::store::Store;
use sea_orm::{ConnectionTrait as _, Database};
use tokio::sync::OnceCell;

/// A server.
#[derive(Debug)]
pub struct Server {
    folder: PathBuf,
    programs: PathBuf,
    user: Option<(u32, u32)>,
    template: OnceCell<()>,
}

/// The database that the others are copies of: the schema is made once.
const TEMPLATE: &str = "schema";

static SERVER: Mutex<Option<Arc<Server>>> = Mutex::new(None);
static DATABASES: AtomicU32 = AtomicU32::new(0);

/// Returns the server of this process, begun if there is none; `None` where there are no programs for one.
pub fn server() -> Option<Arc<Server>> {
    let mut known = SERVER
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    if known.is_none() {
        *known = programs().map(|programs| Arc::new(Server::begin(programs)));
    }
    known.clone()
}

/// Returns a server that nobody else uses, so that it can be stopped; `None` where there are no programs for one.
pub fn own_server() -> Option<Server> {
    programs().map(Server::begin)
}

/// Returns the folder of the newest server's programs.
fn programs() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    let mut folders: Vec<PathBuf> = versions
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .filter(|folder| folder.join("initdb").exists() && folder.join("pg_ctl").exists())
        .collect();
    folders.sort();
    folders.pop()
}

/// The server does not run as root: then it is the user that Debian made for it.
fn unprivileged() -> Option<(u32, u32)> {
    let id = |arguments: &[&str]| -> Option<u32> {
        let output = Command::new("id").args(arguments).output().ok()?;
        String::from_utf8(output.stdout).ok()?.trim().parse().ok()
    };
    match id(&["-u"])? {
        0 => Some((id(&["-u", "postgres"])?, id(&["-g", "postgres"])?)),
        _ => None,
    }
}

impl Server {
    fn begin(programs: PathBuf) -> Self {
        // Who ends the server deletes the folder.
        let folder = tempfile::tempdir().expect("a temporary folder").keep();
        let user = unprivileged();
        if let Some((uid, gid)) = user {
            chown(&folder, Some(uid), Some(gid)).expect("the folder is the server's");
        }
        let server = Self {
            folder,
            programs,
            user,
            template: OnceCell::new(),
        };
        server.end_with_this_process();
        let data = server.data();
        server.run(
            "initdb",
            &[
                "-D",
                &data,
                "-U",
                "postgres",
                "-A",
                "trust",
                "-E",
                "UTF8",
                "--locale=C",
                "--no-sync",
            ],
        );
        server.start();
        server
    }

    /// Starts it, when it was stopped.
    pub fn start(&self) {
        let socket = self.folder.display().to_string();
        let options = format!(
            "-c listen_addresses='' -c unix_socket_directories='{socket}' -c fsync=off \
             -c full_page_writes=off -c max_connections=400"
        );
        let log = self.folder.join("log");
        let log = log.to_str().expect("a path in UTF-8");
        self.run(
            "pg_ctl",
            &["-D", &self.data(), "-w", "-l", log, "-o", &options, "start"],
        );
    }

    /// Stops it, as a crash would.
    pub fn stop(&self) {
        self.run(
            "pg_ctl",
            &["-D", &self.data(), "-w", "-m", "immediate", "stop"],
        );
    }

    fn data(&self) -> String {
        self.folder.join("data").display().to_string()
    }

    /// Ends the server with this process, however that ends.
    #[expect(
        clippy::zombie_processes,
        reason = "it outlives this process, which it waits for"
    )]
    fn end_with_this_process(&self) {
        const WATCH: &str = "while [ -d /proc/$1 ]; do sleep 0.2; done; \
                             \"$2/pg_ctl\" -D \"$3/data\" -m immediate stop; rm -rf \"$3\"";
        let mut watch = Command::new("sh");
        watch
            .args(["-c", WATCH, "sh", &std::process::id().to_string()])
            .arg(&self.programs)
            .arg(&self.folder);
        self.prepare(&mut watch);
        watch.spawn().expect("a shell is there");
    }

    fn prepare(&self, command: &mut Command) {
        command
            .current_dir(Path::new("/"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if let Some((uid, gid)) = self.user {
            command.uid(uid).gid(gid);
        }
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let mut command = Command::new(self.programs.join(program));
        command.args(arguments);
        self.prepare(&mut command);
        let status = command.status().expect("the program is there");
        assert!(status.success(), "{program} {arguments:?}: {status}");
    }

    fn url(&self, database: &str) -> String {
        let socket = self.folder.display();
        format!("postgres://postgres@localhost/{database}?host={socket}")
    }

    /// Makes a database that has the schema, and returns its URL.
    pub async fn new_database(&self) -> String {
        self.template.get_or_init(|| self.make_template()).await;
        self.copy_of(TEMPLATE).await
    }

    /// Makes a database without anything in it, and returns its URL.
    pub async fn empty_database(&self) -> String {
        self.copy_of("template0").await
    }

    async fn copy_of(&self, template: &str) -> String {
        let name = format!("test{}", DATABASES.fetch_add(1, Ordering::Relaxed));
        self.order(&format!("CREATE DATABASE {name} TEMPLATE {template}"))
            .await;
        self.url(&name)
    }

    async fn make_template(&self) {
        self.order(&format!("CREATE DATABASE {TEMPLATE}")).await;
        let store = Store::at(&self.url(TEMPLATE)).await.expect("the schema");
        store.db().clone().close().await.expect("closed");
    }

    async fn order(&self, statement: &str) {
        let server = Database::connect(self.url("postgres"))
            .await
            .expect("the server listens");
        server
            .execute_unprepared(statement)
            .await
            .expect("it is done");
        server.close().await.expect("closed");
    }
}
