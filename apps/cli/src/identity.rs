//! Who this client is to other clients of a repository: user and host, as Kopia names them.

use repo::Identity;

/// Returns the user's name and the host's, lower-cased and cut at the first dot.
pub fn identity() -> Identity {
    Identity {
        username: username(),
        hostname: short_name(&system_name()),
    }
}

/// Returns the host's name as its system has it.
pub fn host_name() -> String {
    match system_name().as_str() {
        "" => std::env::consts::OS.to_owned(),
        name => name.to_owned(),
    }
}

fn short_name(name: &str) -> String {
    let short = name.split('.').next().unwrap_or_default().to_lowercase();
    if short.is_empty() {
        "localhost".to_owned()
    } else {
        short
    }
}

fn username() -> String {
    let named = ["USER", "LOGNAME", "USERNAME"]
        .into_iter()
        .find_map(|variable| std::env::var(variable).ok().filter(|name| !name.is_empty()));
    named.unwrap_or_else(|| "root".to_owned()).to_lowercase()
}

#[cfg(unix)]
fn system_name() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}

#[cfg(windows)]
fn system_name() -> String {
    std::env::var("COMPUTERNAME").unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::short_name;

    #[test]
    fn host_names_are_short_and_lower_case() {
        assert_eq!(short_name("HV01.example.com"), "hv01");
        assert_eq!(short_name(""), "localhost");
    }
}
