//! Thirty nights of real backups in a few minutes: the server, an agent and a simulated host live by one clock that
//! this program moves. Then the dashboard shows what they have lived through.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Parser;
use fleet::people::{OWNER, Person, first_start};
use fleet::sim_clock_file::SimClockFile;
use fleet::started::{Started, wait_until_well};
use fleet::story::{Happening, StoryVm, VMS, happenings, written_mib};
use serde_json::{Value, json};
use time_and_chance::{Chance, SIM_CLOCK_VARIABLE, SignedDuration, SystemClock, Timestamp};

/// So many times faster than real time the clock goes while something is at work.
const RATE: u32 = 20;
/// Where people look for the dashboard first.
const USUAL: &str = "127.0.0.1:8080";
/// Backups begin at this hour, in UTC.
const EVENING: SignedDuration = SignedDuration::from_hours(22);
/// Guests write, and people do what they do, by this hour.
const NOON: SignedDuration = SignedDuration::from_hours(12);
/// How often is looked whether something is over, in real time.
const LOOK: Duration = Duration::from_millis(100);
/// Something is over after so many looks, or never.
const LOOKS: usize = 3_000;

/// Plays nights of real backups, then leaves the dashboard running until Ctrl-C.
#[derive(Debug, Parser)]
struct Options {
    /// A folder, made anew, for everything.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// The agent's executable.
    #[arg(long, value_name = "FILE")]
    agent: PathBuf,
    /// The server's executable.
    #[arg(long, value_name = "FILE")]
    server: PathBuf,
    /// Where the server listens [default: 127.0.0.1:8080, or where nobody does if somebody listens there]
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// How many nights are played.
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u16).range(5..=60))]
    nights: u16,
    /// End when all nights are played, instead of leaving the server running.
    #[arg(long)]
    exit: bool,
}

/// What is played with. The agent is dropped, and so ended, before the server.
struct Play {
    options: Options,
    /// Where the server listens.
    address: SocketAddr,
    clock: SimClockFile,
    /// Midnight before the first night.
    begin: Timestamp,
    owner: Person,
    agent: Option<Started>,
    server: Started,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let exit = options.exit;
    if options.data.exists() {
        std::fs::remove_dir_all(&options.data)?;
    }
    std::fs::create_dir_all(&options.data)?;
    let password = Chance::from_system().uuid().to_string();
    let mut play = Play::begin(options, &password).await?;
    let nights = usize::from(play.options.nights);
    for night in 0..nights {
        play.night(night, nights).await?;
    }
    play.restore().await?;
    play.clock.follow_real_time()?;
    play.tell_end(&password).await?;
    if !exit {
        tokio::signal::ctrl_c().await?;
        println!("\nending");
    }
    Ok(())
}

impl Play {
    async fn begin(options: Options, password: &str) -> anyhow::Result<Self> {
        let today = SystemClock::new().now().as_second().div_euclid(86_400);
        let first = today - i64::from(options.nights);
        let begin = Timestamp::from_second(first * 86_400)?;
        let clock = options.data.join("clock");
        let clock = SimClockFile::create(&clock, begin + SignedDuration::from_hours(8), RATE)?;
        make_host(&options, &clock)?;
        let data = options.data.join("server");
        let mut command = Command::new(&options.server);
        command
            .args(["serve", "--listen", &listen_at(&options)])
            .arg("--data")
            .arg(&data)
            .arg("--sim-clock")
            .arg(clock.path());
        let log = options.data.join("server.log");
        let mut server = Started::start("the server", &mut command, &log)?;
        let address = wait_until_well(&mut server).await?;
        let owner = first_start(address, &log, password, "Example GmbH", "UTC").await?;
        let mut play = Self {
            options,
            address,
            clock,
            begin,
            owner,
            agent: None,
            server,
        };
        play.enrol().await?;
        play.start_agent()?;
        play.make_job().await?;
        Ok(play)
    }

    /// Makes the host known to the server.
    async fn enrol(&mut self) -> anyhow::Result<()> {
        let wanted = json!({ "description": "demo" });
        let token = self.owner.post("/enrolment-tokens", &wanted).await?;
        let token = token["token"].as_str().context("no token was given")?;
        let config = self.options.data.join("agent.conf");
        let host = self.options.data.join("host");
        std::fs::write(
            &config,
            format!(
                "hyperv_host: sim:{}\ndevice_name: hv-01\nmin_free_gib: 1\nvms_at_once: 2\n",
                host.display()
            ),
        )?;
        let mut command = agent(&self.options);
        command.args(["enroll", "--token", token, "--url"]);
        command.arg(format!(
            "http://{}/modules/addons/cloudstorage/api",
            self.address
        ));
        succeed(command.arg("--config").arg(config))
    }

