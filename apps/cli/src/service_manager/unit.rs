//! The text of the systemd unit: who runs the service, when it is started again, what it may touch.
//!
//! The sandbox leaves open what a backup is for: every file and disk can be read, and a restore can
//! write wherever it is asked to, except to `/usr` and `/boot`. So there is no `PrivateTmp`,
//! `PrivateDevices` or `ProtectHome`; no `ProtectKernelModules`, which hides `/usr/lib/modules`; no
//! `ProtectClock`, which closes all devices but the clock; and no `RestrictSUIDSGID`, which refuses
//! to restore such files. What those take away beside that, the lists of capabilities and calls do.

use std::path::Path;
use std::time::Duration;

use agent::update::kept_beside;

use super::Place;

/// The service counts as hung when it has not shown for so long that it lives. Requests and their
/// repeats take a minute or two at worst.
pub const WATCHDOG: Duration = Duration::from_secs(300);
/// How long stopping may take: what it takes to give up a checkpoint of a VM.
pub const STOP_MAX: Duration = Duration::from_secs(180);

/// Returns the unit that runs `program` with these places, each behind its option, and all named by
/// their whole paths; none if one of them has a character that cannot stand in a unit.
pub fn unit(program: &Path, places: &[Place]) -> Option<String> {
    let mut start = quoted(program)?;
    // systemd would look for a variable there.
    if start.contains('$') {
        return None;
    }
    // An update puts the new program in this one's place, and keeps this one beside it.
    let (folder, kept) = (quoted(program.parent()?)?, quoted(&kept_beside(program))?);
    let mut settle = "service settle-update".to_owned();
    start += " run";
    for (option, place) in places {
        let place = quoted(place)?.replace('$', "$$");
        start += &format!(" {option} {place}");
        if *option == "--state-dir" {
            settle += &format!(" {option} {place}");
        }
    }
    let (watchdog, stop_max) = (WATCHDOG.as_secs(), STOP_MAX.as_secs());
    Some(format!(
        "\
# Made by `e3-backup-agent service install`. Change it by `systemctl edit e3-backup-agent`.
[Unit]
Description=e3-backup-agent, backups of this machine
Wants=network-online.target
After=network-online.target local-fs.target remote-fs.target time-sync.target

[Service]
Type=notify
NotifyAccess=main
ExecStartPre=-{kept} {settle}
ExecStart={start}
Restart=always
RestartSec=10
WatchdogSec={watchdog}
TimeoutStartSec=120
TimeoutStopSec={stop_max}
KillMode=mixed

# What it keeps: readable by root alone.
StateDirectory=e3-backup-agent
StateDirectoryMode=0700
CacheDirectory=e3-backup-agent
CacheDirectoryMode=0700
ConfigurationDirectory=e3-backup-agent
ConfigurationDirectoryMode=0700
UMask=0077

# Others come first.
Nice=10
CPUWeight=20
IOSchedulingClass=best-effort
IOSchedulingPriority=7
IOWeight=20
OOMScoreAdjust=200
LimitNOFILE=65536

# It reads everything, and writes where restores are asked to.
CapabilityBoundingSet=CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_CHOWN CAP_FOWNER CAP_FSETID
NoNewPrivileges=yes
ProtectSystem=yes
ReadWritePaths={folder}
ProtectKernelTunables=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
RestrictRealtime=yes
RestrictNamespaces=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
SystemCallArchitectures=native
SystemCallFilter=~@clock @cpu-emulation @debug @module @mount @obsolete @raw-io @reboot @swap
SystemCallErrorNumber=EPERM

[Install]
WantedBy=multi-user.target
"
    ))
}

/// Returns a path as one word of a unit.
fn quoted(path: &Path) -> Option<String> {
    let text = path.to_str()?;
    if !path.is_absolute() || text.chars().any(char::is_control) {
        return None;
    }
    let text = text.replace('\\', "\\\\").replace('"', "\\\"");
    Some(format!("\"{}\"", text.replace('%', "%%")))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    const CONFIG: &str = "/etc/e3-backup-agent/agent.conf";

    fn of(program: &str, config: &str) -> Option<String> {
        unit(Path::new(program), &[("--config", config.into())])
    }

    fn value<'a>(unit: &'a str, key: &str) -> &'a str {
        let mut lines = unit.lines();
        let line = lines.find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        line.unwrap_or_else(|| panic!("{key} is not in {unit}"))
    }

    #[test]
    fn the_service_is_run_as_the_control_planes_contract_says() {
        let unit = of("/usr/local/bin/e3-backup-agent", CONFIG).unwrap();
        assert_eq!(
            value(&unit, "ExecStart"),
            "\"/usr/local/bin/e3-backup-agent\" run --config \"/etc/e3-backup-agent/agent.conf\""
        );
        assert_eq!(value(&unit, "Restart"), "always");
        assert_eq!(value(&unit, "RestartSec"), "10");
        assert!(!unit.contains("\nUser="), "{unit}");
        assert_eq!(value(&unit, "StateDirectory"), "e3-backup-agent");
    }

    #[test]
    fn an_update_can_replace_the_program_and_is_judged_by_the_one_from_before() {
        let unit = of("/usr/local/bin/e3-backup-agent", CONFIG).unwrap();
        assert_eq!(value(&unit, "ReadWritePaths"), "\"/usr/local/bin\"");
        assert_eq!(
            value(&unit, "ExecStartPre"),
            "-\"/usr/local/bin/e3-backup-agent.old\" service settle-update"
        );
    }

    #[test]
    fn a_path_is_one_word_whatever_is_in_it() {
        let unit = of(r#"/opt/a b/100% "x"\y/agent"#, "/etc/$HOME/a b.conf").unwrap();
        assert_eq!(
            value(&unit, "ExecStart"),
            r#""/opt/a b/100%% \"x\"\\y/agent" run --config "/etc/$$HOME/a b.conf""#
        );
    }

    #[test]
    fn each_place_stands_behind_its_option() {
        let places = ["--config", "--state-dir"].map(|option| (option, PathBuf::from("/a b")));
        let unit = unit(Path::new("/agent"), &places).unwrap();
        assert_eq!(
            value(&unit, "ExecStart"),
            r#""/agent" run --config "/a b" --state-dir "/a b""#
        );
    }

    #[test]
    fn what_cannot_stand_in_a_unit_is_refused() {
        for (program, config) in [
            ("/usr/bin/agent\nUser=x", CONFIG),
            ("/usr/bin/agent", "/etc/a\rb"),
            ("agent", CONFIG),
            ("/usr/bin/agent", "agent.conf"),
            ("/opt/$x/agent", CONFIG),
        ] {
            assert_eq!(of(program, config), None, "{program} {config}");
        }
    }

    #[test]
    fn nothing_a_backup_is_for_is_closed() {
        let unit = of("/usr/local/bin/e3-backup-agent", CONFIG).unwrap();
        for closed in [
            "PrivateTmp",
            "PrivateDevices",
            "DevicePolicy",
            "DeviceAllow",
            "ProtectHome",
            "ProtectClock",
            "ProtectKernelModules",
            "RestrictSUIDSGID",
            "InaccessiblePaths",
            "ProtectSystem=strict",
            "ProtectSystem=full",
            "PrivateUsers",
            "DynamicUser",
        ] {
            assert!(!unit.contains(&format!("\n{closed}")), "{closed}");
        }
    }
}
