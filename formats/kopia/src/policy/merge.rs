//! What several policies say together (Kopia spec 7.5).

use std::collections::BTreeSet;

use super::Policy;
use super::sections::{
    ActionsPolicy, CompressionPolicy, ErrorHandlingPolicy, FilesPolicy, LoggingPolicy,
    RetentionPolicy, SchedulingPolicy, UploadPolicy,
};
use crate::go_json::is_default;

/// Takes over each member that is still open from a less specific section.
macro_rules! keep_first {
    ($into:expr, $from:expr; $($member:ident),* $(,)?) => {
        $(
            if is_default(&$into.$member) {
                $into.$member.clone_from(&$from.$member);
            }
        )*
    };
}

impl Policy {
    /// Returns what the policies that apply to a source, most specific first, say together, the
    /// defaults included. Members that this program does not know are not merged.
    pub fn merge<'p>(chain: impl IntoIterator<Item = &'p Self>) -> Self {
        let mut merged = Self::default();
        let mut most_specific = None;
        for policy in chain {
            merged.take_over(policy);
            if policy.no_parent {
                return merged;
            }
            most_specific.get_or_insert(policy);
        }
        merged.take_over(&Self::defaults());
        // What is run around a folder is not inherited.
        if let Some(policy) = most_specific {
            keep_first!(merged.actions, policy.actions; before_folder, after_folder);
        }
        merged
    }

    fn take_over(&mut self, from: &Self) {
        retention(&mut self.retention, &from.retention);
        files(&mut self.files, &from.files);
        error_handling(&mut self.error_handling, &from.error_handling);
        scheduling(&mut self.scheduling, &from.scheduling);
        compression(&mut self.compression, &from.compression);
        keep_first!(self.metadata_compression, from.metadata_compression; compressor_name);
        keep_first!(self.splitter, from.splitter; algorithm);
        actions(&mut self.actions, &from.actions);
        keep_first!(
            self.os_snapshots.volume_shadow_copy, from.os_snapshots.volume_shadow_copy;
            enable,
        );
        logging(&mut self.logging, &from.logging);
        upload(&mut self.upload, &from.upload);
    }
}

fn retention(into: &mut RetentionPolicy, from: &RetentionPolicy) {
    keep_first!(
        into, from;
        keep_latest, keep_hourly, keep_daily, keep_weekly, keep_monthly, keep_annual,
        ignore_identical_snapshots,
    );
}

fn files(into: &mut FilesPolicy, from: &FilesPolicy) {
    keep_first!(
        into, from;
        ignore, no_parent_ignore, ignore_dot_files, no_parent_dot_files, ignore_cache_dirs,
        max_file_size, one_file_system,
    );
}

fn error_handling(into: &mut ErrorHandlingPolicy, from: &ErrorHandlingPolicy) {
    keep_first!(
        into, from;
        ignore_file_errors, ignore_directory_errors, ignore_unknown_types,
    );
}

fn scheduling(into: &mut SchedulingPolicy, from: &SchedulingPolicy) {
    if !into.no_parent_time_of_day {
        into.time_of_day = united(&into.time_of_day, &from.time_of_day);
        into.no_parent_time_of_day = from.no_parent_time_of_day;
    }
    keep_first!(into, from; interval_seconds, manual, cron, run_missed);
}

fn compression(into: &mut CompressionPolicy, from: &CompressionPolicy) {
    keep_first!(into, from; compressor_name, min_size, max_size);
    if !into.no_parent_only_compress {
        into.only_compress = united(&into.only_compress, &from.only_compress);
        into.no_parent_only_compress = from.no_parent_only_compress;
    }
    if !into.no_parent_never_compress {
        into.never_compress = united(&into.never_compress, &from.never_compress);
        into.no_parent_never_compress = from.no_parent_never_compress;
    }
}

fn actions(into: &mut ActionsPolicy, from: &ActionsPolicy) {
    keep_first!(into, from; before_snapshot_root, after_snapshot_root);
}

fn logging(into: &mut LoggingPolicy, from: &LoggingPolicy) {
    keep_first!(into.directories, from.directories; snapshotted, ignored);
    keep_first!(into.entries, from.entries; snapshotted, ignored, cache_hit, cache_miss);
}

fn upload(into: &mut UploadPolicy, from: &UploadPolicy) {
    keep_first!(
        into, from;
        max_parallel_snapshots, max_parallel_file_reads, parallel_upload_above_size,
    );
}

