//! Tests of `splitter`: Kopia's own vectors, properties, damage.

use proptest::prelude::*;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::rolling::{RollingHash, WINDOW_BYTES};
use super::*;
use crate::test_vectors::{json, lines, list, text, xorshift};

/// Returns the segments of a stream that is handed in whole.
fn segments(name: &str, stream: &[u8]) -> Vec<usize> {
    segments_of_pieces(name, &[stream])
}

/// Returns the segments of a stream that is handed in piece by piece. An empty stream is one
/// empty segment, as for Kopia.
fn segments_of_pieces(name: &str, pieces: &[&[u8]]) -> Vec<usize> {
    let mut splitter = Splitter::from_name(name).unwrap();
    let mut segments = Vec::new();
    let mut open = 0;
    for piece in pieces {
        let mut rest = *piece;
        while let Some(bytes) = splitter.next_cut(rest) {
            segments.push(open + bytes);
            open = 0;
            rest = &rest[bytes..];
        }
        open += rest.len();
    }
    if open > 0 || segments.is_empty() {
        segments.push(open);
    }
    segments
}

/// Checks every splitter of the vectors on one input.
fn check_input(name: &str, stream: &[u8]) {
    let vectors = json("splitters.json");
    let input = list(&vectors, "inputs")
        .iter()
        .find(|input| input["name"] == name)
        .unwrap();
    assert_eq!(
        hex::encode(Sha256::digest(stream)),
        text(input, "sha256"),
        "the input {name}"
    );
    let mut checked = Vec::new();
    for vector in list(input, "splitters") {
        let splitter = text(vector, "splitter");
        let expected: Vec<usize> = list(vector, "chunk_lengths")
            .iter()
            .map(|length| length.as_u64().unwrap() as usize)
            .collect();
        assert_eq!(Value::from(expected.len()), vector["chunk_count"]);
        assert_eq!(expected.iter().sum::<usize>(), stream.len());
        assert_eq!(segments(splitter, stream), expected, "{splitter} on {name}");
        assert_eq!(
            Value::from(Splitter::from_name(splitter).unwrap().segment_bytes_max()),
            vector["max_segment_size"]
        );
        checked.push(splitter.to_owned());
    }
    checked.sort();
    let mut ours = Splitter::names();
    ours.sort();
    assert_eq!(checked, ours);
}

#[test]
fn random_bytes_are_cut_where_kopia_cuts_them() {
    check_input("xorshift-64MiB", &xorshift(0x9E37_79B9_7F4A_7C15, 64 * MIB));
}

#[test]
fn zeros_are_cut_where_kopia_cuts_them() {
    check_input("zeros-40MiB", &vec![0; 40 * MIB]);
}

#[test]
fn text_is_cut_where_kopia_cuts_it() {
    check_input("lines-32MiB", &lines(32 * MIB));
}

#[test]
fn a_mixture_is_cut_where_kopia_cuts_it() {
    let random = xorshift(7, 5 * MIB);
    let mut stream = vec![0; 3 * MIB];
    stream.extend_from_slice(&random);
    stream.resize(stream.len() + 9 * MIB, 0);
    stream.extend_from_slice(&lines(MIB));
    stream.push(0x41);
    stream.extend_from_slice(&random);
    check_input("mixed", &stream);
}

#[test]
fn the_shortest_streams_are_one_segment() {
    check_input("empty", &[]);
    check_input("one-byte", &[0x41]);
}

