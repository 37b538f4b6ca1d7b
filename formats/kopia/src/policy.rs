//! Policies: how a source is to be stored.
//!
//! Kopia spec 7.5. Knows the policy that a new repository has, which policies apply to a source, and
//! the choices that decide what its data looks like in the repository: compression and splitting.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::decode_error::DecodeError;
use crate::go_json::null_is_default;
use crate::manifest::TYPE_LABEL;
use crate::snapshot::SnapshotSource;

const STRUCTURE: &str = "policy";

/// The type label of policies.
pub const POLICY_TYPE: &str = "policy";

const NO_COMPRESSOR: &str = "none";
const DEFAULT_METADATA_COMPRESSOR: &str = "zstd-fastest";

/// The global policy that Kopia stores in a new repository: its defaults, spelled out.
pub const DEFAULT_GLOBAL_POLICY: &str = r#"{"retention":{"keepLatest":10,"keepHourly":48,"keepDaily":7,"keepWeekly":4,"keepMonthly":24,"keepAnnual":3,"ignoreIdenticalSnapshots":false},"files":{"ignoreDotFiles":[".kopiaignore"]},"errorHandling":{"ignoreFileErrors":false,"ignoreDirectoryErrors":false,"ignoreUnknownTypes":true},"scheduling":{"runMissed":true},"compression":{"compressorName":"none"},"metadataCompression":{"compressorName":"zstd-fastest"},"splitter":{},"actions":{},"osSnapshots":{"volumeShadowCopy":{"enable":0}},"logging":{"directories":{"snapshotted":5,"ignored":5},"entries":{"snapshotted":0,"ignored":5,"cacheHit":0,"cacheMiss":0}},"upload":{"maxParallelSnapshots":1,"parallelUploadAboveSize":2147483648}}"#;

/// Returns the global policy of a new repository whose files are compressed with `compressor`, a
/// name of Kopia's; everything else is as Kopia stores it.
pub fn global_policy(compressor: &str) -> Box<RawValue> {
    let none = r#""compression":{"compressorName":"none"}"#;
    let chosen = none.replace("none", compressor);
    let json = DEFAULT_GLOBAL_POLICY.replacen(none, &chosen, 1);
    RawValue::from_string(json).expect("a compressor's name needs no escaping in JSON")
}

/// Returns the labels of the global policy.
pub fn global_labels() -> BTreeMap<String, String> {
    labels("global", &[])
}

/// Returns the labels of the policies that apply to a source, most specific first: its path and
/// every folder above it, the user, the host, and the global one.
pub fn chain_for(source: &SnapshotSource) -> Vec<BTreeMap<String, String>> {
    let host = ("hostname", &*source.host);
    let user = ("username", &*source.user_name);
    let mut chain: Vec<_> = path_and_parents(&source.path)
        .into_iter()
        .map(|path| labels("path", &[host, user, ("path", path)]))
        .collect();
    chain.push(labels("user", &[host, user]));
    chain.push(labels("host", &[host]));
    chain.push(global_labels());
    chain
}

