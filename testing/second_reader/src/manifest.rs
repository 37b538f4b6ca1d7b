//! Manifests (Kopia spec 7.1) and the strict reading of those that are snapshots (7.2) or policies (7.5).

use std::collections::{BTreeMap, BTreeSet};

use crate::blob_name::is_hex;
use crate::compression::{CONTENT_BYTES_MAX, gunzip};
use crate::directory::DirectoryEntry;
use crate::json::Json;
use crate::moment::Moment;

/// A small labelled document.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    /// 32 hex digits.
    pub id: String,
    /// What it is found by; `type` is always there.
    pub labels: BTreeMap<String, String>,
    /// When it was written.
    pub modified: Moment,
    /// What it says.
    pub data: serde_json::Value,
    pub(crate) json: Json,
    pub(crate) deleted: bool,
}

/// Parses the plain bytes of an `m` content.
pub(crate) fn parse_content(plain: &[u8]) -> Result<Vec<Manifest>, String> {
    let json = Json::parse(&gunzip(plain, CONTENT_BYTES_MAX)?)?;
    let entries = json
        .fields("manifest content", &["entries"])?
        .need("entries")?
        .list("entries")?;
    let manifests = entries
        .iter()
        .map(parse_entry)
        .collect::<Result<Vec<_>, String>>()?;
    if manifests.is_empty() {
        return Err("manifest content has no entries".to_owned());
    }
    if manifests
        .iter()
        .map(|manifest| &manifest.id)
        .collect::<BTreeSet<_>>()
        .len()
        != manifests.len()
    {
        return Err("manifest content has a manifest twice".to_owned());
    }
    Ok(manifests)
}

fn parse_entry(json: &Json) -> Result<Manifest, String> {
    let fields = json.fields(
        "manifest entry",
        &["id", "labels", "modified", "deleted", "data"],
    )?;
    let id = fields.need_text("id")?.to_owned();
    if !is_hex(&id, 32) {
        return Err(format!("manifest ID {id:?} is not 32 hex digits"));
    }
    let deleted = fields.flag("deleted")?;
    let data = fields.need("data")?.clone();
    let labels = fields.need("labels")?;
    let labels = if deleted {
        if *labels != Json::Null || data != Json::Null {
            return Err(format!("deleted manifest {id} has labels or data"));
        }
        BTreeMap::new()
    } else {
        labels.text_map("labels")?
    };
    if !deleted && labels.get("type").is_none_or(String::is_empty) {
        return Err(format!("manifest {id} has no type"));
    }
    let modified = Moment::parse(fields.need_text("modified")?)?;
    Ok(Manifest {
        id,
        labels,
        modified,
        data: data.to_value(),
        json: data,
        deleted,
    })
}

/// A snapshot manifest, read strictly.
pub(crate) struct SnapshotManifest {
    pub(crate) root: DirectoryEntry,
    pub(crate) incomplete: String,
}

impl SnapshotManifest {
    pub(crate) fn parse(manifest: &Manifest) -> Result<SnapshotManifest, String> {
        let known = [
            "id",
            "source",
            "description",
            "startTime",
            "endTime",
            "stats",
            "incomplete",
            "rootEntry",
            "tags",
            "storageStats",
            "pins",
        ];
        let fields = manifest.json.fields("snapshot manifest", &known)?;
        if !fields.need_text("id")?.is_empty() {
            return Err("snapshot manifest stores an id".to_owned());
        }
        let tags = match fields.get("tags") {
            None => BTreeMap::new(),
            Some(tags) => tags.text_map("tags")?,
        };
        let source = fields
            .need("source")?
            .fields("source", &["host", "userName", "path"])?;
        let mut labels = tags.clone();
        labels.insert("type".to_owned(), "snapshot".to_owned());
        for (label, member) in [
            ("hostname", "host"),
            ("username", "userName"),
            ("path", "path"),
        ] {
            let value = source.need_text(member)?;
            if value.is_empty() {
                return Err(format!("source has no {member}"));
            }
            labels.insert(label.to_owned(), value.to_owned());
        }
        if labels != manifest.labels {
            return Err(format!(
                "labels {:?} are not those of source and tags",
                manifest.labels
            ));
        }
        fields.text("description")?;
        let start = Moment::parse(fields.need_text("startTime")?)?;
        let end = Moment::parse(fields.need_text("endTime")?)?;
        if end.unix_ns < start.unix_ns {
            return Err("snapshot ends before it starts".to_owned());
        }
        check_stats(fields.need("stats")?)?;
        let incomplete = fields.text("incomplete")?;
        if fields.get("incomplete").is_some()
            && !matches!(incomplete, "checkpoint" | "canceled" | "limit reached")
        {
            return Err(format!(
                "snapshot is incomplete for the unknown reason {incomplete:?}"
            ));
        }
        if let Some(pins) = fields.get("pins") {
            let pins = pins
                .list("pins")?
                .iter()
                .map(|pin| pin.text("pin"))
                .collect::<Result<Vec<_>, _>>()?;
            if pins.is_empty() || pins.contains(&"") {
                return Err("snapshot has empty pins".to_owned());
            }
        }
        let root = DirectoryEntry::parse(fields.need("rootEntry")?)?;
        Ok(SnapshotManifest {
            root,
            incomplete: incomplete.to_owned(),
        })
    }
}

fn check_stats(stats: &Json) -> Result<(), String> {
    let names = [
        "totalSize",
        "excludedTotalSize",
        "fileCount",
        "cachedFiles",
        "nonCachedFiles",
        "dirCount",
        "excludedFileCount",
        "excludedDirCount",
        "ignoredErrorCount",
        "errorCount",
    ];
    let stats = stats.fields("stats", &names)?;
    names
        .iter()
        .try_for_each(|name| stats.number(name).map(drop))
}

