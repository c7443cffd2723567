//! Deflate (RFC 1951): the codec `flate` as it is, and what is inside of gzip. States are kept per thread and reset.

use std::cell::RefCell;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::Fault;

/// Within a hundredth of level 6 on logs, and a third faster; a little denser than what Loki writes.
const LEVEL: u32 = 5;
/// Most that memory is taken for ahead of data.
const STEP: usize = 1 << 20;

thread_local! {
    static COMPRESS: RefCell<Compress> = RefCell::new(Compress::new(Compression::new(LEVEL), false));
    static DECOMPRESS: RefCell<Decompress> = RefCell::new(Decompress::new(false));
}

/// Appends one stream.
pub(crate) fn compress(plain: &[u8], out: &mut Vec<u8>) {
    COMPRESS.with_borrow_mut(|deflate| {
        deflate.reset();
        let mut rest = plain;
        loop {
            out.reserve((rest.len() / 4).clamp(256, STEP));
            let before = deflate.total_in();
            let status = deflate.compress_vec(rest, out, FlushCompress::Finish);
            if matches!(status, Ok(Status::StreamEnd)) {
                break;
            }
            debug_assert!(status.is_ok(), "deflate fails only on a state it did not make");
            let taken = usize::try_from(deflate.total_in() - before).expect("no more than was given");
            rest = rest.get(taken..).unwrap_or_default();
        }
    });
}

/// Appends what `stored` holds, which is one stream and nothing behind it.
pub(crate) fn decompress(stored: &[u8], expected: usize, max: usize, out: &mut Vec<u8>) -> Result<(), Fault> {
    let taken = inflate(stored, expected, max, out)?;
    if taken < stored.len() {
        return Err(Fault::Malformed { offset: taken, what: "bytes behind the end of the deflate stream" });
    }
    Ok(())
}

/// Appends at most `max` bytes to `out`; returns how many bytes of `deflated` the stream took.
pub(super) fn inflate(
    deflated: &[u8],
    expected: usize,
    max: usize,
    out: &mut Vec<u8>,
) -> Result<usize, Fault> {
    let before = out.len();
    DECOMPRESS.with_borrow_mut(|inflate| {
        inflate.reset(false);
        // Deflate yields at most 1032 bytes for each byte, so this much is justified by the data at hand.
        out.reserve(expected.min(max).min(deflated.len().saturating_mul(1032)).max(1));
        let mut taken = 0;
        loop {
            let rest = deflated.get(taken..).unwrap_or_default();
            let produced = out.len();
            let status = inflate.decompress_vec(rest, out, FlushDecompress::None);
            taken = usize::try_from(inflate.total_in()).expect("no more than was given");
            if out.len() - before > max {
                return Err(Fault::TooLong { reached: out.len() - before });
            }
            match status {
                Ok(Status::StreamEnd) => return Ok(taken),
                Ok(_) if out.len() == out.capacity() => {
                    // One byte above `max` tells a stream that is too long from one that just fits.
                    let room = (max - (out.len() - before)).saturating_add(1);
                    out.reserve_exact(out.len().clamp(4096, STEP).min(room));
                }
                Ok(_) if out.len() > produced => {}
                Ok(_) => {
                    return Err(Fault::Malformed { offset: taken, what: "the deflate stream has no end" });
                }
                Err(_) => return Err(Fault::Malformed { offset: taken, what: "invalid deflate stream" }),
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_read_to_its_end_and_no_further() {
        let plain = b"a line, a line, ".repeat(20);
        let mut stored = Vec::new();
        compress(&plain, &mut stored);
        let mut back = Vec::new();
        decompress(&stored, 0, 1 << 20, &mut back).unwrap();
        assert_eq!(back, plain);
        stored.push(0);
        let offset = stored.len() - 1;
        let fault = decompress(&stored, 0, 1 << 20, &mut Vec::new()).unwrap_err();
        assert_eq!(fault, Fault::Malformed { offset, what: "bytes behind the end of the deflate stream" });
        for end in 0..offset {
            assert!(decompress(&stored[..end], 0, 1 << 20, &mut Vec::new()).is_err(), "cut to {end} bytes");
        }
    }

    #[test]
    fn a_bomb_takes_no_more_memory_than_allowed() {
        let mut stored = Vec::new();
        compress(&vec![0; 8 << 20], &mut stored);
        let mut plain = Vec::new();
        let fault = decompress(&stored, usize::MAX, 1 << 20, &mut plain).unwrap_err();
        assert!(matches!(fault, Fault::TooLong { .. }));
        assert!(plain.capacity() <= (1 << 20) + 64, "{} bytes", plain.capacity());
    }
}
