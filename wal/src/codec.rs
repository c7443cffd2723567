//! Bodies of frames made smaller when they are written, where that is worth it, and brought back when they are read.
//!
//! What a body says of its length before compression is compared with what the codec says itself, before anything of
//! that length is allocated.

use bytes::Bytes;

use crate::compressed::Compressed;
use crate::options::Compression;
use crate::window::again;

/// Shorter bodies are stored as they are.
const WORTH_FROM: usize = 512;

/// Why a body cannot be brought back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotUnpacked {
    /// It is not what its codec makes.
    Damaged,
    /// This build has no such codec.
    Unknown,
}

/// Memory, and what codecs need, of whoever writes; nothing before it is used.
#[derive(Default)]
pub(crate) struct Packer {
    /// What goes to the file.
    pub(crate) out: Vec<u8>,
    /// A body that lies in pieces, in one.
    pub(crate) joined: Vec<u8>,
    #[cfg(feature = "snappy")]
    snappy: Option<Box<snap::raw::Encoder>>,
    #[cfg(feature = "zstd")]
    zstd: Option<(u8, zstd::bulk::Compressor<'static>)>,
}

impl Packer {
    /// Forgets everything but the memory, and of that more than `keep` bytes too.
    pub(crate) fn clear(&mut self, keep: usize) {
        for memory in [&mut self.out, &mut self.joined] {
            memory.clear();
            if memory.capacity() > 4 * keep {
                memory.shrink_to(keep);
            }
        }
    }

    /// Adds a body to `out` as it is stored, and says with which codec: with none where it does not get smaller by an
    /// eighth.
    pub(crate) fn pack(&mut self, compression: Compression, body: &[u8]) -> u8 {
        let at = self.out.len();
        if body.len() >= WORTH_FROM
            && let Ok(raw_len) = u32::try_from(body.len())
        {
            self.out.extend_from_slice(&raw_len.to_le_bytes());
            let most = body.len() - body.len() / 8 - size_of::<u32>();
            if let Some(codec) = self.compress(compression, body, most) {
                return codec;
            }
        }
        self.out.truncate(at);
        self.out.extend_from_slice(body);
        0
    }

    /// Adds what the codec makes of the body, if that is not more than `most` bytes.
    fn compress(&mut self, compression: Compression, body: &[u8], most: usize) -> Option<u8> {
        #[cfg(any(feature = "snappy", feature = "zstd"))]
        let at = self.out.len();
        match compression {
            Compression::None => {
                let _ = (body, most);
                None
            }
            #[cfg(feature = "snappy")]
            Compression::Snappy => {
                self.out.resize(at + snap::raw::max_compress_len(body.len()), 0);
                let len = self
                    .snappy
                    .get_or_insert_with(|| Box::new(snap::raw::Encoder::new()))
                    .compress(body, self.out.get_mut(at..)?)
                    .ok();
                let len = len.filter(|len| *len <= most)?;
                self.out.truncate(at + len);
                Some(SNAPPY)
            }
            #[cfg(feature = "zstd")]
            Compression::Zstd { level } => {
                self.out.resize(at + most, 0);
                let (made, context) = match &mut self.zstd {
                    Some((made, context)) => (made, context),
                    none => {
                        let context = zstd::bulk::Compressor::new(level.into()).ok()?;
                        let (made, context) = none.insert((level, context));
                        (made, context)
                    }
                };
                if *made != level {
                    context.set_compression_level(level.into()).ok()?;
                    *made = level;
                }
                // Where the codec needs more room it fails, and that is no loss.
                let len = context.compress_to_buffer(body, self.out.get_mut(at..)?).ok()?;
                self.out.truncate(at + len);
                Some(ZSTD)
            }
        }
    }
}

/// Memory, and what codecs need, of whoever reads; nothing before a compressed body comes.
#[derive(Default)]
pub(crate) struct Unpacker {
    /// The last body; slices of it may be lent out.
    body: Bytes,
    #[cfg(feature = "snappy")]
    snappy: Option<Box<snap::raw::Decoder>>,
    #[cfg(feature = "zstd")]
    zstd: Option<zstd::bulk::Decompressor<'static>>,
}

#[cfg(feature = "snappy")]
const SNAPPY: u8 = 1;
#[cfg(feature = "zstd")]
const ZSTD: u8 = 2;

impl Unpacker {
    /// What was brought back last, and behind it memory for longer ones.
    #[inline]
    pub(crate) fn body(&self) -> &Bytes {
        &self.body
    }

