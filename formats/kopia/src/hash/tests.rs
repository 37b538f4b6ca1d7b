//! Tests of `hash`: Kopia's own vectors, properties, damage.

use proptest::prelude::*;

use super::*;
use crate::test_vectors::{hex_bytes, json, list, plaintext, text};

/// Of `hello kopia` with the secret 40..5f (Kopia spec A.2).
const HELLO_KOPIA: &[(HashAlgorithm, &str)] = &[
    (
        HashAlgorithm::Blake2b256,
        "f9cbfd617f9e6dd17aa0669f7d084312867f82851ecc0e164017b6ea85e54c32",
    ),
    (
        HashAlgorithm::Blake2b256_128,
        "f9cbfd617f9e6dd17aa0669f7d084312",
    ),
    (
        HashAlgorithm::Blake2s128,
        "0974d922499b20b56f3de0470dad43cc",
    ),
    (
        HashAlgorithm::Blake2s256,
        "90265cd7363e4b6fea8e19ac2178a2cb41ae839998fbc23c0622af812fb61158",
    ),
    (
        HashAlgorithm::Blake3_256,
        "5d1dd713f73773df894467f44ed43df970d3093dbd5bc254ad4bf707cd8eae02",
    ),
    (
        HashAlgorithm::Blake3_256_128,
        "5d1dd713f73773df894467f44ed43df9",
    ),
    (
        HashAlgorithm::HmacSha256,
        "c49951646e181b1931aba22ea26b10815031a45c7e36b94550264e0249d9be3a",
    ),
    (
        HashAlgorithm::HmacSha256_128,
        "c49951646e181b1931aba22ea26b1081",
    ),
    (
        HashAlgorithm::HmacSha224,
        "9cf93bc9a401e88131cf0243ecba3f7c2c718cd245d2236a277e0454",
    ),
    (
        HashAlgorithm::HmacSha3_224,
        "b82ad0dde54cf1db393a0e0b44043dba39b837500636a96e867c6431",
    ),
    (
        HashAlgorithm::HmacSha3_256,
        "3b41bea092aa97db097ce0682390b411f044aa9801a705841fa2b4c725448eab",
    ),
];

fn spec_secret() -> Vec<u8> {
    (0x40..=0x5f).collect()
}

#[test]
fn every_hash_agrees_with_the_spec() {
    assert_eq!(HELLO_KOPIA.len(), HashAlgorithm::ALL.len());
    for (algorithm, expected) in HELLO_KOPIA {
        let hasher = ContentHasher::new(*algorithm, &spec_secret());
        let output = hasher.hash(b"hello kopia");
        assert_eq!(output.to_hex(), *expected, "{}", algorithm.name());
    }
}

#[test]
fn empty_input_and_short_blake3_secret_agree_with_the_spec() {
    let blake2b = ContentHasher::new(HashAlgorithm::Blake2b256_128, &spec_secret());
    assert_eq!(
        blake2b.hash(b"").to_hex(),
        "67d102b539e87f5bebb4503c87ebc993"
    );
    let blake3 = ContentHasher::new(HashAlgorithm::Blake3_256, b"short");
    assert_eq!(
        blake3.hash(b"hello kopia").to_hex(),
        "e163232af84026c92a24901cc2a93c21f478d35b14571e4b7642c1cb9ec3cfd9"
    );
}

#[test]
fn every_hash_names_contents_as_kopia_does() {
    let objects = json("objects.json");
    let secret = hex_bytes(&objects, "hmac_secret_hex");
    for vector in list(&objects, "content_ids") {
        let algorithm = HashAlgorithm::from_name(text(vector, "hash")).unwrap();
        let output =
            ContentHasher::new(algorithm, &secret).hash(&plaintext(text(vector, "plaintext")));
        assert_eq!(output.to_hex(), text(vector, "content_id"), "{vector}");
        assert_eq!(
            format!("k{}", output.to_hex()),
            text(vector, "content_id_prefix_k")
        );
    }
}

