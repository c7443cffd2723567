//! The compressions of Loki's chunks, by the byte that is stored. Compressors are kept per thread and reused.
//! Decompression never yields more than the bytes it was allowed, nor allocates for more.

#[cfg(feature = "gzip")]
mod deflate;
#[cfg(feature = "gzip")]
mod gzip;
#[cfg(feature = "lz4")]
mod lz4;
pub(crate) mod snappy;
#[cfg(feature = "zstd")]
mod zstd;

use std::fmt;
use std::str::FromStr;

use crate::Error;

/// How a chunk's blocks are compressed. All codecs of Loki have a name here; [`Codec::is_supported`] says
/// which can be read and written.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Codec {
    /// Not at all.
    #[cfg_attr(feature = "serde", serde(rename = "none"))]
    None,
    /// One gzip member; Loki's default.
    #[cfg_attr(feature = "serde", serde(rename = "gzip"))]
    Gzip,
    /// LZ4 frames of 64 KiB blocks.
    #[cfg_attr(feature = "serde", serde(rename = "lz4-64k"))]
    Lz4_64k,
    /// The snappy framing format; what Grafana recommends and the default here.
    #[default]
    #[cfg_attr(feature = "serde", serde(rename = "snappy"))]
    Snappy,
    /// LZ4 frames of 256 KiB blocks.
    #[cfg_attr(feature = "serde", serde(rename = "lz4-256k"))]
    Lz4_256k,
    /// LZ4 frames of 1 MiB blocks.
    #[cfg_attr(feature = "serde", serde(rename = "lz4-1M"))]
    Lz4_1m,
    /// LZ4 frames of 4 MiB blocks.
    #[cfg_attr(feature = "serde", serde(rename = "lz4"))]
    Lz4,
    /// Deflate without a header.
    #[cfg_attr(feature = "serde", serde(rename = "flate"))]
    Flate,
    /// Zstandard, with its checksum.
    #[cfg_attr(feature = "serde", serde(rename = "zstd"))]
    Zstd,
}

impl Codec {
    /// Every codec, in the order of their bytes.
    pub const ALL: [Self; 9] = [
        Self::None,
        Self::Gzip,
        Self::Lz4_64k,
        Self::Snappy,
        Self::Lz4_256k,
        Self::Lz4_1m,
        Self::Lz4,
        Self::Flate,
        Self::Zstd,
    ];

