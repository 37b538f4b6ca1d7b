//! Every kind of repository that we create.

use kopia::cipher::EncryptionAlgorithm;
use kopia::compression::CompressionAlgorithm;
use kopia::hash::HashAlgorithm;
use kopia::splitter::Splitter;
use repo::CreateOptions;

/// Returns kinds among which every hash, cipher, splitter, compression and format version is at
/// least once, and beyond that each with ever others.
pub fn kinds() -> impl Iterator<Item = CreateOptions> {
    let splitters = Splitter::names();
    let compressions: Vec<Option<CompressionAlgorithm>> = CompressionAlgorithm::ALL
        .iter()
        .copied()
        .filter(|algorithm| algorithm.is_writable())
        .map(Some)
        .chain([None])
        .collect();
    (0..).map(move |number: usize| {
        let compression = compressions[number % compressions.len()];
        // Format 2 is written with the usual algorithms alone.
        if number % 8 == 7 {
            return CreateOptions {
                format_version: 2,
                compression,
                ..CreateOptions::default()
            };
        }
        CreateOptions {
            format_version: 3,
            hash: HashAlgorithm::ALL[number % HashAlgorithm::ALL.len()],
            encryption: EncryptionAlgorithm::ALL[number / 2 % EncryptionAlgorithm::ALL.len()],
            splitter: splitters[number % splitters.len()].clone(),
            compression,
            ..CreateOptions::default()
        }
    })
}
