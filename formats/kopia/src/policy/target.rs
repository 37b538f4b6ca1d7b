//! What a policy is of, and which policies apply to a source.

use std::collections::BTreeMap;
use std::fmt;

use super::POLICY_TYPE;
use crate::manifest::TYPE_LABEL;
use crate::snapshot::SnapshotSource;

const LEVEL_LABEL: &str = "policyType";
const HOST_LABEL: &str = "hostname";
const USER_LABEL: &str = "username";
const PATH_LABEL: &str = "path";

/// What a policy is of: everything, a host, a user of a host, or a path of that user.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PolicyTarget(SnapshotSource);

impl PolicyTarget {
    /// Returns the target of the policy for everything.
    pub fn global() -> Self {
        Self::of("", "", "")
    }

    /// Returns the target of the policy for exactly `source`; as in Kopia, one without path is of
    /// the user, without user of the host, and without host of everything.
    pub fn source(source: &SnapshotSource) -> Self {
        let SnapshotSource {
            host,
            user_name,
            path,
        } = source;
        match (&**path, &**user_name) {
            ("", "") => Self::of(host, "", ""),
            ("", user) => Self::of(host, user, ""),
            (path, user) => {
                let root_len = root_len(path);
                let end = trimmed(path, path.len(), root_len);
                Self::of(host, user, &path[..end.max(root_len)])
            }
        }
    }

    /// Returns the target that the labels of a policy's manifest say, if they make sense.
    pub fn from_labels(labels: &BTreeMap<String, String>) -> Option<Self> {
        let label = |label| labels.get(label).map_or("", String::as_str);
        let (host, user, path) = (label(HOST_LABEL), label(USER_LABEL), label(PATH_LABEL));
        let target = match label(LEVEL_LABEL) {
            "global" => Self::global(),
            "host" => Self::of(host, "", ""),
            "user" => Self::of(host, user, ""),
            "path" => Self::of(host, user, path),
            _ => return None,
        };
        (target.labels() == *labels).then_some(target)
    }

    fn of(host: &str, user: &str, path: &str) -> Self {
        Self(SnapshotSource {
            host: host.to_owned(),
            user_name: user.to_owned(),
            path: path.to_owned(),
        })
    }

    /// Says whether this is a path's.
    pub fn is_path(&self) -> bool {
        !self.0.path.is_empty()
    }

    /// Returns the labels by which the policy is found.
    pub fn labels(&self) -> BTreeMap<String, String> {
        let SnapshotSource {
            host,
            user_name: user,
            path,
        } = &self.0;
        let (host, user, path) = ((HOST_LABEL, host), (USER_LABEL, user), (PATH_LABEL, path));
        let (level, further) = match (path.1.is_empty(), user.1.is_empty(), host.1.is_empty()) {
            (false, ..) => ("path", vec![host, user, path]),
            (true, false, _) => ("user", vec![host, user]),
            (true, true, false) => ("host", vec![host]),
            (true, true, true) => ("global", vec![]),
        };
        let mut labels: BTreeMap<String, String> = further
            .into_iter()
            .map(|(label, value)| (label.to_owned(), value.clone()))
            .collect();
        labels.insert(TYPE_LABEL.to_owned(), POLICY_TYPE.to_owned());
        labels.insert(LEVEL_LABEL.to_owned(), level.to_owned());
        labels
    }

    /// Returns the targets whose policies apply here, most specific first: this one, every folder
    /// above, the user, the host, and everything.
    pub fn chain(&self) -> Vec<Self> {
        let SnapshotSource {
            host,
            user_name: user,
            path,
        } = &self.0;
        let mut chain: Vec<Self> = path_and_parents(path)
            .into_iter()
            .map(|path| Self::of(host, user, path))
            .collect();
        if !user.is_empty() {
            chain.push(Self::of(host, user, ""));
        }
        if !host.is_empty() {
            chain.push(Self::of(host, "", ""));
        }
        chain.push(Self::global());
        chain
    }
}

