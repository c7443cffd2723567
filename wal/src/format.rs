#![doc = include_str!("../FORMAT.md")]

use std::fmt;

pub use crate::frame::{FRAME_HEADER_LEN, Frag, FrameHeader, Kind, Seal, SegmentStart};

/// First eight bytes of a segment: not text, and damaged by anything that takes it for text.
pub const MAGIC: [u8; 8] = [0x89, b'L', b'I', b'W', 0x0D, 0x0A, 0x1A, 0x0A];
/// Readers refuse any other.
pub const FORMAT_MAJOR: u16 = 1;
/// Readers accept any.
pub const FORMAT_MINOR: u16 = 0;
/// Bytes that the header block takes; the first frame starts here.
pub const HEADER_LEN: u64 = 4096;
/// Bytes of the header that the checksum covers, followed by the checksum.
const SUMMED_LEN: usize = 124;
/// Bytes of the header that carry something.
pub const HEADER_USED: usize = SUMMED_LEN + 4;
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
    pub fn sum(&self, bytes: &[u8]) -> u32 {
        self.update(self.salted, bytes)
    }

    /// crc(salt ‖ nothing yet): where [`update`](Self::update) begins.
    pub fn start(&self) -> u32 {
        self.salted
    }

    /// Continues a sum.
    pub fn update(&self, sum: u32, bytes: &[u8]) -> u32 {
        self.checksum.update(sum, bytes)
    }
}

/// What the first block of a segment says; written once when the file is made, never again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Guards this segment's header and frames.
    pub checksum: Checksum,
    /// The same in every segment of a log.
    pub log_id: [u8; 16],
    /// Position of the segment in the log, from 1.
    pub segment: u64,
    /// Chosen anew for every file.
    pub salt: u64,
    /// Length of the file in bytes when it was made, zero-filled.
    pub capacity: u64,
    /// Wall time of making, nanoseconds since 1970; for people only.
    pub created_unix_ns: i64,
}

/// Why a block is not the header of a segment that this version can read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// The block is too short or does not begin with the magic bytes.
    #[error("not a segment")]
    NotASegment,
    /// The block is damaged.
    #[error("header checksum {found:08x}, expected {expected:08x}")]
    Checksum {
        /// What the block's bytes sum up to.
        expected: u32,
        /// What the block says.
        found: u32,
    },
    /// No segment is that small, or that large.
    #[error("capacity of {0} bytes is out of bounds")]
    Capacity(u64),
    /// The block is whole, and a later version wrote it.
    #[error("written with {0}, which this version does not know")]
    Unsupported(Unsupported),
}

/// Something in a log that this version does not know; nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unsupported {
    /// Another major version of the format.
    Major(u16),
    /// Feature bits that a reader must know.
    Features(u32),
    /// A checksum with this id.
    Checksum(u8),
    /// Frames aligned to this many bytes after each commit.
    CommitAlign(u32),
    /// A frame of this kind.
    Kind(u8),
    /// A frame compressed with this codec.
    Codec(u8),
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Major(major) => write!(f, "format version {major}"),
            Self::Features(bits) => write!(f, "feature bits {bits:#x}"),
            Self::Checksum(id) => write!(f, "checksum {id}"),
            Self::CommitAlign(bytes) => write!(f, "a commit alignment of {bytes} bytes"),
            Self::Kind(kind) => write!(f, "a frame of kind {kind}"),
            Self::Codec(codec) => write!(f, "codec {codec}"),
        }
    }
}

const MAJOR_AT: usize = MAGIC.len();
const MINOR_AT: usize = MAJOR_AT + 2;
const INCOMPAT_AT: usize = MINOR_AT + 2;
const COMPAT_AT: usize = INCOMPAT_AT + 4;
const CHECKSUM_AT: usize = COMPAT_AT + 4;
const LOG_ID_AT: usize = CHECKSUM_AT + 4;
const SEGMENT_AT: usize = LOG_ID_AT + 16;
const SALT_AT: usize = SEGMENT_AT + 8;
const CAPACITY_AT: usize = SALT_AT + 8;
const CREATED_AT: usize = CAPACITY_AT + 8;
const COMMIT_ALIGN_AT: usize = CREATED_AT + 8;

impl Header {
    /// The block's used bytes; the other bytes of the block are zero.
    pub fn encode(&self) -> [u8; HEADER_USED] {
        let mut block = [0; HEADER_USED];
        put(&mut block, 0, &MAGIC);
        put(&mut block, MAJOR_AT, &FORMAT_MAJOR.to_le_bytes());
        put(&mut block, MINOR_AT, &FORMAT_MINOR.to_le_bytes());
        put(&mut block, CHECKSUM_AT, &[self.checksum.id()]);
        put(&mut block, LOG_ID_AT, &self.log_id);
        put(&mut block, SEGMENT_AT, &self.segment.to_le_bytes());
        put(&mut block, SALT_AT, &self.salt.to_le_bytes());
        put(&mut block, CAPACITY_AT, &self.capacity.to_le_bytes());
        put(&mut block, CREATED_AT, &self.created_unix_ns.to_le_bytes());
        let sum = self.checksum.update(0, &block[..SUMMED_LEN]);
        put(&mut block, SUMMED_LEN, &sum.to_le_bytes());
        block
    }

