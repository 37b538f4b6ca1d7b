//! Tests of `compression`: Kopia's own vectors, properties, damage.

use proptest::prelude::*;

use super::*;
use crate::test_vectors::{base64_bytes, json, lines, list, text, xorshift};

const LIMIT: usize = 64 << 20;

fn compressed(algorithm: CompressionAlgorithm, data: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    assert!(
        Compressor::new(algorithm).compress(data, &mut out).unwrap(),
        "{} shrinks the data",
        algorithm.name()
    );
    out
}

fn writable() -> impl Iterator<Item = CompressionAlgorithm> {
    CompressionAlgorithm::ALL
        .iter()
        .copied()
        .filter(|algorithm| algorithm.is_writable())
}

/// A stream of each compression: LZ4 from elsewhere, the rest from Kopia.
fn samples() -> Vec<(CompressionAlgorithm, Vec<u8>)> {
    let objects = json("objects.json");
    let mut samples = vec![(
        CompressionAlgorithm::Lz4,
        lz4_payload(&kopias_plaintext(), 1),
    )];
    for vector in list(&objects["compression"], "vectors") {
        if vector.get("error").is_none() {
            let algorithm = CompressionAlgorithm::from_name(text(vector, "compressor")).unwrap();
            samples.push((algorithm, base64_bytes(vector, "compressed_base64")));
        }
    }
    assert_eq!(samples.len(), CompressionAlgorithm::ALL.len());
    samples
}

fn kopias_plaintext() -> Vec<u8> {
    b"All work and no play makes Jack a dull boy.\n".repeat(40)
}

/// Returns an LZ4 content of so many frames.
fn lz4_payload(data: &[u8], frames: usize) -> Vec<u8> {
    use lz4_flex::frame::{FrameEncoder, FrameInfo};
    use std::io::Write;
    let mut payload = 0x1400_u32.to_be_bytes().to_vec();
    for part in data.chunks(data.len().div_ceil(frames)) {
        let info = FrameInfo::new()
            .block_checksums(true)
            .content_checksum(true)
            .content_size(Some(part.len() as u64));
        let mut encoder = FrameEncoder::with_frame_info(info, payload);
        encoder.write_all(part).unwrap();
        payload = encoder.finish().unwrap();
    }
    payload
}

#[test]
fn what_kopia_compressed_is_read() {
    let plain = kopias_plaintext();
    for (algorithm, payload) in samples() {
        let id = algorithm.header_id();
        for original_bytes in [plain.len(), 0] {
            let read = decompress(id, &payload, original_bytes, LIMIT).unwrap();
            assert_eq!(read, plain, "{}", algorithm.name());
        }
    }
}

#[test]
fn ids_and_names_are_kopias() {
    let objects = json("objects.json");
    for vector in list(&objects["compression"], "vectors") {
        let algorithm = CompressionAlgorithm::from_name(text(vector, "compressor")).unwrap();
        assert_eq!(
            format!("{:#06x}", algorithm.header_id()),
            text(vector, "header_id")
        );
        assert_eq!(
            CompressionAlgorithm::from_header_id(algorithm.header_id()),
            Some(algorithm)
        );
    }
    assert_eq!(CompressionAlgorithm::from_name("none"), None);
    assert_eq!(CompressionAlgorithm::from_header_id(0), None);
}

#[test]
fn large_data_comes_back_from_every_compression() {
    // Longer than any block and sample; the halves compress differently.
    let data = [lines(3 << 20), xorshift(5, 1 << 20), vec![0; 300_000]].concat();
    for algorithm in writable() {
        let mut out = b"before".to_vec();
        let mut compressor = Compressor::new(algorithm);
        assert!(compressor.compress(&data, &mut out).unwrap());
        assert_eq!(&out[..6], b"before");
        assert_eq!(out[6..10], algorithm.header_id().to_be_bytes());
        assert!(out.len() - 6 < data.len());
        for original_bytes in [data.len(), 0] {
            let read = decompress(algorithm.header_id(), &out[6..], original_bytes, LIMIT);
            assert!(read.unwrap() == data, "{}", algorithm.name());
        }
    }
}

