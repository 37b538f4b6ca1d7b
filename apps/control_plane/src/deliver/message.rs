//! What a message says, as a value, as text and as HTML. Pure.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::watch::size;

/// A message to a channel; a webhook gets it as JSON.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// `alarms`, `summary` or `test`.
    pub kind: String,
    /// What it is about, in a line.
    pub subject: String,
    /// The tenant's id.
    pub tenant_id: String,
    /// What people call the tenant.
    pub tenant_name: String,
    /// Where to look; empty when the server does not know its own address.
    pub url: String,
    /// Alarms that have begun.
    pub opened: Vec<Item>,
    /// How many more have begun than are named.
    #[serde(default)]
    pub more_opened: usize,
    /// Alarms that are over.
    pub resolved: Vec<Item>,
    /// How many more are over than are named.
    #[serde(default)]
    pub more_resolved: usize,
    /// The last day.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<Summary>,
}

/// An alarm.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Item {
    /// Its number.
    pub id: i64,
    /// What is wrong.
    pub kind: String,
    /// `info`, `warning` or `critical`.
    pub severity: String,
    /// What kind of thing it is about.
    pub subject_kind: String,
    /// Which one.
    pub subject_id: String,
    /// What people call it.
    pub subject_name: String,
    /// What is wrong and what to do next.
    pub message: String,
    /// Whether it was told before, when it was less bad.
    #[serde(default)]
    pub is_worse: bool,
    /// When it began, RFC 3339.
    pub opened_at: String,
    /// When it was over, RFC 3339.
    pub resolved_at: Option<String>,
}

/// The last day of a tenant.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The day, `YYYY-MM-DD`.
    pub day: String,
    /// VMs that exist.
    pub vms: u64,
    /// Hosts that are not disabled.
    pub hosts: u64,
    /// Backups of the last 24 hours, by how they ended.
    pub runs: Runs,
    /// VMs that are not safe: name and why.
    pub at_risk: Vec<Named>,
    /// Jobs whose runs failed or did not happen: name and why.
    pub failed: Vec<Named>,
    /// All other alarms that are open: name and why.
    pub other: Vec<Named>,
    /// How much each repository holds.
    pub repositories: Vec<Stored>,
}

/// Backups, by how they ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Runs {
    /// Ended well.
    pub success: u64,
    /// Ended well, with something to look at.
    pub warning: u64,
    /// Failed, or protected only a part.
    pub failed: u64,
    /// Were ended before their end.
    pub cancelled: u64,
    /// Did not happen.
    pub missed: u64,
}

/// A thing, and what is with it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Named {
    /// What people call it.
    pub name: String,
    /// What is wrong and what to do next.
    pub message: String,
}

/// A repository, and how much it holds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Stored {
    /// What people call it.
    pub name: String,
    /// How much it holds; none when it was never measured.
    pub stored_bytes: Option<i64>,
    /// How much it may hold.
    pub limit_bytes: Option<i64>,
}

/// Returns the subject of a message about alarms.
pub fn alarm_subject(message: &Message) -> String {
    let Message {
        tenant_name: tenant,
        opened,
        resolved,
        ..
    } = message;
    let worst = opened
        .iter()
        .find(|item| item.severity == "critical")
        .or_else(|| opened.first());
    let counts = (
        opened.len() + message.more_opened,
        resolved.len() + message.more_resolved,
    );
    match (worst, counts.0, counts.1) {
        (Some(worst), 1, _) => format!(
            "[{tenant}] {}: {} ({})",
            words(&worst.kind),
            worst.subject_name,
            worst.severity
        ),
        (Some(worst), count, _) => format!(
            "[{tenant}] {count} alarms, {}: {} ({})",
            words(&worst.kind),
            worst.subject_name,
            worst.severity
        ),
        (None, _, 1) => format!(
            "[{tenant}] Resolved: {}: {}",
            words(&resolved[0].kind),
            resolved[0].subject_name
        ),
        (None, _, count) => format!("[{tenant}] Resolved: {count} alarms"),
    }
}

