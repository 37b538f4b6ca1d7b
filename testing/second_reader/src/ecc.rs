//! Error correction by Reed-Solomon codes (Kopia spec 3.3), decoding only, with nothing done twice cleverly.

/// What a repository's overhead percentage amounts to.
pub(crate) struct Ecc {
    data_shards: usize,
    parity_shards: usize,
    shard_bytes: usize,
    field: Field,
}

impl Ecc {
    pub(crate) fn new(name: &str, percent: u64) -> Result<Option<Ecc>, String> {
        if name.is_empty() && percent == 0 {
            return Ok(None);
        }
        if name != "REED-SOLOMON-CRC32" {
            return Err(format!("unknown ecc {name:?}"));
        }
        let percent = match percent {
            0 => return Ok(None),
            1..=100 => percent as u16,
            _ => return Err(format!("eccOverheadPercent {percent} is out of range")),
        };
        let shard_bytes = match percent {
            1 => 1024,
            2 => 512,
            3 => 256,
            4..=6 => 128,
            _ => 64,
        };
        let free = (f32::from(percent) - 400.0 / shard_bytes as f32).max(0.01);
        let parity = ((128.0 * free / 100.0).floor() as usize).clamp(1, 128);
        let (data_shards, parity_shards) = if parity == 1 {
            (((2.0 * (100.0 / free)).floor() as usize).clamp(128, 254), 2)
        } else {
            (128, parity)
        };
        Ok(Some(Ecc {
            data_shards,
            parity_shards,
            shard_bytes,
            field: Field::new(),
        }))
    }

    /// Takes the shards apart, repairs what can be repaired (and says so in `damage`), and gives back what was encoded.
    pub(crate) fn decode(
        &self,
        stored: &[u8],
        damage: &mut Vec<String>,
    ) -> Result<Vec<u8>, String> {
        let small_max = 8 * (4 + (8 * (self.data_shards + self.parity_shards)).div_ceil(6));
        let one_block_max = (self.data_shards + self.parity_shards) * (4 + self.shard_bytes);
        let ceil_shard = |shards: usize| stored.len().div_ceil(shards).max(5) - 4;
        let (d, p, s, blocks) = if stored.len() <= small_max {
            (6, 2, ceil_shard(8), 1)
        } else if stored.len() <= one_block_max {
            let shards = self.data_shards + self.parity_shards;
            (self.data_shards, self.parity_shards, ceil_shard(shards), 1)
        } else {
            (
                self.data_shards,
                self.parity_shards,
                self.shard_bytes,
                stored.len().div_ceil(one_block_max),
            )
        };
        let stored_shards: Vec<&[u8]> = stored.chunks(4 + s).collect();
        let matrix = self.field.systematic(d, p);
        let mut plain = Vec::new();
        for block in 0..blocks {
            let parity = (0..p).map(|at| stored_shards.get(block * p + at).copied());
            let data = (0..d).map(|at| stored_shards.get(blocks * p + block * d + at).copied());
            let shards: Vec<Option<Vec<u8>>> = data
                .map(|shard| match shard {
                    None => Some(vec![0; s]),
                    Some(shard) => checked_shard(shard, s),
                })
                .chain(parity.map(|shard| checked_shard(shard?, s)))
                .collect();
            let lost = shards.iter().filter(|shard| shard.is_none()).count();
            if lost > 0 {
                damage.push(format!("error correction had to repair {lost} shards"));
            }
            let data = self.field.repair(&matrix, d, &shards)?;
            for (at, shard) in shards[d..].iter().enumerate() {
                let expected = self.field.combine(&matrix[d + at], &data);
                if shard.as_ref().is_some_and(|shard| *shard != expected) {
                    damage.push("a parity shard does not fit its data".to_owned());
                }
            }
            plain.extend(data.concat());
        }
        let (length, rest) = plain
            .split_first_chunk::<4>()
            .ok_or("error-corrected bytes are too short")?;
        let length = u32::from_be_bytes(*length) as usize;
        if rest.len() < length {
            return Err("error-corrected bytes are shorter than they say".to_owned());
        }
        Ok(rest[..length].to_vec())
    }
}

/// A shard of full length, if its checksum is right.
fn checked_shard(stored: &[u8], shard_bytes: usize) -> Option<Vec<u8>> {
    let (crc, data) = stored.split_first_chunk::<4>()?;
    let mut shard = data.to_vec();
    shard.resize(shard_bytes, 0);
    (crc32fast::hash(&shard) == u32::from_be_bytes(*crc)).then_some(shard)
}

/// GF(2^8) modulo 0x11D.
struct Field {
    exp: [u8; 510],
    log: [usize; 256],
}

type Matrix = Vec<Vec<u8>>;

