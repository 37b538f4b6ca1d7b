//! Operations on repositories: how they are asked for, what they order, and how their outcome is
//! reported.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::endpoint::Endpoint;
use crate::identifier::{OperationId, RepoId};
use crate::request::{Body, Call};
use crate::retention::Retention;
use crate::words::closed_words;
use crate::{SecretText, lenient};

/// Asks for an operation, on its own; the combined poll hands them out too.
#[derive(Clone, Copy, Debug)]
pub struct PollRepoOperations;

impl Call for PollRepoOperations {
    const ENDPOINT: Endpoint = Endpoint::PollRepoOperations;
    type Answer = Option<RepoOperation>;

    fn body(&self) -> Body {
        Body::Query("")
    }

    fn answer(
        &self,
        _: &str,
        members: Map<String, Value>,
    ) -> Result<Option<RepoOperation>, String> {
        #[derive(Deserialize)]
        struct Envelope {
            #[serde(default, deserialize_with = "lenient::optional_nested")]
            operation: Option<RepoOperation>,
        }
        lenient::read::<Envelope>(members).map(|envelope| envelope.operation)
    }
}

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperationKind {
    /// Old snapshots are dropped by the policy.
    RetentionApply,
    /// Quick maintenance.
    MaintenanceQuick,
    /// Full maintenance.
    MaintenanceFull,
    /// Ours: the points are verified (`docs/decisions/own-control-plane-extensions.md`).
    Verify,
    /// Ours: the points that there are are named.
    ListPoints,
}

/// An operation on a repository of the agent's client, not necessarily one that this agent knows.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct RepoOperation {
    /// Its number.
    pub operation_id: OperationId,
    /// The repository's number.
    #[serde(default, deserialize_with = "lenient::optional_row")]
    pub repo_id: Option<RepoId>,
    /// What proves that it was handed out; completion needs it.
    #[serde(default, deserialize_with = "lenient::text")]
    pub operation_token: String,
    /// What it does; use [`RepoOperation::kind`].
    #[serde(default, deserialize_with = "lenient::text")]
    pub op_type: String,
    /// The rule, or what else it is to be done by.
    #[serde(default, deserialize_with = "lenient::nested")]
    pub effective_policy: EffectivePolicy,
    /// The repository's UUID on the server.
    #[serde(default, deserialize_with = "lenient::text")]
    pub repository_id: String,
    /// The bucket's name.
    #[serde(default, deserialize_with = "lenient::text")]
    pub bucket_name: String,
    /// Empty on servers of today: the prefix is known from runs.
    #[serde(default, deserialize_with = "lenient::text")]
    pub root_prefix: String,
    /// The endpoint, with or without a scheme.
    #[serde(default, deserialize_with = "lenient::text")]
    pub endpoint: String,
    /// The region; may be empty.
    #[serde(default, deserialize_with = "lenient::text")]
    pub region: String,
    /// The access key of the bucket's owner.
    #[serde(default)]
    pub dest_access_key: SecretText,
    /// The secret key of the bucket's owner.
    #[serde(default)]
    pub dest_secret_key: SecretText,
}

impl RepoOperation {
    /// Returns what it does, with or without the engine's name before it.
    pub fn kind(&self) -> Option<OperationKind> {
        match self.op_type.strip_prefix("kopia_").unwrap_or(&self.op_type) {
            "retention_apply" => Some(OperationKind::RetentionApply),
            "maintenance_quick" => Some(OperationKind::MaintenanceQuick),
            "maintenance_full" => Some(OperationKind::MaintenanceFull),
            "verify" => Some(OperationKind::Verify),
            "list_points" => Some(OperationKind::ListPoints),
            _ => None,
        }
    }
}

/// The rule of a repository: for all sources, and for single ones.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct EffectivePolicy {
    /// The rule for sources without one of their own.
    #[serde(flatten)]
    pub retention: Retention,
    /// Days to keep, in the form by source.
    #[serde(
        deserialize_with = "lenient::optional_count",
        skip_serializing_if = "Option::is_none"
    )]
    pub vault_default_days: Option<u64>,
    /// Sources that are special.
    #[serde(
        deserialize_with = "lenient::list",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub sources: Vec<SourcePolicy>,
    /// Ours, of a verification: the share of all contents that is read, in percent.
    #[serde(
        deserialize_with = "lenient::optional_number",
        skip_serializing_if = "Option::is_none"
    )]
    pub percent: Option<f64>,
    /// Ours, of a list of points: the manifest behind which it begins; empty: the first page.
    #[serde(
        deserialize_with = "lenient::text",
        skip_serializing_if = "String::is_empty"
    )]
    pub after: String,
}

