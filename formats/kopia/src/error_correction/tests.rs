//! Tests of error correction: an encoder from the specification's words alone, which makes Kopia's
//! own bytes, and damage to what it makes.

use proptest::prelude::*;
use sha2::{Digest, Sha256};

use super::*;
use crate::test_vectors::{json, list, plaintext, text, xorshift};

type Matrix = Vec<Vec<u8>>;

fn multiply(a: u8, b: u8) -> u8 {
    let (mut a, mut product) = (u16::from(a), 0);
    for bit in 0..8 {
        if b >> bit & 1 == 1 {
            product ^= a;
        }
        a <<= 1;
        if a > 0xff {
            a ^= 0x11d;
        }
    }
    product as u8
}

fn power(base: u8, exponent: usize) -> u8 {
    (0..exponent).fold(1, |product, _| multiply(product, base))
}

/// Solves X·top = rows by elimination in columns: rows·top⁻¹.
fn over_top(mut rows: Matrix, mut top: Matrix) -> Matrix {
    let size = top.len();
    for column in 0..size {
        let pivot = (column..size).find(|at| top[column][*at] != 0).unwrap();
        let inverse = power(top[column][pivot], 254);
        for row in top.iter_mut().chain(&mut rows) {
            row.swap(column, pivot);
            row[column] = multiply(row[column], inverse);
        }
        let factors = top[column].clone();
        for row in top.iter_mut().chain(&mut rows) {
            for other in (0..size).filter(|other| *other != column) {
                row[other] ^= multiply(row[column], factors[other]);
            }
        }
    }
    rows
}

fn parity_matrix(data_shards: usize, parity_shards: usize) -> Matrix {
    let vandermonde: Matrix = (0..data_shards + parity_shards)
        .map(|row| (0..data_shards).map(|c| power(row as u8, c)).collect())
        .collect();
    let (top, rows) = vandermonde.split_at(data_shards);
    over_top(rows.to_vec(), top.to_vec())
}

fn push_stored(out: &mut Vec<u8>, shard: &[u8], stored: usize) {
    out.extend(crc32(shard).to_be_bytes());
    out.extend(&shard[..stored]);
}

/// Encodes as Kopia spec 3.3 says.
fn encode(code: &ErrorCorrection, data: &[u8]) -> Vec<u8> {
    let mut bytes = (data.len() as u32).to_be_bytes().to_vec();
    bytes.extend(data);
    let (t1, t2) = (
        8 * (code.data_shards + code.parity_shards),
        code.data_shards * code.shard_bytes,
    );
    let (d, p, s, blocks, stores_padding) = if bytes.len() <= t1 {
        (6, 2, bytes.len().div_ceil(6), 1, true)
    } else if bytes.len() <= t2 {
        let s = bytes.len().div_ceil(code.data_shards);
        (code.data_shards, code.parity_shards, s, 1, true)
    } else {
        let blocks = bytes.len().div_ceil(t2);
        let (d, p) = (code.data_shards, code.parity_shards);
        (d, p, code.shard_bytes, blocks, false)
    };
    let length = bytes.len();
    bytes.resize(d * s * blocks, 0);
    let matrix = parity_matrix(d, p);
    let mut out = Vec::new();
    for block in bytes.chunks(d * s) {
        for row in &matrix {
            let mut parity = vec![0; s];
            for (factor, shard) in row.iter().zip(block.chunks(s)) {
                for (sum, byte) in parity.iter_mut().zip(shard) {
                    *sum ^= multiply(*factor, *byte);
                }
            }
            push_stored(&mut out, &parity, s);
        }
    }
    for (number, shard) in bytes.chunks(s).enumerate() {
        let left = length.saturating_sub(number * s);
        if stores_padding {
            push_stored(&mut out, shard, s);
        } else if left > 0 {
            push_stored(&mut out, shard, left.min(s));
        }
    }
    out
}

fn code(percent: u32) -> ErrorCorrection {
    ErrorCorrection::with_overhead(percent).unwrap()
}

/// Where the stored shards of a block begin: parity, then data.
fn shards_of_block(layout: &ShardLayout, block: u64) -> Vec<usize> {
    let step = CRC_BYTES + layout.shard_bytes;
    let starts = |range: Range<u64>| (range.start as usize..range.end as usize).step_by(step);
    let parity = starts(layout.parity_of(block..block + 1));
    parity
        .chain(starts(layout.data_of(block..block + 1)))
        .collect()
}

#[test]
fn overheads_give_the_shards_of_the_specification() {
    for (percent, shard_bytes, data_shards, parity_shards) in [
        (1, 1024, 254, 2),
        (2, 512, 164, 2),
        (3, 256, 139, 2),
        (4, 128, 228, 2),
        (5, 128, 128, 2),
        (6, 128, 128, 3),
        (7, 64, 254, 2),
        (8, 64, 128, 2),
        (9, 64, 128, 3),
        (10, 64, 128, 4),
        (20, 64, 128, 17),
        (25, 64, 128, 24),
        (50, 64, 128, 56),
        (75, 64, 128, 88),
        (100, 64, 128, 120),
    ] {
        let expected = ErrorCorrection {
            data_shards,
            parity_shards,
            shard_bytes,
        };
        assert_eq!(code(percent), expected, "{percent} %");
    }
    for percent in 1..=100 {
        let code = code(percent);
        assert!(code.data_shards + code.parity_shards <= 256, "{percent} %");
    }
    assert_eq!(ErrorCorrection::with_overhead(0), None);
    assert_eq!(ErrorCorrection::with_overhead(101), None);
}

