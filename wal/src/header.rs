//! The first block of a segment: which file this is, and what its readers must know.

use std::fmt;

use crate::features::{Features, Label};
use crate::format::{
    Checksum, Digest, FORMAT_MAJOR, FORMAT_MINOR, HEADER_LEN, HEADER_USED, MAGIC, MAX_SEGMENT, byte_at, put,
    u16_at, u32_at, u64_at,
};

/// Bytes of the header that the checksum covers, followed by the checksum.
const SUMMED_LEN: usize = HEADER_USED - 4;
/// What frames may be aligned to after each group, in bytes.
const COMMIT_ALIGNS: std::ops::RangeInclusive<u32> = 512..=65_536;

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
    /// What its readers must know; [`Features::COMMIT_ALIGN`] goes by [`commit_align`](Self::commit_align).
    pub features: Features,
    /// Bytes at whose multiples a synced group ends: 0, or a power of two from 512 to 65,536.
    pub commit_align: u32,
    /// What the log is called.
    pub label: Label,
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
    /// No label is that long.
    #[error("label of {0} bytes is out of bounds")]
    Label(u8),
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
    /// Features that a reader must know; only those that this version does not.
    Features(Features),
    /// A checksum with this id.
    Checksum(u8),
    /// Groups that end at multiples of this, which is none of the powers of two that may be, or that no feature
    /// bit announces.
    CommitAlign(u32),
    /// A frame of this kind.
    Kind(u8),
    /// A frame compressed with this codec: one that this build has no feature for, or nobody knows.
    Codec(u8),
    /// Features of a damaged log that a reader may ignore, and that a repair by this version would drop.
    Repair(Features),
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Major(major) => write!(f, "format version {major}"),
            Self::Features(bits) => write!(f, "feature bits {:#x}", bits.0),
            Self::Checksum(id) => write!(f, "checksum {id}"),
            Self::CommitAlign(bytes) => write!(f, "a commit alignment of {bytes} bytes"),
            Self::Kind(kind) => write!(f, "a frame of kind {kind}"),
            Self::Codec(1) => write!(f, "bodies compressed with snappy"),
            Self::Codec(2) => write!(f, "bodies compressed with zstd"),
            Self::Codec(codec) => write!(f, "codec {codec}"),
            Self::Repair(bits) => write!(f, "optional feature bits {:#x} to be repaired", bits.0),
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
const LABEL_LEN_AT: usize = COMMIT_ALIGN_AT + 4;
const LABEL_AT: usize = LABEL_LEN_AT + 1;

impl Header {
    /// The header of a plain segment without a label, guarded by the default checksum.
    pub fn new(log_id: [u8; 16], segment: u64, salt: u64, capacity: u64) -> Self {
        Self {
            checksum: Checksum::default(),
            log_id,
            segment,
            salt,
            capacity,
            created_unix_ns: 0,
            features: Features::NONE,
            commit_align: 0,
            label: Label::default(),
        }
    }

    /// The block's used bytes; the other bytes of the block are zero.
    pub fn encode(&self) -> [u8; HEADER_USED] {
        let mut block = [0; HEADER_USED];
        put(&mut block, 0, &MAGIC);
        put(&mut block, MAJOR_AT, &FORMAT_MAJOR.to_le_bytes());
        put(&mut block, MINOR_AT, &FORMAT_MINOR.to_le_bytes());
        let features = match self.commit_align {
            0 => Features(self.features.0 & !Features::COMMIT_ALIGN.0),
            _ => self.features.with(Features::COMMIT_ALIGN),
        };
        put(&mut block, INCOMPAT_AT, &features.0.to_le_bytes());
        put(&mut block, CHECKSUM_AT, &[self.checksum.id()]);
        put(&mut block, LOG_ID_AT, &self.log_id);
        put(&mut block, SEGMENT_AT, &self.segment.to_le_bytes());
        put(&mut block, SALT_AT, &self.salt.to_le_bytes());
        put(&mut block, CAPACITY_AT, &self.capacity.to_le_bytes());
        put(&mut block, CREATED_AT, &self.created_unix_ns.to_le_bytes());
        put(&mut block, COMMIT_ALIGN_AT, &self.commit_align.to_le_bytes());
        let label = self.label.as_bytes();
        put(&mut block, LABEL_LEN_AT, &[u8::try_from(label.len()).unwrap_or(0)]);
        put(&mut block, LABEL_AT, label);
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
        let features = Features(u32_at(block, INCOMPAT_AT));
        if features.unknown() != Features::NONE {
            return Err(HeaderError::Unsupported(Unsupported::Features(features.unknown())));
        }
        let commit_align = u32_at(block, COMMIT_ALIGN_AT);
        let fits = match features.has(Features::COMMIT_ALIGN) {
            true => commit_align.is_power_of_two() && COMMIT_ALIGNS.contains(&commit_align),
            false => commit_align == 0,
        };
        if !fits {
            return Err(HeaderError::Unsupported(Unsupported::CommitAlign(commit_align)));
        }
        let capacity = u64_at(block, CAPACITY_AT);
        if !(2 * HEADER_LEN..=MAX_SEGMENT).contains(&capacity) {
            return Err(HeaderError::Capacity(capacity));
        }
        let label_len = byte_at(block, LABEL_LEN_AT);
        let label = block.get(LABEL_AT..LABEL_AT + usize::from(label_len)).and_then(Label::new);
        let label = label.ok_or(HeaderError::Label(label_len))?;
        let mut log_id = [0; 16];
        log_id.copy_from_slice(&block[LOG_ID_AT..SEGMENT_AT]);
        Ok(Self {
            checksum,
            log_id,
            segment: u64_at(block, SEGMENT_AT),
            salt: u64_at(block, SALT_AT),
            capacity,
            created_unix_ns: u64_at(block, CREATED_AT).cast_signed(),
            features,
            commit_align,
            label,
        })
    }

