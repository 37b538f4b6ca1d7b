//! Error correction: sealed bytes that are kept as shards, with more of them than are needed.
//!
//! Kopia spec 3.3. Only decoding: shards whose checksum fails are computed from the others. Where
//! none fails, data shards are joined and nothing is computed. What the bytes are, and whether
//! they are authentic, this module does not know.
//!
//! ```text
//! block ─┐ parity, parity │ parity, parity │ …   all blocks' parity first,
//! block ─┘ data, data, …  │ data, data, …  │ …   then all blocks' data; each shard with its CRC
//! ```

mod field;

use std::ops::Range;

use crate::decode_error::DecodeError;

const STRUCTURE: &str = "error-corrected data";
/// Before each shard stands its checksum.
const CRC_BYTES: usize = 4;
/// Before the data stands how long it is.
const LENGTH_BYTES: usize = 4;
/// Short data is cut into so many data and parity shards, whatever the overhead.
const SMALL_SHARDS: (usize, usize) = (6, 2);
/// A length of 32 bits cannot make more than this, even where parity doubles it.
const STORED_BYTES_MAX: u64 = 1 << 34;

/// A repository's error correction, as its overhead sets it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ErrorCorrection {
    data_shards: usize,
    parity_shards: usize,
    shard_bytes: usize,
}

/// What was decoded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Decoded {
    /// What was encoded.
    pub bytes: Vec<u8>,
    /// How many shards were damaged, and did no harm because others made up for them.
    pub damaged_shards: u64,
}

impl ErrorCorrection {
    /// Returns the error correction of this overhead, from 1 to 100 percent; `None` for others.
    pub fn with_overhead(percent: u32) -> Option<Self> {
        let shard_bytes = match percent {
            1 => 1024,
            2 => 512,
            3 => 256,
            4..=6 => 128,
            7..=100 => 64,
            _ => return None,
        };
        // Single precision, as Kopia calculates; checksums take the rest of the overhead.
        let free = (percent as f32 - 400.0 / shard_bytes as f32).max(0.01);
        let parity_shards = ((128.0 * free / 100.0) as usize).clamp(1, 128);
        let (data_shards, parity_shards) = match parity_shards {
            1 => (((2.0 * (100.0 / free)) as usize).clamp(128, 254), 2),
            _ => (128, parity_shards),
        };
        Some(Self {
            data_shards,
            parity_shards,
            shard_bytes,
        })
    }

    /// Returns how data that takes `stored_bytes` is cut into shards.
    pub fn layout(&self, stored_bytes: u64) -> Result<ShardLayout, DecodeError> {
        if stored_bytes > STORED_BYTES_MAX {
            return Err(DecodeError::too_large(
                STRUCTURE,
                format!("no data takes {stored_bytes} bytes"),
            ));
        }
        let shards = self.data_shards + self.parity_shards;
        let (small_data, small_parity) = SMALL_SHARDS;
        let small_bytes_max = 8 * (CRC_BYTES + (8 * shards).div_ceil(small_data));
        let block_bytes = shards * (CRC_BYTES + self.shard_bytes);
        // Divides what is stored in full among the shards of its only block.
        let of_one_block = |data_shards: usize, parity_shards: usize| ShardLayout {
            stored_bytes,
            data_shards,
            parity_shards,
            shard_bytes: (stored_bytes as usize)
                .div_ceil(data_shards + parity_shards)
                .max(CRC_BYTES + 1)
                - CRC_BYTES,
            blocks: 1,
        };
        Ok(if stored_bytes <= small_bytes_max as u64 {
            of_one_block(small_data, small_parity)
        } else if stored_bytes <= block_bytes as u64 {
            of_one_block(self.data_shards, self.parity_shards)
        } else {
            ShardLayout {
                stored_bytes,
                data_shards: self.data_shards,
                parity_shards: self.parity_shards,
                shard_bytes: self.shard_bytes,
                blocks: stored_bytes.div_ceil(block_bytes as u64),
            }
        })
    }

    /// Decodes data that lies in memory.
    ///
    /// # Errors
    /// If more shards of a block are damaged than it has parity shards.
    pub fn decode(&self, stored: &[u8]) -> Result<Decoded, DecodeError> {
        let layout = self.layout(stored.len() as u64)?;
        let part = |range: Range<u64>| &stored[range.start as usize..range.end as usize];
        let parity = part(layout.parity_of(0..layout.blocks));
        let data = part(layout.data_of(0..layout.blocks));
        let mut bytes = Vec::new();
        let damaged_shards = layout.decode_blocks(layout.blocks, parity, data, &mut bytes)?;
        let length = split_length(&mut bytes)?;
        if length > bytes.len() as u64 {
            return Err(DecodeError::malformed(
                STRUCTURE,
                "it is shorter than it says",
            ));
        }
        bytes.truncate(length as usize);
        Ok(Decoded {
            bytes,
            damaged_shards,
        })
    }
}

/// Takes the length of what was encoded, which stands before it, off the first decoded block.
pub fn split_length(decoded: &mut Vec<u8>) -> Result<u64, DecodeError> {
    let length = decoded
        .first_chunk::<LENGTH_BYTES>()
        .map(|length| u32::from_be_bytes(*length))
        .ok_or_else(|| DecodeError::malformed(STRUCTURE, "it is too short to have a length"))?;
    decoded.drain(..LENGTH_BYTES);
    Ok(length.into())
}

/// How stored data is cut into blocks, and these into shards.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ShardLayout {
    stored_bytes: u64,
    data_shards: usize,
    parity_shards: usize,
    shard_bytes: usize,
    blocks: u64,
}

