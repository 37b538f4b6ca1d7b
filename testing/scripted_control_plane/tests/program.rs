//! The program: a script in, a URL and a report out.

#![expect(
    clippy::unwrap_used,
    reason = "a panic in a test, or in what tests share, is the failure report"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use serde_json::Value;

const SCRIPT: &str = r#"{
    "settings": {"generation": "old"},
    "agents": [{"id": "41", "token": "token-of-41"}],
    "steps": [{"run": {"engine": "kopia", "members": {"source_path": "/srv"}}},
              {"after_secs": 3600, "restart": true}],
    "faults": [{"endpoint": "agent_next_run", "call": 1, "fault": {"rate_limited": {"retry_after_secs": 4}}}]
}"#;

/// Runs the program with a script and one call; returns what came back, the report, and the exit status.
fn run(script: &str, user_agent: &str) -> (String, Value, i32) {
    let file = std::env::temp_dir().join(format!(
        "scripted-{}-{}",
        std::process::id(),
        user_agent.len()
    ));
    std::fs::write(&file, script).unwrap();
    let mut program = Command::new(env!("CARGO_BIN_EXE_scripted-control-plane"))
        .arg("--script")
        .arg(&file)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(program.stdout.take().unwrap());
    let mut url = String::new();
    out.read_line(&mut url).unwrap();
    let (host, path) = url
        .trim()
        .strip_prefix("http://")
        .unwrap()
        .split_once('/')
        .unwrap();
    let mut connection = TcpStream::connect(host).unwrap();
    let head = format!(
        "GET /{path}/agent_next_run.php HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {user_agent}\r\nX-Agent-ID: 41\r\n\
         X-Agent-Token: token-of-41\r\nX-Agent-OS: linux\r\nX-Agent-Arch: amd64\r\n\r\n"
    );
    connection.write_all(head.as_bytes()).unwrap();
    let mut answer = [0; 64];
    let read = connection.read(&mut answer).unwrap();
    drop((connection, program.stdin.take()));
    let mut report = String::new();
    out.read_to_string(&mut report).unwrap();
    let status = program.wait().unwrap().code().unwrap();
    std::fs::remove_file(&file).unwrap();
    let answer = String::from_utf8_lossy(&answer[..read]).into_owned();
    (answer, serde_json::from_str(&report).unwrap(), status)
}

#[test]
fn a_script_is_played_and_every_call_reported() {
    let (answer, report, status) = run(SCRIPT, "Mozilla/5.0 e3-backup-agent/1.8.2");
    assert!(answer.starts_with("HTTP/1.1 429 "), "{answer}");
    assert_eq!(report["calls"][0]["call"]["endpoint"], "agent_next_run");
    assert_eq!(
        report["calls"][0]["fault"]["rate_limited"]["retry_after_secs"],
        4
    );
    assert_eq!(report["world"]["runs"][0]["status"], "queued");
    assert_eq!(report["violations"], serde_json::json!([]));
    assert_eq!(status, 0);
}

#[test]
fn violations_end_in_a_status_of_one() {
    let (_, report, status) = run(SCRIPT, "curl");
    assert_eq!(report["violations"][0]["call"], 1);
    assert_eq!(status, 1);
}

#[test]
fn a_script_with_an_unknown_word_is_refused() {
    use scripted_control_plane::script::Script;
    assert!(Script::parse(r#"{"stepz": []}"#).is_err());
    assert!(Script::parse(r#"{"steps": [{"cancle": 0}]}"#).is_err());
    assert!(Script::parse("{}").is_ok());
}