    /// The byte that is stored.
    pub const fn byte(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Gzip => 1,
            Self::Lz4_64k => 3,
            Self::Snappy => 4,
            Self::Lz4_256k => 5,
            Self::Lz4_1m => 6,
            Self::Lz4 => 7,
            Self::Flate => 8,
            Self::Zstd => 9,
        }
    }

    /// The codec of a byte, if there is one.
    pub fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|codec| codec.byte() == byte)
    }

    /// The name that Loki's configuration has for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Lz4_64k => "lz4-64k",
            Self::Snappy => "snappy",
            Self::Lz4_256k => "lz4-256k",
            Self::Lz4_1m => "lz4-1M",
            Self::Lz4 => "lz4",
            Self::Flate => "flate",
            Self::Zstd => "zstd",
        }
    }

    /// Whether chunks of this codec can be read and written, with the features that this crate was built
    /// with.
    pub const fn is_supported(self) -> bool {
        match self {
            Self::None | Self::Snappy => true,
            Self::Gzip | Self::Flate => cfg!(feature = "gzip"),
            Self::Lz4_64k | Self::Lz4_256k | Self::Lz4_1m | Self::Lz4 => cfg!(feature = "lz4"),
            Self::Zstd => cfg!(feature = "zstd"),
        }
    }

    /// The codec, or the error that it is not supported.
    pub(crate) fn supported(self) -> Result<Self, Error> {
        if self.is_supported() { Ok(self) } else { Err(Error::UnsupportedCodec { codec: self.byte() }) }
    }

    /// The most bytes that one byte of the compressed form can stand for: in deflate a match of 258 bytes takes
    /// two bits, in lz4 255 bytes of a match take one, in snappy a copy of 64 bytes takes three. 0 without
    /// compression, and for zstd, where a line that repeats takes nothing at all: no ratio bounds those.
    pub(crate) const fn max_ratio(self) -> usize {
        match self {
            Self::Gzip | Self::Flate => 1032,
            Self::Lz4_64k | Self::Lz4_256k | Self::Lz4_1m | Self::Lz4 => 255,
            Self::Snappy => 22,
            Self::None | Self::Zstd => 0,
        }
    }

    /// Appends the compressed form of `plain` to `out`.
    pub(crate) fn compress(self, plain: &[u8], out: &mut Vec<u8>) {
        match self {
            #[cfg(feature = "gzip")]
            Self::Gzip => gzip::compress(plain, out),
            #[cfg(feature = "gzip")]
            Self::Flate => deflate::compress(plain, out),
            #[cfg(feature = "lz4")]
            Self::Lz4_64k => lz4::compress(plain, lz4::BlockSize::Kib64, out),
            #[cfg(feature = "lz4")]
            Self::Lz4_256k => lz4::compress(plain, lz4::BlockSize::Kib256, out),
            #[cfg(feature = "lz4")]
            Self::Lz4_1m => lz4::compress(plain, lz4::BlockSize::Mib1, out),
            #[cfg(feature = "lz4")]
            Self::Lz4 => lz4::compress(plain, lz4::BlockSize::Mib4, out),
            #[cfg(feature = "zstd")]
            Self::Zstd => zstd::compress(plain, out),
            Self::Snappy => snappy::compress(plain, out),
            _ => {
                debug_assert_eq!(self, Self::None, "a builder refuses codecs that are not supported");
                out.extend_from_slice(plain);
            }
        }
    }

    /// Appends the decompressed form of `stored`, which ought to be about `expected` bytes and must not be
    /// more than `max`, to `out`.
    pub(crate) fn decompress(
        self,
        stored: &[u8],
        expected: usize,
        max: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        match self {
            #[cfg(feature = "gzip")]
            Self::Gzip => gzip::decompress(stored, expected, max, out),
            #[cfg(feature = "gzip")]
            Self::Flate => deflate::decompress(stored, expected, max, out),
            #[cfg(feature = "lz4")]
            Self::Lz4_64k | Self::Lz4_256k | Self::Lz4_1m | Self::Lz4 => {
                lz4::decompress(stored, expected, max, out)
            }
            #[cfg(feature = "zstd")]
            Self::Zstd => zstd::decompress(stored, expected, max, out),
            Self::Snappy => snappy::decompress(stored, expected, max, out),
            Self::None if stored.len() > max => Err(Fault::TooLong { reached: stored.len() }),
            Self::None => {
                out.extend_from_slice(stored);
                Ok(())
            }
            #[cfg_attr(
                all(feature = "gzip", feature = "lz4", feature = "zstd"),
                expect(unreachable_patterns, reason = "every codec is there with all features")
            )]
            _ => Err(Fault::Malformed { offset: 0, what: "the codec is not supported" }),
        }
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Codec {
    type Err = UnknownCodec;

    fn from_str(name: &str) -> Result<Self, UnknownCodec> {
        let found = Self::ALL.into_iter().find(|codec| codec.as_str() == name);
        found.ok_or_else(|| UnknownCodec { name: name.to_owned() })
    }
}

/// A name that no codec has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no codec is called {name:?}")]
pub struct UnknownCodec {
    name: String,
}

/// The name of a codec byte, for messages.
pub(crate) fn name(byte: u8) -> &'static str {
    Codec::from_byte(byte).map_or("unknown", Codec::as_str)
}

/// Why bytes did not decompress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// At this byte of the compressed form.
    Malformed { offset: usize, what: &'static str },
    /// There is more than was allowed; stopped at so many bytes.
    TooLong { reached: usize },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_names_lead_back_to_their_codec() {
        for codec in Codec::ALL {
            assert_eq!(Codec::from_byte(codec.byte()), Some(codec));
            assert_eq!(codec.as_str().parse(), Ok(codec));
        }
        assert_eq!(Codec::from_byte(2), None);
        assert_eq!("LZ4".parse::<Codec>().unwrap_err().to_string(), "no codec is called \"LZ4\"");
    }

    #[test]
    fn every_supported_codec_gives_back_what_it_was_given_and_not_a_byte_more() {
        let long: Vec<u8> = (0..200_000u32).flat_map(|n| (n / 7).to_le_bytes()).collect();
        for codec in Codec::ALL.into_iter().filter(|codec| codec.is_supported()) {
            for plain in [&b""[..], b"a", &long] {
                let mut stored = Vec::new();
                codec.compress(plain, &mut stored);
                let mut back = b"before".to_vec();
                codec.decompress(&stored, plain.len(), plain.len(), &mut back).unwrap();
                assert_eq!(back, [b"before", plain].concat(), "{codec}");
                if !plain.is_empty() {
                    let fault = codec.decompress(&stored, 0, plain.len() - 1, &mut Vec::new()).unwrap_err();
                    assert!(matches!(fault, Fault::TooLong { .. }), "{codec}: {fault:?}");
                }
            }
        }
    }
}
