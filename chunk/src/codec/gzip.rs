//! Gzip (RFC 1952), one member. Header and trailer are written and checked here, so that deflate states can
//! be reset and reused; the checksum and the length in the trailer are always checked.

use flate2::Crc;

use super::Fault;
use super::deflate::{self, inflate};

/// No flags, no time, no extra flags, system unknown.
const HEADER: [u8; 10] = [0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 0xFF];
/// CRC-32 and length of what was compressed, both little-endian.
const TRAILER_BYTES: usize = 8;

pub(crate) fn compress(plain: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&HEADER);
    deflate::compress(plain, out);
    let mut crc = Crc::new();
    crc.update(plain);
    out.extend_from_slice(&crc.sum().to_le_bytes());
    out.extend_from_slice(&crc.amount().to_le_bytes());
}

pub(crate) fn decompress(stored: &[u8], expected: usize, max: usize, out: &mut Vec<u8>) -> Result<(), Fault> {
    let start = header_bytes(stored)?;
    let deflated = stored.get(start..).unwrap_or_default();
    let before = out.len();
    let taken =
        inflate(deflated, expected, max, out).map_err(|fault| shifted(fault, start))?.min(deflated.len());

    let plain = out.get(before..).unwrap_or_default();
    let end = start + taken;
    let malformed = |what| Fault::Malformed { offset: end, what };
    let Some((trailer, [])) = stored.get(end..).and_then(|rest| rest.split_first_chunk::<TRAILER_BYTES>())
    else {
        return Err(malformed("a gzip member must end with a trailer of 8 bytes and nothing after it"));
    };
    let mut crc = Crc::new();
    crc.update(plain);
    let [c0, c1, c2, c3, l0, l1, l2, l3] = *trailer;
    if u32::from_le_bytes([c0, c1, c2, c3]) != crc.sum() {
        return Err(malformed("gzip checksum mismatch"));
    }
    if u32::from_le_bytes([l0, l1, l2, l3]) != crc.amount() {
        return Err(malformed("gzip length mismatch"));
    }
    Ok(())
}

/// How long the member's header is. Loki writes none of the optional fields, gzip tools do.
fn header_bytes(stored: &[u8]) -> Result<usize, Fault> {
    const FHCRC: u8 = 2;
    const FEXTRA: u8 = 4;
    const FNAME: u8 = 8;
    const FCOMMENT: u8 = 16;
    let malformed = |what| Fault::Malformed { offset: 0, what };
    let short = || malformed("the gzip header is cut short");

    let [id1, id2, method, flags, ..] = *stored.first_chunk::<10>().ok_or_else(short)?;
    if [id1, id2, method] != [0x1F, 0x8B, 8] {
        return Err(malformed("a gzip member must start with 1f8b08"));
    }
    let mut end = 10;
    if flags & FEXTRA != 0 {
        let [low, high] = *stored.get(end..).and_then(|rest| rest.first_chunk::<2>()).ok_or_else(short)?;
        end += 2 + usize::from(u16::from_le_bytes([low, high]));
    }
    for flag in [FNAME, FCOMMENT] {
        if flags & flag != 0 {
            let text = stored.get(end..).ok_or_else(short)?;
            end += 1 + text.iter().position(|&byte| byte == 0).ok_or_else(short)?;
        }
    }
    if flags & FHCRC != 0 {
        end += 2;
    }
    if end > stored.len() { Err(short()) } else { Ok(end) }
}

fn shifted(fault: Fault, by: usize) -> Fault {
    match fault {
        Fault::Malformed { offset, what } => Fault::Malformed { offset: offset + by, what },
        too_long @ Fault::TooLong { .. } => too_long,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gzip(plain: &[u8]) -> Vec<u8> {
        let mut stored = Vec::new();
        compress(plain, &mut stored);
        stored
    }

    fn gunzip(stored: &[u8]) -> Result<Vec<u8>, Fault> {
        let mut plain = Vec::new();
        decompress(stored, 0, 1 << 20, &mut plain).map(|()| plain)
    }

    #[test]
    fn an_empty_member_has_header_and_trailer() {
        assert_eq!(gzip(b""), [&HEADER[..], &[3, 0], &[0; 8]].concat());
    }

    #[test]
    fn optional_header_fields_are_skipped() {
        let plain = b"some text";
        let mut stored = gzip(plain);
        stored[3] = 2 | 4 | 8 | 16;
        stored.splice(10..10, [3, 0, b'x', b'y', b'z', b'n', 0, b'c', b'c', 0, 0xAA, 0xBB]);
        assert_eq!(gunzip(&stored).unwrap(), plain);
        for end in 0..stored.len() {
            assert!(gunzip(&stored[..end]).is_err(), "cut to {end} bytes");
        }
    }

    #[test]
    fn a_flipped_bit_in_data_or_trailer_is_an_error() {
        let plain = b"abcabcabcabcdefdefdef";
        let stored = gzip(plain);
        for bit in 80..stored.len() * 8 {
            let mut broken = stored.clone();
            broken[bit / 8] ^= 1 << (bit % 8);
            // Bits that pad the last byte of the deflate stream mean nothing.
            assert!(
                gunzip(&broken).is_ok_and(|found| found == plain) || gunzip(&broken).is_err(),
                "bit {bit}"
            );
        }
        assert!(gunzip(&[&stored[..], b"x"].concat()).is_err());
    }

    #[test]
    fn a_bomb_takes_no_more_memory_than_allowed() {
        let stored = gzip(&vec![0; 8 << 20]);
        let mut plain = Vec::new();
        let fault = decompress(&stored, usize::MAX, 1 << 20, &mut plain).unwrap_err();
        assert!(matches!(fault, Fault::TooLong { .. }));
        assert!(plain.capacity() <= (1 << 20) + 64, "{} bytes", plain.capacity());
    }
}