    /// Reads a block. The version is looked at before the checksum, as a later version may sum differently.
    ///
    /// # Errors
    /// [`HeaderError`] says whether the block is foreign, damaged or too new.
    pub fn decode(block: &[u8]) -> Result<Self, HeaderError> {
        if block.len() < HEADER_USED || !block.starts_with(&MAGIC) {
            return Err(HeaderError::NotASegment);
        }
        let known = u16_at(block, MAJOR_AT) == FORMAT_MAJOR;
        let id = byte_at(block, CHECKSUM_AT);
        let found = u32_at(block, SUMMED_LEN);
        let sums = [Checksum::Crc32, Checksum::Crc32c].map(|c| c.update(0, &block[..SUMMED_LEN]));
        let Some(checksum) = Checksum::from_id(id).filter(|_| known) else {
            // Damage is damage, whatever the fields pretend.
            if !sums.contains(&found) {
                return Err(HeaderError::Checksum { expected: sums[0], found });
            }
            let what = match known {
                true => Unsupported::Checksum(id),
                false => Unsupported::Major(u16_at(block, MAJOR_AT)),
            };
            return Err(HeaderError::Unsupported(what));
        };
        let expected = checksum.update(0, &block[..SUMMED_LEN]);
        if expected != found {
            return Err(HeaderError::Checksum { expected, found });
        }
        match (u32_at(block, INCOMPAT_AT), u32_at(block, COMMIT_ALIGN_AT)) {
            (0, 0) => {}
            (0, align) => return Err(HeaderError::Unsupported(Unsupported::CommitAlign(align))),
            (bits, _) => return Err(HeaderError::Unsupported(Unsupported::Features(bits))),
        }
        let capacity = u64_at(block, CAPACITY_AT);
        if !(2 * HEADER_LEN..=MAX_SEGMENT).contains(&capacity) {
            return Err(HeaderError::Capacity(capacity));
        }
        let mut log_id = [0; 16];
        log_id.copy_from_slice(&block[LOG_ID_AT..SEGMENT_AT]);
        Ok(Self {
            checksum,
            log_id,
            segment: u64_at(block, SEGMENT_AT),
            salt: u64_at(block, SALT_AT),
            capacity,
            created_unix_ns: u64_at(block, CREATED_AT).cast_signed(),
        })
    }

    /// The digest of this segment's frames.
    pub fn digest(&self) -> Digest {
        Digest::new(self.checksum, self.salt)
    }
}

/// `offset` rounded up to where the next frame starts.
pub(crate) fn align(offset: u64) -> u64 {
    offset.next_multiple_of(ALIGN)
}

pub(crate) fn put(block: &mut [u8], at: usize, field: &[u8]) {
    block[at..at + field.len()].copy_from_slice(field);
}

pub(crate) fn byte_at(bytes: &[u8], at: usize) -> u8 {
    bytes.get(at).copied().unwrap_or(0)
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    field(bytes, at).map_or(0, u16::from_le_bytes)
}

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

    fn header() -> Header {
        Header {
            checksum: Checksum::Crc32,
            log_id: *b"0123456789abcdef",
            segment: 0x0102,
            salt: 0x0304,
            capacity: 64 << 20,
            created_unix_ns: -5,
        }
    }

    #[test]
    fn a_header_lies_where_the_format_says() {
        let block = header().encode();
        assert_eq!(block[..12], [0x89, b'L', b'I', b'W', 13, 10, 26, 10, 1, 0, 0, 0]);
        assert_eq!(block[20], 1);
        assert_eq!(&block[24..40], b"0123456789abcdef");
        assert_eq!((u64_at(&block, 40), u64_at(&block, 48), u64_at(&block, 56)), (0x0102, 0x0304, 64 << 20));
        assert_eq!(u64_at(&block, 64).cast_signed(), -5);
        assert_eq!(u32_at(&block, 124), crc32fast::hash(&block[..124]));
    }

    #[test]
    fn a_header_reads_as_it_was_written_with_either_checksum() {
        for checksum in [Checksum::Crc32, Checksum::Crc32c] {
            let header = Header { checksum, ..header() };
            assert_eq!(Header::decode(&header.encode()), Ok(header));
        }
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let block = header().encode();
        for bit in 0..HEADER_USED * 8 {
            let mut block = block;
            block[bit / 8] ^= 1 << (bit % 8);
            let error = Header::decode(&block).unwrap_err();
            assert!(
                matches!(error, HeaderError::NotASegment | HeaderError::Checksum { .. }),
                "{bit}: {error}"
            );
        }
    }

    #[test]
    fn what_a_later_version_wrote_is_named() {
        let cases = [
            (MAJOR_AT, 2, Unsupported::Major(2)),
            (INCOMPAT_AT, 4, Unsupported::Features(4)),
            (CHECKSUM_AT, 9, Unsupported::Checksum(9)),
            (COMMIT_ALIGN_AT + 1, 16, Unsupported::CommitAlign(4096)),
        ];
        for (at, value, what) in cases {
            let mut block = header().encode();
            block[at] = value;
            let sum = crc32fast::hash(&block[..SUMMED_LEN]);
            put(&mut block, SUMMED_LEN, &sum.to_le_bytes());
            assert_eq!(Header::decode(&block), Err(HeaderError::Unsupported(what)));
        }
        let mut block = header().encode();
        block[MINOR_AT] = 7;
        block[COMPAT_AT] = 1;
        let sum = crc32fast::hash(&block[..SUMMED_LEN]);
        put(&mut block, SUMMED_LEN, &sum.to_le_bytes());
        assert!(Header::decode(&block).is_ok(), "a minor version and compatible features are no obstacle");
    }
}
