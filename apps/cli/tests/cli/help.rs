//! What `--help` says, as text to be reviewed; `E3_BLESS=1` writes it anew.

use std::fmt::Write as _;
use std::path::Path;

use crate::agent::Agent;

const COMMANDS: [&str; 64] = [
    "",
    "host",
    "host list",
    "host show",
    "host clean",
    "host volumes",
    "host freeze",
    "backup",
    "backup vm",
    "backup files",
    "points",
    "points list",
    "points show",
    "points diff",
    "points pin",
    "points delete",
    "points expire",
    "policy",
    "policy show",
    "policy set",
    "policy edit",
    "policy delete",
    "restore",
    "restore vm",
    "restore disk",
    "restore files",
    "repo",
    "repo create",
    "repo status",
    "repo verify",
    "repo maintain",
    "repo lock",
    "repo password",
    "repo remember",
    "repo forget",
    "run",
    "enroll",
    "status",
    "service",
    "service install",
    "service uninstall",
    "service start",
    "service stop",
    "service restart",
    "service status",
    "hyperv",
    "hyperv selftest",
    "sim",
    "sim create",
    "sim add-vm",
    "sim write",
    "sim dump",
    "sim checkpoint",
    "sim apply",
    "sim state",
    "sim rename",
    "sim resize",
    "sim delete-vm",
    "sim show",
    "sim fault",
    "sim clock",
    "completions",
    "help restore vm",
    "--version",
];

#[test]
fn help_teaches_every_command() {
    let agent = Agent::new();
    let mut all = String::new();
    for command in COMMANDS {
        let mut words: Vec<&str> = command.split_whitespace().collect();
        if !command.starts_with("help") && !command.starts_with("--") {
            words.push("--help");
        }
        let mut run = agent.command(&words);
        run.env_remove("E3_STATE_DIR")
            .env_remove("E3_CACHE_DIR")
            .env_remove("E3_REPO_PASSWORD");
        let outcome = crate::agent::outcome(&mut run);
        assert_eq!(outcome.status, 0, "{command}: {outcome:?}");
        let _ = write!(
            all,
            "$ e3-backup-agent {}\n{}\n",
            words.join(" "),
            outcome.stdout
        );
    }
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/help.txt");
    if std::env::var_os("E3_BLESS").is_some() {
        std::fs::write(&file, &all).unwrap();
    }
    let expected = std::fs::read_to_string(&file).unwrap();
    for (said, expected) in all.lines().zip(expected.lines()) {
        assert_eq!(said, expected, "set E3_BLESS=1 and review the change");
    }
    assert_eq!(
        all.lines().count(),
        expected.lines().count(),
        "set E3_BLESS=1 and review the change"
    );
}

#[test]
fn every_command_that_does_something_shows_an_example() {
    let agent = Agent::new();
    for command in COMMANDS
        .iter()
        .filter(|command| command.contains(' ') && !command.starts_with("help"))
    {
        let help = agent.succeeds(command.split(' ').chain(["--help"]));
        assert!(
            help.contains(&format!("e3-backup-agent {command}")),
            "{command}: {help}"
        );
    }
}

#[test]
fn every_shell_gets_its_completions() {
    let agent = Agent::new();
    for shell in ["bash", "zsh", "fish", "powershell"] {
        let script = agent.succeeds(["completions", shell]);
        for word in ["new-password-file", "maintain", "retention-mode"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
    let document = agent.json(0, &["completions", "bash"]);
    assert_eq!(document["shell"], "bash");
    let script = agent.path("script");
    std::fs::write(&script, document["script"].as_str().unwrap()).unwrap();
    crate::agent::tool("bash", &["-n".as_ref(), script.as_os_str()]);
    assert_eq!(agent.run(["completions", "tcsh"]).status, 2);
}