#[test]
fn segments_agree_with_the_spec() {
    let mut stream = Vec::with_capacity(16 * MIB);
    let mut number = 0_u64;
    while stream.len() < 16 * MIB {
        stream.extend_from_slice(&Sha256::digest(number.to_be_bytes()));
        number += 1;
    }
    assert_eq!(
        segments("DYNAMIC-4M-BUZHASH", &stream),
        [7_423_781, 5_669_076, 3_684_359]
    );
    assert_eq!(
        segments("DYNAMIC-4M-RABINKARP", &stream),
        [5_803_924, 6_959_883, 2_980_296, 1_033_113]
    );
    let ones = vec![0xff; 16 * MIB];
    assert_eq!(segments("DYNAMIC-4M-BUZHASH", &ones), [2 * MIB; 8]);
    assert_eq!(segments("DYNAMIC-4M-RABINKARP", &ones), [8 * MIB; 2]);
}

#[test]
fn rolling_hashes_agree_with_the_spec() {
    fn rolled<H: RollingHash>() -> u64 {
        let stream: Vec<u8> = std::iter::repeat_n(0, WINDOW_BYTES).chain(0..100).collect();
        let mut hash = H::default();
        for &byte in &stream[..WINDOW_BYTES] {
            hash.push(byte);
        }
        for (&out, &byte) in stream.iter().zip(&stream[WINDOW_BYTES..]) {
            hash.roll(out, byte);
        }
        hash.value()
    }
    assert_eq!(rolled::<Buzhash>(), 0x53fd_8d6b);
    assert_eq!(rolled::<RabinKarp>(), 0x0011_a6a2_a7bb_cd31);
}

#[test]
fn the_buzhash_table_is_kopias() {
    let bytes: Vec<u8> = buzhash::TABLE
        .iter()
        .flat_map(|n| n.to_be_bytes())
        .collect();
    assert_eq!(
        hex::encode(Sha256::digest(bytes)),
        "9f95254df5585a4957a754ceac4fba2a8af24ad015e84f56db59dfc1e218f6dd"
    );
}

#[test]
fn unknown_names_are_refused() {
    for name in [
        "",
        "FIXED-",
        "FIXED-3M",
        "FIXED-4m",
        "DYNAMIC-4M",
        "DYNAMIC-16M-BUZHASH",
        "DYNAMIC-4M-GEAR",
        "DYNAMIC-4M-BUZHASH-",
        "fixed",
        " FIXED",
    ] {
        assert!(Splitter::from_name(name).is_none(), "{name:?}");
    }
    assert!(Splitter::from_name(Splitter::DEFAULT_NAME).is_some());
}

#[test]
fn a_splitter_that_was_reset_begins_anew() {
    let stream = xorshift(3, MIB);
    for name in Splitter::names() {
        let mut splitter = Splitter::from_name(&name).unwrap();
        let first = splitter.next_cut(&stream);
        splitter.reset();
        splitter.next_cut(&stream[..100_000]);
        splitter.reset();
        assert_eq!(splitter.next_cut(&stream), first, "{name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn how_a_stream_is_handed_in_changes_no_cut(
        seed in 1_u64..,
        mut lengths in prop::collection::vec(prop_oneof![0_usize..200, 0_usize..70_000], 1..60),
    ) {
        let stream = xorshift(seed, MIB);
        let mut pieces = Vec::new();
        let mut rest = &stream[..];
        lengths.reverse();
        while let Some(length) = lengths.pop() {
            let (piece, behind) = rest.split_at(length.min(rest.len()));
            pieces.push(piece);
            rest = behind;
        }
        pieces.push(rest);
        for name in ["FIXED-128K", "DYNAMIC-128K-BUZHASH", "DYNAMIC-128K-RABINKARP"] {
            prop_assert_eq!(segments_of_pieces(name, &pieces), segments(name, &stream));
        }
    }
}

#[test]
fn single_bytes_are_cut_like_the_whole() {
    let stream = xorshift(11, 400_000);
    let pieces: Vec<&[u8]> = stream.chunks(1).collect();
    for name in [
        "FIXED-128K",
        "DYNAMIC-128K-BUZHASH",
        "DYNAMIC-128K-RABINKARP",
    ] {
        assert_eq!(segments_of_pieces(name, &pieces), segments(name, &stream));
    }
}