impl ShardLayout {
    /// Returns the number of blocks.
    pub fn blocks(&self) -> u64 {
        self.blocks
    }

    /// Returns how many bytes a block decodes to, the length before the first one included.
    pub fn block_bytes(&self) -> usize {
        self.data_shards * self.shard_bytes
    }

    /// Returns where the parity of these blocks is stored.
    pub fn parity_of(&self, blocks: Range<u64>) -> Range<u64> {
        let of_each = self.stored_bytes_of(self.parity_shards);
        self.clipped(blocks.start * of_each..blocks.end * of_each)
    }

    /// Returns where the data of these blocks is stored.
    pub fn data_of(&self, blocks: Range<u64>) -> Range<u64> {
        let parity = self.blocks * self.stored_bytes_of(self.parity_shards);
        let of_each = self.stored_bytes_of(self.data_shards);
        self.clipped(parity + blocks.start * of_each..parity + blocks.end * of_each)
    }

    fn stored_bytes_of(&self, shards: usize) -> u64 {
        (shards * (CRC_BYTES + self.shard_bytes)) as u64
    }

    /// The padding that ends the last block is not stored.
    fn clipped(&self, range: Range<u64>) -> Range<u64> {
        range.start.min(self.stored_bytes)..range.end.min(self.stored_bytes)
    }

    /// Decodes so many consecutive blocks from their parity and data as they are stored, appends
    /// what they hold, and returns how many shards were damaged.
    ///
    /// # Errors
    /// If more shards of a block are damaged than it has parity shards.
    pub fn decode_blocks(
        &self,
        blocks: u64,
        parity: &[u8],
        data: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<u64, DecodeError> {
        let stored_shard_bytes = CRC_BYTES + self.shard_bytes;
        let mut parity = parity.chunks(stored_shard_bytes);
        let mut data = data.chunks(stored_shard_bytes);
        out.reserve(blocks as usize * self.block_bytes());
        let mut damaged = 0;
        for _ in 0..blocks {
            damaged += self.decode_block(&mut parity, &mut data, out)?;
        }
        Ok(damaged)
    }

    fn decode_block<'s>(
        &self,
        parity: &mut impl Iterator<Item = &'s [u8]>,
        data: &mut impl Iterator<Item = &'s [u8]>,
        out: &mut Vec<u8>,
    ) -> Result<u64, DecodeError> {
        let start = out.len();
        let mut lost = Vec::new();
        for number in 0..self.data_shards {
            match data.next() {
                Some(stored) => {
                    if !push_shard(stored, self.shard_bytes, out) {
                        lost.push(number);
                    }
                }
                // Padding.
                None => out.resize(out.len() + self.shard_bytes, 0),
            }
        }
        let mut sound_parity = Vec::new();
        let mut lost_parity = 0;
        let mut shard = Vec::with_capacity(self.shard_bytes);
        for number in self.data_shards..self.data_shards + self.parity_shards {
            shard.clear();
            let stored = parity.next().unwrap_or_default();
            if !push_shard(stored, self.shard_bytes, &mut shard) {
                lost_parity += 1;
            } else if sound_parity.len() < lost.len() {
                sound_parity.push((number, shard.clone()));
            }
        }
        let damaged = lost.len() + lost_parity;
        if sound_parity.len() < lost.len() {
            return Err(DecodeError::malformed(
                STRUCTURE,
                format!(
                    "{damaged} of {} shards are damaged, of which at most {} can be corrected",
                    self.data_shards + self.parity_shards,
                    self.parity_shards
                ),
            ));
        }
        if !lost.is_empty() {
            self.correct(&lost, &sound_parity, &mut out[start..]);
        }
        Ok(damaged as u64)
    }

    /// Computes the lost data shards of a block from the others and as many parity shards.
    fn correct(&self, lost: &[usize], parity: &[(usize, Vec<u8>)], block: &mut [u8]) {
        let places: Vec<u8> = (0..self.data_shards)
            .filter(|number| !lost.contains(number))
            .chain(parity.iter().map(|(number, _)| *number))
            .map(|number| number as u8)
            .collect();
        let computed: Vec<Vec<u8>> = {
            let shards: Vec<&[u8]> = block
                .chunks(self.shard_bytes)
                .enumerate()
                .filter(|(number, _)| !lost.contains(number))
                .map(|(_, shard)| shard)
                .chain(parity.iter().map(|(_, shard)| &shard[..]))
                .collect();
            let code = field::Interpolation::between(&places);
            lost.iter()
                .map(|number| code.at(*number as u8, &shards))
                .collect()
        };
        for (number, shard) in lost.iter().zip(computed) {
            block[number * self.shard_bytes..][..self.shard_bytes].copy_from_slice(&shard);
        }
    }
}

/// Appends a stored shard in its full length and says whether its checksum is right.
fn push_shard(stored: &[u8], shard_bytes: usize, out: &mut Vec<u8>) -> bool {
    let start = out.len();
    let (crc, shard) = stored.split_first_chunk().unwrap_or((&[0; CRC_BYTES], &[]));
    out.extend_from_slice(shard);
    out.resize(start + shard_bytes, 0);
    let is_whole_enough = stored.len() >= CRC_BYTES;
    is_whole_enough && crc32(&out[start..]) == u32::from_be_bytes(*crc)
}

fn crc32(bytes: &[u8]) -> u32 {
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32IsoHdlc, bytes) as u32
}

#[cfg(test)]
mod tests;
