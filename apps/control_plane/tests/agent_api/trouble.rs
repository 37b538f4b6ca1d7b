//! The real program on a machine on which something is wrong: it says what, loses nothing, and goes on by itself when
//! the trouble is over.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;

use control_plane::store::Store;
use control_plane::store::entity::lease;
use sea_orm::EntityTrait as _;
use serde_json::{Value, json};
use tempfile::TempDir;
use time_and_chance::{SimTime, Timestamp};

use crate::postgres::own_server;
use crate::program::{LOOK, LOOKS, Program};
use crate::world::received;

/// A clock that the test moves on.
struct Clock {
    file: PathBuf,
    setting: SimTime,
}

impl Clock {
    fn in_folder(folder: &Path) -> Self {
        let begin = Timestamp::from_second(1_800_000_000).expect("a time");
        let mut clock = Self {
            file: folder.join("clock"),
            setting: SimTime::first(begin, begin, 0),
        };
        clock.pass(0);
        clock
    }

    fn pass(&mut self, seconds: u64) {
        let by = std::time::Duration::from_secs(seconds);
        self.setting = self.setting.advanced(by, Timestamp::UNIX_EPOCH);
        local_file::replace(&self.file, self.setting.to_string().as_bytes()).expect("written");
    }

    fn path(&self) -> &str {
        self.file.to_str().expect("a path in UTF-8")
    }
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// Makes the owner's account; returns the status of HTTP and what was answered.
async fn set_up(server: SocketAddr) -> (u16, Value) {
    let about = json!({
        "name": "Ann", "email": "ann@example.com", "password": "correct horse battery",
        "tenant_name": "Example", "time_zone": "UTC",
    });
    call(server, "POST", "/api/v1/setup", about.to_string()).await
}

async fn call(server: SocketAddr, method: &str, path: &str, body: String) -> (u16, Value) {
    // Whoever comes second finds it done.
    let _done = rustls::crypto::ring::default_provider().install_default();
    let http = reqwest::Client::builder().no_proxy().build();
    let url = format!("http://{server}{path}");
    let request = http
        .expect("a client")
        .request(method.parse().expect("a method"), url)
        .header("Content-Type", "application/json")
        .body(body);
    let response = received(request).await.expect("an answer");
    let body = serde_json::from_slice(&response.body);
    (response.http_status, body.unwrap_or_default())
}

/// Moves the clock on until the chores have seen that it did.
async fn chores_go_on(clock: &mut Clock, database: &str) {
    clock.pass(60);
    let now = clock.setting.time.as_millisecond();
    let store = Store::at(database).await.expect("opened");
    for _ in 0..LOOKS {
        let leases = lease::Entity::find().all(store.db()).await.expect("read");
        if leases.iter().any(|lease| lease.until > now) {
            return;
        }
        tokio::time::sleep(LOOK).await;
    }
    panic!("nobody does the chores any more");
}

#[tokio::test]
async fn a_port_that_is_taken_and_a_folder_that_cannot_be_made_are_named() {
    let folder = folder();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("bound").to_string();
    let mut program = Program::new(&folder.path().join("data"), &["--listen", &address]);
    program.start();
    assert!(!program.end().await, "it does not serve");
    let log = program.log();
    assert!(log.contains(&address) && log.contains("--listen"), "{log}");

    let file = folder.path().join("file");
    std::fs::write(&file, "").expect("written");
    let data = file.join("data");
    let output = Command::new(env!("CARGO_BIN_EXE_e3-control-plane"))
        .args(["serve", "--listen", "127.0.0.1:0", "--data"])
        .arg(&data)
        .output()
        .expect("started");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(said.contains(&*data.display().to_string()), "{said}");
}

#[tokio::test]
async fn a_disk_that_is_full_costs_nothing_that_was_promised() {
    let folder = folder();
    let mut clock = Clock::in_folder(folder.path());
    let data = folder.path().join("data");
    let program = Program::new(&data, &["--sim-clock", clock.path()]);
    // As with a disk that is full, what would make a file longer fails, and is no signal.
    let mut program = program.after("trap '' XFSZ;");
    program.start();
    let server = program.listening().await;
    limit_files(&program, "1");
    let (status, answer) = set_up(server).await;
    assert!(status >= 500, "{status} {answer}");
    clock.pass(60);
    limit_files(&program, "unlimited");
    let (status, answer) = set_up(server).await;
    assert_eq!(status, 200, "{answer}: {}", program.log());
    let database = format!("sqlite://{}/control_plane.db?mode=rwc", data.display());
    chores_go_on(&mut clock, &database).await;
    program.kill();
    program.start();
    let server = program.listening().await;
    let (_, answer) = call(server, "GET", "/api/v1/setup", String::new()).await;
    assert_eq!(answer["needs_owner"], false, "the account is still there");
    assert!(!program.logs().contains("panicked"), "{}", program.logs());
}

/// Lets the files that a program writes grow no longer than that, from now on.
fn limit_files(program: &Program, bytes: &str) {
    let mut limit = Command::new("prlimit");
    limit.args(["--pid", &program.process().to_string()]);
    limit.arg(format!("--fsize={bytes}:"));
    assert!(limit.status().expect("a program prlimit").success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_gone_for_a_while_is_found_again() {
    let Some(database) = tokio::task::spawn_blocking(own_server)
        .await
        .expect("begun")
    else {
        println!("left out, for there are no programs of a PostgreSQL server");
        return;
    };
    let url = database.empty_database().await;
    let folder = folder();
    let mut clock = Clock::in_folder(folder.path());
    let arguments = ["--sim-clock", clock.path(), "--database", &url];
    let mut program = Program::new(&folder.path().join("data"), &arguments);
    program.start();
    let server = program.listening().await;
    assert_eq!(set_up(server).await.0, 200);
    database.stop();
    assert_eq!(call(server, "GET", "/healthz", String::new()).await.0, 503);
    let (status, answer) = call(server, "GET", "/api/v1/setup", String::new()).await;
    assert_eq!((status, &answer["code"]), (503, &json!("no_database")));
    clock.pass(60);
    database.start();
    let mut looks = 0;
    let (health, account) = loop {
        let (health, _) = call(server, "GET", "/healthz", String::new()).await;
        let account = call(server, "GET", "/api/v1/setup", String::new()).await;
        if (health, account.0) == (200, 200) || looks == LOOKS {
            break (health, account);
        }
        looks += 1;
        // The chores are tried again.
        clock.pass(6);
        tokio::time::sleep(LOOK).await;
    };
    let (status, answer) = account;
    assert_eq!((health, status), (200, 200), "{answer}: {}", program.log());
    assert_eq!(answer["needs_owner"], false, "the account is still there");
    chores_go_on(&mut clock, &url).await;
    assert_eq!(program.ended(), None);
    assert!(!program.logs().contains("panicked"), "{}", program.logs());
}
