//! The bodies of frames that carry control, byte for byte.

use std::str;

use bytes::Bytes;

use crate::format::{put, u32_at, u64_at};

/// Body of the first frame of a segment: who came before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentStart {
    /// This segment.
    pub segment: u64,
    /// LSN of its first record.
    pub base_lsn: u64,
    /// The segment before, 0 in the first of a log.
    pub prev_segment: u64,
    /// LSN of the last record before, 0 if there is none.
    pub prev_last_lsn: u64,
    /// Where the segment before ends, its seal included.
    pub prev_end: u64,
    /// Header checksum of its seal.
    pub prev_last_hcrc: u32,
    /// Records below this LSN were gone.
    pub low_watermark: u64,
    /// How many times the log had been opened and written to.
    pub epoch: u64,
}

impl SegmentStart {
    /// Bytes of the body.
    pub const LEN: usize = 64;

    /// The bytes in the file.
    pub fn encode(&self) -> [u8; Self::LEN] {
        let mut body = [0; Self::LEN];
        put(&mut body, 0, &self.segment.to_le_bytes());
        put(&mut body, 8, &self.base_lsn.to_le_bytes());
        put(&mut body, 16, &self.prev_segment.to_le_bytes());
        put(&mut body, 24, &self.prev_last_lsn.to_le_bytes());
        put(&mut body, 32, &self.prev_end.to_le_bytes());
        put(&mut body, 40, &self.prev_last_hcrc.to_le_bytes());
        put(&mut body, 48, &self.low_watermark.to_le_bytes());
        put(&mut body, 56, &self.epoch.to_le_bytes());
        body
    }

    /// The body in these bytes; a later version may have appended fields.
    pub fn decode(body: &[u8]) -> Option<Self> {
        (body.len() >= Self::LEN).then(|| Self {
            segment: u64_at(body, 0),
            base_lsn: u64_at(body, 8),
            prev_segment: u64_at(body, 16),
            prev_last_lsn: u64_at(body, 24),
            prev_end: u64_at(body, 32),
            prev_last_hcrc: u32_at(body, 40),
            low_watermark: u64_at(body, 48),
            epoch: u64_at(body, 56),
        })
    }
}

/// Body of the last frame of a segment: what it holds and who comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seal {
    /// LSN after the segment's last record.
    pub end_lsn: u64,
    /// Frames before the seal.
    pub frames: u64,
    /// Bytes of the bodies of its data frames.
    pub data_bytes: u64,
    /// The segment that follows; its header was durable before this frame was written.
    pub next_segment: u64,
    /// That segment's salt.
    pub next_salt: u64,
    /// [`Seal::REPAIRED`] and [`Seal::SALVAGED`], or 0.
    pub flags: u32,
}

impl Seal {
    /// Bytes of the body.
    pub const LEN: usize = 48;
    /// Flag: a recovery cut the segment here.
    pub const REPAIRED: u32 = 1;
    /// Flag: a recovery made the segment anew of what was whole, with this seal, so that the one that the next
    /// segment remembers is another.
    pub const SALVAGED: u32 = 2;

    /// The bytes in the file.
    pub fn encode(&self) -> [u8; Self::LEN] {
        let mut body = [0; Self::LEN];
        put(&mut body, 0, &self.end_lsn.to_le_bytes());
        put(&mut body, 8, &self.frames.to_le_bytes());
        put(&mut body, 16, &self.data_bytes.to_le_bytes());
        put(&mut body, 24, &self.next_segment.to_le_bytes());
        put(&mut body, 32, &self.next_salt.to_le_bytes());
        put(&mut body, 40, &self.flags.to_le_bytes());
        body
    }

    /// The body in these bytes; a later version may have appended fields.
    pub fn decode(body: &[u8]) -> Option<Self> {
        (body.len() >= Self::LEN).then(|| Self {
            end_lsn: u64_at(body, 0),
            frames: u64_at(body, 8),
            data_bytes: u64_at(body, 16),
            next_segment: u64_at(body, 24),
            next_salt: u64_at(body, 32),
            flags: u32_at(body, 40),
        })
    }
}

/// Body of a checkpoint frame: what the log's records up to an LSN have become is kept elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Records below are covered by it.
    pub lsn: u64,
    /// The caller's bytes, at most [`MAX_META`](Self::MAX_META).
    pub meta: Bytes,
}

impl Checkpoint {
    /// Most bytes of the caller's.
    pub const MAX_META: usize = 64 << 10;

    /// The bytes in the file.
    pub fn encode(&self) -> Vec<u8> {
        [&self.lsn.to_le_bytes()[..], &self.meta].concat()
    }