#[test]
fn names_and_lengths_are_consistent() {
    for &algorithm in HashAlgorithm::ALL {
        assert_eq!(HashAlgorithm::from_name(algorithm.name()), Some(algorithm));
        for secret in [&b""[..], b"short", &[7; 32]] {
            let hasher = ContentHasher::new(algorithm, secret);
            assert_eq!(hasher.algorithm(), algorithm);
            assert_eq!(hasher.hash(b"x").as_bytes().len(), algorithm.output_bytes());
        }
    }
    assert_eq!(HashAlgorithm::from_name("SHA256"), None);
    assert_eq!(HashAlgorithm::from_name("blake3-256"), None);
}

#[test]
fn a_secret_of_the_greatest_length_is_taken() {
    for &algorithm in HashAlgorithm::ALL {
        let secret = vec![1; algorithm.secret_bytes_max().min(200)];
        ContentHasher::new(algorithm, &secret).hash(b"x");
    }
}

#[test]
fn outputs_have_the_lengths_of_hashes() {
    assert_eq!(HashOutput::new(&[0; 15]), None);
    assert_eq!(HashOutput::new(&[0; 33]), None);
    assert_eq!(HashOutput::new(&[]), None);
    for length in 16..=32 {
        let bytes: Vec<u8> = (0..length).collect();
        let output = HashOutput::new(&bytes).unwrap();
        assert_eq!(output.as_bytes(), bytes);
        assert_eq!(output.iv()[..], bytes[bytes.len() - 16..]);
    }
}

#[test]
fn outputs_are_ordered_by_their_bytes() {
    let short = HashOutput::new(&[5; 16]).unwrap();
    let longer = HashOutput::new(&[[5; 16], [0; 16]].concat()).unwrap();
    let greater = HashOutput::new(&[6; 16]).unwrap();
    assert!(short < longer && longer < greater);
    assert_ne!(short, longer);
}

#[test]
fn debug_text_shows_the_output_and_hides_the_secret() {
    let hasher = ContentHasher::new(HashAlgorithm::Blake3_256, &[0xab; 32]);
    let text = format!("{hasher:?}");
    assert!(!text.contains("171") && !text.contains("ab, "), "{text}");
    let output = HashOutput::new(&[0x1f; 16]).unwrap();
    assert_eq!(format!("{output:?}"), "1f".repeat(16));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn hashing_many_is_hashing_each(
        messages in prop::collection::vec((any::<u8>(), prop_oneof![Just(0), Just(128), Just(4096), 0_usize..5000]), 0..12)
    ) {
        let messages: Vec<Vec<u8>> = messages.iter().map(|&(byte, length)| vec![byte; length]).collect();
        let slices: Vec<&[u8]> = messages.iter().map(Vec::as_slice).collect();
        for &algorithm in HashAlgorithm::ALL {
            let hasher = ContentHasher::new(algorithm, &spec_secret());
            let mut many = vec![hasher.hash(b"already there")];
            hasher.hash_many(&slices, &mut many);
            prop_assert_eq!(many.len(), slices.len() + 1);
            for (message, output) in slices.iter().zip(&many[1..]) {
                prop_assert_eq!(hasher.hash(message), *output);
            }
        }
    }
}

#[test]
fn pieces_hash_to_what_the_whole_hashes_to() {
    let message: Vec<u8> = (0..1000u32).map(|n| (n % 251) as u8).collect();
    for &algorithm in HashAlgorithm::ALL {
        let hasher = ContentHasher::new(algorithm, &spec_secret());
        for piece_bytes in [1, 64, 127, 1000] {
            let mut pieces = hasher.begin();
            message
                .chunks(piece_bytes)
                .for_each(|piece| pieces.update(piece));
            assert_eq!(pieces.finish(), hasher.hash(&message), "{algorithm:?}");
        }
        assert_eq!(hasher.begin().finish(), hasher.hash(&[]));
    }
}