impl Field {
    fn new() -> Field {
        let mut field = Field {
            exp: [0; 510],
            log: [0; 256],
        };
        let mut value = 1_u16;
        for power in 0..255 {
            field.exp[power] = value as u8;
            field.exp[power + 255] = value as u8;
            field.log[usize::from(value)] = power;
            value <<= 1;
            if value > 0xff {
                value ^= 0x11d;
            }
        }
        field
    }

    fn multiply(&self, a: u8, b: u8) -> u8 {
        if a == 0 || b == 0 {
            0
        } else {
            self.exp[self.log[usize::from(a)] + self.log[usize::from(b)]]
        }
    }

    fn power(&self, base: u8, exponent: usize) -> u8 {
        match (base, exponent) {
            (_, 0) => 1,
            (0, _) => 0,
            _ => self.exp[self.log[usize::from(base)] * exponent % 255],
        }
    }

    /// V · (top of V)⁻¹ for the Vandermonde matrix V[r][c] = r^c.
    fn systematic(&self, d: usize, p: usize) -> Matrix {
        let vandermonde: Matrix = (0..d + p)
            .map(|row| (0..d).map(|column| self.power(row as u8, column)).collect())
            .collect();
        let inverse = self
            .invert(&vandermonde[..d])
            .expect("a Vandermonde matrix of distinct rows has an inverse");
        vandermonde
            .iter()
            .map(|row| self.combine(row, &inverse))
            .collect()
    }

    /// The sum of `rows`, each multiplied by its factor.
    fn combine(&self, factors: &[u8], rows: &[Vec<u8>]) -> Vec<u8> {
        let mut sum = vec![0; rows.first().map_or(0, Vec::len)];
        for (&factor, row) in factors.iter().zip(rows) {
            if factor != 0 {
                for (total, &value) in sum.iter_mut().zip(row) {
                    *total ^= self.multiply(factor, value);
                }
            }
        }
        sum
    }

    /// Gauss-Jordan elimination.
    fn invert(&self, matrix: &[Vec<u8>]) -> Option<Matrix> {
        let size = matrix.len();
        let mut left: Matrix = matrix.to_vec();
        let mut right: Matrix = (0..size)
            .map(|row| (0..size).map(|column| u8::from(row == column)).collect())
            .collect();
        for column in 0..size {
            let pivot = (column..size).find(|&row| left[row][column] != 0)?;
            left.swap(column, pivot);
            right.swap(column, pivot);
            let inverse = self.power(left[column][column], 254);
            for half in [&mut left, &mut right] {
                for value in &mut half[column] {
                    *value = self.multiply(*value, inverse);
                }
            }
            for row in (0..size).filter(|&row| row != column) {
                let factor = left[row][column];
                if factor == 0 {
                    continue;
                }
                for half in [&mut left, &mut right] {
                    let source = half[column].clone();
                    for (value, &term) in half[row].iter_mut().zip(&source) {
                        *value ^= self.multiply(factor, term);
                    }
                }
            }
        }
        Some(right)
    }

    /// The data shards, from any `d` of all.
    fn repair(
        &self,
        matrix: &Matrix,
        d: usize,
        shards: &[Option<Vec<u8>>],
    ) -> Result<Vec<Vec<u8>>, String> {
        if let Some(data) = shards[..d].iter().cloned().collect::<Option<Vec<_>>>() {
            return Ok(data);
        }
        let (rows, known): (Vec<_>, Vec<_>) = matrix
            .iter()
            .zip(shards)
            .filter_map(|(row, shard)| Some((row.clone(), shard.clone()?)))
            .take(d)
            .unzip();
        if rows.len() < d {
            return Err("too many shards are lost".to_owned());
        }
        let inverse = self
            .invert(&rows)
            .ok_or("the remaining shards do not determine the data")?;
        Ok(inverse
            .iter()
            .map(|row| self.combine(row, &known))
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overheads_give_the_shards_of_the_specification() {
        for (percent, shape) in [
            (1, (1024, 254, 2)),
            (2, (512, 164, 2)),
            (3, (256, 139, 2)),
            (4, (128, 228, 2)),
            (5, (128, 128, 2)),
            (6, (128, 128, 3)),
            (7, (64, 254, 2)),
            (8, (64, 128, 2)),
            (9, (64, 128, 3)),
            (10, (64, 128, 4)),
            (20, (64, 128, 17)),
            (25, (64, 128, 24)),
            (50, (64, 128, 56)),
            (75, (64, 128, 88)),
            (100, (64, 128, 120)),
        ] {
            let ecc = Ecc::new("REED-SOLOMON-CRC32", percent).unwrap().unwrap();
            assert_eq!(
                (ecc.shard_bytes, ecc.data_shards, ecc.parity_shards),
                shape,
                "{percent} %"
            );
        }
    }
}
