//! Features that a repository demands of its clients (Kopia spec 9.1).

use serde::{Deserialize, Serialize};

/// A feature that a client must have, or should have, to use the repository.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct RequiredFeature {
    /// The feature's name.
    pub feature: String,
    /// What a client does that does not know the feature.
    pub if_not_understood: IfNotUnderstood,
}

/// What a client does that does not know a feature.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct IfNotUnderstood {
    /// Whether it warns and goes on; else it must not open the repository.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub warn: bool,
    /// What to tell people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Where they find more.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub url: String,
    /// Which version of the client would know the feature.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub upgrade_to_version: String,
}

impl RequiredFeature {
    /// Says what is missing and what to do about it.
    pub(super) fn description(&self) -> String {
        let advice = &self.if_not_understood;
        let mut text = self.feature.clone();
        if !advice.message.is_empty() {
            text += &format!(": {}", advice.message);
        }
        if !advice.url.is_empty() {
            text += &format!(", see {}", advice.url);
        }
        if !advice.upgrade_to_version.is_empty() {
            text += &format!(", available in Kopia {}", advice.upgrade_to_version);
        }
        text
    }
}