    /// Brings back what was stored as `body`.
    pub(crate) fn unpack(&mut self, codec: u8, body: &[u8]) -> Result<&[u8], NotUnpacked> {
        let known = match codec {
            #[cfg(feature = "snappy")]
            SNAPPY => true,
            #[cfg(feature = "zstd")]
            ZSTD => true,
            _ => false,
        };
        let Some(stored) = Compressed::decode(body) else {
            let is_codec = Compressed::CODECS.contains(&codec);
            return Err(if is_codec { NotUnpacked::Damaged } else { NotUnpacked::Unknown });
        };
        if !known {
            return Err(NotUnpacked::Unknown);
        }
        let raw_len = usize::try_from(stored.raw_len).map_err(|_| NotUnpacked::Damaged)?;
        if self.announced(codec, stored.bytes) != Some(u64::from(stored.raw_len)) {
            return Err(NotUnpacked::Damaged);
        }
        let mut raw = again(&mut self.body, raw_len);
        let len = self.decompress(codec, stored.bytes, raw.get_mut(..raw_len).unwrap_or_default());
        self.body = raw.freeze();
        if len != Some(raw_len) {
            return Err(NotUnpacked::Damaged);
        }
        self.body.get(..raw_len).ok_or(NotUnpacked::Damaged)
    }

    /// How long the codec says that the body was.
    fn announced(&self, codec: u8, bytes: &[u8]) -> Option<u64> {
        match codec {
            // No three bytes of it make more than 64.
            #[cfg(feature = "snappy")]
            SNAPPY => {
                let len = u64::try_from(snap::raw::decompress_len(bytes).ok()?).ok()?;
                (len <= 22 * bytes.len() as u64).then_some(len)
            }
            #[cfg(feature = "zstd")]
            // No block of 4 bytes or more makes more than 128 KiB.
            ZSTD => {
                let len = zstd::zstd_safe::get_frame_content_size(bytes).ok().flatten();
                len.filter(|len| *len <= (32 << 10) * bytes.len() as u64)
            }
            _ => {
                let _ = bytes;
                None
            }
        }
    }

    fn decompress(&mut self, codec: u8, bytes: &[u8], raw: &mut [u8]) -> Option<usize> {
        match codec {
            #[cfg(feature = "snappy")]
            SNAPPY => self.snappy.get_or_insert_default().decompress(bytes, raw).ok(),
            #[cfg(feature = "zstd")]
            ZSTD => {
                let context = match &mut self.zstd {
                    Some(context) => context,
                    none => none.insert(zstd::bulk::Decompressor::new().ok()?),
                };
                context.decompress_to_buffer(bytes, raw).ok()
            }
            _ => {
                let _ = (bytes, raw);
                None
            }
        }
    }
}

#[cfg(all(test, feature = "snappy", feature = "zstd"))]
mod tests {
    use super::*;

    fn packed(compression: Compression, body: &[u8]) -> (u8, Vec<u8>) {
        let mut packer = Packer::default();
        packer.out.extend_from_slice(b"before");
        let codec = packer.pack(compression, body);
        assert!(packer.out.starts_with(b"before"));
        (codec, packer.out.split_off(6))
    }

    fn lines() -> Vec<u8> {
        (0..100)
            .flat_map(|line| {
                format!("level=info msg=\"request {line} served\" took={}ms\n", line * 7).into_bytes()
            })
            .collect()
    }

    const CODECS: [(Compression, u8); 2] =
        [(Compression::Snappy, SNAPPY), (Compression::Zstd { level: 1 }, ZSTD)];

    #[test]
    fn a_body_comes_back_as_it_was() {
        let mut unpacker = Unpacker::default();
        for (compression, id) in CODECS {
            let (codec, stored) = packed(compression, &lines());
            assert!(codec == id && stored.len() < lines().len() / 2, "{} bytes", stored.len());
            assert_eq!(unpacker.unpack(codec, &stored).unwrap(), lines());
            let held = unpacker.body().slice(..lines().len());
            assert_eq!(unpacker.unpack(codec, &stored).unwrap(), lines(), "while another is held");
            assert_eq!(held, lines());
        }
    }

