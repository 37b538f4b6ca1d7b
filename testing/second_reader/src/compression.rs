//! Decompressors by header ID (Kopia spec 4.3). Each is told how many bytes may come out at most.

use miniz_oxide::inflate::stream::{InflateState, inflate};
use miniz_oxide::{DataFormat, MZError, MZFlush, MZStatus};

use crate::s2::{self, too_long};

/// The most that one content can be.
pub(crate) const CONTENT_BYTES_MAX: usize = 256 << 20;

pub(crate) fn is_known(header_id: u32) -> bool {
    matches!(header_id, 0x1000..=0x1002 | 0x1100..=0x1103 | 0x1200..=0x1203 | 0x1300..=0x1302 | 0x1400 | 0x1500..=0x1502)
}

pub(crate) fn decompress(
    header_id: u32,
    stream: &[u8],
    bytes_max: usize,
) -> Result<Vec<u8>, String> {
    match header_id {
        0x1000..=0x1002 | 0x1300..=0x1302 => gunzip(stream, bytes_max),
        0x1100..=0x1103 => unzstd(stream, bytes_max),
        0x1200..=0x1203 => s2::decode_stream(stream, bytes_max),
        0x1400 => unlz4(stream, bytes_max),
        0x1500..=0x1502 => {
            let mut out = Vec::new();
            let used = inflate_raw(stream, &mut out, bytes_max)?;
            if used == stream.len() {
                Ok(out)
            } else {
                Err("bytes after the end of the deflate stream".to_owned())
            }
        }
        _ => Err(format!("unknown compression {header_id:#x}")),
    }
}

/// Decompresses one or more gzip members, up to the end of the input.
pub(crate) fn gunzip(mut input: &[u8], bytes_max: usize) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    loop {
        let header_bytes = gzip_header_bytes(input).ok_or("not a gzip member")?;
        let start = out.len();
        let used = inflate_raw(&input[header_bytes..], &mut out, bytes_max)?;
        let rest = &input[header_bytes + used..];
        let (trailer, rest) = rest
            .split_first_chunk::<8>()
            .ok_or("gzip trailer is cut off")?;
        let member = &out[start..];
        let length = u32::try_from(member.len()).map_err(|error| error.to_string())?;
        if trailer[..4] != crc32fast::hash(member).to_le_bytes()
            || trailer[4..] != length.to_le_bytes()
        {
            return Err("gzip trailer does not fit".to_owned());
        }
        if rest.is_empty() {
            return Ok(out);
        }
        input = rest;
    }
}

fn gzip_header_bytes(input: &[u8]) -> Option<usize> {
    let (fixed, _) = input.split_first_chunk::<10>()?;
    let flags = fixed[3];
    if fixed[..3] != [0x1f, 0x8b, 8] || flags & 0xe0 != 0 {
        return None;
    }
    let mut at = 10;
    if flags & 4 != 0 {
        let length = u16::from_le_bytes([*input.get(at)?, *input.get(at + 1)?]);
        at += 2 + usize::from(length);
    }
    for flag in [8, 16] {
        if flags & flag != 0 {
            at += input.get(at..)?.iter().position(|&byte| byte == 0)? + 1;
        }
    }
    if flags & 2 != 0 {
        at += 2;
    }
    (at <= input.len()).then_some(at)
}

/// Inflates one raw stream and returns how much of the input it took.
fn inflate_raw(input: &[u8], out: &mut Vec<u8>, bytes_max: usize) -> Result<usize, String> {
    let mut state = InflateState::new_boxed(DataFormat::Raw);
    let mut buffer = vec![0; 64 << 10];
    let mut used = 0;
    loop {
        let step = inflate(&mut state, &input[used..], &mut buffer, MZFlush::None);
        used += step.bytes_consumed;
        out.extend_from_slice(&buffer[..step.bytes_written]);
        if out.len() > bytes_max {
            return Err(too_long());
        }
        match step.status {
            Ok(MZStatus::StreamEnd) => return Ok(used),
            Ok(_) if step.bytes_consumed + step.bytes_written > 0 => {}
            Err(MZError::Buf) | Ok(_) => return Err("deflate stream is cut off".to_owned()),
            Err(error) => return Err(format!("deflate stream is broken: {error:?}")),
        }
    }
}

fn unzstd(mut input: &[u8], bytes_max: usize) -> Result<Vec<u8>, String> {
    use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};
    let mut out = Vec::new();
    let mut decoder = FrameDecoder::new();
    while !input.is_empty() {
        decoder
            .init(&mut input)
            .map_err(|error| format!("zstd frame is broken: {error}"))?;
        while !decoder.is_finished() {
            decoder
                .decode_blocks(&mut input, BlockDecodingStrategy::UptoBytes(1 << 20))
                .map_err(|error| format!("zstd frame is broken: {error}"))?;
            out.extend(decoder.collect().unwrap_or_default());
            if out.len() > bytes_max {
                return Err(too_long());
            }
        }
        out.extend(decoder.collect().unwrap_or_default());
        let stored = decoder.get_checksum_from_data();
        if stored.is_some() && stored != decoder.get_calculated_checksum() {
            return Err("zstd checksum does not fit".to_owned());
        }
    }
    Ok(out)
}

fn unlz4(input: &[u8], bytes_max: usize) -> Result<Vec<u8>, String> {
    use std::io::Read;
    let mut out = Vec::new();
    let limit = u64::try_from(bytes_max)
        .unwrap_or(u64::MAX)
        .saturating_add(1);
    lz4_flex::frame::FrameDecoder::new(input)
        .take(limit)
        .read_to_end(&mut out)
        .map_err(|error| format!("lz4 frame is broken: {error}"))?;
    if out.len() > bytes_max {
        Err(too_long())
    } else {
        Ok(out)
    }
}
