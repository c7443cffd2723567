//! The body of a frame that is compressed, without the codec: how long it was, and what the codec made of it.

use crate::format::MAX_FRAME;

/// A body as it is stored: `u32 length before compression`, then the codec's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compressed<'a> {
    /// Bytes before compression, at most [`MAX_FRAME`]: what a reader allocates, once both sums of the frame fit.
    pub raw_len: u32,
    /// What the codec made of them.
    pub bytes: &'a [u8],
}

impl<'a> Compressed<'a> {
    /// The codecs that have a number: snappy, zstd, lz4.
    pub const CODECS: std::ops::RangeInclusive<u8> = 1..=3;

    /// The parts of a body, if the length is within its bound.
    pub fn decode(body: &'a [u8]) -> Option<Self> {
        let (raw_len, bytes) = body.split_first_chunk()?;
        let raw_len = u32::from_le_bytes(*raw_len);
        (raw_len <= MAX_FRAME).then_some(Self { raw_len, bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_length_beyond_that_of_a_frame_is_believed() {
        let stored = |raw_len: u32| [&raw_len.to_le_bytes()[..], b"xyz"].concat();
        assert_eq!(
            Compressed::decode(&stored(MAX_FRAME)),
            Some(Compressed { raw_len: MAX_FRAME, bytes: b"xyz" })
        );
        assert_eq!(Compressed::decode(&stored(MAX_FRAME + 1)), None);
        assert_eq!(Compressed::decode(b"xyz"), None);
    }
}