#[test]
fn several_members_and_frames_are_one_content() {
    let (first, second) = (lines(50_000), lines(70_000));
    let both = [first.clone(), second.clone()].concat();
    for algorithm in writable().filter(|a| !matches!(a.header_id() >> 8, 0x15)) {
        let mut payload = compressed(algorithm, &first);
        payload.extend_from_slice(&compressed(algorithm, &second)[HEADER_BYTES..]);
        for original_bytes in [both.len(), 0] {
            let read = decompress(algorithm.header_id(), &payload, original_bytes, LIMIT);
            assert!(read.unwrap() == both, "{}", algorithm.name());
        }
    }
    let lz4 = lz4_payload(&both, 3);
    assert!(decompress(0x1400, &lz4, 0, LIMIT).unwrap() == both);
}

#[test]
fn zstd_frames_without_length_are_read() {
    let data = lines(500_000);
    let mut payload = 0x1100_u32.to_be_bytes().to_vec();
    payload.extend(zstd::stream::encode_all(&data[..], 3).unwrap());
    for original_bytes in [data.len(), 0] {
        assert!(decompress(0x1100, &payload, original_bytes, LIMIT).unwrap() == data);
    }
}

#[test]
fn classic_snappy_framing_is_read() {
    let data = lines(60_000);
    let block = minlz::s2::encode_snappy(&data);
    let mut payload = 0x1200_u32.to_be_bytes().to_vec();
    payload.extend_from_slice(b"\xff\x06\x00\x00sNaPpY");
    payload.push(0x00);
    payload.extend_from_slice(&(block.len() as u32 + 4).to_le_bytes()[..3]);
    payload.extend_from_slice(&minlz::crc::crc(&data).to_le_bytes());
    payload.extend_from_slice(&block);
    // Padding and other skippable chunks hold nothing.
    payload.extend_from_slice(b"\xfe\x03\x00\x00abc\x80\x00\x00\x00");
    assert!(decompress(0x1200, &payload, data.len(), LIMIT).unwrap() == data);
    // Chunks of the types 02 to 7f must be understood.
    payload.extend_from_slice(b"\x02\x00\x00\x00");
    assert!(decompress(0x1200, &payload, data.len(), LIMIT).is_err());
}

#[test]
fn another_s2_reader_reads_what_we_write() {
    use std::io::Read;
    let data = [lines(2 << 20), xorshift(5, 100_000)].concat();
    for algorithm in [
        CompressionAlgorithm::S2Default,
        CompressionAlgorithm::S2Better,
    ] {
        let payload = compressed(algorithm, &data);
        let mut read = Vec::new();
        minlz::s2::Reader::new(&payload[HEADER_BYTES..])
            .read_to_end(&mut read)
            .unwrap();
        assert!(read == data);
    }
}

#[test]
fn what_does_not_shrink_is_left_alone() {
    for algorithm in writable() {
        let mut compressor = Compressor::new(algorithm);
        let mut out = b"before".to_vec();
        for data in [
            Vec::new(),
            b"x".to_vec(),
            b"abcd".to_vec(),
            xorshift(1, 1000),
            xorshift(1, 600_000),
        ] {
            assert!(!compressor.compress(&data, &mut out).unwrap());
            assert_eq!(out, b"before", "{}", algorithm.name());
        }
        // One compressor serves many contents.
        assert!(compressor.compress(&lines(10_000), &mut out).unwrap());
        let read = decompress(algorithm.header_id(), &out[6..], 10_000, LIMIT);
        assert_eq!(read.unwrap(), lines(10_000));
    }
}

#[test]
fn fastest_takes_data_that_is_partly_compressible() {
    let data = [xorshift(1, 3 << 20), lines(1 << 20)].concat();
    let payload = compressed(CompressionAlgorithm::ZstdFastest, &data);
    assert!(payload.len() < data.len() * 9 / 10);
}

#[test]
fn lz4_is_never_written() {
    assert!(!CompressionAlgorithm::Lz4.is_writable());
    let mut out = Vec::new();
    let error = Compressor::new(CompressionAlgorithm::Lz4)
        .compress(&[0; 1000], &mut out)
        .unwrap_err();
    assert_eq!(error.kind(), CompressionErrorKind::Unsupported);
    assert!(out.is_empty());
}

#[test]
fn a_result_beyond_its_bound_is_refused() {
    let plain = kopias_plaintext();
    for (algorithm, payload) in samples() {
        let id = algorithm.header_id();
        let name = algorithm.name();
        let exact = decompress(id, &payload, 0, plain.len());
        assert_eq!(exact.unwrap(), plain, "{name}");
        for max_bytes in [0, 1, plain.len() - 1] {
            let error = decompress(id, &payload, 0, max_bytes).unwrap_err();
            assert_eq!(error.kind(), CompressionErrorKind::TooLong, "{name}");
        }
        let error = decompress(id, &payload, plain.len(), plain.len() - 1).unwrap_err();
        assert_eq!(error.kind(), CompressionErrorKind::TooLong, "{name}");
        for original_bytes in [1, plain.len() - 1, plain.len() + 1] {
            assert!(
                decompress(id, &payload, original_bytes, LIMIT).is_err(),
                "{name}"
            );
        }
    }
}

