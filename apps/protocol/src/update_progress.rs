//! UpdateProgress: how far the agent's own update is. That it went well the server sees by the version in
//! the next call.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::endpoint::Endpoint;
use crate::identifier::UpdateJobId;
use crate::lenient;
use crate::limit::shorten;
use crate::request::{Body, Call};
use crate::words::closed_words;

/// How long a detail may be.
const DETAIL_CHARS_MAX: usize = 700;

closed_words! {
    /// A step of an update.
    UpdateState {
        /// The program is fetched.
        Downloading = "downloading",
        /// It is checked.
        Verifying = "verifying",
        /// It takes the old one's place.
        Applying = "applying",
        /// The service starts again.
        Restarting = "restarting",
        /// The old one stays.
        Failed = "failed",
    }
}

/// How far the agent's own update is.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct UpdateProgress {
    /// The update.
    pub update_job_id: UpdateJobId,
    /// The step.
    pub state: UpdateState,
    /// A text for people.
    #[serde(default, deserialize_with = "lenient::text")]
    pub detail: String,
    /// The version that runs now.
    #[serde(default, deserialize_with = "lenient::text")]
    pub agent_version: String,
}

impl Call for UpdateProgress {
    const ENDPOINT: Endpoint = Endpoint::UpdateProgress;
    type Answer = ();

    fn body(&self) -> Body {
        let mut progress = self.clone();
        shorten(&mut progress.detail, DETAIL_CHARS_MAX);
        Body::json(&progress)
    }

    fn answer(&self, _: &str, _: Map<String, Value>) -> Result<(), String> {
        Ok(())
    }
}