    /// The features that a reader may ignore in a block that was read.
    pub(crate) fn optional(block: &[u8; HEADER_USED]) -> Features {
        Features(u32_at(block, COMPAT_AT))
    }

    /// The digest of this segment's frames.
    pub fn digest(&self) -> Digest {
        Digest::new(self.checksum, self.salt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header {
            created_unix_ns: -5,
            features: Features::STREAMS.with(Features::COMMIT_ALIGN).with(Features::RECYCLED),
            commit_align: 4096,
            label: Label::new(b"ingester").unwrap(),
            ..Header::new(*b"0123456789abcdef", 0x0102, 0x0304, 64 << 20)
        }
    }

    #[test]
    fn a_header_lies_where_the_format_says() {
        let block = header().encode();
        assert_eq!(block[..12], [0x89, b'L', b'I', b'W', 13, 10, 26, 10, 1, 0, 0, 0]);
        assert_eq!(block[12..21], [0b1_0011, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(&block[24..40], b"0123456789abcdef");
        assert_eq!((u64_at(&block, 40), u64_at(&block, 48), u64_at(&block, 56)), (0x0102, 0x0304, 64 << 20));
        assert_eq!(u64_at(&block, 64).cast_signed(), -5);
        assert_eq!((u32_at(&block, 72), &block[76..86]), (4096, &b"\x08ingester\0"[..]));
        assert_eq!(u32_at(&block, 124), crc32fast::hash(&block[..124]));
    }

    #[test]
    fn a_header_reads_as_it_was_written_with_either_checksum() {
        for checksum in [Checksum::Crc32, Checksum::Crc32c] {
            let header = Header { checksum, ..header() };
            assert_eq!(Header::decode(&header.encode()), Ok(header));
            let plain = Header { checksum, ..Header::new([1; 16], 1, 2, 8192) };
            assert_eq!(Header::decode(&plain.encode()), Ok(plain.clone()));
            assert_eq!(plain.encode()[72..124], [0; 52], "where there is nothing to say, there is nothing");
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
        let unsupported = |what| HeaderError::Unsupported(what);
        let cases = [
            (MAJOR_AT, 2, unsupported(Unsupported::Major(2))),
            (INCOMPAT_AT, 0b1000_1001, unsupported(Unsupported::Features(Features(0b1000_1000)))),
            (CHECKSUM_AT, 9, unsupported(Unsupported::Checksum(9))),
            (COMMIT_ALIGN_AT + 1, 16, unsupported(Unsupported::CommitAlign(4096))),
            (INCOMPAT_AT, 2, unsupported(Unsupported::CommitAlign(0))),
            (LABEL_LEN_AT, 41, HeaderError::Label(41)),
        ];
        for (at, value, what) in cases {
            let mut block = Header::new([1; 16], 1, 2, 8192).encode();
            block[at] = value;
            let sum = crc32fast::hash(&block[..SUMMED_LEN]);
            put(&mut block, SUMMED_LEN, &sum.to_le_bytes());
            assert_eq!(Header::decode(&block), Err(what));
        }
        for align in [1, 256, 513, 131_072] {
            let block = Header { commit_align: align, ..header() }.encode();
            assert_eq!(Header::decode(&block), Err(unsupported(Unsupported::CommitAlign(align))));
        }
        let mut block = header().encode();
        block[MINOR_AT] = 7;
        block[COMPAT_AT] = 1;
        let sum = crc32fast::hash(&block[..SUMMED_LEN]);
        put(&mut block, SUMMED_LEN, &sum.to_le_bytes());
        assert!(Header::decode(&block).is_ok(), "a minor version and compatible features are no obstacle");
    }
}
