//! The snappy framing format (google/snappy, `framing_format.txt`): a stream identifier, then chunks of at
//! most 64 KiB of data, each with a masked CRC-32C of what it holds, which is always checked.
//!
//! Loki writes no byte at all for no data, not even the identifier.

use std::cell::RefCell;

use snap::raw::{Decoder, Encoder, decompress_len, max_compress_len};

use super::Fault;

const IDENTIFIER: [u8; 10] = [0xFF, 6, 0, 0, b's', b'N', b'a', b'P', b'p', b'Y'];
const COMPRESSED: u8 = 0x00;
const UNCOMPRESSED: u8 = 0x01;
const PADDING: u8 = 0xFE;
const STREAM_IDENTIFIER: u8 = 0xFF;
/// Data in one chunk of the stream.
const CHUNK: usize = 1 << 16;
/// Type and length of three bytes, then the checksum.
const CHUNK_HEADER: usize = 8;

thread_local! {
    /// And room for what it makes of one chunk.
    static ENCODER: RefCell<(Encoder, Vec<u8>)> =
        RefCell::new((Encoder::new(), vec![0; max_compress_len(CHUNK)]));
}

pub(crate) fn compress(plain: &[u8], out: &mut Vec<u8>) {
    if plain.is_empty() {
        return;
    }
    out.extend_from_slice(&IDENTIFIER);
    ENCODER.with_borrow_mut(|(encoder, room)| {
        for data in plain.chunks(CHUNK) {
            append_chunk(encoder, data, room, out);
        }
    });
}

/// Appends one chunk, compressed if that saves an eighth.
fn append_chunk(encoder: &mut Encoder, data: &[u8], room: &mut [u8], out: &mut Vec<u8>) {
    let length = encoder.compress(data, room).expect("the room is what the encoder asks for");
    let worth_it = length < data.len() - data.len() / 8;
    let (kind, body) = match room.get(..length) {
        Some(compressed) if worth_it => (COMPRESSED, compressed),
        _ => (UNCOMPRESSED, data),
    };
    let length = u32::try_from(body.len() + 4).expect("a chunk has at most 64 KiB");
    let [l0, l1, l2, _] = length.to_le_bytes();
    out.reserve(CHUNK_HEADER + body.len());
    out.extend_from_slice(&[kind, l0, l1, l2]);
    out.extend_from_slice(&masked_crc(data).to_le_bytes());
    out.extend_from_slice(body);
}

pub(crate) fn decompress(stored: &[u8], expected: usize, max: usize, out: &mut Vec<u8>) -> Result<(), Fault> {
    // A copy of three bytes yields at most 64, so this much is justified by the data at hand.
    out.reserve(expected.min(max).min(stored.len().saturating_mul(22)));
    let limit = out.len().saturating_add(max);
    let mut rest = stored;
    while !rest.is_empty() {
        let offset = stored.len() - rest.len();
        let malformed = |what| Fault::Malformed { offset, what };
        let Some((&[kind, l0, l1, l2], after)) = rest.split_first_chunk::<4>() else {
            return Err(malformed("a snappy chunk header is cut short"));
        };
        let length = usize::from(l0) | usize::from(l1) << 8 | usize::from(l2) << 16;
        let Some((body, after)) = after.split_at_checked(length) else {
            return Err(malformed("a snappy chunk is cut short"));
        };
        rest = after;
        if offset == 0 && kind != STREAM_IDENTIFIER {
            return Err(malformed("a snappy stream must start with its identifier"));
        }
        match kind {
            COMPRESSED | UNCOMPRESSED => {
                append_data(kind, body, limit, out).map_err(|why| why.at(offset))?;
            }
            STREAM_IDENTIFIER if IDENTIFIER.ends_with(body) && body.len() == 6 => {}
            STREAM_IDENTIFIER => return Err(malformed("a snappy stream identifier must be sNaPpY")),
            0x80..=PADDING => {}
            _ => return Err(malformed("a snappy chunk has a reserved type")),
        }
    }
    Ok(())
}

