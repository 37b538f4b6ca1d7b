//! What an order to update says, checked before anything is fetched.

use protocol::commands::AgentUpdate;
use protocol::identity::Program;

use super::version::Version;

/// No program of ours is larger.
const BYTES_MAX: u64 = 512 << 20;

/// What is to be fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Where it is.
    pub url: String,
    /// Where its signature is, if there is one.
    pub signature_url: String,
    /// What it is, in lower-case hexadecimal.
    pub sha256: String,
    /// How large it is, if that is said.
    pub size_bytes: Option<u64>,
    /// It is not larger.
    pub bytes_max: u64,
}

/// Returns what an order wants, or why it is refused.
pub fn wanted(order: &AgentUpdate, program: &Program) -> Result<Wanted, String> {
    let sha256 = order.sha256.trim().to_ascii_lowercase();
    if sha256.len() != 64 || !sha256.bytes().all(|it| it.is_ascii_hexdigit()) {
        return Err(
            "the order names no SHA-256 of the new version, without which it is not installed"
                .to_owned(),
        );
    }
    let url = order.download_url.trim();
    let is_web = ["https://", "http://"].iter().any(|it| {
        url.get(..it.len())
            .is_some_and(|scheme| scheme.eq_ignore_ascii_case(it))
    });
    if !is_web {
        return Err(
            "the order names no address of the new version that begins with https://".to_owned(),
        );
    }
    if order.size_bytes > BYTES_MAX {
        return Err(format!(
            "the new version is said to have {} bytes, and none has more than {BYTES_MAX}",
            order.size_bytes
        ));
    }
    if !is_for(&order.platform, program) {
        return Err(format!(
            "the new version is for {:?}, and this is {}-{}",
            order.platform, program.os, program.arch
        ));
    }
    if let Ok(version) = order.version_label.parse() {
        check_direction(order, &version, program)?;
    }
    let size_bytes = Some(order.size_bytes).filter(|it| *it > 0);
    Ok(Wanted {
        url: url.to_owned(),
        signature_url: signature_of(url),
        sha256,
        size_bytes,
        bytes_max: size_bytes.unwrap_or(BYTES_MAX),
    })
}

/// Refuses a version before the one that runs, unless the order says that it is meant.
pub fn check_direction(
    order: &AgentUpdate,
    new: &Version,
    program: &Program,
) -> Result<(), String> {
    let is_older = program
        .version
        .parse::<Version>()
        .is_ok_and(|running| *new < running);
    match is_older && !order.allow_downgrade {
        true => Err(format!(
            "version {new} is older than {}, which runs; an order with `allow_downgrade` is carried out all the same",
            program.version
        )),
        false => Ok(()),
    }
}

/// Refuses a program that says another version than the order.
pub fn check_label(order: &AgentUpdate, new: &Version) -> Result<(), String> {
    match order.version_label.parse::<Version>() {
        Ok(label) if label != *new => Err(format!(
            "the order is for version {label}, and the program that was fetched says that it is {new}"
        )),
        _ => Ok(()),
    }
}

/// Returns where the signature of a file is: behind its path, before what asks for it.
fn signature_of(url: &str) -> String {
    let end = url.find(['?', '#']).unwrap_or(url.len());
    format!("{}.sig{}", &url[..end], &url[end..])
}

/// Returns whether words such as `linux`, `windows-amd64` or nothing mean this machine.
fn is_for(platform: &str, program: &Program) -> bool {
    const SYSTEMS: [&str; 3] = ["windows", "linux", "darwin"];
    const PROCESSORS: [(&str, &str); 6] = [
        ("amd64", "amd64"),
        ("x86_64", "amd64"),
        ("x64", "amd64"),
        ("arm64", "arm64"),
        ("aarch64", "arm64"),
        ("386", "386"),
    ];
    let platform = platform.to_ascii_lowercase();
    let is_other_system = |it: &&str| platform.contains(*it) && program.os != *it;
    let other_processor =
        |(word, arch): &(&str, &str)| platform.contains(word) && program.arch != *arch;
    !SYSTEMS.iter().any(is_other_system) && !PROCESSORS.iter().any(other_processor)
}

#[cfg(test)]
mod tests {
    use protocol::identifier::UpdateJobId;

    use super::*;

    fn program() -> Program {
        Program {
            version: "1.9.0".to_owned(),
            os: "linux".to_owned(),
            arch: "amd64".to_owned(),
            build: String::new(),
        }
    }

    fn order() -> AgentUpdate {
        AgentUpdate {
            update_job_id: UpdateJobId(3),
            version_label: "2.0.0".to_owned(),
            download_url: "https://a.example/agent".to_owned(),
            sha256: "0A".repeat(32),
            size_bytes: 5,
            platform: "linux".to_owned(),
            require_signature: false,
            allow_downgrade: false,
        }
    }

    #[test]
    fn an_order_says_what_to_fetch() {
        let found = wanted(&order(), &program()).unwrap();
        assert_eq!(found.url, "https://a.example/agent");
        assert_eq!(found.signature_url, "https://a.example/agent.sig");
        assert_eq!(found.sha256, "0a".repeat(32));
        assert_eq!((found.size_bytes, found.bytes_max), (Some(5), 5));
        let asked = AgentUpdate {
            download_url: "http://a.example/agent?key=1.2".to_owned(),
            size_bytes: 0,
            ..order()
        };
        let found = wanted(&asked, &program()).unwrap();
        assert_eq!(found.signature_url, "http://a.example/agent.sig?key=1.2");
        assert_eq!((found.size_bytes, found.bytes_max), (None, BYTES_MAX));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        type Change = fn(&mut AgentUpdate);
        let changes: [(Change, &str); 7] = [
            (|it| it.sha256.clear(), "no SHA-256"),
            (|it| it.sha256 = "zz".repeat(32), "no SHA-256"),
            (
                |it| it.download_url = "file:///etc/passwd".to_owned(),
                "no address",
            ),
            (|it| it.size_bytes = 1 << 40, "none has more"),
            (|it| it.platform = "windows".to_owned(), "\"windows\""),
            (
                |it| it.platform = "linux_arm64".to_owned(),
                "this is linux-amd64",
            ),
            (
                |it| it.version_label = "v1.8.9".to_owned(),
                "older than 1.9.0",
            ),
        ];
        for (change, words) in changes {
            let mut order = order();
            change(&mut order);
            let told = wanted(&order, &program()).unwrap_err();
            assert!(told.contains(words), "{told}");
        }
    }

    #[test]
    fn what_is_meant_is_not_refused() {
        for platform in ["", "linux", "Linux-x86_64", "linux/amd64", "any"] {
            let order = AgentUpdate {
                platform: platform.to_owned(),
                ..order()
            };
            assert!(wanted(&order, &program()).is_ok(), "{platform}");
        }
        let back = AgentUpdate {
            version_label: "1.8.9".to_owned(),
            allow_downgrade: true,
            ..order()
        };
        assert!(wanted(&back, &program()).is_ok());
        let version = |text: &str| text.parse::<Version>().unwrap();
        assert!(check_label(&order(), &version("2.0.0")).is_ok());
        assert!(check_label(&order(), &version("2.0.1")).is_err());
        assert!(check_direction(&order(), &version("1.9.0"), &program()).is_ok());
        let unnamed = AgentUpdate {
            version_label: "latest".to_owned(),
            ..order()
        };
        assert!(check_label(&unnamed, &version("1.9.1")).is_ok());
    }
}
