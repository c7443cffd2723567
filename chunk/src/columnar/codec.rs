//! Compression of one stream. Contexts are kept per thread and reused; without the feature `zstd` streams are
//! written as they are, and those that are compressed are refused.

use super::fault::Fault;
use crate::Error;

/// The codec byte of a stream that is stored as it is.
pub(crate) const NONE: u8 = 0;
/// The codec byte of one Zstandard frame.
pub(crate) const ZSTD: u8 = 1;

/// More than a frame can stand for, for each of its bytes: blocks of 128 KiB take four bytes.
#[cfg(feature = "zstd")]
const MAX_RATIO: usize = 1 << 16;

/// Streams up to this size are not worth a frame.
const LEAST: usize = 24;

/// The compressed form of `plain`, if it is smaller by a sixteenth.
pub(crate) fn compress(plain: &[u8], level: i32) -> Option<Vec<u8>> {
    if plain.len() <= LEAST {
        return None;
    }
    let stored = zstd_compress(plain, level)?;
    (stored.len() < plain.len() - plain.len() / 16).then_some(stored)
}

/// The `raw_len` bytes that `stored` stands for, or what is wrong with it.
pub(crate) fn decompress(stored: &[u8], codec: u8, raw_len: usize) -> Result<Vec<u8>, Failure> {
    match codec {
        ZSTD => zstd_decompress(stored, raw_len),
        _ => Err(Failure::Malformed("a codec that is neither 0 nor 1")),
    }
}

/// Why a stream was not decompressed.
#[derive(Debug)]
pub(crate) enum Failure {
    Malformed(&'static str),
    #[cfg(not(feature = "zstd"))]
    Unsupported,
}

impl Failure {
    /// The fault it is where `malformed` makes one of what is wrong with the bytes.
    pub(crate) fn or(self, malformed: impl FnOnce(&'static str) -> Error) -> Fault {
        match self {
            Self::Malformed(what) => malformed(what).into(),
            #[cfg(not(feature = "zstd"))]
            Self::Unsupported => Error::UnsupportedCodec { codec: crate::Codec::Zstd.byte() }.into(),
        }
    }
}

#[cfg(feature = "zstd")]
use with_zstd::{zstd_compress, zstd_decompress};

#[cfg(feature = "zstd")]
mod with_zstd {
    use std::cell::RefCell;

    use zstd::bulk::{Compressor, Decompressor};

    use super::{Failure, MAX_RATIO};

    thread_local! {
        static COMPRESS: RefCell<Option<Compressor<'static>>> = const { RefCell::new(None) };
        static DECOMPRESS: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
    }

    pub(super) fn zstd_compress(plain: &[u8], level: i32) -> Option<Vec<u8>> {
        COMPRESS.with_borrow_mut(|kept| {
            if kept.is_none() {
                *kept = Compressor::new(level).ok();
            }
            let compressor = kept.as_mut()?;
            compressor.set_compression_level(level).ok()?;
            compressor.compress(plain).ok()
        })
    }

    pub(super) fn zstd_decompress(stored: &[u8], raw_len: usize) -> Result<Vec<u8>, Failure> {
        if raw_len > stored.len().saturating_mul(MAX_RATIO) {
            return Err(Failure::Malformed("more bytes than a zstd frame of that size can stand for"));
        }
        let mut plain = Vec::new();
        plain.try_reserve_exact(raw_len).map_err(|_| Failure::Malformed("more bytes than memory holds"))?;
        let found = DECOMPRESS.with_borrow_mut(|kept| {
            if kept.is_none() {
                *kept = Decompressor::new().ok();
            }
            kept.as_mut().and_then(|decompressor| decompressor.decompress_to_buffer(stored, &mut plain).ok())
        });
        match found {
            Some(found) if found == raw_len => Ok(plain),
            Some(_) => Err(Failure::Malformed("a zstd frame of fewer bytes than the directory names")),
            None => Err(Failure::Malformed("no zstd frame of the size that the directory names")),
        }
    }
}

#[cfg(not(feature = "zstd"))]
fn zstd_compress(_plain: &[u8], _level: i32) -> Option<Vec<u8>> {
    None
}

#[cfg(not(feature = "zstd"))]
fn zstd_decompress(_stored: &[u8], _raw_len: usize) -> Result<Vec<u8>, Failure> {
    Err(Failure::Unsupported)
}

#[cfg(all(test, feature = "zstd"))]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_read_only_as_the_bytes_it_stands_for() {
        let plain = b"a line, a line, ".repeat(20);
        let stored = compress(&plain, 3).unwrap();
        assert!(stored.len() < plain.len() / 4);
        assert_eq!(decompress(&stored, ZSTD, plain.len()).unwrap(), plain);
        for wrong in [0, plain.len() - 1, plain.len() + 1, usize::MAX] {
            assert!(decompress(&stored, ZSTD, wrong).is_err(), "{wrong}");
        }
        assert!(decompress(&[stored, vec![0]].concat(), ZSTD, plain.len()).is_err());
        assert!(decompress(&plain, 2, plain.len()).is_err());
    }

    #[test]
    fn what_does_not_shrink_is_not_compressed() {
        let noise: Vec<u8> =
            (0..500u64).flat_map(|n| xxhash_rust::xxh3::xxh3_64_with_seed(&[], n).to_le_bytes()).collect();
        assert_eq!(compress(&noise, 3), None);
        assert_eq!(compress(b"aaaaaaaaaaaaaaaa", 3), None);
    }
}
