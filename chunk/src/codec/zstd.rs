//! Zstandard frames (RFC 8878), with their checksum. Contexts are kept per thread and reused. A stream is
//! decompressed in one go into memory that is there: no window is taken because a frame asks for one, and no
//! dictionary is known.

use std::cell::RefCell;
use std::io::Cursor;

use zstd::zstd_safe::{CCtx, CParameter, DCtx, compress_bound, get_error_name};

use super::Fault;

/// About that of Loki, whose writer has levels of its own.
const LEVEL: i32 = 3;
/// More than a frame can stand for, for each of its bytes: blocks of 128 KiB take four.
const MAX_RATIO: usize = 1 << 16;
/// Most that memory is taken for where nobody knows how much there will be.
const FIRST_GUESS: usize = 1 << 16;
/// What the library says where the destination ends before the data.
const TOO_SMALL: &str = "Destination buffer is too small";

thread_local! {
    static COMPRESS: RefCell<CCtx<'static>> = RefCell::new(context());
    static DECOMPRESS: RefCell<DCtx<'static>> = RefCell::new(DCtx::create());
}

fn context() -> CCtx<'static> {
    let mut context = CCtx::create();
    for parameter in [CParameter::CompressionLevel(LEVEL), CParameter::ChecksumFlag(true)] {
        context.set_parameter(parameter).expect("parameters that every version of the library has");
    }
    context
}

pub(crate) fn compress(plain: &[u8], out: &mut Vec<u8>) {
    out.reserve(compress_bound(plain.len()));
    let mut end = at_end(out);
    COMPRESS
        .with_borrow_mut(|context| context.compress2(&mut end, plain))
        .expect("there is as much room as the library asks for");
}

pub(crate) fn decompress(stored: &[u8], expected: usize, max: usize, out: &mut Vec<u8>) -> Result<(), Fault> {
    if stored.is_empty() {
        return Err(Fault::Malformed { offset: 0, what: "a zstd stream must have a frame" });
    }
    let before = out.len();
    let most = max.min(stored.len().saturating_mul(MAX_RATIO));
    let guess = if expected == 0 { stored.len().saturating_mul(4).min(FIRST_GUESS) } else { expected };
    let mut room = guess.clamp(1, most.max(1));
    let fault = loop {
        out.reserve_exact(room);
        let mut end = at_end(out);
        let result = DECOMPRESS.with_borrow_mut(|context| context.decompress(&mut end, stored));
        let reached = out.len() - before;
        match result {
            // A vector may have more room than it was asked for.
            Ok(_) if reached > max => return Err(Fault::TooLong { reached }),
            Ok(_) => return Ok(()),
            Err(code) if get_error_name(code) != TOO_SMALL => {
                break Fault::Malformed { offset: 0, what: "invalid zstd data" };
            }
            Err(_) if room < most => room = room.saturating_mul(4).min(most),
            Err(_) if room < max => {
                break Fault::Malformed { offset: 0, what: "a zstd stream of more bytes than it can hold" };
            }
            Err(_) => break Fault::TooLong { reached: max.saturating_add(1) },
        }
    };
    // The library does not say how much it has written by then. The other codecs leave in `out` what they made, and a
    // reader pays for it.
    out.resize(before.saturating_add(room), 0);
    Err(fault)
}

/// `out` as a destination that is appended to.
fn at_end(out: &mut Vec<u8>) -> Cursor<&mut Vec<u8>> {
    let position = u64::try_from(out.len()).expect("a length has at most 64 bits");
    let mut end = Cursor::new(out);
    end.set_position(position);
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unzstd(stored: &[u8]) -> Result<Vec<u8>, Fault> {
        let mut plain = Vec::new();
        decompress(stored, 0, 1 << 20, &mut plain).map(|()| plain)
    }

    fn frame(plain: &[u8]) -> Vec<u8> {
        let mut stored = Vec::new();
        compress(plain, &mut stored);
        stored
    }

    #[test]
    fn a_flipped_bit_in_a_frame_gives_no_other_data() {
        let plain = b"abcabcabcabcabcabcabcabcabcdefdefdef 4bf92f3577b34da6";
        let stored = frame(plain);
        for bit in 0..stored.len() * 8 {
            let mut broken = stored.clone();
            broken[bit / 8] ^= 1 << (bit % 8);
            // The magic number can become that of a frame that is skipped.
            assert!(unzstd(&broken).map_or(true, |found| found == plain || found.is_empty()), "bit {bit}");
        }
        for end in 0..stored.len() {
            assert!(unzstd(&stored[..end]).is_err(), "cut to {end} bytes");
        }
    }

    #[test]
    fn frames_follow_each_other_and_some_are_skipped() {
        let skipped = [0x5A, 0x2A, 0x4D, 0x18, 3, 0, 0, 0, 1, 2, 3];
        let stored = [&frame(b"one, "), &skipped[..], &frame(b""), &frame(b"two")].concat();
        assert_eq!(unzstd(&stored).unwrap(), b"one, two");
        assert!(unzstd(&[&stored[..], b"x"].concat()).is_err());
    }

    /// Loki's writer does not say how long the data is, and asks for a window of 8 MiB.
    #[test]
    fn a_stream_of_unknown_length_is_read() {
        use std::io::Write;
        let plain: Vec<u8> = (0..100_000u32).flat_map(|n| (n / 7).to_le_bytes()).collect();
        let mut writer = zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
        writer.set_parameter(CParameter::WindowLog(23)).unwrap();
        for part in plain.chunks(1000) {
            writer.write_all(part).unwrap();
        }
        let stored = writer.finish().unwrap();
        assert_eq!(unzstd(&stored).unwrap(), plain);
        let mut small = Vec::new();
        let fault = decompress(&stored, 0, plain.len() - 1, &mut small).unwrap_err();
        assert_eq!(fault, Fault::TooLong { reached: plain.len() });
    }

    #[test]
    fn a_bomb_takes_no_more_memory_than_allowed() {
        let stored = frame(&vec![0; 8 << 20]);
        for expected in [0, 1000, usize::MAX] {
            let mut plain = Vec::new();
            let fault = decompress(&stored, expected, 1 << 20, &mut plain).unwrap_err();
            assert!(matches!(fault, Fault::TooLong { .. }));
            assert!(plain.capacity() <= (1 << 20) + 64, "{} bytes", plain.capacity());
        }
    }
}
