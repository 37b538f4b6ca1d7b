//! What the long check does beside the tests: the dashboard built again, the dashboard in a browser, and a short load.
//! The everyday check needs neither Node nor a browser.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::commands::{cargo, output_of, quietly, succeeds};

/// The dashboard's client.
const WEB: &str = "apps/control_plane/web";
/// The oldest Node that its tools run on.
const NODE_MIN: u32 = 20;
/// What the demo's nights say last, when the dashboard is there to be looked at.
const NIGHTS_ARE_OVER: &str = "Server and agent go on";
/// So many nights are played for the browser.
const NIGHTS: &str = "5";
/// How long the short load is measured.
const LOAD_SECONDS: &str = "20";

/// Builds the client again from its lock file; `false` if what is committed differs from that.
pub fn is_as_committed(root: &Path) -> Result<bool> {
    install_node(root)?;
    let committed = |doing: &str| {
        let mut git = Command::new("git");
        git.current_dir(root)
            .args(["status", "--porcelain", "--", &format!("{WEB}/dist")]);
        output_of(&mut git).context(doing.to_owned())
    };
    let before = committed("failed to look at what is built")?;
    if !before.is_empty() {
        println!("commit what is built first:\n{before}");
        return Ok(false);
    }
    if !succeeds(Command::new(root.join(WEB).join("build")).current_dir(root))? {
        return Ok(false);
    }
    let after = committed("failed to compare what was built")?;
    if !after.is_empty() {
        println!(
            "{WEB}/build makes something else than what is committed; run it, look, and commit:\n{after}"
        );
    }
    Ok(after.is_empty())
}

/// Lets a browser do what people do on a new server, and on one with a history, and look at every screen of both.
pub fn works_in_a_browser(root: &Path) -> Result<bool> {
    install_node(root)?;
    if !runs("chromium") {
        install(root, &["chromium"])?;
    }
    // What `is_as_committed` leaves is enough, where it came before.
    if !root.join(WEB).join("node_modules").exists() {
        let mut npm = Command::new("npm");
        quietly(
            npm.current_dir(root.join(WEB))
                .args(["ci", "--no-audit", "--no-fund"]),
        )?;
    }
    let programs = build(root, "dev")?;
    let folder = root.join("target/browser");
    if folder.exists() {
        fs::remove_dir_all(&folder).context("failed to empty target/browser")?;
    }
    fs::create_dir_all(&folder).context("failed to make target/browser")?;
    let is_new_well = try_out(root, &programs, &folder.join("new"))?;
    let nights = Nights::play(&programs, &folder)?;
    let shots = folder.join("used");
    let account = [
        "--email",
        &nights.user,
        "--password",
        &nights.password,
        "--acts",
    ];
    Ok(look(root, &nights.url, &shots, &account)? && is_new_well)
}

/// Has agents poll for a short while, and prints what that cost; `false` if one got a wrong answer. Figures are no
/// reason to fail: they are the machine's.
pub fn stands_a_load(root: &Path) -> Result<bool> {
    let programs = build(root, "release")?;
    let data = root.join("target/load");
    if data.exists() {
        fs::remove_dir_all(&data).context("failed to empty target/load")?;
    }
    let mut load = Command::new(programs.join("load"));
    load.arg("--server").arg(programs.join("e3-control-plane"));
    load.arg("--data").arg(&data);
    succeeds(load.args([
        "--agents",
        "2000",
        "--running",
        "20",
        "--seconds",
        LOAD_SECONDS,
    ]))
}

/// Does what people do with a server of its own, from its first start on.
fn try_out(root: &Path, programs: &Path, shots: &Path) -> Result<bool> {
    let mut node = browser(root);
    node.arg("--server").arg(programs.join("e3-control-plane"));
    node.arg("--agent").arg(programs.join("e3-backup-agent"));
    succeeds(node.arg(shots))
}

fn look(root: &Path, url: &str, shots: &Path, account: &[&str]) -> Result<bool> {
    let mut node = browser(root);
    succeeds(node.arg(url).arg(shots).args(account))
}

