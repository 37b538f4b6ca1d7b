//! A repository on an S3 server to which every request takes some time more.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use time_and_chance::{SharedClock, StopSignal};

use crate::agent::{Agent, Done, point_id};
use crate::measured::{Measured, median};
use crate::options::Options;
use crate::site::Site;
use crate::slow_line::SlowLine;
use crate::table::{Table, mib, seconds};
use crate::test_image::Mix;
use crate::trees;
use crate::whole::restore_disk;

/// The server's start is waited for so long.
const START: Duration = Duration::from_secs(60);
const KEY_ID: &str = "measured";
const SECRET: &str = "measured-secret";

/// So many small files are backed up and restored.
const SMALL_FILES: u64 = 10_000;

const COLUMNS: [&str; 6] = [
    "work",
    "wall",
    "bytes per second",
    "CPU",
    "requests",
    "target",
];

/// Measures a backup to the server and restores from it.
pub fn measure(options: &Options, folder: &Path) -> Result<Table> {
    let heading = format!(
        "An image of {} and S3 with {} ms per request",
        mib(options.image_bytes),
        options.request_delay.as_millis()
    );
    let mut table = Table::new(heading, &COLUMNS);
    eprintln!("{}", table.heading);
    let Some(rclone) = &options.rclone else {
        table.note("left out: rclone, the S3 server, which `./check` installs and E3_TEST_TOOLS names the folder of");
        return Ok(table);
    };
    let folder = folder.join("s3");
    let mut site = Site::with_image(options, folder, options.image_bytes, Mix::HALF_ZEROS)?;
    site.agent = site
        .agent
        .with_variable("AWS_ACCESS_KEY_ID", KEY_ID)
        .with_variable("AWS_SECRET_ACCESS_KEY", SECRET);
    let buckets = site.agent.path("buckets");
    std::fs::create_dir_all(buckets.join("bucket")).context("failed to make a bucket")?;
    let server = Server::start(rclone, &buckets, &options.clock)?;
    let line = SlowLine::to(server.address(), options.request_delay, &options.clock)?;

    let (mut backups, mut restores) = (Works::default(), Works::default());
    for run in 0..options.runs {
        let repository = format!("s3://bucket/r{run}?endpoint=http://{}", line.address());
        site.agent.new_repository(&repository, "none")?;
        line.take_requests();
        let done = site
            .agent
            .run_after_sync(&Site::backup_command(&repository))?;
        let point = point_id(&done.answer)?;
        backups.add(done, &line);
        let done = restore_disk(&site.agent, &repository, &point, "restored.vhdx", "vhdx")?;
        restores.add(done, &line);
        site.image.check_vhdx(&site.agent.path("restored.vhdx"))?;
        site.agent.remove("restored.vhdx")?;
        site.agent.remove(&format!("buckets/bucket/r{run}"))?;
    }
    table.add(backups.row("full, no compression", "", options.image_bytes));
    let target = "500 MB/s, or the link";
    table.add(restores.row("restore to vhdx", target, options.image_bytes));
    measure_small_files(&site.agent, &line, options, &mut table)?;
    table.note("server and line share the processors with what is measured");
    drop(line);
    drop(server);
    site.remove()?;
    Ok(table)
}

/// Measures a backup and a restore of files that would take a request each.
fn measure_small_files(
    agent: &Agent,
    line: &SlowLine,
    options: &Options,
    table: &mut Table,
) -> Result<()> {
    trees::make_small_files(&agent.path("tree"), SMALL_FILES)?;
    let (mut backups, mut restores) = (Works::default(), Works::default());
    let mut bytes = 0;
    for run in 0..options.runs {
        let repository = format!("s3://bucket/f{run}?endpoint=http://{}", line.address());
        agent.new_repository(&repository, "none")?;
        line.take_requests();
        let done = agent.run_after_sync(&["backup", "files", "tree", "--repo", &repository])?;
        let source = &done.answer["sources"][0];
        let point = source["point_id"].as_str();
        let point = point
            .context("the backup's answer names no point")?
            .to_owned();
        bytes = source["bytes"].as_u64().unwrap_or(0);
        backups.add(done, line);
        let restore = [
            "restore",
            "files",
            &point,
            "--repo",
            &repository,
            "--to",
            "back",
        ];
        restores.add(agent.run_after_sync(&restore)?, line);
        agent.remove("back")?;
        agent.remove(&format!("buckets/bucket/f{run}"))?;
    }
    let name = |work: &str| format!("{work} of {SMALL_FILES} small files");
    table.add(backups.row(&name("backup"), "", bytes));
    table.add(restores.row(&name("restore"), "", bytes));
    Ok(())
}

/// The same work, several times.
#[derive(Default)]
struct Works {
    costs: Vec<Measured>,
    requests: BTreeMap<String, u64>,
}

impl Works {
    fn add(&mut self, done: Done, line: &SlowLine) {
        self.costs.push(done.measured);
        self.requests = line.take_requests();
    }

    fn row(&self, name: &str, target: &str, bytes: u64) -> Vec<String> {
        let wall = median(self.costs.iter().map(|cost| cost.wall));
        let per_second = bytes as f64 / 1e6 / wall.as_secs_f64().max(1e-9);
        let requests: Vec<String> = self
            .requests
            .iter()
            .map(|(method, count)| format!("{count} {method}"))
            .collect();
        vec![
            name.to_owned(),
            seconds(wall),
            format!("{per_second:.0} MB"),
            seconds(Measured::median(&self.costs).cpu()),
            requests.join(", "),
            target.to_owned(),
        ]
    }
}

/// The S3 server's process, killed when dropped.
#[derive(Debug)]
struct Server {
    process: Child,
    port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        // Either may fail only because the process has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Server {
    fn start(rclone: &Path, buckets: &Path, clock: &SharedClock) -> Result<Self> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|listener| listener.local_addr())
            .context("failed to find a free port")?
            .port();
        let process = Command::new(rclone)
            .args(["serve", "s3", "--config", "", "--addr"])
            .arg(format!("127.0.0.1:{port}"))
            .args(["--auth-key", &format!("{KEY_ID},{SECRET}")])
            .arg(buckets)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("failed to start {}", rclone.display()))?;
        let mut server = Self { process, port };
        let (nobody, started) = (StopSignal::new(), clock.monotonic());
        while TcpStream::connect(server.address()).is_err() {
            let ended = server
                .process
                .try_wait()
                .context("failed to ask for a child's state")?;
            ensure!(ended.is_none(), "the S3 server ended at once");
            ensure!(
                clock.monotonic() - started < START,
                "the S3 server does not listen"
            );
            clock.sleep(Duration::from_millis(20), &nobody)?;
        }
        Ok(server)
    }

    fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }
}
