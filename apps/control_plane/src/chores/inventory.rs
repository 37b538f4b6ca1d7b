//! When a host is asked for its VMs: first which there are, then their disks. Pure.

use crate::store::agents::ONLINE_MS;

const MINUTE_MS: i64 = 60_000;

/// A host that has, or may well have, VMs is asked this often.
const OFTEN_MS: i64 = 15 * MINUTE_MS;

/// Another host is asked this often whether it has any.
const SELDOM_MS: i64 = 24 * 60 * MINUTE_MS;

/// The command that lists VMs.
pub const LIST: &str = "list_hyperv_vms";

/// The command that tells of VMs' disks.
pub const DETAILS: &str = "list_hyperv_vm_details";

/// A command of one of these kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// When it was queued (milliseconds since 1970).
    pub at: i64,
    /// Whether it has not ended.
    pub is_open: bool,
    /// Whether it ended well.
    pub is_answered: bool,
}

/// What is known of a host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// When it last called (milliseconds since 1970).
    pub last_seen_at: Option<i64>,
    /// Whether it has VMs, or a job for some.
    pub has_vms: bool,
    /// The newest list that was asked for.
    pub list: Option<Asked>,
    /// The newest details that were asked for.
    pub details: Option<Asked>,
}

/// What a host is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// Its VMs.
    List,
    /// The disks of the VMs that it listed.
    Details,
}

/// Returns what to ask a host for now.
pub fn next(record: &Record, now_ms: i64) -> Option<Question> {
    record
        .last_seen_at
        .filter(|seen| now_ms - seen <= ONLINE_MS)?;
    let is_open = |asked: Option<Asked>| asked.is_some_and(|asked| asked.is_open);
    if is_open(record.list) || is_open(record.details) {
        return None;
    }
    let Some(list) = record.list else {
        return Some(Question::List);
    };
    if list.is_answered
        && record.has_vms
        && record.details.is_none_or(|details| details.at < list.at)
    {
        return Some(Question::Details);
    }
    let pause = if record.has_vms { OFTEN_MS } else { SELDOM_MS };
    (now_ms - list.at >= pause).then_some(Question::List)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_asked_for_its_vms_and_then_for_their_disks() {
        let now = 100 * SELDOM_MS;
        let asked = |ago: i64, is_open: bool| {
            Some(Asked {
                at: now - ago,
                is_open,
                is_answered: !is_open,
            })
        };
        let host = Record {
            last_seen_at: Some(now),
            has_vms: true,
            list: None,
            details: None,
        };
        let cases = [
            (host, Some(Question::List)),
            (
                Record {
                    last_seen_at: Some(now - ONLINE_MS - 1),
                    ..host
                },
                None,
            ),
            (
                Record {
                    last_seen_at: None,
                    ..host
                },
                None,
            ),
            (
                Record {
                    list: asked(1, true),
                    ..host
                },
                None,
            ),
            (
                Record {
                    list: asked(1, false),
                    ..host
                },
                Some(Question::Details),
            ),
            (
                Record {
                    list: asked(2, false),
                    details: asked(1, true),
                    ..host
                },
                None,
            ),
            (
                Record {
                    list: asked(2, false),
                    details: asked(1, false),
                    ..host
                },
                None,
            ),
            (
                Record {
                    list: asked(OFTEN_MS, false),
                    details: asked(1, false),
                    ..host
                },
                Some(Question::List),
            ),
            (
                Record {
                    has_vms: false,
                    list: asked(OFTEN_MS, false),
                    ..host
                },
                None,
            ),
            (
                Record {
                    has_vms: false,
                    list: asked(SELDOM_MS, false),
                    ..host
                },
                Some(Question::List),
            ),
        ];
        for (host, expected) in cases {
            assert_eq!(next(&host, now), expected, "{host:?}");
        }
    }
}