    #[test]
    fn what_does_not_shrink_by_an_eighth_is_stored_as_it_is() {
        let mut noise = Vec::new();
        let mut state = 1_u64;
        while noise.len() < 4000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            noise.extend_from_slice(&state.to_be_bytes()[..4]);
        }
        let mut barely = noise.clone();
        barely.extend([0; 500]);
        for (compression, _) in CODECS {
            for body in [&noise[..], &barely, &[0; 511]] {
                assert_eq!(
                    packed(compression, body),
                    (0, body.to_vec()),
                    "{compression:?}, {} bytes",
                    body.len()
                );
            }
            assert_ne!(packed(compression, &[0; 512]).0, 0);
        }
    }

    /// Both say how long they were, and nothing is allocated where that is not what the frame says, or cannot be.
    #[test]
    fn a_length_that_is_a_lie_is_damage_and_costs_nothing() {
        for (compression, _) in CODECS {
            let (codec, stored) = packed(compression, &lines());
            let raw_len = u32::from_le_bytes(*stored.first_chunk().unwrap());
            let lie = |len: u32| [&len.to_le_bytes()[..], &stored[4..]].concat();
            let mut unpacker = Unpacker::default();
            for body in [
                lie(raw_len + 1),
                lie(raw_len - 1),
                lie(0),
                lie(256 << 20),
                lie(u32::MAX),
                stored[..3].to_vec(),
            ] {
                assert_eq!(unpacker.unpack(codec, &body), Err(NotUnpacked::Damaged));
            }
            assert!(unpacker.body().is_empty());
        }
        // A length of 256 MiB that the codec agrees with, in a body that could never be so long.
        let mut hostile = (256_u32 << 20).to_le_bytes().to_vec();
        hostile.extend([0x80, 0x80, 0x80, 0x80, 0x01, 0x00, b'a']);
        let mut unpacker = Unpacker::default();
        assert_eq!(unpacker.unpack(SNAPPY, &hostile), Err(NotUnpacked::Damaged));
        assert!(unpacker.body().is_empty());
    }

    /// It was rounded down, so that up to 21 bytes more were believed.
    #[test]
    fn the_most_that_a_codec_makes_of_a_byte_is_believed_and_no_byte_more() {
        let mut unpacker = Unpacker::default();
        let mut is_believed = |len: u8| {
            // A length of two bytes, and five that do not make it.
            let bytes = [len | 0x80, 1, 0, b'a', 0, b'a', 0];
            let body = [&(u32::from(len & 0x7F) + 128).to_le_bytes()[..], &bytes].concat();
            let before = unpacker.body().len();
            assert_eq!(unpacker.unpack(SNAPPY, &body), Err(NotUnpacked::Damaged));
            unpacker.body().len() > before
        };
        assert!(!is_believed(155 - 128));
        assert!(is_believed(154 - 128), "seven bytes make 154");
    }

    #[test]
    fn any_byte_changed_is_damage_or_other_bytes_of_the_same_length() {
        for (compression, _) in CODECS {
            let (codec, stored) = packed(compression, &lines());
            let mut unpacker = Unpacker::default();
            for at in 0..stored.len() {
                for bit in 0..8 {
                    let mut stored = stored.clone();
                    stored[at] ^= 1 << bit;
                    if let Ok(raw) = unpacker.unpack(codec, &stored) {
                        assert_eq!(raw.len(), lines().len());
                    }
                }
            }
        }
    }

    #[test]
    fn a_codec_that_is_not_there_is_told_from_damage() {
        assert_eq!(Unpacker::default().unpack(3, &[9, 0, 0, 0, 1]), Err(NotUnpacked::Unknown));
        assert_eq!(Unpacker::default().unpack(7, &[9, 0, 0, 0, 1]), Err(NotUnpacked::Unknown));
        assert_eq!(Unpacker::default().unpack(3, &[9]), Err(NotUnpacked::Damaged));
    }
}