    fn start_agent(&mut self) -> anyhow::Result<()> {
        let mut command = agent(&self.options);
        command
            .env(SIM_CLOCK_VARIABLE, self.clock.path())
            .arg("run")
            .arg("--config")
            .arg(self.options.data.join("agent.conf"));
        let log = self.options.data.join("agent.log");
        self.agent = Some(Started::start("the agent", &mut command, &log)?);
        Ok(())
    }

    /// Orders backups of all VMs but those of which nobody thinks, every night.
    async fn make_job(&mut self) -> anyhow::Result<()> {
        let hosts = self.owner.get("/hosts").await?;
        let host = hosts["items"][0]["id"].clone();
        let id = host.as_str().context("the host is known")?.to_owned();
        self.owner
            .post(&format!("/hosts/{id}/refresh"), &json!({}))
            .await?;
        let all = VMS.len();
        self.wait_for("the host's VMs", async |owner| {
            let vms = owner.get("/vms").await?;
            Ok(items(&vms).len() == all)
        })
        .await?;
        let repository = json!({
            "name": "Backup disk", "kind": "local", "path": self.options.data.join("repository"),
            "limit_bytes": 20u64 << 30, "quick_every_hours": 24, "full_every_hours": 168,
            "verify_every_hours": 168, "verify_percent": 20,
        });
        let repository = self.owner.post("/repositories", &repository).await?;
        let job = json!({
            "host_id": host, "repository_id": repository["id"], "name": "Every night", "engine": "hyperv",
            "vms": { "all": true, "guids": [], "include": [], "exclude": ["test-*"] },
            "consistency": "application",
            "schedule": { "kind": "daily", "at": "22:00", "time_zone": "UTC" },
            "retention": { "daily": 14, "weekly": 8 }, "objective_hours": 26,
        });
        self.owner.post("/jobs", &job).await?;
        Ok(())
    }

    /// Plays a day and the night after it, to the next morning.
    async fn night(&mut self, night: usize, nights: usize) -> anyhow::Result<()> {
        let midnight = self.begin + SignedDuration::from_hours(24) * i32::try_from(night)?;
        self.clock.pass_until(midnight + NOON).await?;
        for (number, vm) in VMS.iter().enumerate() {
            let mib = written_mib(vm, night);
            if mib > 0 {
                self.guest_writes(vm, mib, (night * VMS.len() + number) as u64)?;
            }
        }
        let happenings = happenings(night, nights);
        for happening in &happenings {
            match happening {
                Happening::Fault(vm, words) => {
                    let mut command = self.sim("fault");
                    succeed(command.args(["--vm", vm]).args(*words))?;
                }
                Happening::ForgottenCheckpoint(vm) => {
                    let mut command = self.sim("checkpoint");
                    succeed(command.args(["--vm", vm, "--name", "before the update"]))?;
                }
                Happening::HostDown => {}
            }
        }
        let is_down = happenings.contains(&Happening::HostDown);
        if is_down && let Some(mut agent) = self.agent.take() {
            agent.end()?;
        }
        let evening = midnight + EVENING;
        self.clock
            .pass_until(evening - SignedDuration::from_mins(1))
            .await?;
        let outcome = if is_down {
            // The next day is half over before somebody notices.
            self.clock
                .pass_until(evening + SignedDuration::from_hours(13))
                .await?;
            self.start_agent()?;
            self.end_of_run(evening).await?
        } else {
            self.end_of_run(evening).await?
        };
        if let Some(agent) = &mut self.agent {
            agent.check_alive()?;
        }
        self.server.check_alive()?;
        let words: Vec<String> = happenings.iter().map(|it| it.words()).collect();
        let date = evening.to_string();
        println!(
            "{}  {outcome:<15}  {}",
            date.split('T').next().unwrap_or_default(),
            words.join("; ")
        );
        Ok(())
    }

    fn guest_writes(&self, vm: &StoryVm, mib: u64, seed: u64) -> anyhow::Result<()> {
        let mut command = self.sim("write");
        let bytes = (mib << 20).to_string();
        command.args(["--vm", vm.name, "--disk", "0", "--random", &bytes]);
        succeed(command.args(["--seed", &seed.to_string()]))
    }

    /// Waits until the run of an evening is over, and returns how it ended.
    async fn end_of_run(&mut self, evening: Timestamp) -> anyhow::Result<String> {
        let mut outcome = String::new();
        self.wait_for("the end of the night's run", async |owner| {
            let runs = owner.get("/runs?limit=20").await?;
            let tonight = items(&runs).iter().find(|run| is_of(run, evening));
            let status = tonight.and_then(|run| run["status"].as_str());
            outcome = status.unwrap_or_default().to_owned();
            Ok(!matches!(&*outcome, "" | "queued" | "starting" | "running"))
        })
        .await?;
        Ok(outcome)
    }