/// Returns the members of both lists, sorted, each once.
fn united<T: Clone + Ord>(one: &[T], other: &[T]) -> Vec<T> {
    let all: BTreeSet<&T> = one.iter().chain(other).collect();
    all.into_iter().cloned().collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn merged(chain: &[Value]) -> Value {
        let chain: Vec<Policy> = chain
            .iter()
            .map(|json| Policy::parse(&json.to_string()).unwrap())
            .collect();
        let merged = Policy::merge(&chain);
        serde_json::from_str(merged.encode().get()).unwrap()
    }

    #[test]
    fn the_first_that_says_something_is_followed() {
        for (section, member, first, second) in [
            ("retention", "keepLatest", json!(0), json!(5)),
            ("retention", "keepAnnual", json!(-1), json!(5)),
            (
                "retention",
                "ignoreIdenticalSnapshots",
                json!(true),
                json!(false),
            ),
            ("files", "ignore", json!(["b", "a"]), json!(["c"])),
            ("files", "ignoreDotFiles", json!([".x"]), json!([".y"])),
            ("files", "ignoreCacheDirs", json!(false), json!(true)),
            ("files", "maxFileSize", json!(7), json!(8)),
            (
                "errorHandling",
                "ignoreUnknownTypes",
                json!(false),
                json!(true),
            ),
            ("scheduling", "intervalSeconds", json!(60), json!(3600)),
            (
                "scheduling",
                "cron",
                json!(["0 1 * * *"]),
                json!(["0 2 * * *"]),
            ),
            ("scheduling", "runMissed", json!(false), json!(true)),
            ("compression", "compressorName", json!("none"), json!("s2")),
            ("compression", "minSize", json!(10), json!(20)),
            (
                "metadataCompression",
                "compressorName",
                json!("none"),
                json!("s2"),
            ),
            ("splitter", "algorithm", json!("FIXED-1M"), json!("FIXED")),
            (
                "actions",
                "beforeSnapshotRoot",
                json!({"path":"/a"}),
                json!({"path":"/b"}),
            ),
            ("upload", "maxParallelFileReads", json!(3), json!(4)),
        ] {
            let policy = |value: &Value| json!({ section: { member: value } });
            let open = json!({});
            for chain in [
                vec![policy(&first), policy(&second)],
                vec![open.clone(), policy(&first), open, policy(&second)],
            ] {
                assert_eq!(merged(&chain)[section][member], first, "{section} {member}");
            }
        }
    }

    #[test]
    fn what_is_open_or_zero_or_false_is_looked_for_further_on() {
        let open = json!({"files":{"maxFileSize":0,"ignore":[]},"scheduling":{"manual":false}});
        let says = json!({"files":{"maxFileSize":9,"ignore":["x"]},"scheduling":{"manual":true}});
        let merged = merged(&[open, says]);
        assert_eq!(merged["files"]["maxFileSize"], 9);
        assert_eq!(merged["files"]["ignore"], json!(["x"]));
        assert_eq!(merged["scheduling"]["manual"], true);
    }

    #[test]
    fn extensions_and_times_are_united_until_a_policy_says_no() {
        let policy = |extension: &str, hour: i64, last: bool| {
            json!({
                "compression": { "neverCompress": [extension], "noParentNeverCompress": last, "onlyCompress": [extension] },
                "scheduling": { "timeOfDay": [{ "hour": hour, "min": 5 }], "noParentTimeOfDay": last },
            })
        };
        let chain = [
            policy(".z", 9, false),
            policy(".a", 7, true),
            policy(".q", 1, false),
        ];
        let merged = merged(&chain);
        assert_eq!(merged["compression"]["neverCompress"], json!([".a", ".z"]));
        assert_eq!(
            merged["compression"]["onlyCompress"],
            json!([".a", ".q", ".z"])
        );
        assert_eq!(
            merged["scheduling"]["timeOfDay"],
            json!([{ "hour": 7, "min": 5 }, { "hour": 9, "min": 5 }])
        );
    }

    #[test]
    fn a_policy_without_parents_ends_the_chain_and_the_defaults() {
        let alone = json!({"retention":{"keepDaily":2},"noParent":true});
        let merged = merged(&[alone, json!({"retention":{"keepLatest":5}})]);
        assert_eq!(merged["retention"], json!({ "keepDaily": 2 }));
        assert_eq!(merged["metadataCompression"], json!({}));
        assert_eq!(merged["noParent"], Value::Null);
    }

    #[test]
    fn only_the_most_specific_policy_acts_around_its_folder() {
        let before = |path: &str| json!({"actions":{"beforeFolder":{"path":path}}});
        assert_eq!(
            merged(&[before("/a"), before("/b")])["actions"],
            json!({"beforeFolder":{"path":"/a"}})
        );
        assert_eq!(merged(&[json!({}), before("/b")])["actions"], json!({}));
    }

    #[test]
    fn nothing_said_is_the_defaults() {
        let defaults: Value = serde_json::from_str(Policy::defaults().encode().get()).unwrap();
        assert_eq!(merged(&[]), defaults);
        assert_eq!(merged(&[json!({})]), defaults);
    }
}