#[test]
fn what_kopia_encoded_is_what_the_specification_says_and_decodes() {
    let objects = json("objects.json");
    for vector in list(&objects["ecc"], "vectors") {
        let percent = vector["overhead_percent"].as_u64().unwrap() as u32;
        let plain = plaintext(text(vector, "plaintext"));
        let stored = encode(&code(percent), &plain);
        let digest = hex::encode(Sha256::digest(&stored));
        assert_eq!(digest, text(vector, "encoded_sha256"), "{vector}");
        let decoded = code(percent).decode(&stored).unwrap();
        assert_eq!(decoded.damaged_shards, 0);
        assert!(decoded.bytes == plain, "{vector}");
    }
}

#[test]
fn as_many_shards_as_there_is_parity_may_be_damaged_and_no_more() {
    for percent in [1, 5, 20, 50, 100] {
        let code = code(percent);
        for bytes in [0, 1, 700, 5000, 40_000] {
            let plain = xorshift(7, bytes);
            let stored = encode(&code, &plain);
            let layout = code.layout(stored.len() as u64).unwrap();
            let shards = shards_of_block(&layout, layout.blocks - 1);
            let context = format!("{percent} %, {bytes} bytes");
            // The data's end, so that all are data, and one of a checksum.
            let (_, last) = shards.split_at(shards.len() - layout.parity_shards.min(shards.len()));
            let mut damaged = stored.clone();
            for (number, shard) in last.iter().enumerate() {
                damaged[shard + if number == 0 { 0 } else { CRC_BYTES }] ^= 0x20;
            }
            let decoded = code.decode(&damaged).unwrap();
            assert!(decoded.bytes == plain, "{context}");
            assert_eq!(decoded.damaged_shards, last.len() as u64, "{context}");
            damaged[shards[0] + CRC_BYTES] ^= 1;
            if shards.len() > layout.parity_shards {
                let error = code.decode(&damaged).unwrap_err().to_string();
                assert!(error.contains("can be corrected"), "{context}: {error}");
            }
        }
    }
}

#[test]
fn damaged_parity_is_told_though_nothing_needs_it() {
    let plain = xorshift(3, 20_000);
    let mut stored = encode(&code(5), &plain);
    stored[9] ^= 1;
    let decoded = code(5).decode(&stored).unwrap();
    assert!(decoded.bytes == plain);
    assert_eq!(decoded.damaged_shards, 1);
}

#[test]
fn nothing_stored_makes_it_panic_or_take_much_memory() {
    for percent in [1, 5, 7, 20, 100] {
        let code = code(percent);
        for bytes in (0..600).chain([1500, 4_000, 9_860, 9_861, 17_161, 100_000, 300_001]) {
            for fill in [0, 0xff] {
                if let Ok(decoded) = code.decode(&vec![fill; bytes]) {
                    assert!(decoded.bytes.len() <= bytes + code.data_shards * code.shard_bytes);
                }
            }
            let mut stored = encode(&code, &xorshift(5, bytes.min(20_000)));
            for cut in [1, 2, 5, 68, 200] {
                stored.truncate(stored.len().saturating_sub(cut));
                let _ = code.decode(&stored);
            }
        }
        assert!(code.layout(u64::MAX).is_err());
    }
}

#[test]
fn a_length_that_lies_is_refused() {
    let code = code(20);
    let mut lying = 1000_u32.to_be_bytes().to_vec();
    lying.extend([1; 20]);
    // Encoded so that its first four bytes, the true length, are overwritten.
    let mut stored = encode(&code, &lying[4..]);
    let layout = code.layout(stored.len() as u64).unwrap();
    let first = layout.data_of(0..1).start as usize;
    stored[first + CRC_BYTES..][..4].copy_from_slice(&lying[..4]);
    let crc = crc32(&stored[first + CRC_BYTES..][..layout.shard_bytes]).to_be_bytes();
    stored[first..][..CRC_BYTES].copy_from_slice(&crc);
    let error = code.decode(&stored).unwrap_err().to_string();
    assert!(error.contains("shorter than it says"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn erased_shards_come_back_in_every_block(
        percent in prop::sample::select(vec![3, 5, 6, 9, 10, 20, 33, 50, 100]),
        bytes in prop_oneof![0..300_usize, 300..9_000_usize, 9_000..60_000_usize],
        seed in 1..u64::MAX,
        group in 1..4_u64,
    ) {
        let code = code(percent);
        let plain = xorshift(seed, bytes);
        let mut stored = encode(&code, &plain);
        let layout = code.layout(stored.len() as u64).unwrap();
        let mut chance = xorshift(seed, 1 << 14).into_iter();
        let mut erased = 0;
        for block in 0..layout.blocks {
            let mut shards = shards_of_block(&layout, block);
            for _ in 0..chance.next().unwrap() as usize % (layout.parity_shards + 1) {
                if shards.is_empty() {
                    break;
                }
                let drawn = usize::from(chance.next().unwrap()) % shards.len();
                // A checksum that is wrong: the shard is as good as gone.
                stored[shards.swap_remove(drawn)] ^= 1 + chance.next().unwrap() % 255;
                erased += 1;
            }
        }
        let decoded = code.decode(&stored).unwrap();
        prop_assert_eq!(decoded.damaged_shards, erased);
        prop_assert!(decoded.bytes == plain);

        let mut in_groups = Vec::new();
        for first in (0..layout.blocks).step_by(group as usize) {
            let blocks = first..(first + group).min(layout.blocks);
            let part = |range: Range<u64>| &stored[range.start as usize..range.end as usize];
            let (parity, data) = (layout.parity_of(blocks.clone()), layout.data_of(blocks.clone()));
            layout
                .decode_blocks(blocks.end - blocks.start, part(parity), part(data), &mut in_groups)
                .unwrap();
        }
        let length = split_length(&mut in_groups).unwrap() as usize;
        prop_assert!(in_groups[..length] == plain);
    }
}