/// As Kopia writes it: `(global)`, `@host`, `user@host`, `user@host:path`.
impl fmt::Display for PolicyTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SnapshotSource {
            host,
            user_name: user,
            path,
        } = &self.0;
        match (path.is_empty(), user.is_empty() && host.is_empty()) {
            (true, true) => f.write_str("(global)"),
            (true, false) => write!(f, "{user}@{host}"),
            (false, _) => write!(f, "{user}@{host}:{path}"),
        }
    }
}

/// Returns a path and its parents up to the root: `/` on Unix, `C:\` on Windows.
fn path_and_parents(path: &str) -> Vec<&str> {
    let mut paths = Vec::new();
    let root_len = root_len(path);
    let mut end = trimmed(path, path.len(), root_len);
    while end > root_len {
        paths.push(&path[..end]);
        let separator = path[root_len..end].rfind(['/', '\\']);
        end = separator.map_or(root_len, |at| trimmed(path, root_len + at, root_len));
    }
    if root_len > 0 {
        paths.push(&path[..root_len]);
    }
    paths
}

/// Cuts separators off the end of `path[..end]`, but not out of the root.
fn trimmed(path: &str, end: usize, root_len: usize) -> usize {
    let inside = path[root_len..end].trim_end_matches(['/', '\\']);
    root_len + inside.len()
}

fn root_len(path: &str) -> usize {
    match path.as_bytes() {
        [b'/' | b'\\', ..] => 1,
        [drive, b':', b'/' | b'\\', ..] if drive.is_ascii_alphabetic() => 3,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_to_their_root() {
        for (path, chain) in [
            ("/", &["/"][..]),
            ("/data/mini", &["/data/mini", "/data", "/"]),
            ("/data//mini/", &["/data//mini", "/data", "/"]),
            (r"C:\Users\x", &[r"C:\Users\x", r"C:\Users", r"C:\"]),
            (r"C:\", &[r"C:\"]),
            ("hyperv/0a1b", &["hyperv/0a1b", "hyperv"]),
            ("", &[]),
            ("é/é", &["é/é", "é"]),
        ] {
            assert_eq!(path_and_parents(path), chain, "{path}");
        }
    }

    fn target(host: &str, user: &str, path: &str) -> PolicyTarget {
        PolicyTarget::source(&SnapshotSource {
            host: host.to_owned(),
            user_name: user.to_owned(),
            path: path.to_owned(),
        })
    }

    #[test]
    fn the_chain_goes_from_path_to_global() {
        for (target, chain) in [
            (
                target("h", "u", "/a/"),
                &["u@h:/a", "u@h:/", "u@h", "@h", "(global)"][..],
            ),
            (target("h", "u", ""), &["u@h", "@h", "(global)"]),
            (target("h", "", ""), &["@h", "(global)"]),
            (PolicyTarget::global(), &["(global)"]),
            (
                target("h", "agent", "hyperv/0a"),
                &[
                    "agent@h:hyperv/0a",
                    "agent@h:hyperv",
                    "agent@h",
                    "@h",
                    "(global)",
                ],
            ),
        ] {
            let found: Vec<_> = target.chain().iter().map(ToString::to_string).collect();
            assert_eq!(found, chain);
            assert_eq!(target.chain().first(), Some(&target));
        }
    }

    #[test]
    fn labels_say_what_a_policy_is_of() {
        for (target, level, labels) in [
            (target("h", "u", "/a"), "path", 5),
            (target("h", "u", ""), "user", 4),
            (target("h", "", ""), "host", 3),
            (PolicyTarget::global(), "global", 2),
        ] {
            let found = target.labels();
            assert_eq!(found["type"], "policy");
            assert_eq!(found["policyType"], level);
            assert_eq!(found.len(), labels);
            assert_eq!(PolicyTarget::from_labels(&found), Some(target));
        }
        let mut odd = target("h", "", "").labels();
        odd.insert("policyType".to_owned(), "planet".to_owned());
        assert_eq!(PolicyTarget::from_labels(&odd), None);
        assert_eq!(PolicyTarget::from_labels(&BTreeMap::new()), None);
    }
}