/// The rule of one source.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct SourcePolicy {
    /// The source.
    #[serde(deserialize_with = "lenient::text")]
    pub path: String,
    /// Whether its job is gone.
    #[serde(deserialize_with = "lenient::boolean")]
    pub retired: bool,
    /// Days to keep.
    #[serde(deserialize_with = "lenient::optional_count")]
    pub override_days: Option<u64>,
}

closed_words! {
    /// What became of an operation.
    OperationStatus {
        /// It was carried out.
        Success = "success",
        /// It was not.
        Failed = "failed",
    }
}

/// Reports what became of an operation.
#[derive(Clone, Debug, PartialEq)]
pub struct CompleteRepoOperation {
    /// The operation.
    pub operation_id: OperationId,
    /// Its token.
    pub operation_token: String,
    /// What became of it.
    pub status: OperationStatus,
    /// What was done, or an `error`.
    pub result: OperationResult,
}

closed_words! {
    /// How deep a verification looked.
    VerifiedHow {
        /// Everything is there.
        Structure = "structure",
        /// Contents were read and compared with their hashes too.
        Content = "content",
    }
}

/// What an operation did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct OperationResult {
    /// Snapshots that were dropped.
    #[serde(
        deserialize_with = "lenient::optional_count",
        skip_serializing_if = "Option::is_none"
    )]
    pub deleted_count: Option<u64>,
    /// Sources that were gone over.
    #[serde(
        deserialize_with = "lenient::optional_count",
        skip_serializing_if = "Option::is_none"
    )]
    pub sources_count: Option<u64>,
    /// Ours, of retention: the manifests of the points that it removed.
    #[serde(
        deserialize_with = "lenient::texts",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub removed_points: Vec<String>,
    /// Ours, of a verification: the manifests of the points that are whole.
    #[serde(
        deserialize_with = "lenient::texts",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub verified_points: Vec<String>,
    /// Ours, of a verification: the manifests of the points that are damaged.
    #[serde(
        deserialize_with = "lenient::texts",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub damaged_points: Vec<String>,
    /// Ours, of a verification: how deep it looked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub how: Option<VerifiedHow>,
    /// Ours, of a list of points: a page of it.
    #[serde(
        deserialize_with = "lenient::optional_nested",
        skip_serializing_if = "Option::is_none"
    )]
    pub listed: Option<ListedPoints>,
    /// What all blobs of the repository take now. Our own servers keep it; others take no notice.
    #[serde(
        deserialize_with = "lenient::optional_count",
        skip_serializing_if = "Option::is_none"
    )]
    pub stored_bytes: Option<u64>,
    /// Why it failed.
    #[serde(
        deserialize_with = "lenient::text",
        skip_serializing_if = "String::is_empty"
    )]
    pub error: String,
}

/// A page of the points that a repository holds, in the order of their manifests' ids: of all between where it
/// begins and [`next`](Self::next), those that are not named are not there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct ListedPoints {
    /// The manifests of the points that are there.
    #[serde(deserialize_with = "lenient::texts")]
    pub points: Vec<String>,
    /// Those of them that are pinned.
    #[serde(
        deserialize_with = "lenient::texts",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub pinned: Vec<String>,
    /// The manifest behind which the next page begins; empty: this was the last one.
    #[serde(
        deserialize_with = "lenient::text",
        skip_serializing_if = "String::is_empty"
    )]
    pub next: String,
}

impl Call for CompleteRepoOperation {
    const ENDPOINT: Endpoint = Endpoint::CompleteRepoOperation;
    type Answer = ();

    fn body(&self) -> Body {
        let result_json =
            serde_json::to_string(&self.result).expect("our documents have texts as keys");
        Body::Form(vec![
            ("operation_id".to_owned(), self.operation_id.to_string()),
            ("operation_token".to_owned(), self.operation_token.clone()),
            ("status".to_owned(), self.status.as_str().to_owned()),
            ("result_json".to_owned(), result_json),
        ])
    }

    fn answer(&self, _: &str, _: Map<String, Value>) -> Result<(), String> {
        Ok(())
    }
}