enum Refusal {
    Malformed(&'static str),
    TooLong(usize),
}

impl Refusal {
    fn at(self, offset: usize) -> Fault {
        match self {
            Self::Malformed(what) => Fault::Malformed { offset, what },
            Self::TooLong(reached) => Fault::TooLong { reached },
        }
    }
}

/// Appends what one chunk holds, unless `out` would become longer than `limit`.
fn append_data(kind: u8, body: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), Refusal> {
    let Some((&crc, data)) = body.split_first_chunk::<4>() else {
        return Err(Refusal::Malformed("a snappy chunk has no checksum"));
    };
    let compressed = kind == COMPRESSED;
    let invalid = |_| Refusal::Malformed("invalid snappy data");
    let length = if compressed { decompress_len(data).map_err(invalid)? } else { data.len() };
    if length > CHUNK {
        return Err(Refusal::Malformed("a snappy chunk holds more than 65536 bytes"));
    }
    let start = out.len();
    if start + length > limit {
        return Err(Refusal::TooLong(start + length));
    }
    if compressed {
        out.resize(start + length, 0);
        let room = out.get_mut(start..).unwrap_or_default();
        Decoder::new().decompress(data, room).map_err(invalid)?;
    } else {
        out.extend_from_slice(data);
    }
    let plain = out.get(start..).unwrap_or_default();
    if u32::from_le_bytes(crc) != masked_crc(plain) {
        return Err(Refusal::Malformed("snappy checksum mismatch"));
    }
    Ok(())
}

/// The format masks its checksums, so that data which holds checksums of itself is not checked by chance.
fn masked_crc(data: &[u8]) -> u32 {
    crc32c::crc32c(data).rotate_right(15).wrapping_add(0xA282_EAD8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unsnap(stored: &[u8]) -> Result<Vec<u8>, Fault> {
        let mut plain = Vec::new();
        decompress(stored, 0, 1 << 20, &mut plain).map(|()| plain)
    }

    #[test]
    fn nothing_is_stored_as_nothing() {
        let mut stored = Vec::new();
        compress(b"", &mut stored);
        assert!(stored.is_empty());
        assert_eq!(unsnap(&stored).unwrap(), b"");
        assert_eq!(unsnap(&IDENTIFIER).unwrap(), b"");
    }

    #[test]
    fn another_encoder_of_the_format_reads_it_and_is_read() {
        use std::io::{Read, Write};
        let plain: Vec<u8> = (0..70_000u32).flat_map(|n| (n % 251 + n / 1000).to_le_bytes()).collect();
        let mut stored = Vec::new();
        compress(&plain, &mut stored);
        let mut back = Vec::new();
        snap::read::FrameDecoder::new(&stored[..]).read_to_end(&mut back).unwrap();
        assert_eq!(back, plain);

        let mut other = snap::write::FrameEncoder::new(Vec::new());
        other.write_all(&plain).unwrap();
        assert_eq!(unsnap(&other.into_inner().unwrap()).unwrap(), plain);
    }

    #[test]
    fn skippable_chunks_are_skipped_and_reserved_ones_refused() {
        let mut stored = Vec::new();
        compress(b"hello", &mut stored);
        for kind in [0x80, 0xFD, PADDING] {
            let padded = [&stored[..], &[kind, 2, 0, 0, 9, 9]].concat();
            assert_eq!(unsnap(&padded).unwrap(), b"hello");
        }
        assert!(unsnap(&[&stored[..], &[0x02, 0, 0, 0]].concat()).is_err());
        assert!(unsnap(&stored[10..]).is_err());
    }

    #[test]
    fn a_flipped_bit_gives_no_other_data() {
        let mut stored = Vec::new();
        compress(b"abcabcabcabcabcabcabcabcabcdefdefdef", &mut stored);
        for bit in 0..stored.len() * 8 {
            let mut broken = stored.clone();
            broken[bit / 8] ^= 1 << (bit % 8);
            // The type of a chunk can become one that is skipped; the checksum around the stream is for that.
            assert!(unsnap(&broken).map_or(true, |plain| plain.is_empty()), "bit {bit}");
        }
    }
}
