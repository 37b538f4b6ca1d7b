//! The Reed–Solomon code itself: polynomials over the field of 256 elements.
//!
//! Kopia's matrix V·(top of V)⁻¹ with V[r][c] = r^c takes the data of a block as the values of a
//! polynomial at 0, 1, 2, …, and gives as parity its values at the places after these (Kopia
//! spec 3.3). So any lost value is found by Lagrange's interpolation between known ones.

/// The field's polynomial.
const POLYNOMIAL: u16 = 0x11d;
/// How many elements the field has but zero.
const ORDER: usize = 255;

static FIELD: Field = Field::new();

/// Powers of 2 and their logarithms; sums are exclusive ors.
struct Field {
    exp: [u8; 2 * ORDER],
    log: [u8; 256],
}

impl Field {
    const fn new() -> Self {
        let mut exp = [0; 2 * ORDER];
        let mut log = [0; 256];
        let mut value = 1_u16;
        let mut power = 0;
        while power < ORDER {
            exp[power] = value as u8;
            exp[power + ORDER] = value as u8;
            log[value as usize] = power as u8;
            value <<= 1;
            if value > 0xff {
                value ^= POLYNOMIAL;
            }
            power += 1;
        }
        Self { exp, log }
    }
}

/// The logarithm of the difference of two places, which must not be the same.
fn log_difference(a: u8, b: u8) -> usize {
    FIELD.log[usize::from(a ^ b)].into()
}

/// A polynomial given by its values at some places.
pub(super) struct Interpolation<'p> {
    places: &'p [u8],
    /// For each place the logarithm of the product of its differences to all others.
    logs: Vec<usize>,
}

impl<'p> Interpolation<'p> {
    /// Prepares for values at these places, which must differ.
    pub(super) fn between(places: &'p [u8]) -> Self {
        let log = |place: u8| {
            let others = places.iter().filter(|other| **other != place);
            others.map(|other| log_difference(place, *other)).sum()
        };
        Self {
            places,
            logs: places.iter().map(|place| log(*place)).collect(),
        }
    }

    /// Returns the values at another place, of as many polynomials as each shard has bytes.
    pub(super) fn at(&self, place: u8, shards: &[&[u8]]) -> Vec<u8> {
        let differences = self
            .places
            .iter()
            .map(|other| log_difference(place, *other));
        let log_all: usize = differences.sum();
        let mut values = vec![0; shards.first().map_or(0, |shard| shard.len())];
        for ((other, log_others), shard) in self.places.iter().zip(&self.logs).zip(shards) {
            // The weight of this shard: everything but its own difference, over its product.
            let log_own = log_difference(place, *other) + log_others;
            let log_weight = (log_all % ORDER + ORDER - log_own % ORDER) % ORDER;
            for (value, byte) in values.iter_mut().zip(*shard) {
                if *byte != 0 {
                    *value ^= FIELD.exp[log_weight + usize::from(FIELD.log[usize::from(*byte)])];
                }
            }
        }
        values
    }
}
