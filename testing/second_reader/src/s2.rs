//! S2 streams: Snappy's framing and blocks, with repeated offsets (Kopia spec 4.3).

const BLOCK_BYTES_MAX: usize = 4 << 20;

pub(crate) fn decode_stream(mut input: &[u8], bytes_max: usize) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    let mut identified = false;
    while !input.is_empty() {
        let (header, rest) = input
            .split_first_chunk::<4>()
            .ok_or("s2 chunk header is cut off")?;
        let length = u32::from_le_bytes([header[1], header[2], header[3], 0]) as usize;
        let (body, rest) = rest.split_at_checked(length).ok_or("s2 chunk is cut off")?;
        input = rest;
        match header[0] {
            0xff => {
                if body != b"S2sTwO" && body != b"sNaPpY" {
                    return Err("s2 stream identifier is wrong".to_owned());
                }
                identified = true;
            }
            _ if !identified => return Err("s2 stream has no identifier".to_owned()),
            kind @ (0 | 1) => {
                let (crc, data) = body
                    .split_first_chunk::<4>()
                    .ok_or("s2 chunk is too short")?;
                let start = out.len();
                if kind == 0 {
                    decode_block(data, &mut out, bytes_max)?;
                } else {
                    out.extend_from_slice(data);
                }
                if out.len() > bytes_max {
                    return Err(too_long());
                }
                if masked_crc32c(&out[start..]) != u32::from_le_bytes(*crc) {
                    return Err("s2 checksum does not fit".to_owned());
                }
            }
            0x80..=0xfe => {}
            kind => return Err(format!("s2 chunk of the unknown kind {kind:#x}")),
        }
    }
    if identified {
        Ok(out)
    } else {
        Err("s2 stream is empty".to_owned())
    }
}

/// Appends one decoded block to `out`.
fn decode_block(block: &[u8], out: &mut Vec<u8>, bytes_max: usize) -> Result<(), String> {
    let mut input = Bytes { rest: block };
    let mut length = 0_u64;
    for shift in (0..).step_by(7) {
        let byte = input.number(1)?;
        if shift > 28 {
            return Err("s2 block length is too long".to_owned());
        }
        length |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
    }
    let start = out.len();
    let length = usize::try_from(length).map_err(|error| error.to_string())?;
    if length > BLOCK_BYTES_MAX || start + length > bytes_max {
        return Err(too_long());
    }
    let end = start + length;
    let mut last_offset = 0_usize;
    while !input.rest.is_empty() {
        let tag = input.number(1)?;
        let high = (tag >> 2) as usize;
        let copy_bytes;
        match tag & 3 {
            0 => {
                let literal_bytes = 1 + match high {
                    60 => input.number(1)? as usize,
                    61 => input.number(2)? as usize,
                    62 => input.number(3)? as usize,
                    63 => input.number(4)? as usize,
                    _ => high,
                };
                let literal = input.take(literal_bytes)?;
                if literal.len() > end - out.len() {
                    return Err("s2 block is longer than it says".to_owned());
                }
                out.extend_from_slice(literal);
                continue;
            }
            1 => {
                let offset = (tag >> 5 << 8 | input.number(1)?) as usize;
                let field = high & 7;
                if offset == 0 {
                    copy_bytes = match field {
                        5 => 8 + input.number(1)? as usize,
                        6 => 260 + input.number(2)? as usize,
                        7 => 65_540 + input.number(3)? as usize,
                        _ => 4 + field,
                    };
                } else {
                    last_offset = offset;
                    copy_bytes = 4 + field;
                }
            }
            2 => {
                last_offset = input.number(2)? as usize;
                copy_bytes = 1 + high;
            }
            _ => {
                last_offset = input.number(4)? as usize;
                copy_bytes = 1 + high;
            }
        }
        if last_offset == 0 || last_offset > out.len() - start {
            return Err("s2 copy from before the block".to_owned());
        }
        if copy_bytes > end - out.len() {
            return Err("s2 block is longer than it says".to_owned());
        }
        for _ in 0..copy_bytes {
            out.push(out[out.len() - last_offset]);
        }
    }
    if out.len() == end {
        Ok(())
    } else {
        Err("s2 block is shorter than it says".to_owned())
    }
}

struct Bytes<'a> {
    rest: &'a [u8],
}

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self
            .rest
            .split_at_checked(count)
            .ok_or("s2 block is cut off")?;
        self.rest = rest;
        Ok(taken)
    }

    /// A little-endian number of up to four bytes.
    fn number(&mut self, bytes: usize) -> Result<u32, String> {
        Ok(self
            .take(bytes)?
            .iter()
            .rev()
            .fold(0, |number, &byte| number << 8 | u32::from(byte)))
    }
}

fn masked_crc32c(data: &[u8]) -> u32 {
    let mut crc = !0_u32;
    for &byte in data {
        crc = CRC32C[usize::from(crc as u8 ^ byte)] ^ (crc >> 8);
    }
    (!crc).rotate_right(15).wrapping_add(0xa282_ead8)
}

const CRC32C: [u32; 256] = {
    let mut table = [0; 256];
    let mut at = 0;
    while at < 256 {
        let mut value = at as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 {
                value >> 1 ^ 0x82f6_3b78
            } else {
                value >> 1
            };
            bit += 1;
        }
        table[at] = value;
        at += 1;
    }
    table
};

/// What every decompressor says of a stream that goes on.
pub(crate) fn too_long() -> String {
    "more comes out of decompression than was announced".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(bytes: &[u8]) -> Result<Vec<u8>, String> {
        let mut out = Vec::new();
        decode_block(bytes, &mut out, 1 << 20).map(|()| out)
    }

    #[test]
    fn repeats_copy_from_the_last_offset() {
        // "ab", copy 4 from 2 back, literal "c", repeat 4 (offset 2: "bc"), repeat 8+3.
        let bytes = [22, 4, b'a', b'b', 1, 2, 0, b'c', 1, 0, 5 << 2 | 1, 0, 3];
        assert_eq!(block(&bytes).unwrap(), b"abababcbcbcbcbcbcbcbcb");
    }

    #[test]
    fn broken_blocks_are_refused() {
        for bytes in [
            &[1][..],
            &[1, 1, 0],
            &[2, 0, b'a'],
            &[1, 4, b'a', b'b'],
            &[2, 0, b'a', 1, 2],
            &[5, 0, b'a', 2, 0, 0],
        ] {
            assert!(block(bytes).is_err(), "{bytes:?}");
        }
    }
}
