//! PushLogChunk: pieces of a run's verbose log, while an administrator wants them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::endpoint::Endpoint;
use crate::packing::gzip;
use crate::request::{Body, Call};
use crate::{WireId, lenient, moment};

/// How large a piece may be when it is compressed.
pub const CHUNK_BYTES_MAX: usize = 1 << 20;
/// How many pieces of a run the server takes.
pub const CHUNKS_MAX: u64 = 60;

/// A piece of a run's verbose log.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct PushLogChunk {
    /// The run.
    pub run_id: WireId,
    /// Which piece; one that the server has is a success.
    #[serde(default, deserialize_with = "lenient::count")]
    pub chunk_seq: u64,
    /// `agent`, `tray` or `run`.
    #[serde(default, deserialize_with = "lenient::text")]
    pub source: String,
    /// `gzip`.
    #[serde(default, deserialize_with = "lenient::text")]
    pub encoding: String,
    /// The text, compressed.
    #[serde(default, deserialize_with = "lenient::text")]
    pub content_b64: String,
    /// How many lines it has.
    #[serde(default, deserialize_with = "lenient::count")]
    pub line_count: u64,
    /// When the first line was written.
    #[serde(
        default,
        with = "moment::optional",
        skip_serializing_if = "Option::is_none"
    )]
    pub first_ts: Option<Timestamp>,
    /// When the last line was written.
    #[serde(
        default,
        with = "moment::optional",
        skip_serializing_if = "Option::is_none"
    )]
    pub last_ts: Option<Timestamp>,
    /// Who reports; the version gate wants it.
    #[serde(default, deserialize_with = "lenient::text")]
    pub agent_version: String,
}

impl PushLogChunk {
    /// Returns a piece of a run's log; `None` if it is too large even when it is compressed.
    pub fn new(
        run_id: WireId,
        chunk_seq: u64,
        text: &str,
        between: (Timestamp, Timestamp),
        agent_version: &str,
    ) -> Option<Self> {
        let zipped = gzip(text.as_bytes());
        (zipped.len() <= CHUNK_BYTES_MAX).then(|| Self {
            run_id,
            chunk_seq,
            source: "run".to_owned(),
            encoding: "gzip".to_owned(),
            content_b64: STANDARD.encode(zipped),
            line_count: text.lines().count() as u64,
            first_ts: Some(between.0),
            last_ts: Some(between.1),
            agent_version: agent_version.to_owned(),
        })
    }
}

/// What the server did with a piece.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct ChunkTaken {
    /// How many more it takes, where it says so.
    #[serde(deserialize_with = "lenient::optional_count")]
    pub remaining_capacity: Option<u64>,
    /// Whether it had the piece already.
    #[serde(deserialize_with = "lenient::boolean")]
    pub duplicate: bool,
}

impl Call for PushLogChunk {
    const ENDPOINT: Endpoint = Endpoint::PushLogChunk;
    type Answer = ChunkTaken;

    fn body(&self) -> Body {
        Body::json(self)
    }

    fn answer(&self, _: &str, members: Map<String, Value>) -> Result<ChunkTaken, String> {
        lenient::read(members)
    }
}
