//! Tests of `indirect`: Kopia's own vectors, properties, damage.

use proptest::prelude::*;

use super::*;
use crate::content_id::{ContentId, prefix};
use crate::decode_error::DecodeErrorKind;
use crate::hash::HashOutput;

const KOPIAS: &str = "{\"stream\":\"kopia:indirect\",\"entries\":[{\"l\":131072,\"o\":\"x4d0f5ccd6081527b21028e5e702f7cf5\"},{\"s\":131072,\"l\":37069,\"o\":\"Ixb35718313b0a64fc252669d723e547bc\"},{\"s\":168141,\"o\":\"3527d586ee5aff96476f787a7c00ad9b\"}]}\n";

fn write(entries: &[IndirectEntry]) -> Result<Vec<u8>, ListError> {
    let mut out = Vec::new();
    let mut writer = ListWriter::begin(&mut out);
    for entry in entries {
        writer.entry(&mut out, entry)?;
    }
    writer.end(&mut out)?;
    Ok(out)
}

fn entry(start: u64, bytes: u64) -> IndirectEntry {
    let content = ContentId::new(Some(prefix::INDIRECT), HashOutput::new(&[7; 16]).unwrap());
    IndirectEntry {
        start,
        bytes,
        object: content.into(),
    }
}

#[test]
fn lists_are_written_in_kopias_bytes() {
    let entries = parse(KOPIAS.as_bytes()).unwrap();
    assert_eq!(entries.len(), 3);
    assert_eq!((entries[1].start, entries[1].bytes), (131_072, 37_069));
    assert_eq!(entries[1].object.indirection, 1);
    assert_eq!(write(&entries).unwrap(), KOPIAS.as_bytes());
}

#[test]
fn pieces_of_any_size_give_the_same_entries() {
    let whole = parse(KOPIAS.as_bytes()).unwrap();
    for piece_bytes in [1, 2, 3, 7, 50, 1000] {
        let mut entries = Vec::new();
        let mut parser = ListParser::new();
        for piece in KOPIAS.as_bytes().chunks(piece_bytes) {
            parser.push(piece, |entry| entries.push(entry)).unwrap();
        }
        assert_eq!(parser.finish().unwrap(), 168_141);
        assert_eq!(entries, whole);
    }
}

#[test]
fn unknown_members_and_white_space_are_passed_over() {
    let json = r#" { "a" : [1,{"b":"]}\""}] , "n":-1.5e3,"t":true , "entries" : [ {"l":1,"x":[],"o":"3527d586ee5aff96476f787a7c00ad9b"} ] ,"stream":"kopia:indirect", "z":"\\" } "#;
    assert_eq!(parse(json.as_bytes()).unwrap().len(), 1);
}

#[test]
fn lists_that_break_a_rule_are_refused() {
    let list = |entries: &str| format!(r#"{{"stream":"kopia:indirect","entries":[{entries}]}}"#);
    let o = r#""o":"3527d586ee5aff96476f787a7c00ad9b""#;
    let kind = |json: &str| parse(json.as_bytes()).unwrap_err().kind();
    for entries in [
        String::new(),
        format!(r#"{{"s":1,"l":1,{o}}}"#),
        format!(r#"{{"l":5,{o}}},{{"s":4,"l":1,{o}}}"#),
        format!(r#"{{"l":5,{o}}},{{"s":6,"l":1,{o}}}"#),
        format!(r#"{{"l":-5,{o}}}"#),
        format!(r#"{{"l":9223372036854775808,{o}}}"#),
        format!(r#"{{"l":9223372036854775807,{o}}},{{"s":9223372036854775807,"l":1,{o}}}"#),
        r#"{"l":5}"#.to_owned(),
        r#"{"l":5,"o":""}"#.to_owned(),
        r#"{"l":5,"o":"zz"}"#.to_owned(),
        format!(r#"{{"l":5,{o}}},"#),
        "null".to_owned(),
        "[]".to_owned(),
    ] {
        assert_eq!(
            kind(&list(&entries)),
            DecodeErrorKind::Malformed,
            "{entries}"
        );
    }
    let sound = format!(r#"{{"l":5,{o}}}"#);
    assert!(parse(list(&sound).as_bytes()).is_ok());
    for (json, expected) in [
        (String::new(), DecodeErrorKind::Malformed),
        ("[]".to_owned(), DecodeErrorKind::Malformed),
        (format!("{}x", list(&sound)), DecodeErrorKind::Malformed),
        (
            format!("{}{}", list(&sound), list(&sound)),
            DecodeErrorKind::Malformed,
        ),
        (
            format!(r#"{{"entries":[{sound}]}}"#),
            DecodeErrorKind::Unsupported,
        ),
        (
            format!(r#"{{"stream":"kopia:directory","entries":[{sound}]}}"#),
            DecodeErrorKind::Unsupported,
        ),
        (
            format!(r#"{{"stream":"kopia:indirect","entries":[{sound}],"entries":[]}}"#),
            DecodeErrorKind::Malformed,
        ),
        (
            format!(r#"{{"a":"{}""#, "x".repeat(70_000)),
            DecodeErrorKind::TooLarge,
        ),
        (
            format!(r#"{{"a":{}"#, "[".repeat(70_000)),
            DecodeErrorKind::TooLarge,
        ),
    ] {
        assert_eq!(kind(&json), expected, "{json:.90}");
    }
}

#[test]
fn the_writer_refuses_what_the_reader_would() {
    assert_eq!(write(&[]), Err(ListError::Empty));
    assert_eq!(
        write(&[entry(0, 5), entry(4, 1)]),
        Err(ListError::NotContiguous {
            start: 4,
            expected: 5
        })
    );
    assert_eq!(write(&[entry(0, u64::MAX)]), Err(ListError::TooLong));
}

#[test]
fn a_cut_list_is_never_a_list() {
    let end = KOPIAS.trim_end().len();
    for cut in 0..end {
        assert!(parse(&KOPIAS.as_bytes()[..cut]).is_err(), "{cut}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn what_was_written_is_read(lengths in prop::collection::vec(0..1u64 << 40, 1..50)) {
        let mut start = 0;
        let entries: Vec<_> = lengths
            .iter()
            .map(|&bytes| {
                start += bytes;
                entry(start - bytes, bytes)
            })
            .collect();
        prop_assert_eq!(parse(&write(&entries).unwrap()).unwrap(), entries);
    }

    #[test]
    fn damage_is_an_error_or_another_list_but_never_a_panic(
        at in any::<prop::sample::Index>(),
        value in any::<u8>(),
        piece_bytes in 1..40usize,
    ) {
        let mut json = KOPIAS.as_bytes().to_vec();
        let at = at.index(json.len());
        json[at] = value;
        let whole = parse(&json).ok();
        let mut entries = Vec::new();
        let mut parser = ListParser::new();
        let in_pieces = json
            .chunks(piece_bytes)
            .try_for_each(|piece| parser.push(piece, |entry| entries.push(entry)))
            .and_then(|()| parser.finish());
        prop_assert_eq!(whole, in_pieces.ok().map(|_| entries));
    }
}
