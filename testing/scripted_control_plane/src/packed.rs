//! gzip and base64, as the contract packs documents.

use std::io::Read;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::read::MultiGzDecoder;
use serde_json::Value;

const UNPACKED_BYTES_MAX: u64 = 64 << 20;

/// Returns the JSON document in a packed text.
pub fn json(packed: &str) -> Option<Value> {
    serde_json::from_str(&text(packed)?).ok()
}

/// Returns what a packed text holds.
pub fn text(packed: &str) -> Option<String> {
    let zipped = STANDARD.decode(packed).ok()?;
    let mut plain = Vec::new();
    let unzipped = MultiGzDecoder::new(zipped.as_slice());
    unzipped
        .take(UNPACKED_BYTES_MAX)
        .read_to_end(&mut plain)
        .ok()?;
    String::from_utf8(plain).ok()
}