fn browser(root: &Path) -> Command {
    let mut node = Command::new("node");
    node.current_dir(root);
    node.arg("apps/control_plane/tests/browser/run.mjs");
    node
}

/// Builds the programs, and returns the folder they are in.
fn build(root: &Path, profile: &str) -> Result<PathBuf> {
    let mut build = cargo(root);
    build.args(["build", "--locked", "--profile", profile]);
    build.args(["-p", "control_plane", "-p", "cli", "-p", "fleet"]);
    ensure!(succeeds(&mut build)?, "the programs do not build");
    let target = std::env::var_os("CARGO_TARGET_DIR");
    let target = target.map_or_else(|| root.join("target"), |it| root.join(it));
    Ok(target.join(match profile {
        "dev" => "debug",
        other => other,
    }))
}

fn install_node(root: &Path) -> Result<()> {
    if !runs("node") || !runs("npm") {
        install(root, &["nodejs", "npm"])?;
    }
    let version = output_of(Command::new("node").arg("--version"))?;
    let major = version.trim().trim_start_matches('v').split('.').next();
    let major: u32 = major.unwrap_or_default().parse().unwrap_or(0);
    ensure!(
        major >= NODE_MIN,
        "the dashboard's tools want Node {NODE_MIN} or newer, and this is {}",
        version.trim()
    );
    Ok(())
}

fn runs(program: &str) -> bool {
    let mut command = Command::new(program);
    quietly(command.arg("--version")).is_ok()
}

fn install(root: &Path, packages: &[&str]) -> Result<()> {
    let mut install = Command::new(root.join("xtask/install_packages"));
    install.arg("cargo xtask check --long").args(packages);
    ensure!(succeeds(&mut install)?, "failed to install {packages:?}");
    Ok(())
}

/// A server with a history, an agent that works, and a simulated host.
struct Nights {
    child: Child,
    url: String,
    user: String,
    password: String,
}

impl Nights {
    fn play(programs: &Path, folder: &Path) -> Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0").context("failed to find a free port")?;
        let listen = port.local_addr().context("failed to find a free port")?;
        drop(port);
        let mut child = Command::new(programs.join("nights"))
            .args([
                "--nights",
                NIGHTS,
                "--listen",
                &listen.to_string(),
                "--data",
            ])
            .arg(folder.join("nights"))
            .arg("--agent")
            .arg(programs.join("e3-backup-agent"))
            .arg("--server")
            .arg(programs.join("e3-control-plane"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("failed to start the nights")?;
        let said = child
            .stdout
            .take()
            .context("they have no standard output")?;
        let mut nights = Self {
            child,
            url: format!("http://{listen}"),
            user: String::new(),
            password: String::new(),
        };
        let mut lines = BufReader::new(said).lines();
        for line in lines.by_ref() {
            let line = line.context("failed to read what the nights say")?;
            println!("{line}");
            match line.trim().split_once(' ') {
                Some(("user", user)) => user.trim().clone_into(&mut nights.user),
                Some(("password", password)) => password.trim().clone_into(&mut nights.password),
                _ if line.starts_with(NIGHTS_ARE_OVER) => {
                    std::thread::spawn(move || lines.for_each(drop));
                    return Ok(nights);
                }
                _ => {}
            }
        }
        bail!("the nights ended before the dashboard could be looked at")
    }
}

impl Drop for Nights {
    fn drop(&mut self) {
        // It ends the server and the agent.
        end(&mut self.child, "INT");
    }
}

/// Tells a program of ours to end, and waits for that.
fn end(child: &mut Child, signal: &str) {
    let kill = format!("kill -s {signal} {}", child.id());
    if let Err(error) = quietly(Command::new("sh").args(["-c", &kill])) {
        eprintln!("warning: {error:#}");
    }
    if let Err(error) = child.wait() {
        eprintln!("warning: failed to wait for a program's end: {error}");
    }
}
