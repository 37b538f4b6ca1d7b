//! Tests of `index`: Kopia's own vectors, properties, damage.

use proptest::prelude::*;

use super::*;
use crate::hash::HashOutput;

const ONE: &str = "02110010000000010000000101000000000000112233445566778899aabbccddeeff6553f100000000200000640000800000260000003d0000000003007031313131313131313131313131313131313131313131313131313131313131312d73616263";
const TWO: &str = "02110013000000020000000202000000000000112233445566778899aabbccddeeff6553f1000000002000006400008000000000006bffffffffffffffffffffffffffffffff6553f101800000410000020000010001010021260000006f26000000950000000003000000110103007031313131313131313131313131313131313131313131313131313131313131312d736162637132323232323232323232323232323232323232323232323232323232323232322d73616263";

fn live() -> ContentRecord {
    ContentRecord {
        id: "00112233445566778899aabbccddeeff".parse().unwrap(),
        pack_blob: format!("p{}-sabc", "1".repeat(32)).into(),
        pack_offset: 32,
        packed_bytes: 128,
        original_bytes: 100,
        timestamp_seconds: 1_700_000_000,
        deleted: false,
        compression_header_id: 0,
        format_version: 3,
        encryption_key_id: 0,
    }
}

fn tombstone() -> ContentRecord {
    ContentRecord {
        id: format!("k{}", "f".repeat(32)).parse().unwrap(),
        pack_blob: format!("q{}-sabc", "2".repeat(32)).into(),
        pack_offset: 65,
        packed_bytes: 0x100_0001,
        original_bytes: 0x200_0002,
        timestamp_seconds: 1_700_000_001,
        deleted: true,
        compression_header_id: 0x1101,
        format_version: 3,
        encryption_key_id: 0,
    }
}

fn read(file: &[u8]) -> Vec<ContentRecord> {
    let reader = IndexReader::parse(file, CONTENT_OVERHEAD_BYTES).unwrap();
    reader.validate_order().unwrap();
    reader.iter().map(Result::unwrap).collect()
}

#[test]
fn version_2_is_written_as_the_vectors_say() {
    assert_eq!(hex::encode(write_index(2, &[live()]).unwrap()), ONE);
    assert_eq!(
        hex::encode(write_index(2, &[live(), tombstone()]).unwrap()),
        TWO
    );
    assert_eq!(read(&hex::decode(ONE).unwrap()), [live()]);
    assert_eq!(read(&hex::decode(TWO).unwrap()), [live(), tombstone()]);
}

#[test]
fn base_timestamp_is_added() {
    let mut file = hex::decode(ONE).unwrap();
    file[13..17].copy_from_slice(&7u32.to_be_bytes());
    assert_eq!(read(&file)[0].timestamp_seconds, 1_700_000_007);
}

#[test]
fn version_1_is_laid_out_as_specified() {
    let mut second = tombstone();
    second.compression_header_id = 0;
    second.original_bytes = second.packed_bytes - CONTENT_OVERHEAD_BYTES;
    let file = write_index(1, &[live(), second.clone()]).unwrap();
    let names_at = 8 + 2 * (17 + 20);
    assert_eq!(file[..8], [1, 17, 0, 20, 0, 0, 0, 2]);
    assert_eq!(
        hex::encode(&file[8..8 + 37]),
        "0000112233445566778899aabbccddeeff00006553f10003260000005200000020 00000080"
            .replace(' ', "")
    );
    assert_eq!(names_at, 0x52);
    assert_eq!(&file[names_at..names_at + 38], live().pack_blob.as_bytes());
    assert_eq!(read(&file), [live(), second]);
}

#[test]
fn an_empty_version_1_file_has_no_records_and_other_key_sizes_are_checked() {
    let mut empty = vec![1, 255, 0, 0, 0, 0, 0, 0];
    let reader = IndexReader::parse(&empty, CONTENT_OVERHEAD_BYTES).unwrap();
    assert!(reader.is_empty());
    assert!(reader.find(&live().id).unwrap().is_none());
    empty[7] = 1;
    assert!(IndexReader::parse(&empty, CONTENT_OVERHEAD_BYTES).is_err());
}

