#![doc = include_str!("../FORMAT.md")]

pub use crate::compressed::Compressed;
pub use crate::control::{Checkpoint, Seal, SegmentStart, StreamDef};
pub use crate::features::{Features, Label};
pub use crate::frame::{FRAME_HEADER_LEN, Frag, FrameHeader, Kind};
pub use crate::header::{Header, HeaderError, Unsupported};

/// First eight bytes of a segment: not text, and damaged by anything that takes it for text.
pub const MAGIC: [u8; 8] = [0x89, b'L', b'I', b'W', 0x0D, 0x0A, 0x1A, 0x0A];
/// Readers refuse any other.
pub const FORMAT_MAJOR: u16 = 1;
/// Readers accept any.
pub const FORMAT_MINOR: u16 = 0;
/// Bytes that the header block takes; the first frame starts here.
pub const HEADER_LEN: u64 = 4096;
/// Bytes of the header that carry something.
pub const HEADER_USED: usize = 128;
/// Frames start at multiples of this.
pub const ALIGN: u64 = 8;
/// No frame's body is longer, whatever a header says.
pub const MAX_FRAME: u32 = 256 << 20;
/// No record, and no batch, is longer.
pub const MAX_RECORD: u64 = 256 << 20;
/// The largest segment whose offsets fit `synced8`.
pub const MAX_SEGMENT: u64 = 16 << 30;
/// The number of the first record of a log.
pub const FIRST_LSN: u64 = 1;
/// No record, and no segment, has a higher number; a thousand million a second last a century.
pub const MAX_NUMBER: u64 = 1 << 62;

/// Which CRC-32 guards a segment; its id is stored in the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Checksum {
    /// CRC-32/ISO-HDLC (IEEE 802.3), id 1.
    #[default]
    Crc32,
    /// CRC-32C (Castagnoli), id 2.
    Crc32c,
}

impl Checksum {
    /// The id in the file.
    pub fn id(self) -> u8 {
        match self {
            Self::Crc32 => 1,
            Self::Crc32c => 2,
        }
    }

    /// The algorithm with this id.
    pub fn from_id(id: u8) -> Option<Self> {
        match id {
            1 => Some(Self::Crc32),
            2 => Some(Self::Crc32c),
            _ => None,
        }
    }

    /// Continues `sum` (0 to begin) over `bytes`.
    #[inline]
    pub fn update(self, sum: u32, bytes: &[u8]) -> u32 {
        match self {
            Self::Crc32 => {
                let mut hasher = crc32fast::Hasher::new_with_initial(sum);
                hasher.update(bytes);
                hasher.finalize()
            }
            Self::Crc32c => crc32c::crc32c_append(sum, bytes),
        }
    }
}

/// The checksum of one segment's frames: the algorithm, already fed with the segment's salt, so that a frame of
/// another file, or of this file's earlier life, does not match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digest {
    checksum: Checksum,
    salted: u32,
}

impl Digest {
    /// The digest of frames in a segment with this salt.
    pub fn new(checksum: Checksum, salt: u64) -> Self {
        Self { checksum, salted: checksum.update(0, &salt.to_le_bytes()) }
    }

    /// crc(salt ‖ bytes).
    #[inline]
    pub fn sum(&self, bytes: &[u8]) -> u32 {
        self.update(self.salted, bytes)
    }

    /// crc(salt ‖ nothing yet): where [`update`](Self::update) begins.
    #[inline]
    pub fn start(&self) -> u32 {
        self.salted
    }

    /// Continues a sum.
    #[inline]
    pub fn update(&self, sum: u32, bytes: &[u8]) -> u32 {
        self.checksum.update(sum, bytes)
    }
}

/// `offset` rounded up to where the next frame starts.
#[inline]
pub(crate) fn align(offset: u64) -> u64 {
    offset.next_multiple_of(ALIGN)
}

#[inline]
pub(crate) fn put(block: &mut [u8], at: usize, field: &[u8]) {
    block[at..at + field.len()].copy_from_slice(field);
}

pub(crate) fn byte_at(bytes: &[u8], at: usize) -> u8 {
    bytes.get(at).copied().unwrap_or(0)
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    field(bytes, at).map_or(0, u16::from_le_bytes)
}

#[inline]
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    field(bytes, at).map_or(0, u32::from_le_bytes)
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    field(bytes, at).map_or(0, u64::from_le_bytes)
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values that every list of CRCs gives for these nine bytes.
    #[test]
    fn checksums_are_the_ones_that_their_names_say() {
        assert_eq!(Checksum::Crc32.update(0, b"123456789"), 0xCBF4_3926);
        assert_eq!(Checksum::Crc32c.update(0, b"123456789"), 0xE306_9283);
        for checksum in [Checksum::Crc32, Checksum::Crc32c] {
            assert_eq!(
                checksum.update(checksum.update(0, b"1234"), b"56789"),
                checksum.update(0, b"123456789")
            );
        }
    }
}
