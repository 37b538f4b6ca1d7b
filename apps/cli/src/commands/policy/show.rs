//! `policy show`: what applies to a source, and which policy says it.

use clap::Args;
use kopia::policy::{Policy, PolicyTarget};
use serde_json::{Map, Value, json};
use snapshot::{policies, policy_chain};

use super::target::TargetArguments;
use crate::answer::Answer;
use crate::failure::Failure;
use crate::repositories::RepoArguments;
use crate::table::table;
use crate::world::World;

/// The arguments.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  e3-backup-agent policy show --repo /srv/backup               which policies there are
  e3-backup-agent policy show --vm web --repo /srv/backup      what applies to the VM web
  e3-backup-agent policy show /home/joe --repo /srv/backup

What a policy leaves open is said by the next less specific one: that of a path, of each folder
above it, of the user, of the host, the global one, and last by Kopia's defaults.")]
pub struct Show {
    #[command(flatten)]
    target: TargetArguments,
    #[command(flatten)]
    repo: RepoArguments,
}

impl Show {
    /// Runs the command.
    pub fn run(&self, world: &World) -> Result<Answer, Failure> {
        let repo = self.repo.open(world)?;
        let target = self.target.find(&repo)?;
        let manifests = repo.manifests()?;
        let Some(target) = target else {
            return Ok(list(&policies(&manifests)?));
        };
        let chain = policy_chain(&manifests, &target)?;
        let effective = Policy::merge(chain.iter().map(|(_, policy)| policy));
        let said: Vec<(String, Map<String, Value>)> = chain
            .iter()
            .map(|(target, policy)| (target.to_string(), members(policy)))
            .collect();
        let rows: Vec<Vec<String>> = members(&effective)
            .into_iter()
            .map(|(member, value)| {
                let origin = origin(&member, &said).unwrap_or("(default)").to_owned();
                vec![member, value.to_string(), origin]
            })
            .collect();
        let document = json!({
            "target": target.to_string(),
            "effective": value_of(&effective),
            "members": rows.iter().map(|row| json!({ "member": row[0], "said_by": row[2] })).collect::<Vec<_>>(),
            "policies": documents(&chain),
        });
        let text = format!(
            "what applies to {target}\n\n{}",
            table(&["MEMBER", "VALUE", "SAID BY"], &[], &rows)
        );
        Ok(Answer::new(text, document))
    }
}

fn list(policies: &[(PolicyTarget, Policy)]) -> Answer {
    let mut text = String::new();
    for (target, _) in policies {
        text += &format!("{target}\n");
    }
    if policies.is_empty() {
        "there are no policies; Kopia's defaults apply".clone_into(&mut text);
    }
    Answer::new(text, json!({ "policies": documents(policies) }))
}

fn documents(policies: &[(PolicyTarget, Policy)]) -> Value {
    policies
        .iter()
        .map(|(target, policy)| json!({ "target": target.to_string(), "policy": value_of(policy) }))
        .collect()
}

/// Returns a policy as JSON.
pub(super) fn value_of(policy: &Policy) -> Value {
    serde_json::from_str(policy.encode().get()).expect("an encoded policy is JSON")
}

/// Returns the most specific policy that says something about a member.
fn origin<'s>(member: &str, said: &'s [(String, Map<String, Value>)]) -> Option<&'s str> {
    said.iter()
        .find(|(_, members)| members.contains_key(member))
        .map(|(target, _)| &**target)
}

/// Returns all that a policy says, by the path of each member: `retention.keepLatest`.
fn members(policy: &Policy) -> Map<String, Value> {
    fn collect(path: &str, value: Value, into: &mut Map<String, Value>) {
        match value {
            Value::Object(members) => {
                for (name, value) in members {
                    let path = match path {
                        "" => name,
                        _ => format!("{path}.{name}"),
                    };
                    collect(&path, value, into);
                }
            }
            value => {
                into.insert(path.to_owned(), value);
            }
        }
    }
    let mut members = Map::new();
    collect("", value_of(policy), &mut members);
    members
}