    /// The body in these bytes.
    pub fn decode(body: &[u8]) -> Option<Self> {
        let (lsn, meta) = body.split_first_chunk()?;
        let fits = meta.len() <= Self::MAX_META;
        fits.then(|| Self { lsn: u64::from_le_bytes(*lsn), meta: Bytes::copy_from_slice(meta) })
    }
}

/// Body of a frame that names a stream, or says anew what is known of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamDef {
    /// What its records are marked with, from 1.
    pub id: u32,
    /// [`StreamDef::DROPPED`] or 0.
    pub flags: u32,
    /// Its records below are gone.
    pub low: u64,
    /// 1 to 255 bytes.
    pub name: String,
}

impl StreamDef {
    /// Flag: the stream is gone, and another may get its id when no record has it any more.
    pub const DROPPED: u32 = 1;
    /// Most streams that a log has at a time.
    pub const MAX_STREAMS: usize = 4096;
    /// Bytes before the name.
    const FIXED: usize = 16;

    /// The bytes in the file.
    pub fn encode(&self) -> Vec<u8> {
        let mut body = vec![0; Self::FIXED];
        put(&mut body, 0, &self.id.to_le_bytes());
        put(&mut body, 4, &self.flags.to_le_bytes());
        put(&mut body, 8, &self.low.to_le_bytes());
        body.extend_from_slice(self.name.as_bytes());
        body
    }

    /// The body in these bytes.
    pub fn decode(body: &[u8]) -> Option<Self> {
        let name = str::from_utf8(body.get(Self::FIXED..)?).ok()?;
        let id = u32_at(body, 0);
        let fits = id > 0 && (1..=255).contains(&name.len());
        fits.then(|| Self { id, flags: u32_at(body, 4), low: u64_at(body, 8), name: name.to_owned() })
    }
}

/// The LSN in the body of a low-watermark frame.
pub(crate) fn low_watermark(body: &[u8]) -> Option<u64> {
    (body.len() >= 8).then(|| u64_at(body, 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_bodies_read_as_they_were_written() {
        let start = SegmentStart {
            segment: 1,
            base_lsn: 2,
            prev_segment: 3,
            prev_last_lsn: 4,
            prev_end: 5,
            prev_last_hcrc: 6,
            low_watermark: 7,
            epoch: 8,
        };
        assert_eq!(SegmentStart::decode(&start.encode()), Some(start));
        assert_eq!(SegmentStart::decode(&start.encode()[1..]), None);
        let seal = Seal { end_lsn: 1, frames: 2, data_bytes: 3, next_segment: 4, next_salt: 5, flags: 1 };
        assert_eq!(Seal::decode(&seal.encode()), Some(seal));
        assert_eq!(Seal::decode(&[]), None);
    }

    #[test]
    fn a_checkpoint_lies_where_the_format_says() {
        let checkpoint = Checkpoint { lsn: 0x0102, meta: Bytes::from_static(b"offsets") };
        assert_eq!(checkpoint.encode(), b"\x02\x01\0\0\0\0\0\0offsets");
        assert_eq!(Checkpoint::decode(&checkpoint.encode()), Some(checkpoint));
        assert_eq!(Checkpoint::decode(&[0; 7]), None);
        assert_eq!(Checkpoint::decode(&[0; 8]).unwrap().meta, Bytes::new());
        assert!(Checkpoint::decode(&vec![0; 8 + Checkpoint::MAX_META]).is_some());
        assert_eq!(Checkpoint::decode(&vec![0; 9 + Checkpoint::MAX_META]), None);
    }

    #[test]
    fn a_stream_lies_where_the_format_says() {
        let stream =
            StreamDef { id: 0x0102, flags: StreamDef::DROPPED, low: 0x0304, name: "orders".to_owned() };
        let body = stream.encode();
        assert_eq!(body, b"\x02\x01\0\0\x01\0\0\0\x04\x03\0\0\0\0\0\0orders");
        assert_eq!(StreamDef::decode(&body), Some(stream));
        assert_eq!(StreamDef::decode(&body[..16]), None, "no name");
        assert_eq!(StreamDef::decode(&body[..3]), None);
        assert_eq!(StreamDef::decode(&[&[0; 16][..], b"zero"].concat()), None, "no id");
        let named = |name: &[u8]| StreamDef::decode(&[&body[..16], name].concat());
        assert!(named(&[b'x'; 255]).is_some());
        assert_eq!(named(&[b'x'; 256]), None);
        assert_eq!(named(b"\xFF"), None, "not text");
    }
}