#[test]
fn entry_size_grows_only_with_need() {
    let entry_bytes = |records: &[ContentRecord]| {
        let file = write_index(2, records).unwrap();
        assert_eq!(read(&file), records);
        file[3]
    };
    let id = |n: u32| {
        let mut hash = [0; 16];
        hash[..4].copy_from_slice(&n.to_be_bytes());
        ContentId::new(None, HashOutput::new(&hash).unwrap())
    };
    let record = |n: u32| ContentRecord {
        id: id(n),
        ..live()
    };
    assert_eq!(entry_bytes(&[record(1), record(2)]), 16);
    let mut other_format = record(2);
    other_format.format_version = 2;
    assert_eq!(entry_bytes(&[record(1), other_format]), 17);
    let mut long = record(2);
    long.packed_bytes = 1 << 24;
    assert_eq!(entry_bytes(&[record(1), long]), 19);
    let many: Vec<_> = (0..=65_536)
        .map(|n| ContentRecord {
            pack_blob: format!("p{n}").into(),
            ..record(n)
        })
        .collect();
    assert_eq!(entry_bytes(&many[..65_536]), 16);
    assert_eq!(entry_bytes(&many), 18);
}

#[test]
fn what_does_not_fit_is_refused_and_never_cut() {
    let change = |change: fn(&mut ContentRecord)| {
        let mut record = live();
        change(&mut record);
        [record]
    };
    for version in [1, 2] {
        for records in [
            change(|r| r.timestamp_seconds = -1),
            change(|r| r.timestamp_seconds = 1 << 50),
            change(|r| r.pack_offset = 1 << 31),
            change(|r| r.original_bytes = 1 << 28),
            change(|r| r.pack_blob = "".into()),
            change(|r| r.pack_blob = "p".repeat(256).into()),
        ] {
            let error = write_index(version, &records).unwrap_err();
            assert_eq!(error.kind(), IndexErrorKind::InvalidRecords, "{error}");
        }
        assert_eq!(write_index(version, &[]), Err(IndexError::Empty));
        for pair in [[live(), live()], [tombstone(), live()]] {
            assert!(matches!(
                write_index(version, &pair),
                Err(IndexError::Order { .. })
            ));
        }
    }
    let error = write_index(1, &[tombstone()]).unwrap_err();
    assert_eq!(error.kind(), IndexErrorKind::InvalidRecords);
    let error = write_index(3, &[live()]).unwrap_err();
    assert_eq!(error.kind(), IndexErrorKind::Unsupported);
    let mut longer = live();
    longer.id = format!("z{}", "f".repeat(64)).parse().unwrap();
    assert!(write_index(2, &[live(), longer]).is_err());
}

#[test]
fn order_is_checked_when_asked() {
    let mut file = hex::decode(TWO).unwrap();
    let (first, second) = (17..17 + 36, 17 + 36..17 + 72);
    let moved = file[first.clone()].to_vec();
    file.copy_within(second.clone(), first.start);
    file[second].copy_from_slice(&moved);
    let reader = IndexReader::parse(&file, CONTENT_OVERHEAD_BYTES).unwrap();
    assert!(reader.validate_order().is_err());
}

#[test]
fn a_small_file_cannot_expand_to_many_names() {
    // 1000 packs, each named by another overlapping stretch of the same bytes.
    let mut file = vec![2, 17, 0, 16, 0, 0, 0, 0, 0, 0, 3, 0xe8, 0, 0, 0, 0, 0];
    for i in 0..1000u32 {
        file.push(255);
        file.extend((17 + i).to_be_bytes());
    }
    assert!(IndexReader::parse(&file, CONTENT_OVERHEAD_BYTES).is_err());
}