fn labels(policy_type: &str, further: &[(&str, &str)]) -> BTreeMap<String, String> {
    let fixed = [(TYPE_LABEL, POLICY_TYPE), ("policyType", policy_type)];
    fixed
        .iter()
        .chain(further)
        .map(|&(label, value)| (label.to_owned(), value.to_owned()))
        .collect()
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

/// What one policy says about how data is stored. A choice that it leaves open is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoragePolicy {
    /// How files are compressed.
    pub compressor: Option<String>,
    /// How lists and directories are compressed.
    pub metadata_compressor: Option<String>,
    /// How files are split.
    pub splitter: Option<String>,
    /// Whether less specific policies, and the defaults, do not apply.
    pub no_parent: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct StoredPolicy {
    #[serde(default, deserialize_with = "null_is_default")]
    compression: StoredCompression,
    #[serde(default, deserialize_with = "null_is_default")]
    metadata_compression: StoredCompression,
    #[serde(default, deserialize_with = "null_is_default")]
    splitter: StoredSplitter,
    #[serde(default, deserialize_with = "null_is_default")]
    no_parent: bool,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct StoredCompression {
    #[serde(default, deserialize_with = "null_is_default")]
    compressor_name: String,
}

#[derive(Default, Deserialize)]
struct StoredSplitter {
    #[serde(default, deserialize_with = "null_is_default")]
    algorithm: String,
}

impl StoragePolicy {
    /// Returns what the data of a policy's manifest says.
    pub fn parse(json: &str) -> Result<Self, DecodeError> {
        let stored: StoredPolicy = serde_json::from_str(json)
            .map_err(|error| DecodeError::because(STRUCTURE, error.to_string(), error))?;
        let choice = |name: String| (!name.is_empty()).then_some(name);
        Ok(Self {
            compressor: choice(stored.compression.compressor_name),
            metadata_compressor: choice(stored.metadata_compression.compressor_name),
            splitter: choice(stored.splitter.algorithm),
            no_parent: stored.no_parent,
        })
    }
}

/// How the data of a source is stored, all policies considered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EffectivePolicy {
    /// How files are compressed; `None` is not at all.
    pub compressor: Option<String>,
    /// How lists and directories are compressed; `None` is not at all.
    pub metadata_compressor: Option<String>,
    /// How files are split; `None` is as the repository says.
    pub splitter: Option<String>,
}

impl EffectivePolicy {
    /// Returns what the policies of a source, in the order of [`chain_for`], say together.
    pub fn merge<'p>(chain: impl IntoIterator<Item = &'p StoragePolicy>) -> Self {
        let mut merged = Self::default();
        let mut defaults_apply = true;
        for policy in chain {
            let keep_first = |known: &mut Option<String>, choice: &Option<String>| {
                if known.is_none() {
                    known.clone_from(choice);
                }
            };
            keep_first(&mut merged.compressor, &policy.compressor);
            keep_first(&mut merged.metadata_compressor, &policy.metadata_compressor);
            keep_first(&mut merged.splitter, &policy.splitter);
            if policy.no_parent {
                defaults_apply = false;
                break;
            }
        }
        if defaults_apply && merged.metadata_compressor.is_none() {
            merged.metadata_compressor = Some(DEFAULT_METADATA_COMPRESSOR.to_owned());
        }
        merged.compressor = merged.compressor.filter(|name| name != NO_COMPRESSOR);
        merged.metadata_compressor = merged
            .metadata_compressor
            .filter(|name| name != NO_COMPRESSOR);
        merged
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

    #[test]
    fn the_chain_goes_from_path_to_global() {
        let chain = chain_for(&SnapshotSource {
            host: "h".to_owned(),
            user_name: "u".to_owned(),
            path: "/a".to_owned(),
        });
        let types: Vec<_> = chain.iter().map(|labels| &*labels["policyType"]).collect();
        assert_eq!(types, ["path", "path", "user", "host", "global"]);
        assert_eq!(chain[0].len(), 5);
        assert_eq!((&*chain[0]["path"], &*chain[1]["path"]), ("/a", "/"));
        assert_eq!(chain[2].len(), 4);
        assert_eq!(chain[3].len(), 3);
        assert!(chain.iter().all(|labels| labels["type"] == "policy"));
    }

    #[test]
    fn a_new_repository_may_choose_how_files_are_compressed_and_nothing_else() {
        assert_eq!(global_policy("none").get(), DEFAULT_GLOBAL_POLICY);
        let chosen = global_policy("zstd");
        let policy = StoragePolicy::parse(chosen.get()).unwrap();
        assert_eq!(policy.compressor.as_deref(), Some("zstd"));
        assert_eq!(policy.metadata_compressor.as_deref(), Some("zstd-fastest"));
        let back = chosen.get().replacen(r#""zstd""#, r#""none""#, 1);
        assert_eq!(back, DEFAULT_GLOBAL_POLICY);
    }

    fn merged(chain: &[&str]) -> (Option<String>, Option<String>, Option<String>) {
        let chain: Vec<_> = chain
            .iter()
            .map(|json| StoragePolicy::parse(json).unwrap())
            .collect();
        let merged = EffectivePolicy::merge(&chain);
        (
            merged.compressor,
            merged.metadata_compressor,
            merged.splitter,
        )
    }

    #[test]
    fn the_first_that_says_something_is_followed() {
        let metadata = || Some("zstd-fastest".to_owned());
        assert_eq!(merged(&[]), (None, metadata(), None));
        assert_eq!(merged(&[DEFAULT_GLOBAL_POLICY]), (None, metadata(), None));
        let path = r#"{"compression":{"compressorName":"gzip"},"metadataCompression":{"compressorName":"none"},"splitter":{"algorithm":"FIXED-1M"}}"#;
        let all = (Some("gzip".to_owned()), None, Some("FIXED-1M".to_owned()));
        assert_eq!(merged(&[path, DEFAULT_GLOBAL_POLICY]), all);
        assert_eq!(merged(&["{}", path, DEFAULT_GLOBAL_POLICY]), all);
        let off = r#"{"compression":{"compressorName":"none"},"splitter":null}"#;
        assert_eq!(
            merged(&[off, path]),
            (None, None, Some("FIXED-1M".to_owned()))
        );
        assert_eq!(merged(&[r#"{"noParent":true}"#, path]), (None, None, None));
    }

    #[test]
    fn damage_is_an_error() {
        for json in [
            "",
            "null",
            r#"{"compression":{"compressorName":7}}"#,
            r#"{"noParent":"no"}"#,
        ] {
            assert!(StoragePolicy::parse(json).is_err(), "{json}");
        }
    }
}