/// Checks the labels of a policy, or what else a manifest of a known type must have.
pub(crate) fn check_other(manifest: &Manifest) -> Result<(), String> {
    let label = |name: &str| manifest.labels.get(name).map_or("", String::as_str);
    let wanted: &[&str] = match (label("type"), label("policyType")) {
        ("policy", "global") => &[],
        ("policy", "host") => &["hostname"],
        ("policy", "user") => &["username", "hostname"],
        ("policy", "path") => &["username", "hostname", "path"],
        ("policy", other) => return Err(format!("policyType {other:?} is unknown")),
        ("maintenance", _) => {
            let fields = manifest.json.loose_fields("maintenance parameters")?;
            return if fields.need_text("owner")?.contains('@') {
                Ok(())
            } else {
                Err("owner has no @".to_owned())
            };
        }
        _ => return Ok(()),
    };
    manifest.json.loose_fields("policy")?;
    let path = label("path");
    if path.len() > 1 && path.ends_with('/') {
        return Err("path of a policy ends in a slash".to_owned());
    }
    let names: BTreeSet<&str> = manifest.labels.keys().map(String::as_str).collect();
    let all: BTreeSet<&str> = wanted
        .iter()
        .copied()
        .chain(["type", "policyType"])
        .collect();
    if names != all || wanted.iter().any(|name| label(name).is_empty()) {
        return Err(format!(
            "labels {:?} are not those of such a policy",
            manifest.labels
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{
        "id": "0123456789abcdef0123456789abcdef",
        "labels": {"type": "snapshot", "hostname": "h", "username": "u", "path": "/p", "tag:a": "b"},
        "modified": "2024-01-02T03:04:05.1Z",
        "data": {
            "id": "", "source": {"host": "h", "userName": "u", "path": "/p"}, "description": "",
            "startTime": "2024-01-02T03:04:04Z", "endTime": "2024-01-02T03:04:05Z",
            "stats": {"totalSize": 1, "fileCount": 1}, "incomplete": "checkpoint",
            "rootEntry": {"name": "p", "type": "d", "mode": "0755", "mtime": "2024-01-02T03:04:05Z", "obj": "k00"},
            "tags": {"tag:a": "b"}, "pins": ["keep"]
        }
    }"#;

    fn judge(text: &str) -> Result<SnapshotManifest, String> {
        SnapshotManifest::parse(&parse_entry(&Json::parse(text.as_bytes())?)?)
    }

    #[test]
    fn a_good_snapshot_manifest_is_accepted() {
        let snapshot = judge(GOOD).unwrap();
        assert_eq!(
            (snapshot.incomplete.as_str(), snapshot.root.object.as_str()),
            ("checkpoint", "k00")
        );
    }

    #[test]
    fn every_broken_rule_of_snapshot_manifests_is_seen() {
        for (good, bad) in [
            ("0123456789abcdef0", "0123456789ABCDEF0"),
            ("\"type\": \"snapshot\"", "\"kind\": \"snapshot\""),
            ("\"hostname\": \"h\"", "\"hostname\": \"other\""),
            ("\"tag:a\": \"b\"},", "\"tag:a\": \"c\"},"),
            ("\"tag:a\": \"b\"},", "\"tag:a\": \"b\", \"tag:z\": \"z\"},"),
            ("\"modified\": \"2024", "\"modified\": \"24"),
            ("\"id\": \"\"", "\"id\": \"0\""),
            ("\"userName\": \"u\"", "\"userName\": \"\""),
            ("\"source\"", "\"Source\""),
            (
                "\"startTime\": \"2024-01-02T03:04:04Z\"",
                "\"startTime\": \"2024-01-02T03:04:06Z\"",
            ),
            ("\"endTime\": \"2024-01-02T03:04:05Z\",", ""),
            (
                "\"endTime\": \"2024-01-02T03:04:05Z\"",
                "\"endTime\": \"2024-01-02T03:04:05+00:00\"",
            ),
            ("\"totalSize\": 1", "\"totalSize\": -1"),
            ("\"fileCount\": 1", "\"files\": 1"),
            ("\"checkpoint\"", "\"tired\""),
            ("\"checkpoint\"", "\"\""),
            ("\"rootEntry\"", "\"root\""),
            ("\"obj\": \"k00\"", "\"object\": \"k00\""),
            ("[\"keep\"]", "[]"),
            ("[\"keep\"]", "\"keep\""),
        ] {
            assert!(GOOD.contains(good), "{good}");
            assert!(judge(&GOOD.replacen(good, bad, 1)).is_err(), "{bad}");
        }
    }

    #[test]
    fn labels_of_policies_are_judged() {
        for (labels, good) in [
            (r#""policyType":"global""#, true),
            (r#""policyType":"host","hostname":"h""#, true),
            (
                r#""policyType":"path","username":"u","hostname":"h","path":"/""#,
                true,
            ),
            (
                r#""policyType":"path","username":"u","hostname":"h","path":"/p/""#,
                false,
            ),
            (r#""policyType":"path","username":"u","path":"/p""#, false),
            (r#""policyType":"global","hostname":"h""#, false),
            (r#""policyType":"user","username":"u","hostname":"""#, false),
            (r#""policyType":"all""#, false),
        ] {
            let text = format!(
                r#"{{"id":"0123456789abcdef0123456789abcdef","labels":{{"type":"policy",{labels}}},
                    "modified":"2024-01-02T03:04:05Z","data":{{}}}}"#
            );
            let manifest = parse_entry(&Json::parse(text.as_bytes()).unwrap()).unwrap();
            assert_eq!(check_other(&manifest).is_ok(), good, "{labels}");
        }
    }
}
