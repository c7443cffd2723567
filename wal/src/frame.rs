//! One frame, byte for byte: the 32-byte header. [`crate::control`] has the bodies that carry control.
//!
//! A length is believed only after the header's own checksum, and a checksum only with the segment's salt.

use crate::format::{Digest, byte_at, put, u32_at, u64_at};

/// Bytes before a frame's body.
pub const FRAME_HEADER_LEN: usize = 32;

/// What a frame carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Kind(
    /// The byte in the file.
    pub u8,
);

impl Kind {
    /// Records.
    pub const DATA: Self = Self(1);
    /// Records of several streams.
    pub const STREAM_DATA: Self = Self(2);
    /// First frame of a segment: [`SegmentStart`](crate::format::SegmentStart).
    pub const SEGMENT_START: Self = Self(3);
    /// Last frame of a segment: [`Seal`](crate::format::Seal).
    pub const SEAL: Self = Self(4);
    /// [`Checkpoint`](crate::format::Checkpoint): the caller's state is kept elsewhere, up to an LSN.
    pub const CHECKPOINT: Self = Self(5);
    /// Records below an LSN are gone.
    pub const LOW_WATERMARK: Self = Self(6);
    /// [`StreamDef`](crate::format::StreamDef): what a stream is called.
    pub const STREAM_DEF: Self = Self(7);
    /// Nothing; fills space.
    pub const PAD: Self = Self(8);
    /// The log was closed here, with everything before it synced.
    pub const CLEAN_CLOSE: Self = Self(9);
    /// LSNs that have no record and never get one: appends that were rejected, or lost records.
    pub const BURNED: Self = Self(128);

    /// Whether a reader that does not know the kind may go past it.
    pub fn is_ignorable(self) -> bool {
        self.0 >= 128
    }
}

/// Which part of a group that is longer than one frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Frag {
    /// All of it.
    Whole,
    /// Its beginning.
    First,
    /// Neither end.
    Middle,
    /// Its end; counts the records of the whole group.
    Last,
}

/// What the 32 bytes before a body say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    /// Bytes of body, without padding.
    pub body_len: u32,
    /// LSN of the first record, or of the next one where the frame carries none.
    pub first_lsn: u64,
    /// Records; 0 in control frames and in all but the last fragment.
    pub records: u32,
    /// What the body is.
    pub kind: Kind,
    /// How the body is compressed; 0 is not at all.
    pub codec: u8,
    /// Which part of a group this is.
    pub frag: Frag,
    /// The segment was synced up to eight times this when the frame was built.
    pub synced8: u32,
    /// crc(salt ‖ body).
    pub body_crc: u32,
}

impl FrameHeader {
    /// The bytes in the file.
    #[inline]
    pub fn encode(&self, digest: &Digest) -> [u8; FRAME_HEADER_LEN] {
        let mut bytes = [0; FRAME_HEADER_LEN];
        put(&mut bytes, 4, &self.body_len.to_le_bytes());
        put(&mut bytes, 8, &self.first_lsn.to_le_bytes());
        put(&mut bytes, 16, &self.records.to_le_bytes());
        put(&mut bytes, 20, &[self.kind.0, self.codec, self.frag as u8, 0]);
        put(&mut bytes, 24, &self.synced8.to_le_bytes());
        put(&mut bytes, 28, &self.body_crc.to_le_bytes());
        let sum = digest.sum(&bytes[4..]);
        put(&mut bytes, 0, &sum.to_le_bytes());
        bytes
    }

    /// The header in these bytes, if they are one of this segment. Cheap tests come first: recovery asks for
    /// every eighth byte of a damaged region.
    pub fn decode(bytes: &[u8; FRAME_HEADER_LEN], digest: &Digest) -> Option<Self> {
        let frag = match byte_at(bytes, 22) {
            0 => Frag::Whole,
            1 => Frag::First,
            2 => Frag::Middle,
            3 => Frag::Last,
            _ => return None,
        };
        let kind = Kind(byte_at(bytes, 20));
        if kind.0 == 0 || byte_at(bytes, 23) != 0 || u32_at(bytes, 0) != digest.sum(&bytes[4..]) {
            return None;
        }
        Some(Self {
            body_len: u32_at(bytes, 4),
            first_lsn: u64_at(bytes, 8),
            records: u32_at(bytes, 16),
            kind,
            codec: byte_at(bytes, 21),
            frag,
            synced8: u32_at(bytes, 24),
            body_crc: u32_at(bytes, 28),
        })
    }

    /// Byte offset up to which the segment was synced when the frame was built.
    pub fn synced(&self) -> u64 {
        u64::from(self.synced8) * 8
    }

    /// Bytes of the frame in the file, padding included.
    #[inline]
    pub fn frame_len(&self) -> u64 {
        frame_len(u64::from(self.body_len))
    }
}

/// Bytes in the file of a frame with a body of `body` bytes.
#[inline]
pub(crate) fn frame_len(body: u64) -> u64 {
    crate::format::align(FRAME_HEADER_LEN as u64 + body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Checksum;

    fn header() -> FrameHeader {
        FrameHeader {
            body_len: 0x0102_0304,
            first_lsn: 0x0506,
            records: 7,
            kind: Kind::DATA,
            codec: 0,
            frag: Frag::Last,
            synced8: 0x0809,
            body_crc: 0x0A0B_0C0D,
        }
    }

    #[test]
    fn a_frame_header_lies_where_the_format_says() {
        let bytes = header().encode(&Digest::new(Checksum::Crc32, 99));
        assert_eq!((u32_at(&bytes, 4), u64_at(&bytes, 8), u32_at(&bytes, 16)), (0x0102_0304, 0x0506, 7));
        assert_eq!(bytes[20..24], [1, 0, 3, 0]);
        assert_eq!((u32_at(&bytes, 24), u32_at(&bytes, 28)), (0x0809, 0x0A0B_0C0D));
        let mut salted = 99_u64.to_le_bytes().to_vec();
        salted.extend(&bytes[4..]);
        assert_eq!(u32_at(&bytes, 0), crc32fast::hash(&salted));
    }

    #[test]
    fn a_frame_of_another_salt_or_with_a_flipped_bit_is_none() {
        for checksum in [Checksum::Crc32, Checksum::Crc32c] {
            let digest = Digest::new(checksum, 1);
            let bytes = header().encode(&digest);
            assert_eq!(FrameHeader::decode(&bytes, &digest), Some(header()));
            assert_eq!(FrameHeader::decode(&bytes, &Digest::new(checksum, 2)), None);
            for bit in 0..bytes.len() * 8 {
                let mut bytes = bytes;
                bytes[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(FrameHeader::decode(&bytes, &digest), None, "bit {bit}");
            }
            assert_eq!(FrameHeader::decode(&[0; 32], &digest), None, "zeros are no frame");
        }
    }
}