/// Returns the subject of a summary.
pub fn summary_subject(tenant: &str, summary: &Summary) -> String {
    let verdict = if !summary.at_risk.is_empty() {
        format!("{} VMs at risk", summary.at_risk.len())
    } else if summary.runs.failed + summary.runs.missed > 0 {
        format!(
            "{} runs failed, {} missed",
            summary.runs.failed, summary.runs.missed
        )
    } else if !summary.failed.is_empty() || !summary.other.is_empty() {
        format!(
            "{} alarms are open",
            summary.failed.len() + summary.other.len()
        )
    } else if summary.runs.success + summary.runs.warning == 0 {
        "no backup has ended".to_owned()
    } else {
        "all well".to_owned()
    };
    format!("[{tenant}] Backups of {}: {verdict}", summary.day)
}

/// Returns a kind of alarm in words.
fn words(kind: &str) -> String {
    let text = kind.replace('_', " ");
    let text = text.replace("vm ", "VM ");
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => first.to_uppercase().chain(letters).collect(),
        None => String::new(),
    }
}

/// A part of a message: a heading, and lines below it.
struct Part {
    heading: String,
    lines: Vec<(String, String)>,
}

impl Message {
    /// Returns the message as plain text.
    pub fn text(&self) -> String {
        let mut text = format!("{}\n", self.subject);
        for part in self.parts() {
            let _ = write!(text, "\n{}\n", part.heading);
            for (name, line) in part.lines {
                let _ = match name.as_str() {
                    "" => writeln!(text, "- {line}"),
                    name => writeln!(text, "- {name}: {line}"),
                };
            }
        }
        if !self.url.is_empty() {
            let _ = write!(text, "\n{}\n", self.url);
        }
        text
    }

    /// Returns the message as HTML that needs nothing from anywhere.
    pub fn html(&self) -> String {
        let mut html = format!(
            "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{0}</title>\
             <body style=\"font-family:system-ui,sans-serif;line-height:1.5;max-width:44em\"><h1 style=\"font-size:1.2em\">{0}</h1>",
            escaped(&self.subject)
        );
        for part in self.parts() {
            let _ = write!(
                html,
                "<h2 style=\"font-size:1em\">{}</h2><ul>",
                escaped(&part.heading)
            );
            for (name, line) in part.lines {
                let _ = match name.as_str() {
                    "" => write!(html, "<li>{}</li>", escaped(&line)),
                    name => write!(
                        html,
                        "<li><b>{}</b>: {}</li>",
                        escaped(name),
                        escaped(&line)
                    ),
                };
            }
            html.push_str("</ul>");
        }
        if !self.url.is_empty() {
            let url = escaped(&self.url);
            let _ = write!(html, "<p><a href=\"{url}\">{url}</a></p>");
        }
        html.push_str("</body></html>");
        html
    }

    fn parts(&self) -> Vec<Part> {
        let alarms = |heading: &str, items: &[Item]| Part {
            heading: heading.to_owned(),
            lines: items
                .iter()
                .map(|item| {
                    let worse = if item.is_worse {
                        ", and getting worse"
                    } else {
                        ""
                    };
                    (
                        format!("{}{worse}", words(&item.kind)),
                        item.message.clone(),
                    )
                })
                .collect(),
        };
        let mut parts = Vec::new();
        for severity in ["critical", "warning", "info"] {
            let items: Vec<Item> = self
                .opened
                .iter()
                .filter(|item| item.severity == severity)
                .cloned()
                .collect();
            parts.push(alarms(&words(severity), &items));
        }
        let more = |count: usize, one: &str, many: &str| Part {
            heading: "More".to_owned(),
            lines: match count {
                0 => Vec::new(),
                1 => vec![(String::new(), format!("1 more alarm {one}"))],
                _ => vec![(String::new(), format!("{count} more alarms {many}"))],
            },
        };
        parts.push(more(self.more_opened, "has begun", "have begun"));
        let resolved = self.resolved.iter().map(|item| {
            let when = item.resolved_at.as_deref().unwrap_or_default();
            (
                words(&item.kind),
                format!("{}, since {when}", item.subject_name),
            )
        });
        parts.push(Part {
            heading: "Resolved".to_owned(),
            lines: resolved.collect(),
        });
        parts.push(more(self.more_resolved, "is over", "are over"));
        if let Some(summary) = &self.summary {
            parts.extend(summary.parts());
        }
        parts.retain(|part| !part.lines.is_empty());
        parts
    }
}