#[test]
fn a_bomb_stops_at_its_bound() {
    let zeros = vec![0; 30 << 20];
    for algorithm in writable() {
        let payload = compressed(algorithm, &zeros);
        let error = decompress(algorithm.header_id(), &payload, 0, 1 << 20).unwrap_err();
        assert_eq!(error.kind(), CompressionErrorKind::TooLong);
    }
}

#[test]
fn a_header_that_does_not_match_is_refused() {
    for (algorithm, payload) in samples() {
        let id = algorithm.header_id();
        for other in CompressionAlgorithm::ALL {
            if other.header_id() != id {
                let error = decompress(other.header_id(), &payload, 0, LIMIT).unwrap_err();
                assert_eq!(error.kind(), CompressionErrorKind::Damaged);
            }
        }
        let error = decompress(0x9999, &payload, 0, LIMIT).unwrap_err();
        assert_eq!(error.kind(), CompressionErrorKind::Unsupported);
    }
}

#[test]
fn a_cut_or_lengthened_stream_is_refused() {
    for (algorithm, payload) in samples() {
        let id = algorithm.header_id();
        for length in 0..payload.len() {
            let cut = &payload[..length];
            // S2 has no end: a stream that is cut between chunks is a shorter stream, which only
            // the length tells. Here its one block is lost with any byte.
            let is_bare_s2 = matches!(id >> 8, 0x12) && length == HEADER_BYTES + 10;
            assert!(
                decompress(id, cut, 0, LIMIT).is_err() || is_bare_s2,
                "{} cut to {length}",
                algorithm.name()
            );
            assert!(decompress(id, cut, kopias_plaintext().len(), LIMIT).is_err());
        }
        let mut longer = payload.clone();
        longer.push(1);
        assert!(
            decompress(id, &longer, 0, LIMIT).is_err(),
            "{} with a byte more",
            algorithm.name()
        );
    }
}

#[test]
fn lz4_cut_between_blocks_is_refused() {
    // Several blocks, so that there are places where the decoder itself sees nothing wrong.
    let data = xorshift(9, 300_000);
    let payload = lz4_payload(&data, 1);
    assert!(decompress(0x1400, &payload, 0, LIMIT).unwrap() == data);
    for length in 0..payload.len() {
        if length % 97 == 0 || payload.len() - length < 100 {
            assert!(decompress(0x1400, &payload[..length], 0, LIMIT).is_err());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_is_compressed_comes_back(
        word in prop::collection::vec(any::<u8>(), 1..40),
        times in 1_usize..200,
        noise in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let data = [word.repeat(times), noise].concat();
        for algorithm in writable() {
            let mut out = Vec::new();
            if Compressor::new(algorithm).compress(&data, &mut out).unwrap() {
                prop_assert!(out.len() < data.len());
                let read = decompress(algorithm.header_id(), &out, data.len(), LIMIT).unwrap();
                prop_assert_eq!(&read, &data);
            } else {
                prop_assert!(out.is_empty());
            }
        }
    }

    #[test]
    fn garbage_never_panics(
        garbage in prop::collection::vec(any::<u8>(), 0..200),
        original_bytes in 0_usize..2000,
    ) {
        for algorithm in CompressionAlgorithm::ALL {
            let mut payload = algorithm.header_id().to_be_bytes().to_vec();
            payload.extend_from_slice(&garbage);
            if let Ok(read) = decompress(algorithm.header_id(), &payload, original_bytes, 1000) {
                prop_assert!(read.len() <= 1000);
            }
        }
    }

    #[test]
    fn damage_never_panics_or_exceeds_bounds(at in any::<prop::sample::Index>(), bit in 0..8) {
        for (algorithm, mut payload) in samples() {
            let at = at.index(payload.len());
            payload[at] ^= 1_u8 << bit;
            for original_bytes in [0, kopias_plaintext().len()] {
                if let Ok(read) = decompress(algorithm.header_id(), &payload, original_bytes, 5000) {
                    prop_assert!(read.len() <= 5000);
                    prop_assert!(original_bytes == 0 || read.len() == original_bytes);
                }
            }
        }
    }
}
