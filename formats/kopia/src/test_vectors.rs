//! The vectors and fixtures that Kopia itself wrote, for tests.

use std::fs;
use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

/// Returns the folder that holds them.
pub(crate) fn folder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/kopia"))
}

/// Reads a JSON file of that folder.
pub(crate) fn json(path: &str) -> Value {
    serde_json::from_slice(&fs::read(folder().join(path)).unwrap()).unwrap()
}

/// Returns a member that is a string.
pub(crate) fn text<'v>(vector: &'v Value, member: &str) -> &'v str {
    vector[member]
        .as_str()
        .unwrap_or_else(|| panic!("{member} is missing"))
}

/// Returns a member that is bytes in hex.
pub(crate) fn hex_bytes(vector: &Value, member: &str) -> Vec<u8> {
    hex::decode(text(vector, member)).unwrap()
}

/// Returns a member that is bytes in base64.
pub(crate) fn base64_bytes(vector: &Value, member: &str) -> Vec<u8> {
    STANDARD.decode(text(vector, member)).unwrap()
}

/// Returns the elements of a member that is a list, which must not be empty.
pub(crate) fn list<'v>(vector: &'v Value, member: &str) -> &'v [Value] {
    let list = vector[member].as_array().unwrap();
    assert!(!list.is_empty(), "{member} is empty");
    list
}

/// Returns a plaintext of `objects.json` by its name.
pub(crate) fn plaintext(name: &str) -> Vec<u8> {
    match name {
        "empty" => Vec::new(),
        "one-byte-0x41" => vec![0x41],
        "hello" => b"hello, world\n".to_vec(),
        "zeros-4096" => vec![0; 4096],
        "xorshift-seed1-5000" => xorshift(1, 5000),
        "xorshift-seed1-65537" => xorshift(1, 65537),
        "xorshift-seed1-1MiB" => xorshift(1, 1 << 20),
        "lines-100000" => lines(100_000),
        other => panic!("{other} is no known plaintext"),
    }
}

/// Returns the first bytes of a xorshift64* generator.
pub(crate) fn xorshift(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed;
    let mut data = Vec::with_capacity(bytes + 8);
    while data.len() < bytes {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        data.extend_from_slice(&state.wrapping_mul(2_685_821_657_736_338_717).to_le_bytes());
    }
    data.truncate(bytes);
    data
}

/// Returns the first bytes of numbered lines of text.
pub(crate) fn lines(bytes: usize) -> Vec<u8> {
    let mut data = Vec::with_capacity(bytes + 64);
    let mut number = 0;
    while data.len() < bytes {
        data.extend_from_slice(
            format!("{number:010} the quick brown fox jumps over the lazy dog\n").as_bytes(),
        );
        number += 1;
    }
    data.truncate(bytes);
    data
}

mod tests {
    use sha2::{Digest, Sha256};

    use super::*;

    #[test]
    fn our_plaintexts_are_those_of_the_vectors() {
        let objects = json("objects.json");
        for vector in list(&objects, "plaintexts") {
            let digest = Sha256::digest(plaintext(text(vector, "name")));
            assert_eq!(hex::encode(digest), text(vector, "sha256"));
        }
    }
}