impl Summary {
    fn parts(&self) -> Vec<Part> {
        let named = |heading: &str, things: &[Named]| Part {
            heading: heading.to_owned(),
            lines: things
                .iter()
                .map(|it| (it.name.clone(), it.message.clone()))
                .collect(),
        };
        let runs = &self.runs;
        let line = |text: String| (String::new(), text);
        let stored = |it: &Stored| {
            let text = match (it.stored_bytes, it.limit_bytes) {
                (Some(stored), Some(limit)) => format!("{} of {}", size(stored), size(limit)),
                (Some(stored), None) => size(stored),
                (None, _) => "not measured yet".to_owned(),
            };
            (it.name.clone(), text)
        };
        vec![
            named("VMs at risk", &self.at_risk),
            named("What failed", &self.failed),
            named("Also", &self.other),
            Part {
                heading: "The last 24 hours".to_owned(),
                lines: vec![
                    line(format!(
                        "backups: {} good, {} with warnings, {} failed, {} missed, {} cancelled",
                        runs.success, runs.warning, runs.failed, runs.missed, runs.cancelled
                    )),
                    line(format!("{} VMs on {} hosts", self.vms, self.hosts)),
                ],
            },
            Part {
                heading: "Stored".to_owned(),
                lines: self.repositories.iter().map(stored).collect(),
            },
        ]
    }
}

fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            letter => safe.push(letter),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(kind: &str, severity: &str) -> Item {
        Item {
            kind: kind.to_owned(),
            severity: severity.to_owned(),
            subject_name: "<web>".to_owned(),
            message: "Nothing backs up <web> & co.".to_owned(),
            resolved_at: Some("2026-03-01T00:00:00Z".to_owned()),
            ..Item::default()
        }
    }

    #[test]
    fn a_message_says_the_worst_first_and_html_is_escaped() {
        let opened = vec![
            item("vm_unprotected", "warning"),
            item("run_failed", "critical"),
        ];
        let mut message = Message {
            kind: "alarms".to_owned(),
            tenant_name: "ACME".to_owned(),
            url: "https://backup.example".to_owned(),
            opened,
            resolved: vec![item("agent_silent", "critical")],
            ..Message::default()
        };
        message.subject = alarm_subject(&message);
        assert_eq!(
            message.subject,
            "[ACME] 2 alarms, Run failed: <web> (critical)"
        );
        let text = message.text();
        let place = |part: &str| text.find(part).unwrap_or_else(|| panic!("{part}: {text}"));
        assert!(place("\nCritical\n") < place("\nWarning\n"));
        assert!(place("VM unprotected: Nothing") < place("\nResolved\n"));
        let html = message.html();
        assert!(!html.contains("<web>"), "{html}");
        assert!(html.contains("&lt;web&gt; &amp; co."), "{html}");
    }

    #[test]
    fn alarms_that_are_not_named_are_counted() {
        let mut message = Message {
            tenant_name: "ACME".to_owned(),
            opened: vec![item("run_failed", "critical")],
            more_opened: 41,
            resolved: vec![item("agent_silent", "critical")],
            more_resolved: 1,
            ..Message::default()
        };
        let subject = "[ACME] 42 alarms, Run failed: <web> (critical)";
        assert_eq!(alarm_subject(&message), subject);
        for said in [message.text(), message.html()] {
            assert!(said.contains("41 more alarms have begun"), "{said}");
            assert!(said.contains("1 more alarm is over"), "{said}");
        }
        message.opened.clear();
        message.more_opened = 0;
        assert_eq!(alarm_subject(&message), "[ACME] Resolved: 2 alarms");
        assert!(!message.text().contains("begun"));
    }

    #[test]
    fn a_summary_tells_whether_all_is_well() {
        let mut summary = Summary {
            day: "2026-03-01".to_owned(),
            vms: 3,
            hosts: 1,
            runs: Runs {
                success: 2,
                ..Runs::default()
            },
            repositories: vec![Stored {
                name: "Vault".to_owned(),
                stored_bytes: Some(1 << 30),
                limit_bytes: None,
            }],
            ..Summary::default()
        };
        assert_eq!(
            summary_subject("ACME", &summary),
            "[ACME] Backups of 2026-03-01: all well"
        );
        let message = Message {
            summary: Some(summary.clone()),
            ..Message::default()
        };
        assert!(message.text().contains("- Vault: 1.0 GiB"));
        assert!(message.text().contains("- backups: 2 good"));
        assert!(!message.text().contains("VMs at risk"));
        summary.runs.missed = 1;
        assert!(summary_subject("ACME", &summary).ends_with("0 runs failed, 1 missed"));
    }
}