    /// Brings a disk back from the newest point, as people should now and then.
    async fn restore(&mut self) -> anyhow::Result<()> {
        let points = self.owner.get("/points?limit=1").await?;
        let point = &points["items"][0];
        let path = format!("/points/{}/restore", point["id"]);
        let wanted = json!({
            "kind": "disks", "host_id": point["host_id"],
            "target_path": self.options.data.join("restored"), "disks": null,
        });
        let run = self.owner.post(&path, &wanted).await?;
        let path = format!("/runs/{}", run["id"].as_str().context("a run has an id")?);
        let mut outcome = String::new();
        self.wait_for("the end of the restore", async |owner| {
            let run = owner.get(&path).await?;
            outcome = run["status"].as_str().unwrap_or_default().to_owned();
            Ok(!matches!(&*outcome, "queued" | "starting" | "running"))
        })
        .await?;
        let name = point["name"].as_str().unwrap_or_default();
        println!("a restore of {name} ended with {outcome}");
        Ok(())
    }

    /// Looks again and again in real time, while the clock goes, until something is so.
    async fn wait_for(
        &mut self,
        what: &str,
        mut is_so: impl AsyncFnMut(&mut Person) -> anyhow::Result<bool>,
    ) -> anyhow::Result<()> {
        for _ in 0..LOOKS {
            if is_so(&mut self.owner).await? {
                return Ok(());
            }
            if let Some(agent) = &mut self.agent {
                agent.check_alive()?;
            }
            self.server.check_alive()?;
            tokio::time::sleep(LOOK).await;
        }
        let data = self.options.data.display();
        bail!("{what} does not come; {data}/server.log and {data}/agent.log say more")
    }

    async fn tell_end(&mut self, password: &str) -> anyhow::Result<()> {
        let overview = self.owner.get("/overview").await?;
        let alarms = self.owner.get("/alarms?state=open").await?;
        println!("\n== What the dashboard shows now");
        println!("{}", overview["counts"]);
        for alarm in items(&alarms) {
            let message = alarm["message"].as_str().unwrap_or_default();
            println!("- {message}");
        }
        println!(
            "\n  http://{}/\n  user      {OWNER}\n  password  {password}\n",
            self.address
        );
        println!(
            "Everything was run, nothing painted: the log of the server and of the agent, the"
        );
        println!(
            "host and the repository are in {}.",
            self.options.data.display()
        );
        if !self.options.exit {
            println!("Server and agent go on until Ctrl-C.");
        }
        Ok(())
    }

    fn sim(&self, what: &str) -> Command {
        let mut command = agent(&self.options);
        command.env(SIM_CLOCK_VARIABLE, self.clock.path());
        command
            .args(["sim", what])
            .arg(self.options.data.join("host"));
        command
    }
}

/// Returns where the server is to listen.
fn listen_at(options: &Options) -> String {
    if let Some(listen) = options.listen {
        return listen.to_string();
    }
    match TcpListener::bind(USUAL) {
        Ok(_free) => USUAL.to_owned(),
        Err(_) => "127.0.0.1:0".to_owned(),
    }
}

/// Makes the simulated host with its VMs, and lets their guests write.
fn make_host(options: &Options, clock: &SimClockFile) -> anyhow::Result<()> {
    let host = options.data.join("host");
    let sim = |what: &str, folder: &Path| {
        let mut command = agent(options);
        command.env(SIM_CLOCK_VARIABLE, clock.path());
        command.args(["sim", what]).arg(folder);
        command
    };
    succeed(sim("create", &host).args(["--name", "hv-01"]))?;
    for (number, vm) in VMS.iter().enumerate() {
        let mut add = sim("add-vm", &host);
        add.args(["--name", vm.name, "--guest", vm.guest]);
        succeed(add.args(["--new", vm.size, "--state", vm.state]))?;
        let bytes = (vm.first_mib << 20).to_string();
        let seed = (1_000 + number).to_string();
        let mut write = sim("write", &host);
        write.args(["--vm", vm.name, "--disk", "0"]);
        succeed(write.args(["--random", &bytes, "--seed", &seed]))?;
    }
    Ok(())
}

/// Returns the agent's executable, in its own folders.
fn agent(options: &Options) -> Command {
    let mut command = Command::new(&options.agent);
    command
        .env_remove(SIM_CLOCK_VARIABLE)
        .env("E3_STATE_DIR", options.data.join("state"))
        .env("E3_CACHE_DIR", options.data.join("cache"));
    command
}

fn succeed(command: &mut Command) -> anyhow::Result<()> {
    let output = command
        .output()
        .with_context(|| format!("starting {command:?}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{command:?} ended with {}: {said}", output.status);
    }
    Ok(())
}

fn items(list: &Value) -> &[Value] {
    list["items"].as_array().map_or(&[], Vec::as_slice)
}

/// Returns whether a run is the one that was due in an evening.
fn is_of(run: &Value, evening: Timestamp) -> bool {
    let due = run["scheduled_for"].as_str();
    let due: Option<Timestamp> = due.and_then(|text| text.parse().ok());
    due.is_some_and(|due| due.duration_since(evening).abs() < SignedDuration::from_hours(1))
}
