//! Which VMs of a host a job protects: rules by id and by name pattern, so that new VMs are protected by themselves.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The rules of a job. What is excluded is not protected, whatever else names it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct VmRules {
    /// Whether all VMs of the host are protected, those that do not exist yet included.
    pub all: bool,
    /// Hyper-V's ids of VMs that are protected, in either case, with or without braces.
    pub guids: Vec<String>,
    /// Patterns of names that are protected: `*` stands for any letters, `?` for one; case does not matter.
    pub include: Vec<String>,
    /// Patterns of names that are not protected.
    pub exclude: Vec<String>,
}

/// Whether a VM is protected, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Whether it is.
    pub is_chosen: bool,
    /// Which rule says so, for people.
    pub why: String,
}

impl VmRules {
    /// Reads what a job stores. Rules that cannot be read protect nothing.
    pub fn of_json(json: &str) -> Self {
        serde_json::from_str(json).unwrap_or_default()
    }

    /// Judges a VM.
    pub fn judge(&self, guid: &str, name: &str) -> Choice {
        let because = |is_chosen, why: String| Choice { is_chosen, why };
        let hit = |patterns: &[String]| patterns.iter().find(|it| matches(it, name)).cloned();
        if let Some(pattern) = hit(&self.exclude) {
            return because(false, format!("its name is excluded by `{pattern}`"));
        }
        let guid = bare_guid(guid);
        if self.guids.iter().any(|named| bare_guid(named) == guid) {
            return because(true, "it was chosen by itself".to_owned());
        }
        if self.all {
            return because(true, "all VMs of the host are chosen".to_owned());
        }
        match hit(&self.include) {
            Some(pattern) => because(true, format!("its name is included by `{pattern}`")),
            None => because(false, "no rule names it".to_owned()),
        }
    }

    /// Tells whether a VM is protected.
    pub fn is_chosen(&self, guid: &str, name: &str) -> bool {
        self.judge(guid, name).is_chosen
    }
}

/// Returns a VM's id as it is stored and compared: upper case, without braces.
pub fn bare_guid(guid: &str) -> String {
    guid.trim().trim_matches(['{', '}']).to_uppercase()
}

/// Tells whether a pattern stands for more than one name.
pub fn is_wild(pattern: &str) -> bool {
    pattern.contains(['*', '?'])
}

/// Tells whether a whole name is as the pattern says. Takes time in proportion to the product of both lengths at
/// most, whatever the pattern.
pub fn matches(pattern: &str, name: &str) -> bool {
    let letters = |text: &str| text.trim().to_lowercase().chars().collect::<Vec<_>>();
    let (pattern, name) = (letters(pattern), letters(name));
    let (mut p, mut n) = (0, 0);
    // Where the last `*` stood, and up to where it has eaten.
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(&letter) if letter == '?' || letter == name[n] => {
                p += 1;
                n += 1;
            }
            _ => match star {
                Some((at, eaten)) => {
                    star = Some((at, eaten + 1));
                    p = at + 1;
                    n = eaten + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|&letter| letter == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(json: &str) -> VmRules {
        serde_json::from_str(json).expect("rules")
    }

    #[test]
    fn patterns_match_whole_names_in_either_case() {
        for (pattern, name, is_match) in [
            ("web*", "WEB01", true),
            ("web*", "web", true),
            ("web*", "my web", false),
            ("*web*", "my Web server", true),
            ("db-?", "db-1", true),
            ("db-?", "db-", false),
            ("db-?", "db-12", false),
            ("*", "", true),
            ("", "a", false),
            ("", "", true),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZ", false),
            ("*.test", "a.test.test", true),
            ("größe?", "GRÖSSE1", false),
            ("größe?", "GRÖßE1", true),
            ("a.c", "abc", false),
        ] {
            assert_eq!(matches(pattern, name), is_match, "{pattern} {name}");
        }
        let slow = "*a".repeat(200);
        assert!(!matches(&slow, &format!("{}b", "a".repeat(1000))));
    }

    #[test]
    fn exclusion_counts_before_everything_and_new_vms_follow_their_names() {
        let guid = "5f3b0000-0000-4000-8000-000000000001";
        for (json, name, is_chosen) in [
            (r#"{"all":true}"#, "new", true),
            (r#"{"all":true,"exclude":["test-*"]}"#, "test-1", false),
            (r#"{"include":["web*"]}"#, "web9", true),
            (r#"{"include":["web*"]}"#, "db", false),
            (
                r#"{"guids":["{5F3B0000-0000-4000-8000-000000000001}"]}"#,
                "any",
                true,
            ),
            (
                r#"{"guids":["5F3B0000-0000-4000-8000-000000000001"],"exclude":["any"]}"#,
                "any",
                false,
            ),
            ("{}", "any", false),
        ] {
            let choice = rules(json).judge(guid, name);
            assert_eq!(choice.is_chosen, is_chosen, "{json} {name}: {}", choice.why);
            assert!(!choice.why.is_empty());
        }
    }

    #[test]
    fn rules_that_cannot_be_read_protect_nothing() {
        assert_eq!(VmRules::of_json("[]"), VmRules::default());
        assert!(!VmRules::of_json("nonsense").is_chosen("a", "b"));
    }
}
