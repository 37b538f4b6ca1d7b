//! The command line of the older agent, so that installers and services that were made for it need
//! no change: `-config FILE` runs, `-service VERB` installs, starts and so on.
//!
//! They are written in Go's way: one dash or two, the value behind it or behind `=`, in any order.

use std::ffi::{OsStr, OsString};

/// Returns the arguments, without the program's name, in today's words, if they begin with a flag
/// of old.
pub fn in_todays_words(arguments: &[OsString]) -> Option<Vec<OsString>> {
    Flag::of(arguments.first()?)?;
    let (mut config, mut verb, mut others) = (None, None, Vec::new());
    let mut left = arguments.iter();
    while let Some(argument) = left.next() {
        match Flag::of(argument) {
            Some(Flag { name, value }) => {
                let value = value.or_else(|| left.next().cloned());
                match name {
                    "config" => config = Some(value),
                    _ => verb = Some(value),
                }
            }
            None => others.push(argument.clone()),
        }
    }
    let mut words = Vec::new();
    let mut is_told_where = true;
    match verb {
        None => words.push("run".into()),
        Some(verb) => {
            words.push("service".into());
            // The older agent took the file with every verb; only one has a use for it.
            is_told_where = verb.as_deref() == Some(OsStr::new("install"));
            words.extend(verb);
        }
    }
    if let Some(file) = config.filter(|_| is_told_where) {
        words.push("--config".into());
        words.extend(file);
    }
    words.extend(others);
    Some(words)
}

/// A flag of old, and its value if it stands in the same word.
struct Flag {
    name: &'static str,
    value: Option<OsString>,
}

impl Flag {
    fn of(argument: &OsStr) -> Option<Self> {
        let text = argument.to_str()?;
        let flag = text.strip_prefix("--").or_else(|| text.strip_prefix('-'))?;
        let (name, value) = match flag.split_once('=') {
            Some((name, value)) => (name, Some(value.into())),
            None => (flag, None),
        };
        let name = ["config", "service"].into_iter().find(|it| *it == name)?;
        Some(Self { name, value })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn translated(line: &str) -> Option<String> {
        let arguments: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        let words = in_todays_words(&arguments)?;
        let words: Vec<&str> = words.iter().map(|it| it.to_str().unwrap()).collect();
        Some(words.join(" "))
    }

    #[test]
    fn every_form_of_the_old_flags_has_its_command() {
        for (old, new) in [
            ("-config a.conf", "run --config a.conf"),
            ("-config=a.conf", "run --config a.conf"),
            ("--config a.conf", "run --config a.conf"),
            ("-config a.conf --json", "run --config a.conf --json"),
            ("-service install", "service install"),
            ("-service=install", "service install"),
            ("--service uninstall", "service uninstall"),
            ("-service install -config a", "service install --config a"),
            (
                "-config=a=b -service install",
                "service install --config a=b",
            ),
            ("-service start -config a", "service start"),
            ("-config a -service stop", "service stop"),
            ("-service restart", "service restart"),
            // What is wrong stays wrong, in today's words.
            ("-service explode", "service explode"),
            ("-service", "service"),
            ("-config", "run --config"),
        ] {
            assert_eq!(translated(old).as_deref(), Some(new), "{old}");
        }
    }

    #[test]
    fn todays_command_lines_are_left_alone() {
        for line in [
            "",
            "run --config a.conf",
            "service install --config a.conf",
            "service status",
            "--json host list",
            "-configure x",
            "-h",
        ] {
            assert_eq!(translated(line), None, "{line}");
        }
    }
}