#[test]
fn rows_one_by_one_say_what_the_whole_file_says() {
    let records = [tombstone(), live()];
    let mut records = records.to_vec();
    records.sort_by_key(|record| record.id);
    for record in &mut records {
        record.compression_header_id = 0;
        record.original_bytes = record.packed_bytes - CONTENT_OVERHEAD_BYTES;
    }
    for version in [1, 2] {
        let file = write_index(version, &records).unwrap();
        let header = IndexHeader::parse(&file, file.len()).unwrap();
        let decoder = RowDecoder::new(
            header.clone(),
            &file[header.format_table()],
            CONTENT_OVERHEAD_BYTES,
        );
        let packs: Vec<NamePlace> = file[header.pack_table()]
            .chunks_exact(NamePlace::ENTRY_BYTES)
            .map(NamePlace::parse)
            .collect();
        let rows = file[header.rows()].chunks_exact(header.row_bytes());
        let decoded: Vec<ContentRecord> = rows
            .map(|row| {
                let record = decoder.decode(row).unwrap();
                let place = match record.pack {
                    PackRef::Number(number) => packs[number as usize],
                    PackRef::Place(place) => place,
                };
                let name = &file[place.offset as usize..][..usize::from(place.bytes)];
                record.named(pack_name_text(name).unwrap().into())
            })
            .collect();
        assert_eq!(decoded, read(&file), "version {version}");
        assert!(decoder.decode(&file[header.rows()][1..]).is_err());
    }
}

#[test]
fn shards_follow_the_hash_of_the_text() {
    let id: ContentId = format!("k{}", "f".repeat(32)).parse().unwrap();
    assert_eq!(fnv1a_32(id.to_string().as_bytes()), 2_566_671_018);
    assert_eq!(shard_of(&id, 1), 0);
    assert_eq!(shard_of(&id, 7), 2_566_671_018 % 7);
    assert_eq!(shard_count(0), 1);
    assert_eq!(shard_count(SHARD_RECORDS_MAX), 1);
    assert_eq!(shard_count(SHARD_RECORDS_MAX + 1), 2);
}

fn any_record() -> impl Strategy<Value = ContentRecord> {
    (
        (any::<[u8; 16]>(), prop::option::of(b'g'..=b'z')),
        (0..5u32, 0..1u32 << 30, 28..1u32 << 28),
        (any::<u32>(), any::<bool>(), 0..4u32, 1..4u8),
    )
        .prop_map(|(id, place, rest)| ContentRecord {
            id: ContentId::new(id.1, HashOutput::new(&id.0).unwrap()),
            pack_blob: format!("p{}", place.0).into(),
            pack_offset: place.1,
            packed_bytes: place.2,
            original_bytes: place.2 - 28,
            timestamp_seconds: i64::from(rest.0),
            deleted: rest.1,
            compression_header_id: rest.2,
            format_version: rest.3,
            encryption_key_id: 0,
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_record_comes_back_and_is_found(
        mut records in prop::collection::vec(any_record(), 1..60),
        version in 1..=2u32,
    ) {
        records.sort_by_key(|record| record.id);
        records.dedup_by_key(|record| record.id);
        if version == 1 {
            for record in &mut records {
                record.compression_header_id = 0;
            }
        }
        let mut file = write_index(version, &records).unwrap();
        file.extend([0xab; LOCAL_INDEX_SUFFIX_BYTES]);
        prop_assert_eq!(&read(&file), &records);
        let reader = IndexReader::parse(&file, CONTENT_OVERHEAD_BYTES).unwrap();
        for record in &records {
            let found = reader.find(&record.id).unwrap();
            prop_assert_eq!(found.as_ref(), Some(record));
        }
        prop_assert!(reader.find(&ContentId::new(None, HashOutput::new(&[7; 16]).unwrap())).unwrap().is_none());
        prop_assert!(reader.find(&ContentId::new(None, HashOutput::new(&[7; 32]).unwrap())).unwrap().is_none());
        prop_assert!(reader.get(records.len()).is_err());
    }

    #[test]
    fn damaged_files_are_errors_or_records_but_never_a_panic(
        at in any::<prop::sample::Index>(),
        value in any::<u8>(),
        cut in any::<prop::sample::Index>(),
        version in 1..=2u32,
    ) {
        let records = [live(), ContentRecord { id: tombstone().id, ..live() }];
        let mut file = write_index(version, &records).unwrap();
        let at = at.index(file.len());
        file[at] = value;
        let cut = cut.index(file.len() + 1);
        for file in [&file[..], &file[..cut]] {
            if let Ok(reader) = IndexReader::parse(file, CONTENT_OVERHEAD_BYTES) {
                let _ = reader.validate_order();
                for record in reader.iter().flatten() {
                    let _ = reader.find(&record.id);
                }
            }
        }
    }
}
